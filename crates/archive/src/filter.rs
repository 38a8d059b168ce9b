//! Filter expressions: libpcap's language and two more primitives, `community-id ID` and `sent-by ADDRESS:PORT`, which look below VLANs,
//! MPLS and tunnels as the decoders do. libpcap compiles, `bpf` runs.
//! Does not know the index; what it may leave out is in `narrow`.

use crate::bpf::Program;
use crate::narrow::Narrow;
use packet::net::{self, Transport};
use packet::{LinkType, Packet};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// Most primitives of our own in one expression: the expression is compiled once for each way they can turn out.
const OWN_MAX: usize = 8;
/// Most flows whose answer is kept.
const CACHE_MAX: usize = 65_536;
/// Longest expression, in bytes.
const EXPRESSION_MAX: usize = 65_536;
/// Link types that an expression is tried on when it is given: it must make sense on one of them.
const TRIED: [LinkType; 7] = [
    LinkType::ETHERNET,
    LinkType::LINUX_SLL2,
    LinkType::LINUX_SLL,
    LinkType::RAW,
    LinkType::NULL,
    LinkType::PPP,
    LinkType::IEEE802_11,
];

/// The expression is wrong. Always the user's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// libpcap does not take it.
    #[error("the filter `{expression}` is wrong: {message} (its language: man 7 pcap-filter)")]
    Expression {
        /// What was given.
        expression: String,
        /// What libpcap says.
        message: String,
    },
    /// A `community-id` without an id that can be one.
    #[error(
        "the filter says `community-id {0}`, which is no Community ID of version 1: write it as `community-id 1:LQU9qZlK+B5F3KDmev6m5PMibrg=`"
    )]
    CommunityId(String),
    /// A `sent-by` without an address and port.
    #[error("the filter says `sent-by {0}`: write it as `sent-by 10.0.0.1:5060` or `sent-by [2001:db8::1]:5060`")]
    SentBy(String),
    /// Too many of either.
    #[error(
        "the filter has {0} community-id and sent-by primitives, at most {OWN_MAX} are possible: ask several times"
    )]
    TooMany(usize),
    /// Too long.
    #[error("the filter is longer than {EXPRESSION_MAX} bytes")]
    TooLong,
}

/// A filter expression that libpcap has accepted.
#[derive(Debug, Clone)]
pub struct Filter {
    expression: String,
    /// The expression cut at the primitives of our own.
    pieces: Vec<String>,
    own: Vec<Own>,
    narrow: Narrow,
}

/// A primitive of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Own {
    /// The packet's flow has this Community ID.
    CommunityId(String),
    /// The packet has this source address and port.
    SentBy(SocketAddr),
}

impl Filter {
    /// Reads an expression; an empty one takes every packet.
    ///
    /// # Errors
    /// When it is wrong; with libpcap's own words.
    pub fn new(expression: &str) -> Result<Self, FilterError> {
        if expression.len() > EXPRESSION_MAX {
            return Err(FilterError::TooLong);
        }
        let expression = expression.trim();
        let (pieces, own) = split(expression)?;
        if own.len() > OWN_MAX {
            return Err(FilterError::TooMany(own.len()));
        }
        let mut filter = Self { expression: expression.into(), pieces, own, narrow: Narrow::Any };
        let mut first = None;
        let accepted = TRIED.into_iter().any(|link_type| match filter.compile(link_type, 0) {
            Ok(_) => true,
            Err(message) => {
                first.get_or_insert(message);
                false
            }
        });
        if !accepted {
            return Err(FilterError::Expression { expression: expression.into(), message: first.unwrap_or_default() });
        }
        filter.narrow = Narrow::parse(expression);
        Ok(filter)
    }

    /// The filter that takes every packet.
    pub fn any() -> Self {
        Self { expression: String::new(), pieces: vec![String::new()], own: Vec::new(), narrow: Narrow::Any }
    }

    /// The expression as it was given.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Whether it takes every packet.
    pub fn is_any(&self) -> bool {
        self.expression.is_empty()
    }

    pub(crate) fn narrow(&self) -> &Narrow {
        &self.narrow
    }

    /// The filter for packets of one link type. An expression that libpcap does not take for this link type (such as
    /// `ether host` on raw IP) takes none of them.
    pub fn matcher(&self, link_type: LinkType) -> Matcher {
        let programs = (0..1usize << self.own.len())
            .map(|truths| {
                if self.is_any() {
                    return Program::constant(true);
                }
                self.compile(link_type, truths).unwrap_or_else(|_| Program::constant(false))
            })
            .collect();
        Matcher { link_type, programs, own: self.own.clone(), any: self.is_any(), cache: HashMap::new() }
    }

    /// Compiles with every primitive of our own replaced by what bit n of `truths` says of the n-th.
    fn compile(&self, link_type: LinkType, truths: usize) -> Result<Program, String> {
        let mut expression = String::with_capacity(self.expression.len() + 32);
        for (n, piece) in self.pieces.iter().enumerate() {
            if n > 0 {
                expression.push_str(if truths >> (n - 1) & 1 == 1 { " greater 0 " } else { " not greater 0 " });
            }
            expression.push_str(piece);
        }
        let handle = pcap::Capture::dead(pcap::Linktype(link_type.to_dlt())).map_err(|error| error.to_string())?;
        let compiled = match handle.compile(&expression, true) {
            Ok(compiled) => compiled,
            Err(pcap::Error::PcapError(message)) if message.contains("rejects all packets") => {
                return Ok(Program::constant(false));
            }
            Err(pcap::Error::PcapError(message)) => return Err(message),
            Err(error) => return Err(error.to_string()),
        };
        let instructions = compiled.get_instructions().iter().map(|instruction| {
            // The crate shows instructions as text only: "code jt jf k".
            let text = instruction.to_string();
            let mut numbers = text.split(' ').map(str::parse::<u32>);
            let mut next = || numbers.next().and_then(Result::ok).unwrap_or(u32::MAX);
            (next() as u16, next() as u8, next() as u8, next())
        });
        Program::new(instructions).map_err(|error| error.to_string())
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::any()
    }
}

impl std::str::FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

/// Cuts the expression at the primitives of our own.
fn split(expression: &str) -> Result<(Vec<String>, Vec<Own>), FilterError> {
    const WORDS: [&str; 2] = ["community-id", "sent-by"];
    let (mut pieces, mut own) = (Vec::new(), Vec::new());
    let (mut rest, mut piece) = (expression, String::new());
    while let Some((at, word)) = WORDS.iter().filter_map(|word| Some((rest.find(word)?, *word))).min() {
        let (before, after) = (rest.get(..at).unwrap_or(""), rest.get(at + word.len()..).unwrap_or(""));
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        piece.push_str(before);
        if before.ends_with(inside) || after.starts_with(inside) {
            // Part of another word.
            piece.push_str(word);
            rest = after;
            continue;
        }
        let text = after.trim_start();
        let length = text.find(|c: char| c.is_whitespace() || matches!(c, '(' | ')')).unwrap_or(text.len());
        let value = text.get(..length).unwrap_or("").trim_matches(['"', '\'']);
        let shown = || value.chars().take(80).collect();
        own.push(match word {
            "sent-by" => Own::SentBy(value.parse().map_err(|_| FilterError::SentBy(shown()))?),
            _ if is_community_id(value) => Own::CommunityId(value.to_owned()),
            _ => return Err(FilterError::CommunityId(shown())),
        });
        pieces.push(std::mem::take(&mut piece));
        rest = text.get(length..).unwrap_or("");
    }
    piece.push_str(rest);
    pieces.push(piece);
    Ok((pieces, own))
}

/// Version 1: `1:` and the Base64 of 20 bytes.
fn is_community_id(id: &str) -> bool {
    id.strip_prefix("1:").and_then(|rest| rest.strip_suffix('=')).is_some_and(|hash| {
        hash.len() == 27 && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
    })
}

/// What tells apart the packets that differ in a primitive of our own.
type Key = (IpAddr, IpAddr, u16, u16, u8);

/// A filter compiled for one link type.
#[derive(Debug, Clone)]
pub struct Matcher {
    link_type: LinkType,
    programs: Vec<Program>,
    own: Vec<Own>,
    any: bool,
    cache: HashMap<Key, usize>,
}

impl Matcher {
    /// Whether it takes the packet.
    #[inline]
    pub fn accepts(&mut self, packet: &Packet<'_>) -> bool {
        if self.any {
            return true;
        }
        let truths = if self.own.is_empty() { 0 } else { self.truths(packet) };
        self.programs.get(truths).is_some_and(|program| program.accepts(packet.data, packet.original_length))
    }

    /// Which of the primitives of our own hold for the packet, one bit each.
    fn truths(&mut self, packet: &Packet<'_>) -> usize {
        let dissected = net::dissect(self.link_type, packet.data, packet.original_length);
        let (Some((from, to)), Some(network)) = (dissected.endpoints(), dissected.network.as_ref()) else { return 0 };
        let (a, b) = match dissected.transport {
            Transport::Icmp(icmp) => (icmp.kind.into(), icmp.code.into()),
            _ => (from.port, to.port),
        };
        let key = (from.address, to.address, a, b, network.protocol);
        if let Some(known) = self.cache.get(&key) {
            return *known;
        }
        let id = dissected.community_id();
        let holds = |own: &Own| match own {
            Own::CommunityId(wanted) => id.is_some_and(|id| wanted.as_bytes() == id.text()),
            Own::SentBy(wanted) => (wanted.ip(), wanted.port()) == (from.address, from.port),
        };
        let truths = self.own.iter().enumerate().map(|(n, own)| usize::from(holds(own)) << n).sum();
        if self.cache.len() >= CACHE_MAX {
            self.cache.clear();
        }
        self.cache.insert(key, truths);
        truths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Timestamp;

    /// UDP from 10.0.0.1:1000 to 10.0.0.2:53 on Ethernet, as the bytes of a frame.
    fn udp(source: [u8; 4], destination: [u8; 4], source_port: u16, destination_port: u16) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend(source);
        frame.extend(destination);
        frame.extend(source_port.to_be_bytes());
        frame.extend(destination_port.to_be_bytes());
        frame.extend([0, 12, 0, 0, 1, 2, 3, 4]);
        frame
    }

    fn takes(expression: &str, frame: &[u8]) -> bool {
        let packet = Packet { time: Timestamp::ZERO, interface: 0, original_length: frame.len() as u32, data: frame };
        Filter::new(expression).unwrap().matcher(LinkType::ETHERNET).accepts(&packet)
    }

    #[test]
    fn libpcap_decides() {
        let frame = udp([10, 0, 0, 1], [10, 0, 0, 2], 1000, 53);
        for good in
            ["", "udp", "udp port 53", "src host 10.0.0.1 and dst net 10.0.0.0/8", "len = 46", "udp[8] = 1", "not tcp"]
        {
            assert!(takes(good, &frame), "{good}");
        }
        for other in ["tcp", "port 54", "src host 10.0.0.2", "len > 46", "ip6", "less 45"] {
            assert!(!takes(other, &frame), "{other}");
        }
    }

    #[test]
    fn a_community_id_is_one_more_primitive() {
        let frame = udp([192, 168, 1, 52], [8, 8, 8, 8], 54585, 53);
        let back = udp([8, 8, 8, 8], [192, 168, 1, 52], 53, 54585);
        let id = "1:d/FP5EW3wiY1vCndhwleRRKHowQ=";
        let other = "1:LQU9qZlK+B5F3KDmev6m5PMibrg=";
        for frame in [&frame, &back] {
            assert!(takes(&format!("community-id {id}"), frame));
            assert!(!takes(&format!("community-id {other}"), frame));
            assert!(takes(&format!("not community-id {other}"), frame));
            assert!(takes(&format!("community-id {other} or community-id {id}"), frame));
            assert!(takes(&format!("(community-id {id}) and udp port 53"), frame));
            assert!(!takes(&format!("community-id {id} and tcp"), frame));
        }
        assert!(takes(&format!("community-id {id} and dst host 8.8.8.8"), &frame));
        assert!(!takes(&format!("community-id {id} and dst host 8.8.8.8"), &back));
    }

    #[test]
    fn who_sent_it_is_another_and_looks_below_a_vlan() {
        let frame = udp([10, 0, 0, 1], [10, 0, 0, 2], 16000, 6000);
        let mut tagged = frame.clone();
        tagged.splice(12..12, [0x81, 0, 0, 7]);
        for frame in [&frame, &tagged] {
            assert!(takes("sent-by 10.0.0.1:16000", frame));
            assert!(!takes("sent-by 10.0.0.2:6000", frame) && !takes("sent-by 10.0.0.1:6000", frame));
            assert!(!takes("not sent-by 10.0.0.1:16000", frame));
        }
        assert!(matches!(Filter::new("sent-by 10.0.0.1"), Err(FilterError::SentBy(_))));
        assert!(Filter::new("sent-by [2001:db8::1]:5060 or udp").is_ok());
    }

    #[test]
    fn a_wrong_filter_gets_libpcaps_words() {
        let error = Filter::new("prot 53").unwrap_err().to_string();
        assert!(error.contains("prot 53") && error.contains("syntax error"), "{error}");
        assert!(matches!(Filter::new("community-id"), Err(FilterError::CommunityId(_))));
        assert!(matches!(Filter::new("community-id 2:abc and udp"), Err(FilterError::CommunityId(_))));
        let many = ["community-id 1:LQU9qZlK+B5F3KDmev6m5PMibrg="; 9].join(" or ");
        assert_eq!(Filter::new(&many).unwrap_err(), FilterError::TooMany(9));
        assert!(Filter::new("host\0").is_err());
    }

    #[test]
    fn what_makes_no_sense_on_a_link_type_takes_nothing_there() {
        let filter = Filter::new("ether host 00:11:22:33:44:55").unwrap();
        let packet = Packet { time: Timestamp::ZERO, interface: 0, original_length: 20, data: &[0x45; 20] };
        assert!(!filter.matcher(LinkType::RAW).accepts(&packet));
    }
}
