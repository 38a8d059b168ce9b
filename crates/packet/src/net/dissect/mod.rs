//! The walk from a packet's link header to its innermost transport payload. One step per layer; which header follows is a
//! value, so that depth is a loop with a limit and not recursion. Does not verify checksums.

mod capture_link;
mod frame;
mod internet;
mod tunnel;

use super::{Anomaly, Dissected, Network};
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
#[inline]
pub fn dissect_following(link_type: LinkType, data: &[u8], original_length: u32, follow: Follow) -> Dissected<'_> {
    let mut out = Dissected::of_nothing(data);
    dissect_into(&mut out, link_type, original_length, follow);
    out
}

/// The same for who dissects many packets: `out` was just made by [`Dissected::of_nothing`] of the packet's bytes, and is not moved.
pub fn dissect_into(out: &mut Dissected<'_>, link_type: LinkType, original_length: u32, follow: Follow) {
    let data = out.payload;
    let mut walk = Walk::new(data, original_length as usize, follow, out);
    if walk.wire > data.len() {
        walk.out.anomalies.push(Anomaly::Truncated, data.len() as u32);
    } else if walk.wire < data.len() {
        walk.wire = data.len();
        walk.out.anomalies.push(Anomaly::CapturedBeyondWire, 0);
    }
    walk.run(if link_type == LinkType::ETHERNET { Next::Ethernet } else { Next::Link(link_type) });
}

/// Dissects bytes that begin with an IP header, such as the packet that an ICMP error quotes. `wire_length` is how many
/// bytes there were. A quoted packet is usually cut: its lengths are what its own header says, and that they reach
/// beyond `wire_length` is no anomaly. Of a TCP header that is cut the fields that are there are given, the others are 0.
pub fn dissect_network(bytes: &[u8], wire_length: u32) -> Dissected<'_> {
    let mut out = Dissected::of_nothing(bytes);
    let mut walk = Walk::new(bytes, (wire_length as usize).max(bytes.len()), Follow::IpInIp, &mut out);
    walk.quoted = true;
    walk.run(Next::Ip);
    out
}

/// Goes on where `first`, the dissection of one of the fragments, had to stop: `payload` is the IP payload put together.
/// Link, tunnels and addresses are those of `first`, tunnels within the payload are walked into. Offsets of anomalies count
/// from the beginning of `payload`.
pub fn dissect_reassembled<'a>(first: &Dissected<'_>, payload: &'a [u8], follow: Follow) -> Dissected<'a> {
    let mut out = Dissected::of_nothing(payload);
    out.link = first.link;
    out.tunnels = first.tunnels;
    let Some(network) = &first.network else { return out };
    let header = network.wire_length.saturating_sub(network.payload_wire);
    out.network = Some(Network {
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
    Walk::new(payload, payload.len(), follow, &mut out).run(Next::Protocol(network.protocol));
    out
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

struct Walk<'a, 'o> {
    /// The captured bytes.
    whole: &'a [u8],
    /// Where in them begins what is not yet walked over, of the innermost layer. Here and in `end` there are two numbers of different
    /// width and no slice: one that has just been changed could not be loaded as one before the processor has stored both its words.
    at: u32,
    /// Where that ends; never before `at`.
    end: usize,
    /// Its length on the wire; never less than what was captured.
    wire: usize,
    follow: Follow,
    quoted: bool,
    out: &'o mut Dissected<'a>,
}

/// A step of the walk: what comes next, or what keeps it from going on.
type Step = Result<Next, Anomaly>;

impl<'a, 'o> Walk<'a, 'o> {
    #[inline]
    fn new(whole: &'a [u8], wire: usize, follow: Follow, out: &'o mut Dissected<'a>) -> Self {
        Self { whole, at: 0, end: whole.len(), wire, follow, quoted: false, out }
    }

    /// What is not yet walked over, of the innermost layer.
    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.whole.get(self.at as usize..self.end).unwrap_or_default()
    }

    /// Walks until there is nothing more that is understood; what it finds is put into `out`.
    fn run(mut self, first: Next) {
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
                Next::Done => break,
            };
            match step {
                Ok(following) => next = following,
                Err(anomaly) => {
                    self.note(anomaly);
                    next = Next::Done;
                }
            }
        }
        if !matches!(next, Next::Done) {
            self.note(Anomaly::TooDeep);
        }
        self.out.payload = self.rest();
        self.out.payload_wire = u32::try_from(self.wire).unwrap_or(u32::MAX);
    }

    fn note(&mut self, anomaly: Anomaly) {
        self.out.anomalies.push(anomaly, self.at);
    }

    /// Moves over `length` bytes.
    #[inline]
    fn skip(&mut self, length: usize) -> Result<(), Anomaly> {
        if length > self.end - self.at as usize {
            return Err(Anomaly::HeaderCut);
        }
        self.at += length as u32;
        self.wire -= length;
        Ok(())
    }

    /// Cuts off what stands behind the next `length` bytes: padding, trailers.
    #[inline]
    fn limit(&mut self, length: usize) {
        if length < self.wire {
            self.wire = length;
            self.end = self.end.min(self.at as usize + length);
        }
    }

    /// Reads a view and moves over its fixed part.
    #[inline]
    fn view<V>(&mut self, length: usize, new: impl FnOnce(&'a [u8]) -> Option<V>) -> Result<V, Anomaly> {
        let view = new(self.rest()).ok_or(Anomaly::HeaderCut)?;
        self.skip(length)?;
        Ok(view)
    }
}
