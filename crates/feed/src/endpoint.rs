//! Which endpoints may be bound: without encryption only loopback and Unix sockets, unless the configuration says so in so many words.

use std::net::IpAddr;

/// An endpoint that may not be bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is none.
    #[error("{0:?} is no endpoint: write tcp://ADDRESS:PORT or ipc://PATH")]
    Malformed(String),
    /// It would show packets to the network in the clear.
    #[error(
        "{0} would publish packets unencrypted beyond this machine: bind to 127.0.0.1, set curve (see `tapline keys subscriber`), or allow_plaintext = true if that is meant"
    )]
    Plaintext(String),
}

/// Checks an endpoint before it is bound.
pub(crate) fn check(endpoint: &str, allow_plaintext: bool) -> Result<(), EndpointError> {
    if let Some(path) = endpoint.strip_prefix("ipc://") {
        return if path.is_empty() { Err(EndpointError::Malformed(endpoint.into())) } else { Ok(()) };
    }
    let malformed = || EndpointError::Malformed(endpoint.into());
    let rest = endpoint.strip_prefix("tcp://").ok_or_else(malformed)?;
    let (host, port) = rest.rsplit_once(':').ok_or_else(malformed)?;
    if port != "*" && port.parse::<u16>().is_err() {
        return Err(malformed());
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if loopback || allow_plaintext { Ok(()) } else { Err(EndpointError::Plaintext(endpoint.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_without_the_outspoken_option() {
        for good in
            ["ipc:///run/x", "tcp://127.0.0.1:7711", "tcp://[::1]:7711", "tcp://localhost:1", "tcp://127.0.0.1:*"]
        {
            assert_eq!(check(good, false), Ok(()), "{good}");
        }
        for open in ["tcp://0.0.0.0:7711", "tcp://*:7711", "tcp://192.0.2.1:7711"] {
            assert_eq!(check(open, false), Err(EndpointError::Plaintext(open.into())));
            assert_eq!(check(open, true), Ok(()));
        }
        for bad in ["", "udp://127.0.0.1:1", "tcp://127.0.0.1", "ipc://", "tcp://127.0.0.1:x"] {
            assert_eq!(check(bad, true), Err(EndpointError::Malformed(bad.into())), "{bad}");
        }
    }
}
