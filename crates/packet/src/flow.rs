//! The names of a conversation: the flow key that both directions share, its hash, and its Community ID.
//! Keeps no table and no state of any flow; that is the decode engine's.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sha1::{Digest, Sha1};

use crate::base64;

/// IP protocol numbers that have ports or a mapping to them.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// An address and a port; port 0 where the protocol has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint.
    pub const fn new(address: IpAddr, port: u16) -> Self {
        Self { address, port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// Which way a packet goes, relative to the key of its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the lower endpoint to the upper.
    Up,
    /// From the upper endpoint to the lower.
    Down,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }

    /// 0 for [`Direction::Up`], 1 for [`Direction::Down`]: for tables per side.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What both directions of a conversation have in common: protocol, optional VLAN and the two endpoints, the lower
/// first. 40 bytes, for IPv4 and IPv6 alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowKey {
    lower: [u64; 2],
    upper: [u64; 2],
    /// lower port (16) | upper port (16) | VLAN + 1, 0 for none (16) | IP version (8) | protocol (8)
    rest: u64,
}

const FACTORS: [u64; 6] = [
    // Digits of the golden ratio, pi and e: any odd constants without pattern do.
    0x9e37_79b9_7f4a_7c15,
    0x2436_8885_a308_d313,
    0x1319_8a2e_0370_7345,
    0xb7e1_5162_8aed_2a6b,
    0xbf71_5880_9cf4_f3c7,
    0xa409_3822_299f_31d1,
];

const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

const fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [0, address.to_bits() as u64],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [(bits >> 64) as u64, bits as u64]
        }
    }
}

impl FlowKey {
    /// The key of the flow that a packet from `source` to `destination` belongs to, and the packet's direction in it.
    #[inline]
    pub fn new(source: Endpoint, destination: Endpoint, protocol: u8) -> (Self, Direction) {
        let (from, to) = (words(source.address), words(destination.address));
        let version: u64 = if source.address.is_ipv4() { 4 } else { 6 };
        let tail = version << 8 | u64::from(protocol);
        if (from, source.port) <= (to, destination.port) {
            let rest = u64::from(source.port) << 48 | u64::from(destination.port) << 32 | tail;
            (Self { lower: from, upper: to, rest }, Direction::Up)
        } else {
            let rest = u64::from(destination.port) << 48 | u64::from(source.port) << 32 | tail;
            (Self { lower: to, upper: from, rest }, Direction::Down)
        }
    }

    /// The same key within a VLAN, for those who keep VLANs apart.
    #[must_use]
    pub const fn with_vlan(mut self, vlan: Option<u16>) -> Self {
        self.rest &= !0xffff_0000;
        if let Some(vlan) = vlan {
            self.rest |= ((vlan & 0xfff) as u64 + 1) << 16;
        }
        self
    }

    fn address(&self, words: [u64; 2]) -> IpAddr {
        if (self.rest >> 8) & 0xff == 4 {
            IpAddr::V4(Ipv4Addr::from_bits(words[1] as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(u128::from(words[0]) << 64 | u128::from(words[1])))
        }
    }

    /// The endpoint with the lower address (or, with equal addresses, the lower port).
    pub fn lower(&self) -> Endpoint {
        Endpoint { address: self.address(self.lower), port: (self.rest >> 48) as u16 }
    }

    /// The other endpoint.
    pub fn upper(&self) -> Endpoint {
        Endpoint { address: self.address(self.upper), port: (self.rest >> 32) as u16 }
    }

    /// Source and destination of a packet that goes in `direction`.
    pub fn endpoints(&self, direction: Direction) -> (Endpoint, Endpoint) {
        match direction {
            Direction::Up => (self.lower(), self.upper()),
            Direction::Down => (self.upper(), self.lower()),
        }
    }

    /// The IP protocol number.
    pub const fn protocol(&self) -> u8 {
        self.rest as u8
    }

    /// The VLAN, where [`FlowKey::with_vlan`] gave one.
    pub const fn vlan(&self) -> Option<u16> {
        match (self.rest >> 16) as u16 {
            0 => None,
            vlan => Some(vlan - 1),
        }
    }

    /// A hash of the whole key, the same for both directions, on every machine and in every run. Not keyed: somebody who
    /// wants collisions can make them, so a table must bound its chains or mix in a seed of its own.
    #[inline]
    pub const fn hash64(&self) -> u64 {
        let ends = self.hash_addresses();
        fold(ends ^ FACTORS[4], self.rest ^ FACTORS[5])
    }

    /// A hash of the two addresses alone, symmetric too: fragments, ICMP errors, a call's signalling and its media between
    /// the same hosts share it, so work is divided by it.
    #[inline]
    pub const fn hash_addresses(&self) -> u64 {
        fold(self.lower[0] ^ FACTORS[0], self.lower[1] ^ FACTORS[1])
            ^ fold(self.upper[0] ^ FACTORS[2], self.upper[1] ^ FACTORS[3])
    }
}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash64());
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}<->{}/{}", self.lower(), self.upper(), self.protocol())?;
        self.vlan().map_or(Ok(()), |vlan| write!(f, " vlan {vlan}"))
    }
}

/// A Community ID, version 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommunityId([u8; 20]);

impl CommunityId {
    /// What its text begins with; behind that stands the digest in base64.
    pub const PREFIX: &'static str = "1:";

    fn of(input: &[u8]) -> Self {
        Self(Sha1::digest(input).into())
    }

    /// The SHA-1 that it consists of.
    pub const fn digest(&self) -> &[u8; 20] {
        &self.0
    }

    /// Its text: `1:` and 28 characters of base64.
    pub fn text(&self) -> [u8; 30] {
        let mut text = *b"1:0000000000000000000000000000";
        base64::encode(&self.0, &mut text[Self::PREFIX.len()..]);
        text
    }
}

impl fmt::Display for CommunityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only ASCII is ever written into it.
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for CommunityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The type that answers an ICMP type (or that it answers), where there is one.
const fn icmp_counterpart(protocol: u8, kind: u16) -> Option<u16> {
    let pairs: &[(u16, u16)] = if protocol == protocol::ICMP {
        &[(8, 0), (13, 14), (15, 16), (10, 9), (17, 18)]
    } else {
        &[(128, 129), (130, 131), (133, 134), (135, 136), (139, 140), (144, 145)]
    };
    let mut i = 0;
    while i < pairs.len() {
        if pairs[i].0 == kind {
            return Some(pairs[i].1);
        }
        if pairs[i].1 == kind {
            return Some(pairs[i].0);
        }
        i += 1;
    }
    None
}

/// The Community ID (version 1, seed 0) of a packet. For ICMP and ICMPv6 the source's port is the ICMP type and the
/// destination's the code; for protocols other than TCP, UDP, SCTP and those two the ports do not count.
pub fn community_id(source: Endpoint, destination: Endpoint, protocol: u8) -> CommunityId {
    let (mut from_port, mut to_port) = (source.port, destination.port);
    let mut one_way = false;
    if matches!(protocol, protocol::ICMP | protocol::ICMPV6) {
        match icmp_counterpart(protocol, from_port) {
            Some(counterpart) => to_port = counterpart,
            None => one_way = true,
        }
    }
    let with_ports =
        matches!(protocol, protocol::ICMP | protocol::TCP | protocol::UDP | protocol::ICMPV6 | protocol::SCTP);
    if let (IpAddr::V4(from), IpAddr::V4(to), true) = (source.address, destination.address, with_ports) {
        // What is hashed of most flows, made within one word: seed (16 bits), addresses, protocol, a zero, ports.
        let (mut from, mut to) = ((from.to_bits(), from_port), (to.to_bits(), to_port));
        if !one_way && to < from {
            (from, to) = (to, from);
        }
        let input = u128::from(from.0) << 80
            | u128::from(to.0) << 48
            | u128::from(protocol) << 40
            | u128::from(from.1) << 16
            | u128::from(to.1);
        return CommunityId::of(&input.to_be_bytes());
    }
    let (mut from, mut to) = (source.address, destination.address);
    if !one_way && (to, to_port) < (from, from_port) {
        std::mem::swap(&mut from, &mut to);
        std::mem::swap(&mut from_port, &mut to_port);
    }
    let mut input = [0u8; 40];
    let mut length = 2; // the seed, 0
    let mut put = |bytes: &[u8]| {
        input[length..length + bytes.len()].copy_from_slice(bytes);
        length += bytes.len();
    };
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => put(&address.octets()),
            IpAddr::V6(address) => put(&address.octets()),
        }
    }
    put(&[protocol, 0]);
    if with_ports {
        put(&from_port.to_be_bytes());
        put(&to_port.to_be_bytes());
    }
    CommunityId::of(&input[..length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn end(address: &str, port: u16) -> Endpoint {
        Endpoint::new(address.parse().unwrap(), port)
    }

    fn check(from: &str, from_port: u16, to: &str, to_port: u16, protocol: u8, expect: &str) {
        let (from, to) = (end(from, from_port), end(to, to_port));
        assert_eq!(community_id(from, to, protocol).to_string(), expect, "{from} {to} {protocol}");
        if !matches!(protocol, protocol::ICMP | protocol::ICMPV6) {
            assert_eq!(community_id(to, from, protocol).to_string(), expect, "reversed {from} {to} {protocol}");
        }
    }

    #[test]
    fn community_ids_are_those_of_the_specification() {
        check("128.232.110.120", 34855, "66.35.250.204", 80, 6, "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        check("192.168.1.52", 54585, "8.8.8.8", 53, 17, "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
        check("192.168.170.8", 7, "192.168.170.56", 80, 132, "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ=");
        check("192.168.0.89", 8, "192.168.0.1", 0, 1, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
        check("192.168.0.1", 0, "192.168.0.89", 0, 1, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
    }

    #[test]
    fn community_ids_are_those_of_packetbeat() {
        check("192.168.238.68", 60893, "192.168.238.1", 53, 17, "1:Pix/jA+kRGP8oB9kgM7RKCq76kk=");
        check("192.168.1.104", 54742, "192.168.1.110", 80, 6, "1:mq/qOjB5HusPff1mY5rY4xUQy08=");
        check("10.0.0.1", 8, "10.0.0.2", 0, 1, "1:YcMyyWJfhc95EW1GfXt6jlZ3DiQ=");
        check("10.0.0.2", 0, "10.0.0.1", 0, 1, "1:YcMyyWJfhc95EW1GfXt6jlZ3DiQ=");
        check("::1", 128, "::2", 0, 58, "1:9UpHcZHFAOl8WqZVOs5YRQ5wDGE=");
    }

    #[test]
    fn a_key_holds_what_it_was_made_of() {
        assert_eq!(size_of::<FlowKey>(), 40);
        let (client, server) = (end("10.0.0.9", 40000), end("10.0.0.1", 53));
        let (key, direction) = FlowKey::new(client, server, 17);
        assert_eq!((key.lower(), key.upper(), key.protocol()), (server, client, 17));
        assert_eq!(key.endpoints(direction), (client, server));
        assert_eq!(key.with_vlan(Some(0)).vlan(), Some(0));
        assert_eq!(key.with_vlan(Some(4095)).vlan(), Some(4095));
        assert_eq!(key.with_vlan(Some(7)).with_vlan(None), key);
        let (v6, _) = FlowKey::new(end("::10.0.0.9", 40000), end("::10.0.0.1", 53), 17);
        assert_ne!(v6, key, "IPv4 and the IPv6 address with the same bits differ");
    }

    proptest! {
        #[test]
        fn both_directions_share_key_and_hash(a: u128, b: u128, p: u16, q: u16, v4: bool, protocol: u8) {
            let address = |bits: u128| -> IpAddr {
                if v4 { Ipv4Addr::from_bits(bits as u32).into() } else { Ipv6Addr::from_bits(bits).into() }
            };
            let (from, to) = (Endpoint::new(address(a), p), Endpoint::new(address(b), q));
            let (up, there) = FlowKey::new(from, to, protocol);
            let (down, back) = FlowKey::new(to, from, protocol);
            prop_assert_eq!(up, down);
            prop_assert_eq!(up.hash64(), down.hash64());
            prop_assert_eq!(up.endpoints(there), (from, to));
            prop_assert!(from == to || there == back.reversed());
        }
    }
}
