//! One question to a program of ours over HTTP on a Unix socket, for the supervisor, which has no runtime.
//! Not a client for users' questions: those go through the `api` crate.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An answer larger than this is none of ours.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Asks for `what` and gives the JSON answered; `None` if there is no (good) answer.
pub fn json(socket: &Path, what: &str) -> Option<serde_json::Value> {
    serde_json::from_slice(&get(socket, what)?).ok()
}

/// Whether `what` is answered with success.
pub fn is_good(socket: &Path, what: &str) -> bool {
    get(socket, what).is_some()
}

fn get(socket: &Path, what: &str) -> Option<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {what} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let status = answer.get(9..12)?;
    status.starts_with(b"2").then(|| answer.split_off(end + 4))
}
