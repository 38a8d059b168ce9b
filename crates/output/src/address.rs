//! `HOST` and `HOST:PORT` in settings, and their addresses.

use std::net::{SocketAddr, ToSocketAddrs};

/// Host, without brackets, and port of `HOST`, `HOST:PORT`, `[ADDRESS]` or `[ADDRESS]:PORT`.
pub(crate) fn parse(text: &str, default_port: u16) -> Result<(String, u16), String> {
    let bad = || format!("hosts: `{text}` is no address: give HOST or HOST:PORT, and an IPv6 address in brackets");
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(bad)?;
        let port = match after {
            "" => None,
            after => Some(after.strip_prefix(':').ok_or_else(bad)?),
        };
        (host, port)
    } else {
        text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    };
    let is_part = |byte: u8| byte.is_ascii_graphic() && !b"/@,[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_part) || host.contains(':') != text.starts_with('[') {
        return Err(bad());
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?,
    };
    Ok((host.to_owned(), port))
}

/// The addresses of a host.
pub(crate) fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = (host, port).to_socket_addrs();
    found.map(Iterator::collect).map_err(|error| {
        format!("cannot find the address of {host}: {error}; is the name in hosts right, and does this machine find it (`getent hosts {host}`)?")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_ports_or_not() {
        let is = |text: &str, host: &str, port| assert_eq!(parse(text, 7), Ok((host.to_owned(), port)), "{text}");
        is("localhost", "localhost", 7);
        is("a.example:6379", "a.example", 6379);
        is("127.0.0.1:1", "127.0.0.1", 1);
        is("[::1]", "::1", 7);
        is("[fe80::1]:65535", "fe80::1", 65535);
        let bad = [
            "",
            ":1",
            "x:",
            "x:0",
            "x:65536",
            "::1",
            "::1:6379",
            "[::1",
            "[::1]6379",
            "[a]",
            "http://x",
            "u@x",
            "a b",
            "a,b",
            "[]",
        ];
        for bad in bad {
            assert!(parse(bad, 7).is_err(), "{bad}");
        }
    }
}
