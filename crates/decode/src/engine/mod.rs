//! The engine: takes packets to their flows and flows to their decoders, and runs time-outs on packet time.
//! Understands no protocol itself.

mod due;
mod emit;
mod feed;
mod recognise;
mod times;

use crate::config::{Config, ConfigError, Flows, Limits, Profile};
use crate::context::{Common, Context, FlowInfo, Losses, PacketInfo, Seen, parse_network};
use crate::decoder::{Close, FlowDecoder, Side, Verdict};
use crate::expect::Expectations;
use crate::flow::report::Reports;
use crate::flow::table::{Handle, Keyed, List, Table};
use crate::fragments::Fragments;
use crate::protocols;
use crate::stream::{Connection, Oddity, Piece, Trail};
use event::Observer;
use packet::flow::{Direction, FlowKey};
use packet::net::{self, Dissected, Follow, Tcp, Transport};
use packet::{Interface, Packet, Timestamp};
use std::sync::Arc;

use due::Due;
use emit::InOrder;
pub use emit::{Emit, Output};
use feed::Feed;
use recognise::{Active, Decision, NO_PROTOCOL, Sampled, decide_datagrams, decide_stream, one_sided};

/// A packet on its way in.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Its number within the stream of packets.
    pub number: u64,
    /// The latest time of any packet so far, also of those that went to other engines.
    pub clock: Timestamp,
    /// The interface that captured it.
    pub interface: &'a Interface,
    /// The packet.
    pub packet: &'a Packet<'a>,
}

/// What an engine counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets taken.
    pub packets: u64,
    /// Those that are no IP.
    pub not_ip: u64,
    /// Those with something odd in their headers.
    pub odd: u64,
    /// Flows that are alive.
    pub flows: u64,
    /// Flows begun.
    pub flows_begun: u64,
    /// Flows that a bound cut off.
    pub flows_evicted: u64,
    /// Datagrams of which fragments never came.
    pub fragments_given_up: u64,
    /// Bytes missing in streams: lost, or given up waiting for.
    pub stream_gap_bytes: u64,
    /// Segments that repeated bytes with other content; the first were kept.
    pub stream_overlaps: u64,
}

/// What the frames of one packet add to its flow: several where it came in fragments.
#[derive(Clone, Copy)]
struct Cost {
    packets: u64,
    bytes: u64,
}

/// What decodes a flow.
enum Slot {
    /// A connection of which no bytes have come.
    Empty(Trail),
    /// Nothing has been seen that could be decoded, or nobody has recognised it yet.
    Undecided(Option<Box<Sampled>>),
    /// A decoder, and which of the active protocols it is.
    Decoder(Box<dyn FlowDecoder>, u8),
    /// Nobody will. Of a connection only its trail is kept then.
    Unknown(Trail),
}

// Every flow has one.
const _: () = assert!(size_of::<Slot>() <= 24);

impl Slot {
    /// `number` is below [`NO_PROTOCOL`], as there are no more protocols.
    fn decoder(decoder: Box<dyn FlowDecoder>, number: usize) -> Self {
        Self::Decoder(decoder, number as u8)
    }
}

struct Flow {
    info: FlowInfo,
    first_direction: Direction,
    slot: Slot,
    /// Protocols that gave this flow back.
    refused: u64,
    /// No event of the flow begins before this: the earliest time of any packet of it.
    earliest: Timestamp,
    connection: Option<Box<Connection>>,
    /// When its decoder is to be called; [`Timestamp::MAX`] for never.
    deadline: Timestamp,
    reports: Reports,
}

impl Keyed for Flow {
    #[inline]
    fn key(&self) -> FlowKey {
        let (key, _) = FlowKey::new(self.info.first, self.info.second, self.info.protocol);
        key.with_vlan(self.info.vlans.outermost())
    }
}

impl Flow {
    /// A connection whose flow had ended for want of packets goes on: a new flow for the reports, the same for the decoder.
    fn resume(&mut self, packet: &PacketInfo) {
        self.info.began = Seen { time: packet.time, packet: packet.number, ordinal: 0 };
        self.info.packets = [0; 2];
        self.info.bytes = [0; 2];
        self.info.icmp_errors = (0, 0, 0);
        self.reports = Reports::default();
    }

    /// The newest packet, for what happens without one.
    fn newest(&self) -> PacketInfo {
        let last = self.info.last();
        PacketInfo { time: last.time, number: last.packet, icmp: None, identification: 0, interface: 0, path: 0 }
    }
}

/// Decodes the packets of one stream, or of one worker's share of it.
pub struct Engine {
    common: Common,
    flows_config: Flows,
    limits: Limits,
    active: Vec<Active>,
    /// Per port: the protocol that stands for it with datagrams and with streams.
    ports: Box<[(u8, u8)]>,
    table: Table<Flow>,
    due: Due,
    fragments: Fragments,
    held_bytes: usize,
    from_the_middle: bool,
    clock: Timestamp,
    /// Before this moment nothing is due and no flow has ended.
    quiet_until: Timestamp,
    next_period: Option<Timestamp>,
    last_interface: (usize, Arc<str>),
    counters: Counters,
    pieces: Vec<Piece>,
}

impl Engine {
    /// An engine for the packets of `observer`.
    ///
    /// # Errors
    /// When the configuration cannot be.
    pub fn new(config: &Config, observer: Arc<Observer>) -> Result<Self, ConfigError> {
        config.check()?;
        let mut internal = Vec::new();
        for text in &config.internal_networks {
            let network = parse_network(text).ok_or_else(|| ConfigError::Value {
                key: "internal_networks",
                problem: format!("{text:?} is no network such as \"10.0.0.0/8\""),
            })?;
            internal.push(network);
        }
        let mut active = Vec::new();
        let mut ports = vec![(NO_PROTOCOL, NO_PROTOCOL); 65_536].into_boxed_slice();
        for protocol in protocols::ALL {
            let (shared, options) = config.split(protocol)?;
            if !shared.enabled || (config.profile == Profile::Packetbeat && !protocol.in_packetbeat) {
                continue;
            }
            let factory = (protocol.configure)(options, config.profile)
                .map_err(|problem| ConfigError::Option { protocol: protocol.name.into(), problem })?;
            let number = active.len() as u8;
            for (first, last) in &shared.ports.0 {
                for port in *first..=*last {
                    let place = &mut ports[usize::from(port)];
                    if protocol.datagrams && place.0 == NO_PROTOCOL {
                        place.0 = number;
                    }
                    if protocol.streams && place.1 == NO_PROTOCOL {
                        place.1 = number;
                    }
                }
            }
            active.push(Active { protocol, factory });
        }
        let seed = ahash::RandomState::new().hash_one(observer.epoch.as_bytes());
        Ok(Self {
            common: Common {
                observer,
                profile: config.profile,
                internal,
                losses: Losses::default(),
                expectations: Expectations::default(),
            },
            flows_config: config.flows.clone(),
            limits: config.limits.clone(),
            active,
            ports,
            table: Table::new(seed),
            due: Due::default(),
            fragments: Fragments::default(),
            held_bytes: 0,
            from_the_middle: false,
            clock: Timestamp::ZERO,
            quiet_until: Timestamp::ZERO,
            next_period: None,
            last_interface: (usize::MAX, "".into()),
            counters: Counters::default(),
            pieces: Vec::new(),
        })
    }

    /// The same for packets before whose first others came: what the beginning of a flow shows not to be its beginning is
    /// marked as partial.
    #[must_use]
    pub fn from_the_middle(mut self) -> Self {
        self.from_the_middle = true;
        self
    }

    /// What it counted so far.
    pub fn counters(&self) -> Counters {
        Counters { flows: self.table.len() as u64, fragments_given_up: self.fragments.given_up, ..self.counters }
    }

    /// Takes a packet. What timed out until its clock is given out before.
    pub fn packet(&mut self, frame: &Frame<'_>, out: &mut dyn Emit) {
        self.advance(frame.clock, out);
        self.counters.packets += 1;
        let packet = frame.packet;
        let follow = if self.common.profile == Profile::Packetbeat { Follow::IpInIp } else { Follow::All };
        let mut dissected = Dissected::of_nothing(packet.data);
        net::dissect_into(&mut dissected, frame.interface.link_type, packet.original_length, follow);
        let dissected = &dissected;
        self.counters.odd += u64::from(!dissected.anomalies.is_empty());
        let Some(network) = &dissected.network else {
            self.counters.not_ip += 1;
            return;
        };
        if let Some(fragment) = network.fragment {
            let limit = self.limits.fragment_bytes;
            let whole = self.fragments.add(network, fragment, packet.original_length, packet.time, limit);
            if let Some(whole) = whole {
                let dissected = net::dissect_reassembled(dissected, &whole.payload, follow);
                let cost = Cost { packets: whole.packets, bytes: whole.wire_bytes };
                self.dissected(frame, &dissected, cost, out);
            }
            return;
        }
        let cost = Cost { packets: 1, bytes: packet.original_length.into() };
        self.dissected(frame, dissected, cost, out);
    }

    fn dissected(&mut self, frame: &Frame<'_>, dissected: &Dissected<'_>, cost: Cost, out: &mut dyn Emit) {
        let (Some((key, direction)), Some(network)) = (dissected.flow_key(), &dissected.network) else { return };
        let icmp = if let Transport::Icmp(icmp) = dissected.transport { Some(icmp) } else { None };
        let packet = PacketInfo {
            time: frame.packet.time,
            number: frame.number,
            icmp,
            identification: network.identification,
            interface: dissected.link.interface_index.unwrap_or(frame.packet.interface),
            path: path_of(frame.packet.interface, dissected, network.ttl),
        };
        if icmp.is_some_and(|icmp| icmp.is_error()) {
            self.note_icmp_error(dissected, &packet);
        }
        let key = key.with_vlan(dissected.link.vlans.outermost());
        // Its own silence decides whether a flow has ended, not when somebody looked: the same for any number of workers.
        let mut known = self.table.find(&key);
        if let Some(handle) = known
            && self.has_ended(handle, self.clock)
        {
            match self.table.list(handle) {
                List::Active => self.silent(handle, out),
                List::Parked | List::Closed => self.end_flow(handle, out),
            }
            known = self.table.find(&key);
        }
        let mut handle = match known {
            Some(handle) => handle,
            None => self.begin_flow(frame, dissected, key, direction, &packet, out),
        };
        if let Transport::Tcp(tcp) = &dissected.transport
            && tcp.flags.syn()
        {
            let reused = self.table.get_mut(handle).is_some_and(|flow| {
                let side = side_of(flow.first_direction, direction);
                match (&flow.connection, &flow.slot) {
                    (Some(connection), _) => connection.is_reused_by(side, tcp),
                    (None, Slot::Empty(trail) | Slot::Unknown(trail)) => trail.is_reused_by(side, tcp),
                    (None, _) => false,
                }
            });
            if reused {
                self.end_flow(handle, out);
                handle = self.begin_flow(frame, dissected, key, direction, &packet, out);
            }
        }
        self.account(handle, cost, dissected, direction, &packet);
        match &dissected.transport {
            Transport::Tcp(tcp) => self.segment(handle, direction, tcp, dissected, packet, out),
            Transport::Udp(_) => self.datagram(handle, direction, dissected, packet, out),
            Transport::Icmp(_) => self.datagram(handle, direction, dissected, packet, out),
            Transport::Sctp(_) | Transport::Other => self.datagram(handle, direction, dissected, packet, out),
            Transport::None | Transport::Fragment => {}
        }
    }

    fn interface_name(&mut self, interface: &Interface) -> Arc<str> {
        let address = std::ptr::from_ref(interface) as usize;
        if self.last_interface.0 != address || *self.last_interface.1 != *interface.name {
            self.last_interface = (address, interface.name.as_str().into());
        }
        self.last_interface.1.clone()
    }

    fn begin_flow(
        &mut self,
        frame: &Frame<'_>,
        dissected: &Dissected<'_>,
        key: FlowKey,
        direction: Direction,
        packet: &PacketInfo,
        out: &mut dyn Emit,
    ) -> Handle {
        if self.table.len() >= self.limits.flows {
            let oldest =
                [List::Closed, List::Parked, List::Active].into_iter().find_map(|list| self.table.oldest(list));
            if let Some(oldest) = oldest {
                self.counters.flows_evicted += 1;
                self.end_flow(oldest, out);
            }
        }
        self.counters.flows_begun += 1;
        let (first, second) = key.endpoints(direction);
        let seen = Seen { time: packet.time, packet: packet.number, ordinal: 0 };
        let info = FlowInfo {
            first,
            second,
            protocol: key.protocol(),
            macs: [dissected.link.source_mac, dissected.link.destination_mac],
            vlans: dissected.link.vlans,
            tunnel: dissected.tunnels.outermost().map(|tunnel| Box::new(*tunnel)),
            interface: self.interface_name(frame.interface),
            began: seen,
            packets: [0; 2],
            bytes: [0; 2],
            icmp_errors: (0, 0, 0),
            last: (packet.time, packet.number),
            overlaps: 0,
            icmp_head: packet.icmp.map(|icmp| (icmp.kind, icmp.code)),
            began_here: (u64::MAX, 0),
            is_partial: self.from_the_middle
                && matches!(&dissected.transport, Transport::Tcp(tcp) if !tcp.flags.syn() && !tcp.flags.rst()),
        };
        self.table.insert(Flow {
            info,
            first_direction: direction,
            slot: if matches!(dissected.transport, Transport::Tcp(_)) {
                Slot::Empty(Trail::default())
            } else {
                Slot::Undecided(None)
            },
            refused: 0,
            earliest: packet.time,
            connection: None,
            deadline: Timestamp::MAX,
            reports: Reports::default(),
        })
    }

    fn account(
        &mut self,
        handle: Handle,
        cost: Cost,
        dissected: &Dissected<'_>,
        direction: Direction,
        packet: &PacketInfo,
    ) {
        let Some((flow, before)) = self.table.touch(handle, List::Active) else { return };
        if before != List::Active {
            flow.resume(packet);
        }
        let side = side_of(flow.first_direction, direction);
        flow.info.packets[side.index()] += cost.packets;
        flow.info.bytes[side.index()] += cost.bytes;
        if flow.info.macs[side.index()].is_none() {
            flow.info.macs[side.index()] = dissected.link.source_mac;
        }
        flow.earliest = flow.earliest.min(packet.time);
        if packet.time >= flow.info.last.0 {
            flow.info.last = (packet.time, packet.number);
        } else {
            flow.info.last.1 = flow.info.last.1.max(packet.number);
        }
    }

    fn note_icmp_error(&mut self, dissected: &Dissected<'_>, packet: &PacketInfo) {
        let quoted = net::dissect_network(dissected.payload, dissected.payload_wire);
        let (Some((key, _)), Some(icmp)) = (quoted.flow_key(), packet.icmp) else { return };
        let key = key.with_vlan(dissected.link.vlans.outermost());
        if let Some(handle) = self.table.find(&key)
            && let Some(flow) = self.table.get_mut(handle)
        {
            flow.info.icmp_errors = (flow.info.icmp_errors.0.saturating_add(1), icmp.kind, icmp.code);
        }
    }

    fn datagram(
        &mut self,
        handle: Handle,
        direction: Direction,
        dissected: &Dissected<'_>,
        packet: PacketInfo,
        out: &mut dyn Emit,
    ) {
        let Some(flow) = self.table.get_mut(handle) else { return };
        let side = side_of(flow.first_direction, direction);
        let (payload, wire) = (dissected.payload, dissected.payload_wire as usize);
        for _ in 0..=self.active.len() {
            if let Slot::Undecided(_) = flow.slot {
                decide_datagrams(flow, &self.active, &self.ports, &self.common, side, payload, packet.time);
            }
            let Slot::Decoder(decoder, number) = &mut flow.slot else { break };
            let mut context = Context { flow: &mut flow.info, packet, common: &mut self.common, out, completing: true };
            if decoder.datagram(&mut context, side, payload, wire) == Verdict::Continue {
                break;
            }
            decoder.finish(&mut context);
            flow.refused |= 1 << *number;
            flow.slot = Slot::Undecided(None);
        }
        schedule(flow, handle, &mut self.due, &mut self.quiet_until);
    }

    fn segment(
        &mut self,
        handle: Handle,
        direction: Direction,
        tcp: &Tcp<'_>,
        dissected: &Dissected<'_>,
        packet: PacketInfo,
        out: &mut dyn Emit,
    ) {
        let Some(flow) = self.table.get_mut(handle) else { return };
        let side = side_of(flow.first_direction, direction);
        match &mut flow.slot {
            Slot::Unknown(trail) => {
                trail.segment(side, tcp, dissected.payload_wire);
                return;
            }
            Slot::Empty(trail) => {
                // Whoever only knocks costs no more than this, refused or not. Behind a FIN bytes may come that belong before it.
                if dissected.payload_wire == 0 && !tcp.flags.fin() {
                    trail.segment(side, tcp, 0);
                    return;
                }
                let mut trail = *trail;
                if !dissected.payload.is_empty() && trail.goes_on_with(side, tcp) {
                    // Most streams show with their first bytes that nobody wants them: those never become a connection.
                    let sides = one_sided(side, dissected.payload);
                    let decision = decide_stream(flow, &self.active, &self.ports, &self.common, sides, packet.time);
                    if let Decision::Nobody = decision {
                        trail.segment(side, tcp, dissected.payload_wire);
                        flow.slot = Slot::Unknown(trail);
                        return;
                    }
                }
                flow.connection = Some(Connection::after(&trail));
                flow.slot = Slot::Undecided(None);
            }
            Slot::Undecided(_) | Slot::Decoder(..) => {}
        }
        let mut connection = flow.connection.take().unwrap_or_default();
        let before = connection.held_bytes();
        let was_finished = [connection.is_finished(Side::First), connection.is_finished(Side::Second)];
        let mut pieces = std::mem::take(&mut self.pieces);
        let spare = self.limits.stream_bytes_total.saturating_sub(self.held_bytes);
        let limit = self.limits.stream_bytes.min(before + spare);

        pieces.clear();
        connection.acknowledge(side, tcp, &mut pieces);
        let mut feed = Feed {
            active: &self.active,
            ports: &self.ports,
            common: &mut self.common,
            out,
            packet,
            gap_bytes: &mut self.counters.stream_gap_bytes,
        };
        feed.pieces(flow, side.other(), &pieces, &[]);
        pieces.clear();
        let oddity = connection.segment(side, tcp, dissected.payload, dissected.payload_cut(), limit, &mut pieces);
        feed.pieces(flow, side, &pieces, dissected.payload);
        if oddity == Some(Oddity::OverlapDiffers) {
            // The first copy was kept. The flow's next event says so.
            self.counters.stream_overlaps += 1;
            flow.info.overlaps = flow.info.overlaps.saturating_add(1);
        }
        if tcp.flags.rst() && !connection.reset {
            connection.reset = true;
            for one in [Side::First, Side::Second] {
                pieces.clear();
                connection.flush(one, &mut pieces);
                feed.pieces(flow, one, &pieces, &[]);
            }
            feed.closed(flow, Close::Reset(side));
        } else {
            for one in [Side::First, Side::Second] {
                if connection.is_finished(one) && !was_finished[one.index()] {
                    feed.closed(flow, Close::Finished(one));
                }
            }
        }
        self.pieces = pieces;
        if let Slot::Unknown(trail) = &mut flow.slot {
            *trail = Trail::from(&*connection);
            self.held_bytes = self.held_bytes.saturating_sub(before);
            return;
        }
        self.held_bytes = (self.held_bytes + connection.held_bytes()).saturating_sub(before);
        flow.connection = Some(connection);
        schedule(flow, handle, &mut self.due, &mut self.quiet_until);
    }

    fn end_flow(&mut self, handle: Handle, out: &mut dyn Emit) {
        self.conclude(handle, out);
        self.table.remove(handle);
    }

    /// Gives out everything that is open in a flow, and its report.
    fn conclude(&mut self, handle: Handle, out: &mut dyn Emit) {
        self.end_decoding(handle, out);
        if let Some(report) = self.final_report(handle) {
            out.event(report, false);
        }
    }

    /// Gives out everything that is open in a flow.
    fn end_decoding(&mut self, handle: Handle, out: &mut dyn Emit) {
        if let Some(flow) = self.table.get_mut(handle) {
            if let Some(mut connection) = flow.connection.take() {
                self.held_bytes = self.held_bytes.saturating_sub(connection.held_bytes());
                let mut feed = Feed {
                    active: &self.active,
                    ports: &self.ports,
                    common: &mut self.common,
                    out,
                    packet: flow.newest(),
                    gap_bytes: &mut self.counters.stream_gap_bytes,
                };
                for side in [Side::First, Side::Second] {
                    let mut pieces = Vec::new();
                    connection.flush(side, &mut pieces);
                    feed.pieces_at_end(flow, side, &pieces);
                }
            }
            let packet = flow.newest();
            if let Slot::Decoder(decoder, _) = &mut flow.slot {
                let mut context =
                    Context { flow: &mut flow.info, packet, common: &mut self.common, out, completing: false };
                decoder.finish(&mut context);
            }
        }
    }

    /// Notes packets that our own capture is known to have lost up to `clock`.
    pub fn lost(&mut self, packets: u64, clock: Timestamp) {
        self.common.losses.note(clock, packets);
    }

    /// The input ends: gives out everything that is open, in order of [`event::Place`].
    pub fn finish(&mut self, out: &mut dyn Emit) {
        let mut flows: Vec<(Timestamp, Handle)> =
            self.table.iter().map(|(handle, flow)| (flow.earliest, handle)).collect();
        flows.sort_unstable();
        let mut ordered = InOrder::new(out);
        let mut flows = flows.into_iter().peekable();
        while let Some((_, handle)) = flows.next() {
            let next = flows.peek().map_or(Timestamp::MAX, |(earliest, _)| *earliest);
            self.end_decoding(handle, &mut ordered);
            if let Some(report) = self.final_report(handle) {
                ordered.last_of_flow(report, next);
            }
            ordered.release(next);
        }
        // All at once, in the order in which they lie in memory.
        self.table.clear();
        self.due.clear();
    }

    /// Number of the oldest packet that an open flow still needs.
    pub fn oldest_needed(&self) -> Option<u64> {
        let of_flow = |flow: &Flow| {
            let open = match &flow.slot {
                Slot::Decoder(decoder, _) => decoder.oldest_needed(),
                Slot::Empty(_) | Slot::Undecided(_) | Slot::Unknown(_) => None,
            };
            let reported = self.flows_config.enabled.0.then_some(flow.info.began.packet);
            match (open, reported) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }
        };
        self.table.iter().filter_map(|(_, flow)| of_flow(flow)).min()
    }
}

impl Common {
    fn losses_between(&self, flow: &FlowInfo) -> u64 {
        self.losses.total(flow.began.time, flow.last.0)
    }
}

/// See [`PacketInfo::path`].
fn path_of(interface: u32, dissected: &Dissected<'_>, ttl: u8) -> u64 {
    let link = &dissected.link;
    let seen = u64::from(interface) << 32 ^ u64::from(link.interface_index.unwrap_or(0));
    let link = u64::from(link.packet_type.unwrap_or(0)) << 8 | u64::from(ttl);
    let tunnels = dissected.tunnels.iter().fold(0, |sum: u64, tunnel| {
        sum.wrapping_mul(31).wrapping_add(u64::from(tunnel.id)).wrapping_add(tunnel.kind as u64 + 1)
    });
    seen ^ link << 16 ^ tunnels.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

const fn side_of(first: Direction, direction: Direction) -> Side {
    if first.index() == direction.index() { Side::First } else { Side::Second }
}

/// Notes when the decoder wants to be called again.
fn schedule(flow: &mut Flow, handle: Handle, due: &mut Due, quiet_until: &mut Timestamp) {
    let Slot::Decoder(decoder, _) = &flow.slot else { return };
    if let Some(deadline) = decoder.deadline()
        && deadline < flow.deadline
    {
        flow.deadline = deadline;
        *quiet_until = deadline.min(*quiet_until);
        due.push(deadline, handle);
    }
}
