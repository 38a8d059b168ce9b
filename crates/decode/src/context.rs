//! What a decoder sees of the packet and the flow it is called for, and the way out for its events.

use crate::config::Profile;
use crate::decoder::{Announced, Side};
use crate::engine::Emit;
use crate::expect::Expectations;
use event::{Event, Observer, Origin, Value, common};
use packet::Timestamp;
use packet::flow::{CommunityId, Endpoint, protocol};
use packet::net::{Icmp, Mac, Tunnel, Vlans};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// The packet a decoder is called for.
#[derive(Debug, Clone, Copy)]
pub struct PacketInfo {
    /// When it was captured.
    pub time: Timestamp,
    /// Its number within the stream of packets.
    pub number: u64,
    /// Its ICMP head, if it is one.
    pub icmp: Option<Icmp>,
    /// IPv4 identification, for telling a second sight of one packet from a copy.
    pub identification: u16,
    /// Which interface captured it, by its number in the kernel where known, else in the capture.
    pub interface: u32,
    /// A digest of the way it was seen: interface, kind of link address, tunnels, time to live. Two sights of one packet on
    /// its way through a machine differ in it, a packet sent twice has the same.
    pub path: u64,
}

/// A moment in a flow: when something began or ended, and by which packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Time of the packet.
    pub time: Timestamp,
    /// Its number.
    pub packet: u64,
    /// Tells apart what begins in the same packet of a flow, in the order in which it stands there.
    pub ordinal: u32,
}

/// What is known of a flow as a whole.
#[derive(Debug)]
pub struct FlowInfo {
    /// Who sent the first packet that was seen.
    pub first: Endpoint,
    /// The other side.
    pub second: Endpoint,
    /// IP protocol number.
    pub protocol: u8,
    /// Ethernet addresses of the two sides.
    pub macs: [Option<Mac>; 2],
    /// VLANs of the first packet.
    pub vlans: Vlans,
    /// The outermost tunnel of the first packet.
    pub tunnel: Option<Box<Tunnel>>,
    /// The interface of the first packet.
    pub interface: Arc<str>,
    /// Time and number of the first packet.
    pub began: Seen,
    /// Packets of each side.
    pub packets: [u64; 2],
    /// Bytes of each side, from the link layer up, as on the wire.
    pub bytes: [u64; 2],
    /// ICMP errors that spoke of this flow: how many, and type and code of the last.
    pub icmp_errors: (u32, u8, u8),
    pub(crate) last: (Timestamp, u64),
    /// Segments that repeated bytes with other content, not yet told in an event.
    pub(crate) overlaps: u32,
    pub(crate) icmp_head: Option<(u8, u8)>,
    pub(crate) began_here: (u64, u32),
    /// Whether packets of it lie before the first that is decoded.
    pub(crate) is_partial: bool,
}

impl FlowInfo {
    /// The endpoint of a side.
    pub fn endpoint(&self, side: Side) -> Endpoint {
        match side {
            Side::First => self.first,
            Side::Second => self.second,
        }
    }

    /// The word for its transport: `tcp`, `udp`, `icmp`, `ipv6-icmp`, `sctp`; none for others.
    pub fn transport(&self) -> Option<&'static str> {
        match self.protocol {
            protocol::TCP => Some("tcp"),
            protocol::UDP => Some("udp"),
            protocol::ICMP => Some("icmp"),
            protocol::ICMPV6 => Some("ipv6-icmp"),
            protocol::SCTP => Some("sctp"),
            _ => None,
        }
    }

    /// Its Community ID, computed anew: that is cheaper than keeping it for every flow that waits for its end.
    pub fn community_id(&self) -> CommunityId {
        let (mut from, mut to) = (self.first, self.second);
        if let Some((kind, code)) = self.icmp_head {
            (from.port, to.port) = (kind.into(), code.into());
        }
        packet::flow::community_id(from, to, self.protocol)
    }

    /// Time and number of the newest packet.
    pub fn last(&self) -> Seen {
        Seen { time: self.last.0, packet: self.last.1, ordinal: 0 }
    }
}

/// A request with its answer, or whatever a protocol has for it: what most events are about.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    /// The side that asked.
    pub client: Side,
    /// When the request began.
    pub began: Seen,
    /// When the answer was complete; none if there was none.
    pub ended: Option<Seen>,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the answer; none if there was none.
    pub response_bytes: Option<u64>,
}

/// Losses of our own capture, as they became known: (time, packets). Bounded.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    list: VecDeque<(Timestamp, u64)>,
}

impl Losses {
    const KEPT: usize = 4096;

    pub(crate) fn note(&mut self, time: Timestamp, packets: u64) {
        if self.list.len() == Self::KEPT
            && let Some((_, oldest)) = self.list.pop_front()
            && let Some(next) = self.list.front_mut()
        {
            next.1 = next.1.saturating_add(oldest);
        }
        self.list.push_back((time, packets));
    }

    pub(crate) fn total(&self, from: Timestamp, to: Timestamp) -> u64 {
        let within = |(time, _): &&(Timestamp, u64)| (from..=to).contains(time);
        self.list.iter().filter(within).fold(0, |sum, (_, packets)| sum.saturating_add(*packets))
    }
}

/// What all decoders of an engine share.
pub(crate) struct Common {
    pub(crate) observer: Arc<Observer>,
    pub(crate) profile: Profile,
    pub(crate) internal: Vec<(IpAddr, u8)>,
    pub(crate) losses: Losses,
    pub(crate) expectations: Expectations,
}

/// The packet, the flow, and the way out.
pub struct Context<'a> {
    /// The flow.
    pub flow: &'a mut FlowInfo,
    /// The packet; for time-outs and the end of input the newest of the flow.
    pub packet: PacketInfo,
    pub(crate) common: &'a mut Common,
    pub(crate) out: &'a mut dyn Emit,
    /// Whether events are completed by the present packet.
    pub(crate) completing: bool,
}

impl Context<'_> {
    /// Whether documents are limited to Packetbeat's.
    pub fn is_packetbeat(&self) -> bool {
        self.common.profile == Profile::Packetbeat
    }

    /// The present moment, as the end of something.
    pub fn now(&self) -> Seen {
        Seen { time: self.packet.time, packet: self.packet.number, ordinal: 0 }
    }

    /// The present moment, as the beginning of something that becomes an event.
    pub fn begin(&mut self) -> Seen {
        let here = &mut self.flow.began_here;
        if here.0 == self.packet.number {
            here.1 += 1;
        } else {
            *here = (self.packet.number, 0);
        }
        Seen { time: self.packet.time, packet: self.packet.number, ordinal: here.1 }
    }

    /// Packets that our own capture is known to have lost in a span of time.
    pub fn capture_loss(&self, from: Timestamp, to: Timestamp) -> u64 {
        self.common.losses.total(from, to)
    }

    /// Announces that a flow to or from `endpoint` will be of `protocol`; `announced` goes to its decoder. The newest
    /// announcement of an endpoint counts.
    pub fn expect(&mut self, endpoint: Endpoint, protocol: &'static str, announced: Announced) {
        self.common.expectations.insert(endpoint, protocol, announced, self.packet.time);
    }

    /// How many announcements there have been: whoever has looked at them need not look again until this changes.
    pub fn announcements(&self) -> u64 {
        self.common.expectations.serial()
    }

    /// What was announced last about flows of `protocol` to or from this endpoint.
    pub fn announced(&self, endpoint: Endpoint, protocol: &'static str) -> Option<Announced> {
        self.common.expectations.at(endpoint, protocol, self.packet.time)
    }

    /// An event without the fields of an exchange: common fields of the flow are set, `source` is `side`.
    pub fn event(&mut self, event_type: &'static str, began: Seen, side: Side) -> Event {
        let origin = Origin {
            observer: self.common.observer.clone(),
            interface: self.flow.interface.clone(),
            first_packet: began.packet,
            last_packet: self.packet.number.max(began.packet),
        };
        let mut event = Event::new(event_type, began.time, origin);
        event.ordinal = began.ordinal;
        let (source, destination) = (self.flow.endpoint(side), self.flow.endpoint(side.other()));
        event.put(&common::SOURCE_IP, source.address);
        event.put(&common::DESTINATION_IP, destination.address);
        let has_ports = matches!(self.flow.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        if has_ports {
            event.put(&common::SOURCE_PORT, source.port);
            event.put(&common::DESTINATION_PORT, destination.port);
        }
        event.put(&common::NETWORK_TYPE, if source.address.is_ipv4() { "ipv4" } else { "ipv6" });
        match self.flow.transport() {
            Some(word) => event.put(&common::NETWORK_TRANSPORT, word),
            None => event.put_display(&common::NETWORK_TRANSPORT, self.flow.protocol),
        }
        put_community_id(&mut event, self.flow);
        event.put(&common::EVENT_KIND, "event");
        event.put(&common::EVENT_CATEGORY, Value::Words(&["network"]));
        event.put(&common::EVENT_DATASET, event_type);
        if !self.is_packetbeat() {
            self.put_path(&mut event);
        }
        event
    }

    /// VLANs and tunnel: fields that Packetbeat does not have in transactions.
    fn put_path(&self, event: &mut Event) {
        let vlans = self.flow.vlans.as_slice();
        match vlans {
            [] => {}
            [one] => {
                let id = event.digits(*one);
                event.put(&common::NETWORK_VLAN_ID, id);
            }
            several => {
                let ids: Vec<Value> = several.iter().map(|id| event.digits(*id)).collect();
                event.put_list(&common::NETWORK_VLAN_ID, ids);
            }
        }
        if let Some(tunnel) = &self.flow.tunnel {
            event.put(&common::NETWORK_OUTER_SOURCE_IP, tunnel.source);
            event.put(&common::NETWORK_OUTER_DESTINATION_IP, tunnel.destination);
            event.put(&common::NETWORK_OUTER_TYPE, tunnel.kind.as_str());
        }
    }

    /// The event of an exchange, with everything that all protocols have in common: both sides as source/destination and
    /// client/server, bytes, start, end and duration, direction, related addresses.
    pub fn exchange(&mut self, event_type: &'static str, exchange: &Exchange) -> Event {
        let mut event = self.event(event_type, exchange.began, exchange.client);
        let (client, server) = (self.flow.endpoint(exchange.client), self.flow.endpoint(exchange.client.other()));
        event.put(&common::CLIENT_IP, client.address);
        event.put(&common::SERVER_IP, server.address);
        if matches!(self.flow.protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
            event.put(&common::CLIENT_PORT, client.port);
            event.put(&common::SERVER_PORT, server.port);
        }
        event.put(&common::SOURCE_BYTES, exchange.request_bytes);
        event.put(&common::CLIENT_BYTES, exchange.request_bytes);
        if let Some(bytes) = exchange.response_bytes {
            event.put(&common::DESTINATION_BYTES, bytes);
            event.put(&common::SERVER_BYTES, bytes);
        }
        event.put(&common::NETWORK_BYTES, exchange.request_bytes + exchange.response_bytes.unwrap_or(0));
        event.put(&common::NETWORK_DIRECTION, self.direction(client.address, server.address));
        let other = (server.address != client.address).then_some(server.address);
        event.put_list(&common::RELATED_IP, std::iter::once(client.address).chain(other));
        event.put(&common::EVENT_START, exchange.began.time);
        if let Some(ended) = exchange.ended {
            event.put(&common::EVENT_END, ended.time);
            event.put(&common::EVENT_DURATION, ended.time.since(exchange.began.time));
            event.origin.last_packet = ended.packet.max(exchange.began.packet);
            event.capture_loss = self.capture_loss(exchange.began.time, ended.time);
        } else {
            event.origin.last_packet = exchange.began.packet;
        }
        event
    }

    /// `internal`, `external`, `inbound` or `outbound`.
    fn direction(&self, from: IpAddr, to: IpAddr) -> &'static str {
        let internal = |address| is_private(address) || self.common.internal.iter().any(|net| contains(*net, address));
        match (internal(from), internal(to)) {
            (true, true) => "internal",
            (true, false) => "outbound",
            (false, true) => "inbound",
            (false, false) => "external",
        }
    }

    /// Hands an event on.
    pub fn emit(&mut self, mut event: Event) {
        if self.flow.overlaps > 0 {
            self.flow.overlaps = 0;
            event.anomaly("tcp.overlap_differs", 0);
        }
        self.out.event(event, self.completing);
    }
}

/// Sets the name that a flow has in all products.
pub(crate) fn put_community_id(event: &mut Event, flow: &FlowInfo) {
    let id = event.base64(CommunityId::PREFIX, flow.community_id().digest(), true);
    event.put(&common::NETWORK_COMMUNITY_ID, id);
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_private() || address.is_loopback() || address.is_link_local() || address.is_multicast()
        }
        IpAddr::V6(address) => {
            let first = address.segments()[0];
            address.is_loopback() || address.is_multicast() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80
        }
    }
}

fn contains((net, bits): (IpAddr, u8), address: IpAddr) -> bool {
    match (net, address) {
        (IpAddr::V4(net), IpAddr::V4(address)) => {
            let shift = 32 - u32::from(bits.min(32));
            u64::from(net.to_bits()) >> shift == u64::from(address.to_bits()) >> shift
        }
        (IpAddr::V6(net), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            net.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

/// Reads `10.0.0.0/8`.
pub(crate) fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits: u8 = bits.parse().ok()?;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}
