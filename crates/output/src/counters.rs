//! What an output did, counted where it happens.
//! Deliberately plain numbers: whoever shows them names them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one output, shared between its thread and those who ask.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) events_received: AtomicU64,
    pub(crate) events_written: AtomicU64,
    pub(crate) events_known: AtomicU64,
    pub(crate) events_dropped: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) batches_written: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) batches_queued: AtomicU64,
    /// Number of the last batch that was written and flushed.
    pub(crate) flushed: AtomicU64,
    pub(crate) failing: AtomicU64,
    pub(crate) events_refused: AtomicU64,
    pub(crate) events_retried: AtomicU64,
    pub(crate) events_filtered: AtomicU64,
    pub(crate) events_damaged: AtomicU64,
    pub(crate) spilled_events: AtomicU64,
    pub(crate) spilled_bytes: AtomicU64,
    pub(crate) held_events: AtomicU64,
    pub(crate) held_bytes: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Snapshot {
    /// Events handed to the output.
    pub events_received: u64,
    /// Events it wrote.
    pub events_written: u64,
    /// Events it left out because an earlier run wrote them.
    pub events_known: u64,
    /// Events lost: its queue was full and the configuration says to drop, or the program ended while it failed.
    pub events_dropped: u64,
    /// Bytes it wrote.
    pub bytes_written: u64,
    /// Batches it wrote.
    pub batches_written: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Batches waiting in its queue.
    pub batches_queued: u64,
    /// Whether the last attempt failed.
    pub failing: bool,
    /// Events that the service refused for good and that lie with the dead letters.
    pub events_refused: u64,
    /// Events sent again, counted each time.
    pub events_retried: u64,
    /// Events that its condition keeps from it.
    pub events_filtered: u64,
    /// Events that could not be read back from disk.
    pub events_damaged: u64,
    /// Events that wait on disk for the service.
    pub spilled_events: u64,
    /// Bytes they take there.
    pub spilled_bytes: u64,
    /// Events that wait on disk because their own place in the service takes nothing.
    pub held_events: u64,
    /// Bytes they take there.
    pub held_bytes: u64,
}

pub(crate) fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

impl Counters {
    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            events_received: get(&self.events_received),
            events_written: get(&self.events_written),
            events_known: get(&self.events_known),
            events_dropped: get(&self.events_dropped),
            bytes_written: get(&self.bytes_written),
            batches_written: get(&self.batches_written),
            failures: get(&self.failures),
            batches_queued: get(&self.batches_queued),
            failing: get(&self.failing) > 0,
            events_refused: get(&self.events_refused),
            events_retried: get(&self.events_retried),
            events_filtered: get(&self.events_filtered),
            events_damaged: get(&self.events_damaged),
            spilled_events: get(&self.spilled_events),
            spilled_bytes: get(&self.spilled_bytes),
            held_events: get(&self.held_events),
            held_bytes: get(&self.held_bytes),
        }
    }
}
