//! The walk from a packet's link header to its innermost transport payload. One step per layer; which header follows is a
//! value, so that depth is a loop with a limit and not recursion. Does not verify checksums.

mod capture_link;
mod frame;
mod internet;
mod tunnel;

use super::{Anomalies, Anomaly, Dissected, Link, Network, Transport, Tunnels};
use crate::LinkType;

/// Most headers in one packet, IPv6 extension headers and VLAN tags included.
const LAYERS_MAX: usize = 32;

/// Which tunnels are walked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Follow {
    /// All that are known.
    #[default]
    All,
    /// Only IP directly in IP; GRE, VXLAN and the like remain payload.
    IpInIp,
}

/// Dissects a packet that begins with the header of `link_type` and was `original_length` bytes long on the wire.
#[inline]
pub fn dissect(link_type: LinkType, data: &[u8], original_length: u32) -> Dissected<'_> {
    dissect_following(link_type, data, original_length, Follow::All)
}

/// Like [`dissect`], walking only into the tunnels that `follow` says.
pub fn dissect_following(link_type: LinkType, data: &[u8], original_length: u32, follow: Follow) -> Dissected<'_> {
    let mut walk = Walk::new(data, original_length as usize, follow);
    if walk.wire > data.len() {
        walk.out.anomalies.push(Anomaly::Truncated, data.len());
    } else if walk.wire < data.len() {
        walk.wire = data.len();
        walk.out.anomalies.push(Anomaly::CapturedBeyondWire, 0);
    }
    walk.run(if link_type == LinkType::ETHERNET { Next::Ethernet } else { Next::Link(link_type) })
}

/// Dissects bytes that begin with an IP header, such as the packet that an ICMP error quotes. `wire_length` is how many
/// bytes there were. A quoted packet is usually cut: its lengths are what its own header says, and that they reach
/// beyond `wire_length` is no anomaly. Of a TCP header that is cut the fields that are there are given, the others are 0.
pub fn dissect_network(bytes: &[u8], wire_length: u32) -> Dissected<'_> {
    let mut walk = Walk::new(bytes, (wire_length as usize).max(bytes.len()), Follow::IpInIp);
    walk.quoted = true;
    walk.run(Next::Ip)
}

/// Goes on where `first`, the dissection of one of the fragments, had to stop: `payload` is the IP payload put together.
/// Link, tunnels and addresses are those of `first`, tunnels within the payload are walked into. Offsets of anomalies count
/// from the beginning of `payload`.
pub fn dissect_reassembled<'a>(first: &Dissected<'_>, payload: &'a [u8], follow: Follow) -> Dissected<'a> {
    let mut walk = Walk::new(payload, payload.len(), follow);
    walk.out.link = first.link;
    walk.out.tunnels = first.tunnels;
    let Some(network) = &first.network else { return walk.run(Next::Done) };
    let header = network.wire_length.saturating_sub(network.payload_wire);
    walk.out.network = Some(Network {
        source: network.source,
        destination: network.destination,
        protocol: network.protocol,
        ttl: network.ttl,
        tos: network.tos,
        identification: network.identification,
        fragment: None,
        offset: network.offset,
        wire_length: header + payload.len() as u32,
        payload,
        payload_wire: payload.len() as u32,
    });
    walk.run(Next::Protocol(network.protocol))
}

/// Which header comes next.
#[derive(Debug, Clone, Copy)]
enum Next {
    Link(LinkType),
    Ethernet,
    EtherType(u16),
    Llc,
    Ppp,
    Mpls,
    Ip,
    Ipv4,
    Ipv6,
    Protocol(u8),
    Done,
}

struct Walk<'a> {
    /// What is not yet walked over, of the innermost layer.
    rest: &'a [u8],
    /// Its offset in the captured bytes.
    at: usize,
    /// Its length on the wire; never less than `rest.len()`.
    wire: usize,
    follow: Follow,
    quoted: bool,
    out: Dissected<'a>,
}

/// A step of the walk: what comes next, or what keeps it from going on.
type Step = Result<Next, Anomaly>;

impl<'a> Walk<'a> {
    #[inline]
    fn new(rest: &'a [u8], wire: usize, follow: Follow) -> Self {
        let out = Dissected {
            link: Link::default(),
            tunnels: Tunnels::default(),
            network: None,
            transport: Transport::None,
            payload: rest,
            payload_wire: 0,
            anomalies: Anomalies::default(),
        };
        Self { rest, at: 0, wire, follow, quoted: false, out }
    }

    #[inline]
    fn run(mut self, first: Next) -> Dissected<'a> {
        let mut next = first;
        for _ in 0..LAYERS_MAX {
            let step = match next {
                Next::Ethernet => self.ethernet(),
                Next::EtherType(value) => self.ethertype(value),
                Next::Ipv4 => self.ipv4(),
                Next::Ipv6 => self.ipv6(),
                Next::Protocol(number) => self.protocol(number),
                Next::Ip => self.ip(),
                Next::Link(link_type) => self.link(link_type),
                Next::Llc => self.llc(),
                Next::Ppp => self.ppp(),
                Next::Mpls => self.mpls(),
                Next::Done => return self.finish(),
            };
            match step {
                Ok(following) => next = following,
                Err(anomaly) => {
                    self.note(anomaly);
                    return self.finish();
                }
            }
        }
        if !matches!(next, Next::Done) {
            self.note(Anomaly::TooDeep);
        }
        self.finish()
    }

    #[inline]
    fn finish(mut self) -> Dissected<'a> {
        self.out.payload = self.rest;
        self.out.payload_wire = u32::try_from(self.wire).unwrap_or(u32::MAX);
        self.out
    }

    fn note(&mut self, anomaly: Anomaly) {
        self.out.anomalies.push(anomaly, self.at);
    }

    /// Moves over `length` bytes.
    #[inline]
    fn skip(&mut self, length: usize) -> Result<(), Anomaly> {
        self.rest = self.rest.get(length..).ok_or(Anomaly::HeaderCut)?;
        self.at += length;
        self.wire -= length;
        Ok(())
    }

    /// Cuts off what stands behind the next `length` bytes: padding, trailers.
    #[inline]
    fn limit(&mut self, length: usize) {
        if length < self.wire {
            self.wire = length;
            self.rest = self.rest.get(..length).unwrap_or(self.rest);
        }
    }

    /// Reads a view and moves over its fixed part.
    #[inline]
    fn view<V>(&mut self, length: usize, new: impl FnOnce(&'a [u8]) -> Option<V>) -> Result<V, Anomaly> {
        let view = new(self.rest).ok_or(Anomaly::HeaderCut)?;
        self.skip(length)?;
        Ok(view)
    }
}
