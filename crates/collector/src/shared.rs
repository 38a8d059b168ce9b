//! What sessions, pipeline and API share: who is connected, what was received, the balance, counters.

use crate::hook;
use crate::ledger::Ledger;
use crate::live::{self, LiveBatch};
use crate::stored::Stored;
use api::SourceRow;
use archive::{Archive, Pins, Retention};
use packet::batch::BatchHeader;
use packet::{Epoch, SourceName, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{broadcast, watch};
use uplink::Moment;

/// How far one epoch is.
#[derive(Debug)]
pub(crate) struct Track {
    /// Everything before this was received, durable or not.
    pub(crate) received_seq: u64,
    pub(crate) durable: watch::Sender<Durable>,
}

/// What became of what was received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    /// Everything before this is durable.
    pub(crate) next_seq: u64,
    /// How often the disk lost what was not yet durable, so that it must be sent again.
    pub(crate) lost: u64,
}

/// A connected probe.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(crate) epoch: Epoch,
    /// When it was last heard, by the monotonic clock.
    pub(crate) heard: Arc<AtomicU64>,
    /// Whether it is an osmo-pcap client, whose newer connection always takes the place of the older.
    pub(crate) osmo: bool,
    /// Tells its session to end.
    pub(crate) replaced: watch::Sender<bool>,
}

/// What the API shows of a source, beside the archive.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) row: SourceRow,
    /// When packets last came, or its connection.
    heard: Option<Instant>,
    /// Whether it was reported silent.
    silent: bool,
}

/// Counters of this run; each is counted where it happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) refused_connections: AtomicU64,
    pub(crate) bad_peers: Mutex<BTreeMap<&'static str, u64>>,
    pub(crate) received_batches: AtomicU64,
    pub(crate) received_packets: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) archived_packets: AtomicU64,
    pub(crate) archived_bytes: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) archive_errors: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) feed_denied: AtomicU64,
    pub(crate) subscribers: AtomicU64,
    pub(crate) removed_segments: AtomicU64,
    pub(crate) published_events: AtomicU64,
    pub(crate) v1_subscribers: AtomicU64,
    pub(crate) live_missed: AtomicU64,
    pub(crate) free_bytes: AtomicU64,
    pub(crate) not_stored_packets: AtomicU64,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// Everything shared.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) archive: Archive,
    pub(crate) stored: Stored,
    pins: Mutex<Pins>,
    pins_path: PathBuf,
    /// What became of the runs of the hook, if there is one.
    pub(crate) hook: OnceLock<Arc<hook::Counters>>,
    /// Until when the collector's own certificate is good, seconds of Unix time; 0 without TLS.
    pub(crate) certificate_expires: AtomicI64,
    pub(crate) started: Timestamp,
    begin: Instant,
    tracks: Mutex<HashMap<(SourceName, Epoch), Track>>,
    connections: Mutex<HashMap<SourceName, Connection>>,
    seen: Mutex<BTreeMap<SourceName, Seen>>,
    ledger: Mutex<Ledger>,
    pub(crate) archive_error: Mutex<Option<String>>,
    /// The collector is going down: a failing disk is not waited for any more.
    pub(crate) stopping: AtomicBool,
    pub(crate) counters: Counters,
    /// Who watches live.
    pub(crate) live: broadcast::Sender<LiveBatch>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The data behind these locks are counters and maps that no panic leaves half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time of day.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

impl Shared {
    pub(crate) fn new(archive: Archive, retention: Retention, pins_path: PathBuf, ledger: Ledger) -> Self {
        let pins = Pins::load(&pins_path).unwrap_or_else(|error| {
            tracing::error!("{}: {error}: everything is kept until it is mended", pins_path.display());
            Pins::of_everything()
        });
        Self {
            pins: Mutex::new(pins),
            pins_path,
            hook: OnceLock::new(),
            archive,
            stored: Stored::new(retention),
            certificate_expires: AtomicI64::new(0),
            started: now(),
            begin: Instant::now(),
            tracks: Mutex::default(),
            connections: Mutex::default(),
            seen: Mutex::default(),
            ledger: Mutex::new(ledger),
            archive_error: Mutex::default(),
            stopping: AtomicBool::new(false),
            counters: Counters::default(),
            live: broadcast::Sender::new(live::QUEUE),
        }
    }

    pub(crate) fn moment(&self) -> Moment {
        let monotonic = u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Moment { monotonic, clock: now() }
    }

    /// What retention leaves alone.
    pub(crate) fn pins(&self) -> MutexGuard<'_, Pins> {
        lock(&self.pins)
    }

    /// Changes the pins; as before if the disk refuses.
    pub(crate) fn change_pins<T>(&self, change: impl FnOnce(&mut Pins) -> T) -> std::io::Result<T> {
        let mut pins = self.pins();
        let mut changed = pins.clone();
        let result = change(&mut changed);
        changed.save(&self.pins_path)?;
        *pins = changed;
        Ok(result)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(crate) fn connections(&self) -> MutexGuard<'_, HashMap<SourceName, Connection>> {
        lock(&self.connections)
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, BTreeMap<SourceName, Seen>> {
        lock(&self.seen)
    }

    pub(crate) fn archive_error(&self) -> MutexGuard<'_, Option<String>> {
        lock(&self.archive_error)
    }

    /// Notes what the archive holds of an epoch at start.
    pub(crate) fn begin_track(&self, source: &SourceName, epoch: Epoch, next_seq: u64) {
        lock(&self.tracks).insert(
            (source.clone(), epoch),
            Track { received_seq: next_seq, durable: watch::Sender::new(Durable { next_seq, lost: 0 }) },
        );
    }

    /// Where a probe has to go on: (next to receive, next to become durable), and how it learns of the latter. An epoch
    /// that is new here begins with the oldest batch its probe still holds.
    pub(crate) fn resume(
        &self,
        source: &SourceName,
        epoch: Epoch,
        oldest: u64,
    ) -> (u64, Durable, watch::Receiver<Durable>) {
        let mut tracks = lock(&self.tracks);
        let track = tracks
            .entry((source.clone(), epoch))
            .or_insert_with(|| Track { received_seq: oldest, durable: watch::Sender::new(Durable::default()) });
        let receiver = track.durable.subscribe();
        let durable = *receiver.borrow();
        (track.received_seq, durable, receiver)
    }

    /// Claims the next entry for this connection, if it still is the source's; to be asked before it is passed on.
    pub(crate) fn claim(&self, source: &SourceName, epoch: Epoch, connection: u64, seq: u64, last_seq: u64) -> bool {
        let connections = self.connections();
        if connections.get(source).is_none_or(|current| current.number != connection) {
            return false;
        }
        let mut tracks = lock(&self.tracks);
        match tracks.get_mut(&(source.clone(), epoch)) {
            Some(track) if track.received_seq == seq => {
                track.received_seq = last_seq.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// Claims the next batch of an epoch that only the asking session writes.
    pub(crate) fn claim_own(&self, source: &SourceName, epoch: Epoch, seq: u64) -> bool {
        match lock(&self.tracks).get_mut(&(source.clone(), epoch)) {
            Some(track) if track.received_seq == seq => {
                track.received_seq = seq.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// Forgets an epoch that is complete and durable: it never comes again.
    pub(crate) fn end_track(&self, source: &SourceName, epoch: Epoch) {
        lock(&self.tracks).remove(&(source.clone(), epoch));
    }

    /// Counts a batch that was received.
    pub(crate) fn received(&self, source: &SourceName, header: &BatchHeader) {
        add(&self.counters.received_batches, 1);
        add(&self.counters.received_packets, header.packets.into());
        add(&self.counters.received_bytes, header.captured_bytes);
        if let Some(seen) = self.seen().get_mut(source) {
            seen.heard = Some(Instant::now());
            seen.row.received_packets += u64::from(header.packets);
            seen.row.received_bytes += header.captured_bytes;
            seen.row.last_batch_nanos = now().nanos();
            seen.row.newest_packet_nanos = seen.row.newest_packet_nanos.max(header.time_max.nanos());
        }
    }

    /// Notes in the list of sources that one is connected.
    pub(crate) fn note_connected(&self, source: &SourceName, epoch: Epoch, peer: &str, protocol: &str) {
        self.ledger().connected(source, epoch, true, now().nanos());
        let mut seen = self.seen();
        let seen = seen.entry(source.clone()).or_default();
        seen.heard = Some(Instant::now());
        seen.row.name = source.to_string();
        seen.row.connected = true;
        seen.row.peer = peer.to_owned();
        seen.row.protocol = protocol.to_owned();
        seen.row.epoch = epoch.to_string();
    }

    /// Connected sources that have fallen silent (true) or come back (false) since this was last asked; none after zero.
    pub(crate) fn silence(&self, after: Duration) -> Vec<(SourceName, bool)> {
        let mut changed = Vec::new();
        for (source, seen) in self.seen().iter_mut() {
            let silent =
                seen.row.connected && !after.is_zero() && seen.heard.is_some_and(|heard| heard.elapsed() >= after);
            // One that left did not come back.
            if silent != seen.silent && (silent || seen.row.connected) {
                changed.push((source.clone(), silent));
            }
            seen.silent = silent;
        }
        changed
    }

    /// Counts a connection that was closed for what its peer sent.
    pub(crate) fn bad_peer(&self, reason: &'static str) {
        *lock(&self.counters.bad_peers).entry(reason).or_default() += 1;
    }

    /// Connections closed for what their peers sent, by reason.
    pub(crate) fn bad_peers(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.counters.bad_peers).clone()
    }

    /// The source has no connection any more, unless a newer one took the place of `number`.
    pub(crate) fn release(&self, source: &SourceName, epoch: Epoch, number: u64, now_nanos: u64) {
        let mut connections = self.connections();
        let current = connections.get(source).is_some_and(|current| current.number == number);
        if current {
            connections.remove(source);
        }
        drop(connections);
        self.ledger().connected(source, epoch, false, now_nanos);
        if current && let Some(seen) = self.seen().get_mut(source) {
            seen.row.connected = false;
            seen.row.peer.clear();
        }
    }

    /// Everything before `next_seq` is durable: its session will acknowledge it.
    pub(crate) fn durable(&self, source: &SourceName, epoch: Epoch, next_seq: u64) {
        if let Some(track) = lock(&self.tracks).get(&(source.clone(), epoch)) {
            track.durable.send_if_modified(|known| {
                let moved = next_seq > known.next_seq;
                known.next_seq = next_seq.max(known.next_seq);
                moved
            });
        }
    }

    /// The disk lost what was received from `next_seq` on: its session has it sent again.
    pub(crate) fn roll_back(&self, source: &SourceName, epoch: Epoch, next_seq: u64) {
        if let Some(track) = lock(&self.tracks).get_mut(&(source.clone(), epoch)) {
            track.received_seq = next_seq;
            track.durable.send_modify(|known| known.lost += 1);
        }
    }
}
