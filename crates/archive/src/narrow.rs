//! What a filter expression says about addresses, ports and protocols, so that the index can leave out batches that
//! cannot hold a match. Understands the usual part of libpcap's language and takes everything else for "any batch":
//! it never decides about a packet; the compiled filter does.

use crate::index::Index;
use roaring::RoaringBitmap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Deepest nesting that is looked into.
const DEPTH_MAX: u32 = 64;

/// Which batches may hold a match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Narrow {
    /// Every batch.
    Any,
    /// Those in which an address of the range occurs.
    Address(IpAddr, IpAddr),
    /// Those in which a port of the range occurs.
    Port(u16, u16),
    /// Those in which the IP protocol occurs.
    Protocol(u8),
    /// Those in both.
    And(Box<Narrow>, Box<Narrow>),
    /// Those in either.
    Or(Box<Narrow>, Box<Narrow>),
}

impl Narrow {
    /// Reads an expression that libpcap has accepted (the filter's own primitives may stand in it).
    pub(crate) fn parse(expression: &str) -> Self {
        let mut parser =
            Parser { tokens: lex(expression), at: 0, inherited: Some(Qualifiers::default()), depth: 0, lost: false };
        let narrow = parser.expression();
        if parser.lost || parser.at < parser.tokens.len() { Self::Any } else { narrow }
    }

    /// The candidates among the batches of a segment.
    pub(crate) fn candidates(&self, index: &Index) -> RoaringBitmap {
        match self {
            Self::Any => index.all(),
            Self::Address(first, last) => index.with_address(*first, *last),
            Self::Port(first, last) => index.with_port(*first, *last),
            Self::Protocol(number) => index.with_protocol(*number),
            Self::And(a, b) => a.candidates(index) & b.candidates(index),
            Self::Or(a, b) => a.candidates(index) | b.candidates(index),
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, narrow) | (narrow, Self::Any) => narrow,
            (a, b) => Self::And(Box::new(a), Box::new(b)),
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => Self::Any,
            (a, b) => Self::Or(Box::new(a), Box::new(b)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Open,
    Close,
    And,
    Or,
    Not,
    /// An operator of arithmetic, a bracket, or a character that is none of the usual language.
    Arithmetic,
}

fn lex(expression: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = rest.get(first.len_utf8()..).unwrap_or("");
            continue;
        }
        let id = tokens.last() == Some(&Token::Word("community-id"));
        let word = |c: char| {
            if id {
                !c.is_whitespace() && !matches!(c, '(' | ')')
            } else {
                c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '\\' | '-')
            }
        };
        let begins = id && word(first) || first.is_ascii_alphanumeric() || matches!(first, '\\' | ':');
        let (token, length) = match rest.as_bytes() {
            [b'(', ..] => (Token::Open, 1),
            [b')', ..] => (Token::Close, 1),
            [b'&', b'&', ..] => (Token::And, 2),
            [b'|', b'|', ..] => (Token::Or, 2),
            [b'!', b'=', ..] => (Token::Arithmetic, 2),
            [b'!', ..] => (Token::Not, 1),
            _ if begins => {
                let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
                match rest.get(..length).unwrap_or("") {
                    "and" => (Token::And, length),
                    "or" => (Token::Or, length),
                    "not" => (Token::Not, length),
                    text => (Token::Word(text), length),
                }
            }
            _ => (Token::Arithmetic, first.len_utf8()),
        };
        tokens.push(token);
        rest = rest.get(length..).unwrap_or("");
    }
    tokens
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Protocol,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// An IP protocol.
    Transport(u8),
    Ip,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Qualifiers {
    layer: Option<Layer>,
    kind: Option<Kind>,
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    /// The qualifiers of the primitive before, which a bare id takes over; none where that is not clear.
    inherited: Option<Qualifiers>,
    depth: u32,
    /// Something was met that changes what the rest means.
    lost: bool,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    fn word(&self) -> Option<&'a str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// `and` and `or` have the same precedence and join from left to right (pcap-filter(7)).
    fn expression(&mut self) -> Narrow {
        let mut narrow = self.term();
        loop {
            match self.peek() {
                Some(Token::And) => {
                    self.at += 1;
                    narrow = narrow.and(self.term());
                }
                Some(Token::Or) => {
                    self.at += 1;
                    narrow = narrow.or(self.term());
                }
                _ => return narrow,
            }
        }
    }

    fn term(&mut self) -> Narrow {
        let mut negated = false;
        while self.peek() == Some(Token::Not) {
            self.at += 1;
            negated = true;
        }
        let narrow = if self.is_arithmetic() {
            self.skip_chunk();
            self.inherited = None;
            Narrow::Any
        } else if self.peek() == Some(Token::Open) {
            let narrow = self.group();
            self.inherited = None;
            narrow
        } else {
            self.primitive()
        };
        // That a batch holds a packet of a host does not keep it from holding others.
        if negated { Narrow::Any } else { narrow }
    }

    fn group(&mut self) -> Narrow {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.lost = true;
            return Narrow::Any;
        }
        self.at += 1;
        let narrow = self.expression();
        self.depth -= 1;
        if self.peek() == Some(Token::Close) {
            self.at += 1;
        } else {
            self.lost = true;
        }
        narrow
    }

    /// The end of what stands here up to the next `and`, `or` or closing parenthesis, and whether it computes.
    fn chunk(&self) -> (usize, bool) {
        let (mut depth, mut arithmetic) = (0u32, false);
        for (at, token) in self.tokens.iter().enumerate().skip(self.at) {
            match token {
                Token::Open => depth += 1,
                Token::Close | Token::And | Token::Or if depth == 0 => return (at, arithmetic),
                Token::Close => depth -= 1,
                Token::Arithmetic if depth == 0 => arithmetic = true,
                _ => {}
            }
        }
        (self.tokens.len(), arithmetic)
    }

    fn is_arithmetic(&self) -> bool {
        self.chunk().1
    }

    fn skip_chunk(&mut self) {
        self.at = self.chunk().0;
    }

    fn primitive(&mut self) -> Narrow {
        let mut qualifiers = Qualifiers::default();
        let mut qualified = false;
        let begin = self.at;
        while let Some(word) = self.word() {
            if let Some(layer) = layer(word)
                && !qualified
                && qualifiers.layer.is_none()
            {
                qualifiers.layer = Some(layer);
            } else if matches!(word, "src" | "dst") {
                qualified = true;
                let both = matches!(self.tokens.get(self.at + 1), Some(Token::And | Token::Or))
                    && matches!(self.tokens.get(self.at + 2), Some(Token::Word("src" | "dst")));
                self.at += if both { 2 } else { 0 };
            } else if let Some(kind) = kind(word) {
                qualifiers.kind = Some(kind);
                qualified = true;
                self.at += 1;
                break;
            } else {
                break;
            }
            self.at += 1;
        }
        if self.at == begin {
            return self.other();
        }
        if !qualified {
            // A protocol alone.
            self.inherited = None;
            return match qualifiers.layer {
                Some(Layer::Transport(number)) if self.ends() => Narrow::Protocol(number),
                _ => {
                    self.skip_chunk();
                    Narrow::Any
                }
            };
        }
        self.inherited = Some(qualifiers);
        match self.peek() {
            Some(Token::Open) => self.group(),
            Some(Token::Word(id)) => {
                self.at += 1;
                self.leaf(qualifiers, id)
            }
            _ => {
                self.lost = true;
                Narrow::Any
            }
        }
    }

    /// Whether a primitive ends here.
    fn ends(&self) -> bool {
        matches!(self.peek(), None | Some(Token::And | Token::Or | Token::Close))
    }

    /// A bare id, which takes over the qualifiers of the primitive before, or a primitive of another kind.
    fn other(&mut self) -> Narrow {
        match (self.word(), self.inherited) {
            // These shift what the primitives behind them look at.
            (Some("mpls" | "pppoes" | "pppoed" | "geneve" | "vxlan" | "gre"), _) | (None, _) => {
                self.lost = true;
                Narrow::Any
            }
            (Some(id), Some(qualifiers)) if id.starts_with(|c: char| c.is_ascii_digit()) => {
                self.at += 1;
                self.leaf(qualifiers, id)
            }
            _ => {
                self.skip_chunk();
                self.inherited = None;
                Narrow::Any
            }
        }
    }

    fn leaf(&mut self, qualifiers: Qualifiers, id: &str) -> Narrow {
        if !self.ends() {
            // `net 10.0.0.0 mask 255.0.0.0`, and what else may follow an id.
            self.skip_chunk();
            return Narrow::Any;
        }
        let id = id.strip_prefix('\\').unwrap_or(id);
        let narrow = match qualifiers.kind.unwrap_or(Kind::Host) {
            Kind::Host => host(id),
            Kind::Net => net(id),
            Kind::Port => id.parse().ok().map(|port| Narrow::Port(port, port)),
            Kind::PortRange => port_range(id),
            Kind::Protocol => match qualifiers.layer {
                None | Some(Layer::Ip) => protocol(id).map(Narrow::Protocol),
                _ => None,
            },
            Kind::Other => None,
        };
        let narrow = narrow.unwrap_or(Narrow::Any);
        match qualifiers.layer {
            Some(Layer::Transport(number)) => narrow.and(Narrow::Protocol(number)),
            Some(Layer::Other) => Narrow::Any,
            Some(Layer::Ip) | None => narrow,
        }
    }
}

fn layer(word: &str) -> Option<Layer> {
    Some(match word {
        "tcp" => Layer::Transport(6),
        "udp" => Layer::Transport(17),
        "sctp" => Layer::Transport(132),
        "icmp" => Layer::Transport(1),
        "icmp6" => Layer::Transport(58),
        "ip" | "ip6" | "arp" | "rarp" => Layer::Ip,
        "ether" | "fddi" | "tr" | "wlan" | "link" | "ppp" | "slip" | "decnet" | "iso" | "atalk" | "aarp" | "lat"
        | "moprc" | "mopdl" | "stp" | "ipx" | "netbeui" | "igmp" | "igrp" | "pim" | "vrrp" | "carp" | "ah" | "esp" => {
            Layer::Other
        }
        _ => return None,
    })
}

fn kind(word: &str) -> Option<Kind> {
    Some(match word {
        "host" => Kind::Host,
        "net" => Kind::Net,
        "port" => Kind::Port,
        "portrange" => Kind::PortRange,
        "proto" => Kind::Protocol,
        "protochain" | "gateway" => Kind::Other,
        _ => return None,
    })
}

/// Protocols that every packet of theirs is indexed under, whatever stands before them.
fn protocol(id: &str) -> Option<u8> {
    match id {
        "tcp" | "6" => Some(6),
        "udp" | "17" => Some(17),
        "sctp" | "132" => Some(132),
        "icmp" | "1" => Some(1),
        "icmp6" | "ipv6-icmp" | "58" => Some(58),
        _ => None,
    }
}

fn host(id: &str) -> Option<Narrow> {
    id.parse::<IpAddr>().ok().map(|address| Narrow::Address(address, address))
}

fn port_range(id: &str) -> Option<Narrow> {
    let (first, last) = id.split_once('-')?;
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    Some(Narrow::Port(first.min(last), first.max(last)))
}

/// `10`, `10.1`, `10.1.2.0/24`, `2001:db8::/32`.
fn net(id: &str) -> Option<Narrow> {
    let (address, length) = match id.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
        None => (id, None),
    };
    if address.contains(':') {
        let bits = address.parse::<Ipv6Addr>().ok()?.to_bits();
        let length = length.unwrap_or(128);
        let host = match length {
            0..=127 => u128::MAX >> length,
            128 => 0,
            _ => return None,
        };
        return Some(Narrow::Address(
            Ipv6Addr::from_bits(bits & !host).into(),
            Ipv6Addr::from_bits(bits | host).into(),
        ));
    }
    let (mut bits, mut parts) = (0u32, 0u32);
    for part in address.split('.') {
        parts += 1;
        if parts > 4 {
            return None;
        }
        bits = bits << 8 | u32::from(part.parse::<u8>().ok()?);
    }
    bits = if parts < 4 { bits << (8 * (4 - parts)) } else { bits };
    let length = length.unwrap_or(parts * 8);
    let host = match length {
        0..=31 => u32::MAX >> length,
        32 => 0,
        _ => return None,
    };
    Some(Narrow::Address(Ipv4Addr::from_bits(bits & !host).into(), Ipv4Addr::from_bits(bits | host).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(narrow: &Narrow) -> String {
        match narrow {
            Narrow::Any => "any".into(),
            Narrow::Address(a, b) if a == b => a.to_string(),
            Narrow::Address(a, b) => format!("{a}..{b}"),
            Narrow::Port(a, b) if a == b => format!(":{a}"),
            Narrow::Port(a, b) => format!(":{a}..{b}"),
            Narrow::Protocol(number) => format!("#{number}"),
            Narrow::And(a, b) => format!("({} & {})", shown(a), shown(b)),
            Narrow::Or(a, b) => format!("({} | {})", shown(a), shown(b)),
        }
    }

    fn check(expression: &str, expect: &str) {
        assert_eq!(shown(&Narrow::parse(expression)), expect, "{expression}");
    }

    #[test]
    fn usual_expressions_narrow() {
        check("host 10.0.0.1", "10.0.0.1");
        check("10.0.0.1", "10.0.0.1");
        check("src host 10.0.0.1 and dst port 53", "(10.0.0.1 & :53)");
        check("udp port 53", "(:53 & #17)");
        check("udp src portrange 100-200", "(:100..200 & #17)");
        check("src or dst net 10.1", "10.1.0.0..10.1.255.255");
        check("ip6 net 2001:db8::/32", "2001:db8::..2001:db8:ffff:ffff:ffff:ffff:ffff:ffff");
        check("net 0.0.0.0/0", "0.0.0.0..255.255.255.255");
        check("tcp", "#6");
        check("ip proto \\udp", "#17");
        check("vlan and host 10.0.0.1", "10.0.0.1");
        check("vlan 7 && host 10.0.0.1", "10.0.0.1");
    }

    #[test]
    fn lists_take_over_the_qualifiers() {
        check("port 80 or 443", "(:80 | :443)");
        check("tcp port 80 or 443", "((:80 & #6) | (:443 & #6))");
        check("port (80 or 443)", "(:80 | :443)");
        check("host 10.0.0.1 or 10.0.0.2 and port 5060", "((10.0.0.1 | 10.0.0.2) & :5060)");
    }

    #[test]
    fn what_is_joined_is_joined_from_the_left() {
        check("tcp or udp and port 53", "((#6 | #17) & :53)");
        check("(tcp or udp) and port 53", "((#6 | #17) & :53)");
        check("tcp or (udp and port 53)", "(#6 | (#17 & :53))");
    }

    #[test]
    fn what_is_not_understood_is_any_batch() {
        for any in [
            "",
            "not host 10.0.0.1",
            "!(host 10.0.0.1)",
            "tcp[13] & 2 != 0",
            "(tcp[2:2] - 5) > 3",
            "len > 100",
            "greater 100",
            "host example.net",
            "port http",
            "ether host 00:11:22:33:44:55",
            "mpls and host 10.0.0.1",
            "pppoes and port 53",
            "host 10.0.0.1 or tcp[13] = 2",
            "ether proto 17",
            "ip proto 50",
            "arp",
            "community-id 1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            "host 10.0.0.1 or ip broadcast",
            "net 10.0.0.0 mask 255.0.0.0",
            "(host 10.0.0.1",
        ] {
            check(any, "any");
        }
        check("host 10.0.0.1 and tcp[13] & 2 != 0", "10.0.0.1");
        check("host 10.0.0.1 and not port 22", "10.0.0.1");
        check("community-id 1:a+/= and host 10.0.0.1", "10.0.0.1");
        check("sent-by 10.0.0.2:53 and host 10.0.0.1", "10.0.0.1");
        check("sent-by [2001:db8::1]:53 and host 10.0.0.1", "10.0.0.1");
        check("(len > 5) and udp", "#17");
        check("ether src 00:11:22:33:44:55 and udp", "#17");
    }

    #[test]
    fn depth_is_bounded() {
        check(&("(".repeat(100_000) + "host 10.0.0.1"), "any");
        check(&("not ".repeat(100_000) + "host 10.0.0.1"), "any");
    }

    proptest! {
        #[test]
        fn no_expression_panics(words in proptest::collection::vec(prop_oneof![
            Just("host"), Just("10.0.0.1"), Just("or"), Just("and"), Just("("), Just(")"), Just("not"), Just("tcp"), Just("port"),
            Just("["), Just("src"), Just("net"), Just("300.1"), Just("mask"), Just("community-id"), Just("é"), Just("10/99"), Just("!="),
        ], 0..20)) {
            Narrow::parse(&words.join(" "));
        }
    }
}
