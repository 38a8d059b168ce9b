//! What sessions, pipeline and API share: who is connected, what was received, the balance, counters.

use crate::ledger::Ledger;
use api::SourceRow;
use archive::Archive;
use packet::{Epoch, SourceName, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};
use tokio::sync::watch;
use uplink::Moment;

/// How far one epoch is.
#[derive(Debug)]
pub(crate) struct Track {
    /// Everything before this was received, durable or not.
    pub(crate) received_seq: u64,
    /// Everything before this is durable.
    pub(crate) durable: watch::Sender<u64>,
}

/// A connected probe.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(crate) epoch: Epoch,
    /// When it was last heard, by the monotonic clock.
    pub(crate) heard: Arc<AtomicU64>,
    /// Tells its session to end.
    pub(crate) replaced: watch::Sender<bool>,
}

/// What the API shows of a source, beside the archive.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) row: SourceRow,
}

/// Counters of this run; each is counted where it happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) refused_connections: AtomicU64,
    pub(crate) bad_peers: AtomicU64,
    pub(crate) received_batches: AtomicU64,
    pub(crate) received_packets: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) archived_packets: AtomicU64,
    pub(crate) archived_bytes: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) archive_errors: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) subscribers: AtomicU64,
    pub(crate) removed_segments: AtomicU64,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// Everything shared.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) archive: Archive,
    pub(crate) started: Timestamp,
    begin: Instant,
    tracks: Mutex<HashMap<(SourceName, Epoch), Track>>,
    connections: Mutex<HashMap<SourceName, Connection>>,
    seen: Mutex<BTreeMap<SourceName, Seen>>,
    ledger: Mutex<Ledger>,
    pub(crate) archive_error: Mutex<Option<String>>,
    pub(crate) counters: Counters,
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
    pub(crate) fn new(archive: Archive, ledger: Ledger) -> Self {
        Self {
            archive,
            started: now(),
            begin: Instant::now(),
            tracks: Mutex::default(),
            connections: Mutex::default(),
            seen: Mutex::default(),
            ledger: Mutex::new(ledger),
            archive_error: Mutex::default(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn moment(&self) -> Moment {
        let monotonic = u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Moment { monotonic, clock: now() }
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
        lock(&self.tracks)
            .insert((source.clone(), epoch), Track { received_seq: next_seq, durable: watch::Sender::new(next_seq) });
    }

    /// Where a probe has to go on: (next to receive, next to become durable), and how it learns of the latter. An epoch
    /// that is new here begins with the oldest batch its probe still holds.
    pub(crate) fn resume(&self, source: &SourceName, epoch: Epoch, oldest: u64) -> (u64, u64, watch::Receiver<u64>) {
        let mut tracks = lock(&self.tracks);
        let track = tracks
            .entry((source.clone(), epoch))
            .or_insert_with(|| Track { received_seq: oldest, durable: watch::Sender::new(0) });
        (track.received_seq, *track.durable.borrow(), track.durable.subscribe())
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

    /// Everything before `next_seq` is durable: its session will acknowledge it.
    pub(crate) fn durable(&self, source: &SourceName, epoch: Epoch, next_seq: u64) {
        if let Some(track) = lock(&self.tracks).get(&(source.clone(), epoch)) {
            track.durable.send_if_modified(|known| {
                let moved = next_seq > *known;
                *known = next_seq.max(*known);
                moved
            });
        }
    }
}
