//! The end of a program whose supervisor (`tapline up`) is gone: nobody would end it any more.
//! Decides nothing about how a program ends; it gets the signal that would have asked it to.

use std::io;
use std::time::Duration;

use crate::system;

/// Set for the programs that a supervisor starts.
pub const VARIABLE: &str = "TAPLINE_SUPERVISED";

/// Whether a supervisor of ours started this program.
pub fn is_supervised() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// For a program that a supervisor started, watches that supervisor from a thread of its own; for others does nothing. Once it is gone, however it
/// ended, this program is asked to end after `delay`, as by SIGTERM. Call it behind everything that needs a single thread.
///
/// A supervised program's standard error is a pipe that only the supervisor reads: without a reader there is no supervisor. Unlike a signal at the
/// parent's death (PR_SET_PDEATHSIG) that neither ends with a change of user nor hangs on one thread of the parent, and it is seen behind any sandbox.
///
/// # Errors
/// When the system gives no thread.
pub fn end_with_it(delay: Duration) -> io::Result<()> {
    if !is_supervised() {
        return Ok(());
    }
    let watch = move || {
        if system::wait_for_reader_gone(libc::STDERR_FILENO).is_err() {
            return;
        }
        // Messages go where standard output goes, to nowhere: writing them must not fail while this program ends.
        system::redirect_stderr_to_stdout();
        std::thread::sleep(delay);
        system::raise_term();
    };
    std::thread::Builder::new().name("supervisor".to_owned()).spawn(watch).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::process::{Command, Stdio};

    #[test]
    fn a_pipe_tells_when_nobody_reads_it_any_more() {
        let mut reader = Command::new("sleep").arg("60").stdin(Stdio::piped()).spawn().unwrap();
        let writer = reader.stdin.take().unwrap();
        let watching = std::thread::spawn(move || system::wait_for_reader_gone(writer.as_raw_fd()).is_ok());
        std::thread::sleep(Duration::from_millis(100));
        assert!(!watching.is_finished());
        reader.kill().unwrap();
        assert!(watching.join().unwrap());
        reader.wait().unwrap();
    }

    #[test]
    fn a_descriptor_that_is_none_is_watched_by_nobody() {
        assert!(system::wait_for_reader_gone(i32::MAX).is_err());
    }
}
