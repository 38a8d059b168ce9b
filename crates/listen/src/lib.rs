//! Listening sockets: `unix:PATH` or `ADDRESS:PORT`, bound before privileges are given up. Beyond this machine only where the
//! configuration says so in so many words.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A bound socket.
#[derive(Debug)]
pub enum Bound {
    /// On a port.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// It is no address.
    #[error("{key} = {text:?}: write ADDRESS:PORT or unix:PATH")]
    Malformed {
        /// Which setting.
        key: &'static str,
        /// What stands there.
        text: String,
    },
    /// It would show or take packets beyond this machine in the clear.
    #[error(
        "{key} = {text:?} is reachable from other machines without encryption: bind to 127.0.0.1, or set allow_plaintext = true if that is meant"
    )]
    Plaintext {
        /// Which setting.
        key: &'static str,
        /// What stands there.
        text: String,
    },
    /// The system refused.
    #[error("{key} = {text:?}: {error}{}", hint(.error))]
    Bind {
        /// Which setting.
        key: &'static str,
        /// What stands there.
        text: String,
        /// What the system said.
        error: std::io::Error,
    },
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; another program has it: choose another, or end that program",
        std::io::ErrorKind::PermissionDenied => "; this user may not bind there",
        _ => "",
    }
}

/// Binds one socket of the setting `key`; gives its path too, if it has one. A socket that nobody listens on any more is taken over.
///
/// # Errors
/// No address, one beyond this machine without `allow_plaintext`, or what the system says.
pub fn bind(key: &'static str, text: &str, allow_plaintext: bool) -> Result<(Bound, Option<PathBuf>), ListenError> {
    let failed = |error| ListenError::Bind { key, text: text.to_owned(), error };
    if let Some(path) = text.strip_prefix("unix:") {
        let path = Path::new(path);
        remove_stale(path).map_err(failed)?;
        return Ok((Bound::Unix(UnixListener::bind(path).map_err(failed)?), Some(path.to_owned())));
    }
    let malformed = || ListenError::Malformed { key, text: text.to_owned() };
    let addresses: Vec<SocketAddr> = text.to_socket_addrs().map_err(|_| malformed())?.collect();
    if addresses.is_empty() {
        return Err(malformed());
    }
    if !allow_plaintext && !addresses.iter().all(|address| address.ip().is_loopback()) {
        return Err(ListenError::Plaintext { key, text: text.to_owned() });
    }
    Ok((Bound::Tcp(TcpListener::bind(addresses.as_slice()).map_err(failed)?), None))
}

/// Removes a socket that nobody listens on any more; one that answers is somebody's.
fn remove_stale(path: &Path) -> std::io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_without_the_outspoken_option() {
        assert!(bind("listen", "127.0.0.1:0", false).is_ok());
        assert!(matches!(bind("listen", "0.0.0.0:0", false), Err(ListenError::Plaintext { .. })));
        assert!(bind("listen", "0.0.0.0:0", true).is_ok());
        assert!(matches!(bind("listen", "nonsense", false), Err(ListenError::Malformed { .. })));
    }

    #[test]
    fn a_socket_left_behind_is_taken_over_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("unix:{}/socket", folder.path().display());
        drop(bind("listen", &text, false).unwrap());
        let live = bind("listen", &text, false).unwrap();
        assert!(matches!(bind("listen", &text, false), Err(ListenError::Bind { .. })));
        drop(live);
    }
}
