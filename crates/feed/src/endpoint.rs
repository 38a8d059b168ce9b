//! Endpoints of the feed, judged by their words alone: which may be published at, and what a subscriber's sandbox must leave open for them.

use std::net::IpAddr;

/// Longest path that the address of a Unix socket holds, in bytes.
const PATH_MAX: usize = 107;

/// An endpoint that can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
    /// Host and port, if it is TCP; the port 0 is one that the system chooses.
    tcp: Option<(String, u16)>,
}

/// An endpoint that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is none.
    #[error("{0:?} is no endpoint: write tcp://ADDRESS:PORT or ipc://PATH")]
    Malformed(String),
    /// Sockets have short paths.
    #[error("{0:?}: the path of a Unix socket has at most {PATH_MAX} bytes: choose a shorter one")]
    TooLong(String),
    /// It would show packets to the network in the clear.
    #[error("{text:?} would publish packets unencrypted beyond this machine: {advice}")]
    Beyond {
        /// What stands there.
        text: String,
        /// What to do.
        advice: &'static str,
    },
}

impl Endpoint {
    /// One to publish at. `refusal` is for a feed in the clear, which other machines must not reach: what to do then.
    ///
    /// # Errors
    /// No endpoint, or one beyond this machine although there is a `refusal`.
    pub fn to_publish(text: &str, refusal: Option<&'static str>) -> Result<Self, EndpointError> {
        let endpoint = Self::parse(text)?;
        let is_here =
            |host: &str| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        match (refusal, &endpoint.tcp) {
            (Some(advice), Some((host, _))) if !is_here(host) => {
                Err(EndpointError::Beyond { text: text.to_owned(), advice })
            }
            _ => Ok(endpoint),
        }
    }

    /// One to subscribe to.
    ///
    /// # Errors
    /// When it is none.
    pub fn to_subscribe(text: &str) -> Result<Self, EndpointError> {
        let endpoint = Self::parse(text)?;
        match &endpoint.tcp {
            Some((host, port)) if host == "*" || *port == 0 => Err(EndpointError::Malformed(text.to_owned())),
            _ => Ok(endpoint),
        }
    }

    fn parse(text: &str) -> Result<Self, EndpointError> {
        let malformed = || EndpointError::Malformed(text.to_owned());
        if let Some(path) = text.strip_prefix("ipc://") {
            return match path.len() {
                0 => Err(malformed()),
                length if length > PATH_MAX => Err(EndpointError::TooLong(text.to_owned())),
                _ => Ok(Self { text: text.to_owned(), tcp: None }),
            };
        }
        let (host, port) = text.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':')).ok_or_else(malformed)?;
        let port = if port == "*" { 0 } else { port.parse().map_err(|_| malformed())? };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
            return Err(malformed());
        }
        Ok(Self { text: text.to_owned(), tcp: Some((host.to_owned(), port)) })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host, without brackets, and port, if it is TCP.
    pub fn tcp(&self) -> Option<(&str, u16)> {
        self.tcp.as_ref().map(|(host, port)| (host.as_str(), *port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_where_others_are_refused() {
        for good in
            ["ipc:///run/x", "tcp://127.0.0.1:7711", "tcp://[::1]:7711", "tcp://localhost:1", "tcp://127.0.0.1:*"]
        {
            assert_eq!(Endpoint::to_publish(good, Some("do not")).unwrap().as_str(), good);
        }
        for open in ["tcp://0.0.0.0:7711", "tcp://*:7711", "tcp://192.0.2.1:7711"] {
            let error = Endpoint::to_publish(open, Some("do not")).unwrap_err().to_string();
            assert!(error.contains(open) && error.ends_with(": do not"), "{error}");
            assert!(Endpoint::to_publish(open, None).is_ok());
        }
        for bad in
            ["", "udp://127.0.0.1:1", "tcp://127.0.0.1", "ipc://", "tcp://127.0.0.1:x", "tcp://:1", "tcp://a/b:1"]
        {
            assert_eq!(Endpoint::to_publish(bad, None), Err(EndpointError::Malformed(bad.into())), "{bad}");
        }
        let long = format!("ipc:///{}", "x".repeat(PATH_MAX));
        assert_eq!(Endpoint::to_publish(&long, None), Err(EndpointError::TooLong(long)));
    }

    #[test]
    fn a_subscriber_knows_host_and_port() {
        let tcp = |text| Endpoint::to_subscribe(text).map(|endpoint| endpoint.tcp);
        assert_eq!(tcp("tcp://gw.example:7711"), Ok(Some(("gw.example".to_owned(), 7711))));
        assert_eq!(tcp("tcp://[2001:db8::1]:7711"), Ok(Some(("2001:db8::1".to_owned(), 7711))));
        assert_eq!(tcp("ipc:///run/feed"), Ok(None));
        for bad in ["tcp://*:7711", "tcp://127.0.0.1:*", "tcp://gw", "inproc://x"] {
            assert_eq!(tcp(bad), Err(EndpointError::Malformed(bad.into())), "{bad}");
        }
    }
}
