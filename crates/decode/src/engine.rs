//! The engine: takes packets to their flows and flows to their decoders, and runs time-outs on packet time.
//! Understands no protocol itself.

use crate::config::{Config, ConfigError, Flows, Limits, Profile};
use crate::context::{Common, Context, FlowInfo, Losses, PacketInfo, Seen, parse_network};
use crate::decoder::{Close, Factory, FlowDecoder, Protocol, Recognition, Sample, Side, Verdict};
use crate::expect::Expectations;
use crate::flow::report::{self, Reports};
use crate::flow::table::{Handle, Keyed, List, Table};
use crate::fragments::Fragments;
use crate::protocols;
use crate::stream::{Connection, Oddity, Piece};
use event::{Event, Observer, Place};
use packet::flow::{Direction, FlowKey, protocol};
use packet::net::{self, Dissected, Follow, Tcp, Transport};
use packet::{Interface, Packet, Timestamp};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Bytes of each side that are kept while a stream is not recognised.
const SAMPLE_BYTES: usize = 4096;
/// Datagrams after which an unrecognised flow is no longer looked at.
const SAMPLE_DATAGRAMS: u64 = 8;
/// How long a connection that may go on is kept after its flow has ended for want of packets, in nanoseconds.
const PARKED_NANOS: u64 = 600_000_000_000;
/// How long after its last packet a closed connection is remembered: twice the longest life of a segment is usual (RFC 9293 3.6.1).
const CLOSED_NANOS: u64 = 120_000_000_000;

/// So many periods without a packet are worth looking for the next that matters.
const FAR_PERIODS: u64 = 100;

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
    pub packet: Packet<'a>,
}

/// Takes events as they are given out, one by one: a hundred thousand flows may end at once.
pub trait Emit {
    /// An event; `completed` tells whether the present packet completed it, else it ended by time-out or end of input.
    fn event(&mut self, event: Event, completed: bool);
}

/// Events collected in the order they were given out.
#[derive(Debug, Default)]
pub struct Output {
    /// The events; true for those that the packet completed.
    pub events: Vec<(Event, bool)>,
}

impl Emit for Output {
    fn event(&mut self, event: Event, completed: bool) {
        self.events.push((event, completed));
    }
}

/// Holds events back until no earlier one can come.
struct InOrder<'o> {
    waiting: BinaryHeap<Reverse<ByPlace>>,
    out: &'o mut dyn Emit,
}

struct ByPlace(Place, Event);

impl Ord for ByPlace {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for ByPlace {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByPlace {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for ByPlace {}

impl InOrder<'_> {
    /// Takes the report of a flow, behind its other events; `next` is when the next flow begins.
    fn last_of_flow(&mut self, report: Event, next: Timestamp) {
        // Most flows have no other event: then nothing need be put into order.
        if self.waiting.is_empty() && Place::start_of(&report) < next {
            self.out.event(report, false);
        } else {
            self.event(report, false);
        }
    }

    /// Gives out what begins before `moment`; at [`Timestamp::MAX`] everything.
    fn release(&mut self, moment: Timestamp) {
        while self.waiting.peek().is_some_and(|Reverse(next)| next.0.start < moment || moment == Timestamp::MAX)
            && let Some(Reverse(next)) = self.waiting.pop()
        {
            self.out.event(next.1, false);
        }
    }
}

impl Emit for InOrder<'_> {
    fn event(&mut self, event: Event, _: bool) {
        self.waiting.push(Reverse(ByPlace(Place::of(&event), event)));
    }
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

/// A protocol as configured.
struct Active {
    protocol: &'static Protocol,
    factory: Arc<dyn Factory>,
}

/// What decodes a flow.
enum Slot {
    /// Nothing has been seen that could be decoded, or nobody has recognised it yet.
    Undecided(Option<Box<Sampled>>),
    /// A decoder, and which protocol it is.
    Decoder(Box<dyn FlowDecoder>, usize),
    /// Nobody will.
    Unknown,
}

/// The first bytes of a stream that nobody has recognised yet, in the order they came.
#[derive(Default)]
struct Sampled {
    pieces: Vec<(Side, PacketInfo, Vec<u8>)>,
    sides: [Vec<u8>; 2],
}

impl Sampled {
    fn push(&mut self, side: Side, packet: PacketInfo, bytes: &[u8]) {
        self.pieces.push((side, packet, bytes.to_vec()));
        self.sides[side.index()].extend_from_slice(bytes);
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
    due: BinaryHeap<Reverse<(Timestamp, Handle)>>,
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

const NO_PROTOCOL: u8 = u8::MAX;

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
            due: BinaryHeap::new(),
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
        let packet = &frame.packet;
        let follow = if self.common.profile == Profile::Packetbeat { Follow::IpInIp } else { Follow::All };
        let dissected = net::dissect_following(frame.interface.link_type, packet.data, packet.original_length, follow);
        self.counters.odd += u64::from(!dissected.anomalies.is_empty());
        let Some(network) = &dissected.network else {
            self.counters.not_ip += 1;
            return;
        };
        if let Some(fragment) = network.fragment {
            let limit = self.limits.fragment_bytes;
            let whole = self.fragments.add(network, fragment, packet.original_length, packet.time, limit);
            if let Some(whole) = whole {
                let dissected = net::dissect_reassembled(&dissected, &whole.payload, follow);
                let cost = Cost { packets: whole.packets, bytes: whole.wire_bytes };
                self.dissected(frame, &dissected, cost, out);
            }
            return;
        }
        let cost = Cost { packets: 1, bytes: packet.original_length.into() };
        self.dissected(frame, &dissected, cost, out);
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
        if let Transport::Tcp(tcp) = &dissected.transport {
            let reused = self.table.get_mut(handle).is_some_and(|flow| {
                let side = side_of(flow.first_direction, direction);
                flow.connection.as_ref().is_some_and(|connection| connection.is_reused_by(side, tcp))
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
            slot: Slot::Undecided(None),
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
        if self.table.list(handle) != List::Active {
            self.resume(handle, packet);
        }
        self.table.touch(handle, List::Active);
        let Some(flow) = self.table.get_mut(handle) else { return };
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

    /// A connection whose flow had ended for want of packets goes on: a new flow for the reports, the same for the decoder.
    fn resume(&mut self, handle: Handle, packet: &PacketInfo) {
        let Some(flow) = self.table.get_mut(handle) else { return };
        flow.info.began = Seen { time: packet.time, packet: packet.number, ordinal: 0 };
        flow.info.packets = [0; 2];
        flow.info.bytes = [0; 2];
        flow.info.icmp_errors = (0, 0, 0);
        flow.reports = Reports::default();
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
        let payload = if matches!(flow.slot, Slot::Unknown) { &[] } else { dissected.payload };
        let cut = dissected.payload_wire.saturating_sub(payload.len() as u32);
        let oddity = connection.segment(side, tcp, payload, cut, limit, &mut pieces);
        feed.pieces(flow, side, &pieces, payload);
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
        if matches!(flow.slot, Slot::Unknown) {
            connection.forget();
        }
        self.held_bytes = (self.held_bytes + connection.held_bytes()).saturating_sub(before);
        flow.connection = Some(connection);
        self.pieces = pieces;
        schedule(flow, handle, &mut self.due, &mut self.quiet_until);
    }

    /// Gives out what timed out until `clock`.
    #[inline]
    pub fn advance(&mut self, clock: Timestamp, out: &mut dyn Emit) {
        // Also while the clock stands still: in a capture whose times jump, what began late may be due at once.
        let clock = clock.max(self.clock);
        if clock < self.quiet_until {
            self.clock = clock;
        } else {
            self.time_out(clock, out);
        }
    }

    fn time_out(&mut self, clock: Timestamp, out: &mut dyn Emit) {
        while let Some(Reverse((due, handle))) = self.due.peek().copied() {
            if due > clock {
                break;
            }
            self.due.pop();
            self.expire(handle, due, clock, out);
        }
        if clock == self.clock {
            return;
        }
        self.clock = clock;
        self.report_periods(clock, out);
        self.end_silent(clock, out);
        for list in [List::Parked, List::Closed] {
            while let Some(handle) = self.table.oldest(list)
                && self.has_ended(handle, clock)
            {
                self.end_flow(handle, out);
            }
        }
        self.quiet_until = self.next_moment(clock);
    }

    /// Before which moment neither a decoder, nor a report, nor the end of a flow can be due. A flow whose packets are older than
    /// the clock may be over before; that is seen with its next packet or at this moment, and changes none of its events.
    fn next_moment(&mut self, clock: Timestamp) -> Timestamp {
        let mut moment = clock.plus_nanos(self.flow_timeout());
        if let Some(Reverse((due, _))) = self.due.peek() {
            moment = moment.min(*due);
        }
        if let Some(period) = self.next_period {
            moment = moment.min(period);
        }
        for list in [List::Active, List::Parked, List::Closed] {
            let limit = self.silence_limit(list);
            if let Some(flow) = self.table.oldest(list).and_then(|handle| self.table.get_mut(handle)) {
                moment = moment.min(flow.info.last.0.plus_nanos(limit));
            }
        }
        moment
    }

    fn flow_timeout(&self) -> u64 {
        self.flows_config.timeout.nanos().unwrap_or(30_000_000_000)
    }

    /// How long a flow of a list may be silent, in nanoseconds.
    fn silence_limit(&self, list: List) -> u64 {
        match list {
            List::Active => self.flow_timeout(),
            List::Parked => PARKED_NANOS,
            List::Closed => CLOSED_NANOS,
        }
    }

    /// Whether a flow has been silent for longer than its list allows.
    fn has_ended(&mut self, handle: Handle, clock: Timestamp) -> bool {
        let limit = self.silence_limit(self.table.list(handle));
        self.table.get_mut(handle).is_some_and(|flow| clock.since(flow.info.last.0) > limit)
    }

    /// Ends the flows that have been silent for too long at `clock`.
    fn end_silent(&mut self, clock: Timestamp, out: &mut dyn Emit) {
        while let Some(handle) = self.table.oldest(List::Active)
            && self.has_ended(handle, clock)
        {
            self.silent(handle, out);
        }
    }

    fn expire(&mut self, handle: Handle, due: Timestamp, clock: Timestamp, out: &mut dyn Emit) {
        let Some(flow) = self.table.get_mut(handle) else { return };
        if flow.deadline != due {
            return;
        }
        flow.deadline = Timestamp::MAX;
        let packet = flow.newest();
        if let Slot::Decoder(decoder, _) = &mut flow.slot
            && decoder.deadline().is_some_and(|deadline| deadline <= clock)
        {
            let mut context =
                Context { flow: &mut flow.info, packet, common: &mut self.common, out, completing: false };
            // The deadline itself is the moment, however late the clock comes: the same for any number of workers.
            decoder.expire(&mut context, due);
        }
        schedule(flow, handle, &mut self.due, &mut self.quiet_until);
    }

    /// A flow has been silent for too long: it ends, but a connection that may go on is kept for its decoder.
    fn silent(&mut self, handle: Handle, out: &mut dyn Emit) {
        let Some(flow) = self.table.get_mut(handle) else { return };
        let Some(connection) = flow.connection.as_ref().filter(|_| matches!(flow.slot, Slot::Decoder(..))) else {
            self.end_flow(handle, out);
            return;
        };
        let list = if connection.is_over() { List::Closed } else { List::Parked };
        if let Some(report) = self.final_report(handle) {
            out.event(report, false);
        }
        self.table.touch(handle, list);
    }

    /// The last report of a flow, unless it has had it.
    fn final_report(&mut self, handle: Handle) -> Option<Event> {
        if !self.flows_config.enabled.0 || self.table.list(handle) != List::Active {
            return None;
        }
        let packetbeat = self.common.profile == Profile::Packetbeat;
        let flow = self.table.get_mut(handle)?;
        let mut event = report::event(&flow.info, &self.common.observer, flow.reports.given, true, packetbeat);
        event.capture_loss = self.common.losses_between(&flow.info);
        Some(event)
    }

    /// Reports at every whole number of periods since 1970, each at its own moment however late the clock comes: so that the
    /// reports are the same for any number of workers, of which each sees the clock only with packets of its own.
    fn report_periods(&mut self, clock: Timestamp, out: &mut dyn Emit) {
        let Some(period) = self.flows_config.period.nanos().filter(|_| self.flows_config.enabled.0) else { return };
        let after =
            |time: Timestamp| Timestamp::from_nanos((time.nanos() / period).saturating_add(1).saturating_mul(period));
        let mut next = *self.next_period.get_or_insert(after(clock));
        while next <= clock {
            if self.table.oldest(List::Active).is_none() {
                next = after(clock);
                break;
            }
            self.end_silent(next, out);
            self.report_period(next, period, out);
            let following = next.plus_nanos(period);
            let far = clock.since(following) / period > FAR_PERIODS;
            next = if far { following.max(after(self.next_change(next, period)).min(after(clock))) } else { following };
        }
        self.next_period = Some(next);
    }

    /// Before which moment nothing can become due for a report or end, as far as the active flows go: in a capture whose times
    /// jump by years, the periods between need not be walked through one by one.
    fn next_change(&mut self, now: Timestamp, period: u64) -> Timestamp {
        let timeout = self.flow_timeout();
        let mut earliest = Timestamp::from_nanos(u64::MAX / 2);
        let mut following = self.table.oldest(List::Active);
        while let Some(handle) = following {
            following = self.table.newer(handle);
            let Some(flow) = self.table.get_mut(handle) else { continue };
            let due = flow.info.began.time.plus_nanos(period);
            let change = if due > now { due } else { flow.info.last.0.plus_nanos(timeout) };
            // One period early, since what is due within a period is reported at its end.
            earliest = earliest.min(Timestamp::from_nanos(change.nanos().saturating_sub(2 * period)));
        }
        earliest
    }

    fn report_period(&mut self, clock: Timestamp, period: u64, out: &mut dyn Emit) {
        let packetbeat = self.common.profile == Profile::Packetbeat;
        let observer = self.common.observer.clone();
        let mut following = self.table.oldest(List::Active);
        while let Some(handle) = following {
            following = self.table.newer(handle);
            let Some(flow) = self.table.get_mut(handle) else { continue };
            let last = flow.info.last();
            // A flow is reported only once it has lasted a period, and only if something has come since.
            if flow.reports.at == last.packet && flow.reports.given > 0 || clock.since(flow.info.began.time) < period {
                continue;
            }
            let event = report::event(&flow.info, &observer, flow.reports.given, false, packetbeat);
            flow.reports = Reports { given: flow.reports.given + 1, at: last.packet };
            out.event(event, false);
        }
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

    /// The input ends: gives out everything that is open, in order of [`Place`].
    pub fn finish(&mut self, out: &mut dyn Emit) {
        let mut flows: Vec<(Timestamp, Handle)> =
            self.table.iter().map(|(handle, flow)| (flow.earliest, handle)).collect();
        flows.sort_unstable();
        let mut ordered = InOrder { waiting: BinaryHeap::new(), out };
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
                Slot::Undecided(_) | Slot::Unknown => None,
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
fn schedule(
    flow: &mut Flow,
    handle: Handle,
    due: &mut BinaryHeap<Reverse<(Timestamp, Handle)>>,
    quiet_until: &mut Timestamp,
) {
    let Slot::Decoder(decoder, _) = &flow.slot else { return };
    if let Some(deadline) = decoder.deadline()
        && deadline < flow.deadline
    {
        flow.deadline = deadline;
        *quiet_until = deadline.min(*quiet_until);
        due.push(Reverse((deadline, handle)));
    }
}

fn factory_at<'a>(active: &'a [Active], flow: &Flow, number: u8) -> Option<(usize, &'a Active)> {
    let number = usize::from(number);
    active.get(number).filter(|_| flow.refused & 1 << number == 0).map(|one| (number, one))
}

/// What was announced about a flow, if its protocol is active and has not given it back.
fn announced(flow: &Flow, active: &[Active], common: &Common, now: Timestamp) -> Option<(usize, Box<dyn FlowDecoder>)> {
    let expectation = common.expectations.find(flow.info.first, flow.info.second, now)?;
    let number = active.iter().position(|one| one.protocol.name == expectation.protocol)?;
    if flow.refused & 1 << number != 0 {
        return None;
    }
    Some((number, active[number].factory.decoder(&flow.info, Some(&expectation.announced))))
}

/// The protocol that stands for one of a flow's ports: the second side's first, for it is the server's more often.
fn by_port(flow: &Flow, active: &[Active], ports: &[(u8, u8)], stream: bool) -> Option<usize> {
    let at = |port: u16| {
        let (datagrams, streams) = ports.get(usize::from(port)).copied().unwrap_or((NO_PROTOCOL, NO_PROTOCOL));
        factory_at(active, flow, if stream { streams } else { datagrams }).map(|(number, _)| number)
    };
    at(flow.info.second.port).or_else(|| at(flow.info.first.port))
}

fn decide_datagrams(
    flow: &mut Flow,
    active: &[Active],
    ports: &[(u8, u8)],
    common: &Common,
    side: Side,
    payload: &[u8],
    now: Timestamp,
) {
    if flow.info.protocol != protocol::UDP {
        let stands_for = |one: &Active| one.protocol.ip_protocols.contains(&flow.info.protocol);
        flow.slot = match active.iter().position(stands_for) {
            Some(number) if flow.refused & 1 << number == 0 => {
                Slot::Decoder(active[number].factory.decoder(&flow.info, None), number)
            }
            _ => Slot::Unknown,
        };
        return;
    }
    if let Some((number, decoder)) = announced(flow, active, common, now) {
        flow.slot = Slot::Decoder(decoder, number);
        return;
    }
    if let Some(number) = by_port(flow, active, ports, false) {
        flow.slot = Slot::Decoder(active[number].factory.decoder(&flow.info, None), number);
        return;
    }
    if common.profile == Profile::Packetbeat {
        flow.slot = Slot::Unknown;
        return;
    }
    let sample = Sample {
        stream: false,
        side,
        bytes: payload,
        ports: (flow.info.endpoint(side).port, flow.info.endpoint(side.other()).port),
    };
    let mut later = None;
    for (number, one) in active.iter().enumerate() {
        if !one.protocol.datagrams || flow.refused & 1 << number != 0 {
            continue;
        }
        match one.protocol.recognise.map(|recognise| recognise(&sample)) {
            Some(Recognition::Yes) => {
                flow.slot = Slot::Decoder(one.factory.decoder(&flow.info, None), number);
                return;
            }
            Some(Recognition::Maybe) => later = later.or(Some(number)),
            Some(Recognition::No) | None => {}
        }
    }
    if let Some(number) = later {
        // A decoder on trial: it says nothing until it is sure, and gives the flow back if it never is.
        flow.slot = Slot::Decoder(active[number].factory.decoder(&flow.info, None), number);
    } else if flow.info.packets[0] + flow.info.packets[1] > SAMPLE_DATAGRAMS {
        flow.slot = Slot::Unknown;
    }
}

/// Brings pieces of a stream to the flow's decoder, or to those that may recognise it.
struct Feed<'a> {
    active: &'a [Active],
    ports: &'a [(u8, u8)],
    common: &'a mut Common,
    out: &'a mut dyn Emit,
    packet: PacketInfo,
    gap_bytes: &'a mut u64,
}

impl Feed<'_> {
    fn pieces(&mut self, flow: &mut Flow, side: Side, pieces: &[Piece], payload: &[u8]) {
        self.run(flow, side, pieces, payload, true);
    }

    fn pieces_at_end(&mut self, flow: &mut Flow, side: Side, pieces: &[Piece]) {
        self.run(flow, side, pieces, &[], false);
    }

    fn run(&mut self, flow: &mut Flow, side: Side, pieces: &[Piece], payload: &[u8], completing: bool) {
        for piece in pieces {
            match piece {
                Piece::Fresh(from, to) => {
                    let bytes = payload.get(*from..*to).unwrap_or_default();
                    self.data(flow, side, bytes, completing);
                }
                Piece::Held(bytes) => self.data(flow, side, bytes, completing),
                Piece::Gap(length) => {
                    *self.gap_bytes += length;
                    self.gap(flow, side, *length, completing);
                }
            }
        }
    }

    fn context<'c>(&'c mut self, info: &'c mut FlowInfo, packet: PacketInfo, completing: bool) -> Context<'c> {
        Context { flow: info, packet, common: self.common, out: self.out, completing }
    }

    fn data(&mut self, flow: &mut Flow, side: Side, bytes: &[u8], completing: bool) {
        if bytes.is_empty() {
            return;
        }
        let packet = self.packet;
        match &mut flow.slot {
            Slot::Unknown => {}
            Slot::Decoder(decoder, number) => {
                let mut context =
                    Context { flow: &mut flow.info, packet, common: self.common, out: self.out, completing };
                if decoder.data(&mut context, side, bytes) == Verdict::GiveBack {
                    decoder.finish(&mut context);
                    flow.refused |= 1 << *number;
                    flow.slot = Slot::Undecided(None);
                }
            }
            Slot::Undecided(_) => self.sample(flow, side, bytes, completing),
        }
    }

    /// Keeps the first bytes of a stream until somebody recognises them.
    fn sample(&mut self, flow: &mut Flow, side: Side, bytes: &[u8], completing: bool) {
        let Slot::Undecided(sampled) = &mut flow.slot else { return };
        // Most streams show with their first bytes what they are, or that nobody knows them: those are not copied.
        let mut sampled = sampled.take();
        if let Some(sampled) = &mut sampled {
            sampled.push(side, self.packet, bytes);
        }
        loop {
            let sides: [&[u8]; 2] = match (&sampled, side) {
                (Some(sampled), _) => [&sampled.sides[0], &sampled.sides[1]],
                (None, Side::First) => [bytes, &[]],
                (None, Side::Second) => [&[], bytes],
            };
            match decide_stream(flow, self.active, self.ports, self.common, sides, self.packet.time) {
                Decision::Nobody => {
                    flow.slot = Slot::Unknown;
                    return;
                }
                Decision::Later => {
                    let packet = self.packet;
                    flow.slot = Slot::Undecided(Some(sampled.unwrap_or_else(|| {
                        let mut sampled = Box::<Sampled>::default();
                        sampled.push(side, packet, bytes);
                        sampled
                    })));
                    return;
                }
                Decision::Protocol(number, mut decoder) => {
                    let newest = (side, self.packet, bytes);
                    let kept = sampled.iter().flat_map(|sampled| &sampled.pieces);
                    let kept = kept.map(|(side, packet, bytes)| (*side, *packet, bytes.as_slice()));
                    let pieces = kept.chain(sampled.is_none().then_some(newest));
                    if self.replay(flow, &mut decoder, pieces, completing) {
                        flow.slot = Slot::Decoder(decoder, number);
                        return;
                    }
                    flow.refused |= 1 << number;
                }
            }
        }
    }

    fn replay<'p>(
        &mut self,
        flow: &mut Flow,
        decoder: &mut Box<dyn FlowDecoder>,
        pieces: impl Iterator<Item = (Side, PacketInfo, &'p [u8])>,
        completing: bool,
    ) -> bool {
        for (side, packet, bytes) in pieces {
            let mut context = self.context(&mut flow.info, packet, completing);
            if decoder.data(&mut context, side, bytes) == Verdict::GiveBack {
                decoder.finish(&mut context);
                return false;
            }
        }
        true
    }

    fn gap(&mut self, flow: &mut Flow, side: Side, length: u64, completing: bool) {
        let packet = self.packet;
        match &mut flow.slot {
            Slot::Unknown => {}
            Slot::Undecided(sampled) => {
                // What was not recognised before the hole will not be by what stands behind it, put together.
                *sampled = None;
            }
            Slot::Decoder(decoder, number) => {
                let mut context =
                    Context { flow: &mut flow.info, packet, common: self.common, out: self.out, completing };
                if decoder.gap(&mut context, side, length) == Verdict::GiveBack {
                    decoder.finish(&mut context);
                    flow.refused |= 1 << *number;
                    flow.slot = Slot::Undecided(None);
                }
            }
        }
    }

    fn closed(&mut self, flow: &mut Flow, how: Close) {
        let packet = self.packet;
        if let Slot::Decoder(decoder, _) = &mut flow.slot {
            let mut context =
                Context { flow: &mut flow.info, packet, common: self.common, out: self.out, completing: true };
            decoder.closed(&mut context, how);
        }
    }
}

enum Decision {
    Protocol(usize, Box<dyn FlowDecoder>),
    Later,
    Nobody,
}

fn decide_stream(
    flow: &Flow,
    active: &[Active],
    ports: &[(u8, u8)],
    common: &Common,
    sides: [&[u8]; 2],
    now: Timestamp,
) -> Decision {
    if let Some((number, decoder)) = announced(flow, active, common, now) {
        return Decision::Protocol(number, decoder);
    }
    if let Some(number) = by_port(flow, active, ports, true) {
        return Decision::Protocol(number, active[number].factory.decoder(&flow.info, None));
    }
    if common.profile == Profile::Packetbeat {
        return Decision::Nobody;
    }
    let mut maybe = false;
    for side in [Side::First, Side::Second] {
        let bytes = sides[side.index()];
        if bytes.is_empty() {
            continue;
        }
        let ports = (flow.info.endpoint(side).port, flow.info.endpoint(side.other()).port);
        let sample = Sample { stream: true, side, bytes, ports };
        for (number, one) in active.iter().enumerate() {
            if !one.protocol.streams || flow.refused & 1 << number != 0 {
                continue;
            }
            match one.protocol.recognise.map(|recognise| recognise(&sample)) {
                Some(Recognition::Yes) => {
                    return Decision::Protocol(number, one.factory.decoder(&flow.info, None));
                }
                Some(Recognition::Maybe) if bytes.len() < SAMPLE_BYTES => maybe = true,
                _ => {}
            }
        }
    }
    if maybe { Decision::Later } else { Decision::Nobody }
}
