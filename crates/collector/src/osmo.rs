//! One connection of an osmo-pcap client: its packets are put into batches here, under an epoch of the connection's own.
//! Such a client is never answered and cannot send anything again, so what is not yet durable is kept here, bounded.

use crate::check::{self, Checked};
use crate::pipeline::{Job, Publish, RawV1};
use crate::session::{Ended, Surroundings, names};
use crate::shared::{Connection, Durable, add, now};
use packet::batch::{MAX_PACKET_BYTES, TARGET_BYTES};
use packet::{BatchBuilder, Epoch, Interface, InterfaceSet, LinkType, SourceName};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;
use tokio::time::Instant;
use uplink::osmo::{Frame, LinkHeader, Reader};
use uplink::{EntryHead, Fault, SILENCE_NANOS, Statistics};

/// How long packets wait for others of their batch.
const LINGER: Duration = Duration::from_millis(50);
/// How often a session looks at the clock.
const TICK: Duration = Duration::from_millis(500);
/// How long half a frame, or the first link header, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what was received is waited for when the collector goes down.
const GOODBYE: Duration = Duration::from_millis(400);
/// Level of compression.
const LEVEL: i32 = 1;
/// Bytes read at once.
const READ_BYTES: usize = 128 * 1024;

/// How clients are named: by address, or as configured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(pub(crate) Arc<BTreeMap<String, SourceName>>);

impl Names {
    fn of(&self, peer: SocketAddr) -> SourceName {
        let address = peer.ip().to_canonical().to_string();
        self.0.get(&address).cloned().unwrap_or_else(|| SourceName::from_arbitrary(&address))
    }
}

/// Packets of one link type that are collected for a batch.
struct Group {
    set: Arc<InterfaceSet>,
    builder: BatchBuilder,
    raw: RawV1,
    since: Option<Instant>,
}

/// The present link header.
struct Link {
    header: LinkHeader,
    groups: Vec<Group>,
    /// Per interface: its group, and its index there.
    places: Vec<(usize, u32)>,
}

/// A batch that is not yet durable.
struct Sealed {
    seq: u64,
    packets: u64,
    set: Arc<InterfaceSet>,
    frame: Vec<u8>,
    raw_length: usize,
    /// For its first way through the pipeline.
    ready: Option<(Checked, Vec<u8>, Option<RawV1>)>,
}

struct Session<S> {
    stream: S,
    peer: SocketAddr,
    surroundings: Surroundings,
    source: SourceName,
    epoch: Epoch,
    number: u64,
    heard: Arc<AtomicU64>,
    replaced: watch::Receiver<bool>,
    durable: watch::Receiver<Durable>,
    lost: u64,
    reader: Reader,
    link: Option<Link>,
    sets: u32,
    next_seq: u64,
    next_packet: u64,
    captured: u64,
    acknowledged: u64,
    in_flight: VecDeque<Sealed>,
    in_flight_bytes: u64,
    /// How many of `in_flight` were passed on.
    passed: usize,
    last_read: Instant,
}

/// Serves one connection to its end.
pub(crate) async fn serve<S: AsyncRead + Unpin>(stream: S, peer: SocketAddr, names: Names, surroundings: Surroundings) {
    let shared = surroundings.shared.clone();
    let number = shared.counters.connections.fetch_add(1, Ordering::Relaxed);
    let source = names.of(peer);
    let epoch = random_epoch();
    let moment = shared.moment();
    let heard = Arc::new(AtomicU64::new(moment.monotonic));
    let (sender, replaced) = watch::channel(false);
    {
        let mut connections = shared.connections();
        if let Some(current) = connections.get(&source) {
            let silent = moment.monotonic.saturating_sub(current.heard.load(Ordering::Relaxed)) > SILENCE_NANOS;
            if !current.osmo && !silent {
                add(&shared.counters.refused_connections, 1);
                tracing::warn!(%source, %peer, "osmo-pcap client turned away: a probe with this name is connected; name it otherwise in collector.osmo_pcap.sources");
                return;
            }
            current.replaced.send_replace(true);
        }
        let connection = Connection { number, epoch, heard: heard.clone(), replaced: sender, osmo: true };
        connections.insert(source.clone(), connection);
    }
    add(&shared.counters.connected, 1);
    let (_, known, durable) = shared.resume(&source, epoch, 0);
    shared.note_connected(&source, epoch, &peer.to_string(), "osmo-pcap");
    tracing::info!(%source, %epoch, %peer, "osmo-pcap client connected");
    let mut session = Session {
        stream,
        peer,
        surroundings,
        source,
        epoch,
        number,
        heard,
        replaced,
        durable,
        lost: known.lost,
        reader: Reader::default(),
        link: None,
        sets: 0,
        next_seq: 0,
        next_packet: 0,
        captured: 0,
        acknowledged: 0,
        in_flight: VecDeque::new(),
        in_flight_bytes: 0,
        passed: 0,
        last_read: Instant::now(),
    };
    session.event("connect", json!({ "epoch": epoch.to_string(), "peer": peer.to_string() }));
    let ended = session.receive().await;
    session.finish(&ended).await;
    shared.counters.connected.fetch_sub(1, Ordering::Relaxed);
}

enum Woken {
    Read(std::io::Result<usize>),
    Durable,
    Linger,
    Tick,
    Replaced,
    Stop,
}

impl<S: AsyncRead + Unpin> Session<S> {
    async fn receive(&mut self) -> Ended {
        let mut buffer = vec![0; READ_BYTES];
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let step = match self.wait(&mut buffer, &mut tick).await {
                Woken::Read(Ok(0)) => Err(Ended::Closed),
                Woken::Read(Err(error)) => Err(Ended::Io(error)),
                Woken::Read(Ok(length)) => {
                    self.last_read = Instant::now();
                    self.reader.push(buffer.get(..length).unwrap_or_default());
                    self.frames().await
                }
                Woken::Durable => self.made_durable().await,
                Woken::Linger => self.seal(|group| group.since.is_some_and(|since| since.elapsed() >= LINGER)).await,
                Woken::Tick => self.tick(),
                Woken::Replaced => Err(Ended::Replaced),
                Woken::Stop => Err(Ended::GoingDown),
            };
            if let Err(ended) = step {
                return ended;
            }
        }
    }

    async fn wait(&mut self, buffer: &mut [u8], tick: &mut tokio::time::Interval) -> Woken {
        let full = self.in_flight_bytes > self.surroundings.credit;
        let groups = self.link.iter().flat_map(|link| &link.groups);
        let linger = groups.filter_map(|group| group.since).min().map(|since| since + LINGER);
        tokio::select! {
            read = self.stream.read(buffer), if !full => Woken::Read(read),
            _ = self.durable.changed() => Woken::Durable,
            () = tokio::time::sleep_until(linger.unwrap_or_else(Instant::now)), if linger.is_some() => Woken::Linger,
            _ = self.replaced.wait_for(|replaced| *replaced) => Woken::Replaced,
            _ = tick.tick() => Woken::Tick,
            _ = self.surroundings.stop.wait_for(|stop| *stop) => Woken::Stop,
        }
    }

    /// Looks for a client that says nothing at all, or stops in the middle of a frame.
    fn tick(&mut self) -> Result<(), Ended> {
        self.heard.store(self.surroundings.shared.moment().monotonic, Ordering::Relaxed);
        let silent = self.last_read.elapsed();
        let owes = self.link.is_none() || self.reader.pending() > 0;
        if owes && silent > PATIENCE && self.in_flight_bytes <= self.surroundings.credit {
            return Err(Fault::Silent(u64::try_from(silent.as_nanos()).unwrap_or(u64::MAX)).into());
        }
        Ok(())
    }

    async fn frames(&mut self) -> Result<(), Ended> {
        loop {
            let full = match self.reader.next_frame()? {
                None => return Ok(()),
                Some(Frame::LinkHeader(payload)) => {
                    let header = LinkHeader::read(payload)?;
                    if self.link.as_ref().is_some_and(|link| link.header == header) {
                        continue;
                    }
                    let raw: Arc<[u8]> = payload.into();
                    self.seal(|_| true).await?;
                    self.begin_link(header, &raw);
                    false
                }
                Some(Frame::Data(payload)) => {
                    let unexpected = Fault::Unexpected { message: "packet", state: "no link header came before it" };
                    let link = self.link.as_mut().ok_or(unexpected)?;
                    let mut packet = link.header.packet(payload)?;
                    let place = link.places.get(packet.interface as usize).copied();
                    let Some((group, interface)) = place else { continue };
                    let Some(group) = link.groups.get_mut(group) else { continue };
                    packet.interface = interface;
                    packet.original_length = packet.original_length.max(packet.data.len() as u32);
                    group.builder.push(&packet);
                    if self.surroundings.v1 {
                        group.raw.push(payload);
                    }
                    group.since.get_or_insert_with(Instant::now);
                    self.captured += 1;
                    group.builder.len() >= TARGET_BYTES
                }
            };
            if full {
                self.seal(|group| group.builder.len() >= TARGET_BYTES).await?;
            }
        }
    }

    fn begin_link(&mut self, header: LinkHeader, raw: &Arc<[u8]>) {
        // All interfaces of a set share link type and snap length: one group per link type.
        let mut sets: Vec<(LinkType, Vec<Interface>)> = Vec::new();
        let mut places = Vec::new();
        for interface in &header.interfaces {
            let link_type = LinkType::from_dlt(i32::from(interface.link_type.0));
            let snaplen = MAX_PACKET_BYTES as u32;
            let interface = Interface { link_type, snaplen, ..interface.clone() };
            let group = sets.iter().position(|(of, _)| *of == link_type).unwrap_or_else(|| {
                sets.push((link_type, Vec::new()));
                sets.len() - 1
            });
            if let Some((_, interfaces)) = sets.get_mut(group) {
                places.push((group, interfaces.len() as u32));
                interfaces.push(interface);
            }
        }
        let mut groups = Vec::new();
        for (_, interfaces) in sets {
            let set = Arc::new(InterfaceSet { number: self.sets, interfaces });
            self.sets += 1;
            let builder = BatchBuilder::new(self.source.clone(), self.epoch, set.number);
            groups.push(Group { set, builder, raw: RawV1::new(raw.clone()), since: None });
        }
        let all: Vec<InterfaceSet> = groups.iter().map(|group| (*group.set).clone()).collect();
        if let Some(seen) = self.surroundings.shared.seen().get_mut(&self.source) {
            seen.row.interfaces = names(&all);
        }
        if self.link.is_some() {
            self.event("interfaces_changed", json!({ "interfaces": names(&all) }));
        }
        self.link = Some(Link { header, groups, places });
    }

    /// Seals the batches of the groups that are due, and passes them on.
    async fn seal(&mut self, due: impl Fn(&Group) -> bool) -> Result<(), Ended> {
        for group in self.link.iter_mut().flat_map(|link| &mut link.groups) {
            if group.builder.is_empty() || !due(group) {
                continue;
            }
            let (header, raw) = group.builder.seal(self.next_seq, self.next_packet, Vec::new());
            let frame = zstd::bulk::compress(&raw, LEVEL)?;
            let head = EntryHead { seq: self.next_seq, last_seq: self.next_seq, raw_length: raw.len() as u32 };
            let (checked, _) = check::check(&self.source, self.epoch, &head, &frame, |_| Some(&group.set))?;
            let v1 = self.surroundings.v1.then(|| group.raw.take());
            group.since = None;
            self.in_flight_bytes += frame.len() as u64;
            self.in_flight.push_back(Sealed {
                seq: self.next_seq,
                packets: header.packets.into(),
                set: group.set.clone(),
                frame,
                raw_length: raw.len(),
                ready: Some((checked, raw, v1)),
            });
            self.next_seq += 1;
            self.next_packet += u64::from(header.packets);
            self.surroundings.shared.received(&self.source, &header);
        }
        self.pass_on().await
    }

    /// Passes on what was not yet, or what must be again.
    async fn pass_on(&mut self) -> Result<(), Ended> {
        while let Some(sealed) = self.in_flight.get_mut(self.passed) {
            let head = EntryHead { seq: sealed.seq, last_seq: sealed.seq, raw_length: sealed.raw_length as u32 };
            let (checked, raw, v1) = match sealed.ready.take() {
                Some(ready) => ready,
                None => {
                    let again = check::check(&self.source, self.epoch, &head, &sealed.frame, |_| Some(&sealed.set))?;
                    (again.0, again.1, None)
                }
            };
            let permit = self.surroundings.jobs.reserve().await.map_err(|_| Ended::GoingDown)?;
            if !self.surroundings.shared.claim_own(&self.source, self.epoch, sealed.seq) {
                // The disk lost some before it: they go first, when this session is told.
                sealed.ready = Some((checked, raw, v1));
                return Ok(());
            }
            let (source, epoch) = (self.source.clone(), self.epoch);
            let policy = self.surroundings.policies.of(&source);
            let (set, frame) = (sealed.set.clone(), sealed.frame.clone());
            permit.send(Publish::Entry(Box::new(Job::new(source, epoch, checked, set, frame, raw, v1, policy))));
            self.passed += 1;
        }
        Ok(())
    }

    /// Forgets what is durable, and sends again what the disk lost.
    async fn made_durable(&mut self) -> Result<(), Ended> {
        let known = *self.durable.borrow_and_update();
        while let Some(sealed) = self.in_flight.front()
            && sealed.seq < known.next_seq
        {
            self.acknowledged += sealed.packets;
            self.in_flight_bytes -= sealed.frame.len() as u64;
            self.in_flight.pop_front();
            self.passed = self.passed.saturating_sub(1);
        }
        self.state(known.next_seq);
        if known.lost != self.lost {
            self.lost = known.lost;
            self.passed = 0;
        }
        self.pass_on().await
    }

    /// States this side of the balance: the client itself never does.
    fn state(&self, acknowledged_seq: u64) {
        let building = self.link.iter().flat_map(|link| &link.groups).map(|group| u64::from(group.builder.packets()));
        let held = building.sum::<u64>() + self.in_flight.iter().map(|sealed| sealed.packets).sum::<u64>();
        let statistics = Statistics {
            time: now(),
            captured: self.captured,
            acknowledged: self.acknowledged,
            acknowledged_seq,
            held,
            ..Statistics::default()
        };
        self.surroundings.shared.ledger().stated(&self.source, self.epoch, &statistics, now().nanos());
    }

    /// Makes durable what was received, then closes the source's segment as the original does.
    async fn finish(&mut self, ended: &Ended) {
        let shared = self.surroundings.shared.clone();
        shared.release(&self.source, self.epoch, self.number, now().nanos());
        let deadline = Instant::now() + GOODBYE;
        let mut sealed = self.seal(|_| true).await;
        while sealed.is_ok() && !self.in_flight.is_empty() {
            let stopping = *self.surroundings.stop.borrow();
            tokio::select! {
                _ = self.durable.changed() => {}
                () = tokio::time::sleep_until(deadline), if stopping => break,
                _ = self.surroundings.stop.changed(), if !stopping => continue,
            }
            sealed = self.made_durable().await;
        }
        self.state(self.durable.borrow().next_seq);
        let (source, peer) = (&self.source, self.peer);
        match ended {
            Ended::Closed | Ended::GoingDown | Ended::Replaced => {
                tracing::info!(%source, "osmo-pcap client disconnected: {ended}");
            }
            Ended::Io(_) => tracing::warn!(%source, %peer, "osmo-pcap client disconnected: {ended}"),
            _ => {
                shared.bad_peer(ended.reason());
                tracing::warn!(%source, %peer, "osmo-pcap client disconnected: {ended}");
            }
        }
        if self.in_flight.is_empty() {
            shared.ledger().complete(source, self.epoch, now().nanos());
            let complete = Publish::Complete { source: source.clone(), epoch: self.epoch };
            let _ = self.surroundings.jobs.send(complete).await;
            shared.end_track(source, self.epoch);
        }
        let body = json!({ "epoch": self.epoch.to_string(), "reason": ended.to_string() });
        let after = Some(("disconnect", source.to_string(), body));
        let _ = self.surroundings.jobs.send(Publish::Rotate(Some(source.clone()), after)).await;
    }

    fn event(&self, name: &'static str, body: serde_json::Value) {
        let source = self.source.to_string();
        let _ = self.surroundings.jobs.try_send(Publish::Event { name, source, body });
    }
}

fn random_epoch() -> Epoch {
    let mut epoch = [0; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut epoch));
    if read.is_err() {
        // Only ever compared for equality within one source.
        epoch = u128::from(now().nanos()).to_le_bytes();
    }
    Epoch(epoch)
}
