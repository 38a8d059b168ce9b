//! Listening sockets: `unix:PATH` or `ADDRESS:PORT`, judged while the configuration is checked and bound before privileges are given up. Beyond
//! this machine only where the configuration says so in so many words.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpListener};
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

/// Longest path that the address of a Unix socket holds, in bytes.
const PATH_MAX: usize = 107;

/// Where to listen, as a setting says it: judged by its words alone, nothing is looked up or bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    key: &'static str,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Unix(PathBuf),
    Tcp(String),
}

/// Why something is no address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is none.
    #[error("{0:?} is no address to listen on: write ADDRESS:PORT or unix:PATH")]
    Malformed(String),
    /// Sockets have short paths.
    #[error("{0:?}: the path of a Unix socket has at most {PATH_MAX} bytes: choose a shorter one")]
    TooLong(String),
    /// It would show or take packets beyond this machine in the clear.
    #[error("{text:?} is reachable from other machines without encryption: {advice}")]
    Beyond {
        /// What stands there.
        text: String,
        /// What to do.
        advice: &'static str,
    },
}

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("{key} = {text:?}: {error}{}", hint(.error))]
pub struct BindError {
    /// Which setting.
    key: &'static str,
    /// What stands there.
    text: String,
    /// What the system said.
    error: std::io::Error,
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; another program has it: choose another, or end that program",
        std::io::ErrorKind::AddrNotAvailable => {
            "; this machine has no such address: choose one that `ip address` shows"
        }
        std::io::ErrorKind::PermissionDenied => "; this user may not bind there",
        std::io::ErrorKind::NotFound => "; its directory does not exist: make it, or choose another",
        _ => "",
    }
}

impl Address {
    /// Reads a value of the setting `key`. A relative path lies below `base`. `refusal` is for what other machines must not reach: what to do then.
    /// The only name that counts as this machine's is `localhost`: where others lead is not known without asking.
    ///
    /// # Errors
    /// No address, or one beyond this machine although there is a `refusal`.
    pub fn parse(
        key: &'static str,
        text: &str,
        base: &Path,
        refusal: Option<&'static str>,
    ) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let place = base.join(path);
            if path.is_empty() || path.contains('\0') {
                return Err(malformed());
            }
            if place.as_os_str().len() > PATH_MAX {
                return Err(AddressError::TooLong(text.to_owned()));
            }
            return Ok(Self { key, place: Place::Unix(place) });
        }
        let is_loopback = match text.parse::<SocketAddr>() {
            Ok(address) => address.ip().is_loopback(),
            Err(_) => {
                let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                if host.is_empty() || !host.bytes().all(is_name) || port.parse::<u16>().is_err() {
                    return Err(malformed());
                }
                host == "localhost"
            }
        };
        match refusal {
            Some(advice) if !is_loopback => Err(AddressError::Beyond { text: text.to_owned(), advice }),
            _ => Ok(Self { key, place: Place::Tcp(text.to_owned()) }),
        }
    }

    /// The path, if it is a Unix socket.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Unix(path) => Some(path),
            Place::Tcp(_) => None,
        }
    }

    /// Binds it. A socket that nobody listens on any more is taken over.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(&self) -> Result<Bound, BindError> {
        let bound = match &self.place {
            Place::Unix(path) => remove_stale(path).and_then(|()| UnixListener::bind(path)).map(Bound::Unix),
            Place::Tcp(text) => TcpListener::bind(text.as_str()).map(Bound::Tcp),
        };
        bound.map_err(|error| BindError { key: self.key, text: self.to_string(), error })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
            Place::Tcp(text) => f.write_str(text),
        }
    }
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

    fn parse(text: &str, refusal: Option<&'static str>) -> Result<Address, AddressError> {
        Address::parse("x.listen", text, Path::new("/data"), refusal)
    }

    #[test]
    fn only_this_machine_where_others_are_refused() {
        for here in ["127.0.0.1:0", "[::1]:7710", "localhost:1", "unix:/x"] {
            assert!(parse(here, Some("do not")).is_ok(), "{here}");
        }
        for beyond in ["0.0.0.0:0", "[::]:1", "192.0.2.1:7710", "gw.example:1"] {
            let error = parse(beyond, Some("do not")).unwrap_err().to_string();
            assert!(error.contains(beyond) && error.ends_with(": do not"), "{error}");
            assert!(parse(beyond, None).is_ok(), "{beyond}");
        }
        for bad in ["", "nonsense", "127.0.0.1", ":1", "127.0.0.1:65536", "::1:x", "http://x:1", "a b:1", "unix:"] {
            assert_eq!(parse(bad, None), Err(AddressError::Malformed(bad.to_owned())));
        }
    }

    #[test]
    fn paths_lie_below_the_data_directory_and_are_short() {
        assert_eq!(parse("unix:run/x", None).unwrap().path(), Some(Path::new("/data/run/x")));
        assert_eq!(parse("unix:/run/x", None).unwrap().path(), Some(Path::new("/run/x")));
        let long = format!("unix:/{}", "x".repeat(PATH_MAX));
        assert_eq!(parse(&long, None), Err(AddressError::TooLong(long)));
    }

    #[test]
    fn a_socket_left_behind_is_taken_over_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::parse("listen", "unix:socket", folder.path(), None).unwrap();
        drop(address.bind().unwrap());
        let live = address.bind().unwrap();
        assert!(address.bind().unwrap_err().to_string().contains("another program has it"));
        drop(live);
    }
}
