//! What the probe holds until the collector has it durably, and the probe's side of the balance: every count under one lock.
//! Memory only; sends nothing itself.

use crate::config::WhenFull;
use packet::batch::{BatchHeader, DropPlace, DropReason, GapRecord};
use packet::{BatchName, Epoch, InterfaceSet, SourceName, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uplink::{DropCount, EntryHead, Hello, MAJOR, MINOR, Statistics};

/// An entry that waits.
#[derive(Debug)]
enum Held {
    Batch { header: BatchHeader, raw_length: u32, frame: Arc<Vec<u8>> },
    Gap(GapRecord),
}

impl Held {
    fn last_seq(&self) -> u64 {
        match self {
            Self::Batch { header, .. } => header.name.seq,
            Self::Gap(gap) => gap.last_seq,
        }
    }

    fn seq(&self) -> u64 {
        match self {
            Self::Batch { header, .. } => header.name.seq,
            Self::Gap(gap) => gap.name.seq,
        }
    }
}

/// The next entry to send.
#[derive(Debug)]
pub struct Next {
    /// Its numbers.
    pub head: EntryHead,
    /// The interface set it refers to; none for a gap record.
    pub set: Option<u32>,
    /// Its compressed bytes; none for a gap record, which is to be made from the record.
    pub frame: Option<Arc<Vec<u8>>>,
    /// The gap record.
    pub gap: Option<GapRecord>,
}

#[derive(Debug, Default)]
struct State {
    sets: Vec<InterfaceSet>,
    entries: VecDeque<Held>,
    /// How many of them were sent on the present connection.
    sent: usize,
    /// Everything before this was sent on some connection and may have arrived: it is never dropped or changed, until the collector says
    /// with what it goes on.
    settled_seq: u64,
    bytes: u64,
    /// Sequence number of the next batch that comes out of the compressor.
    next_seq: u64,
    captured: u64,
    queued: u64,
    spooled: u64,
    acknowledged: u64,
    acknowledged_seq: u64,
    drops: BTreeMap<(DropPlace, DropReason), u64>,
    kernel: BTreeMap<String, (u64, u64, u64)>,
    /// Nothing more will come.
    closed: bool,
}

impl State {
    /// The first entry that was never sent.
    fn first_unsettled(&self) -> usize {
        let settled = self.entries.partition_point(|entry| entry.last_seq() < self.settled_seq);
        settled.max(self.sent)
    }
}

/// The spool, shared by capture, compressor and sender.
#[derive(Debug)]
pub struct Spool {
    source: SourceName,
    epoch: Epoch,
    limit: u64,
    full: WhenFull,
    /// Whether a full spool makes the reader of a file wait instead of dropping.
    waits: bool,
    state: Mutex<State>,
    room: Condvar,
}

impl Spool {
    /// An empty spool.
    pub fn new(source: SourceName, epoch: Epoch, limit: u64, full: WhenFull, waits: bool) -> Self {
        Self { source, epoch, limit, full, waits, state: Mutex::default(), room: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The source.
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Adds an interface set; its number is its place.
    pub fn add_set(&self, interfaces: Vec<packet::Interface>) -> u32 {
        let mut state = self.lock();
        let number = state.sets.len() as u32;
        state.sets.push(InterfaceSet { number, interfaces });
        number
    }

    /// An interface set.
    pub fn set(&self, number: u32) -> Option<InterfaceSet> {
        self.lock().sets.get(number as usize).cloned()
    }

    /// Counts packets whose batch was closed and goes to the compressor.
    pub fn sealed(&self, packets: u32) {
        let mut state = self.lock();
        state.captured += u64::from(packets);
        state.queued += u64::from(packets);
    }

    /// Notes the kernel's counters of an interface: received, dropped, dropped by the interface.
    pub fn kernel(&self, interface: &str, received: u64, dropped: u64, dropped_by_interface: u64) {
        self.lock().kernel.insert(interface.to_owned(), (received, dropped, dropped_by_interface));
    }

    /// Takes a compressed batch.
    pub fn push(&self, header: BatchHeader, raw_length: usize, frame: Vec<u8>) {
        let mut state = self.lock();
        let length = frame.len() as u64;
        while self.waits && !state.closed && state.bytes + length > self.limit && !state.entries.is_empty() {
            let (guard, _) =
                self.room.wait_timeout(state, Duration::from_millis(200)).unwrap_or_else(PoisonError::into_inner);
            state = guard;
        }
        state.queued -= u64::from(header.packets);
        state.next_seq = header.name.seq + 1;
        if !self.waits && state.bytes + length > self.limit {
            if self.full == WhenFull::Oldest {
                self.drop_oldest(&mut state, length);
            }
            // What may have arrived already cannot make room.
            if state.bytes + length > self.limit {
                return self.drop_newest(&mut state, &header);
            }
        }
        state.spooled += u64::from(header.packets);
        state.bytes += length;
        state.entries.push_back(Held::Batch { header, raw_length: raw_length as u32, frame: Arc::new(frame) });
    }

    fn drop_newest(&self, state: &mut State, header: &BatchHeader) {
        count_drop(state, header.packets.into());
        let gap = gap_of(header);
        // A gap that was never sent grows; one that was is on its way as it is.
        let unsent = state.first_unsettled() < state.entries.len();
        match state.entries.back_mut() {
            Some(Held::Gap(last)) if unsent => extend(last, &gap),
            _ => state.entries.push_back(Held::Gap(gap)),
        }
    }

    /// Drops the oldest batches that were not sent, until there is room.
    fn drop_oldest(&self, state: &mut State, wanted: u64) {
        let first = state.first_unsettled();
        let mut at = first;
        while state.bytes + wanted > self.limit && at < state.entries.len() {
            let Some(Held::Batch { header, frame, .. }) = state.entries.get(at) else {
                at += 1;
                continue;
            };
            let (gap, length, packets) = (gap_of(header), frame.len() as u64, u64::from(header.packets));
            state.bytes -= length;
            state.spooled -= packets;
            count_drop(state, packets);
            let before = at.checked_sub(1).filter(|before| *before >= first);
            match before.and_then(|before| state.entries.get_mut(before)) {
                Some(Held::Gap(last)) => {
                    extend(last, &gap);
                    state.entries.remove(at);
                }
                _ => {
                    if let Some(place) = state.entries.get_mut(at) {
                        *place = Held::Gap(gap);
                    }
                    at += 1;
                }
            }
        }
    }

    /// The hello of a new connection. What was sent on an older one counts as not sent.
    pub fn hello(&self, clock: Timestamp) -> Hello {
        let mut state = self.lock();
        state.sent = 0;
        Hello {
            major: MAJOR,
            minor: MINOR,
            source: self.source.clone(),
            epoch: self.epoch,
            oldest_seq: state.entries.front().map_or(state.next_seq, Held::seq),
            next_seq: state.next_seq,
            clock,
            sets: state.sets.clone(),
        }
    }

    /// The collector goes on with `next_seq`: what lies before was received.
    pub fn resume(&self, next_seq: u64) {
        let mut state = self.lock();
        state.sent = state.entries.iter().take_while(|entry| entry.last_seq() < next_seq).count();
        // The older connection has ended there: what was sent on it and is not received will not be.
        state.settled_seq = next_seq;
    }

    /// The next entry to send.
    pub fn next(&self) -> Option<Next> {
        let state = self.lock();
        let entry = state.entries.get(state.sent)?;
        let head = |raw_length| EntryHead { seq: entry.seq(), last_seq: entry.last_seq(), raw_length };
        Some(match entry {
            Held::Batch { header, raw_length, frame } => {
                Next { head: head(*raw_length), set: Some(header.interface_set), frame: Some(frame.clone()), gap: None }
            }
            Held::Gap(gap) => Next { head: head(0), set: None, frame: None, gap: Some(gap.clone()) },
        })
    }

    /// The entry with this sequence number (and, a gap record, this end) was sent. False if it has changed since
    /// [`Spool::next`] gave it: then it is not to be sent.
    pub fn mark_sent(&self, head: &EntryHead) -> bool {
        let mut state = self.lock();
        let same = state
            .entries
            .get(state.sent)
            .is_some_and(|entry| entry.seq() == head.seq && entry.last_seq() == head.last_seq);
        state.sent += usize::from(same);
        if same {
            state.settled_seq = state.settled_seq.max(head.last_seq + 1);
        }
        same
    }

    /// Everything before `durable_seq` is durable: it is forgotten here.
    pub fn acknowledge(&self, durable_seq: u64) {
        let mut state = self.lock();
        while state.entries.front().is_some_and(|entry| entry.last_seq() < durable_seq) {
            if let Some(Held::Batch { header, frame, .. }) = state.entries.pop_front() {
                state.acknowledged += u64::from(header.packets);
                state.spooled -= u64::from(header.packets);
                state.bytes -= frame.len() as u64;
            }
            state.sent = state.sent.saturating_sub(1);
        }
        // What the collector had before this run's connection is acknowledged all the same.
        state.acknowledged_seq = state.acknowledged_seq.max(durable_seq.min(state.next_seq));
        self.room.notify_all();
    }

    /// Nothing more will be added: nobody waits for room any longer.
    pub fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
    }

    /// Whether everything captured was acknowledged (or dropped, and that acknowledged).
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.entries.is_empty() && state.queued == 0
    }

    /// This side of the balance, at one instant.
    pub fn statistics(&self, time: Timestamp) -> Statistics {
        let state = self.lock();
        let kernel = |pick: fn(&(u64, u64, u64)) -> u64| state.kernel.values().map(pick).sum();
        Statistics {
            time,
            captured: state.captured,
            acknowledged: state.acknowledged,
            acknowledged_seq: state.acknowledged_seq,
            held: state.queued + state.spooled,
            received_by_kernel: kernel(|counts| counts.0),
            dropped_by_kernel: kernel(|counts| counts.1),
            dropped_by_interface: kernel(|counts| counts.2),
            drops: state
                .drops
                .iter()
                .map(|((place, reason), packets)| DropCount { place: *place, reason: *reason, packets: *packets })
                .collect(),
            spool_bytes: state.bytes,
        }
    }
}

fn count_drop(state: &mut State, packets: u64) {
    *state.drops.entry((DropPlace::Spool, DropReason::BufferFull)).or_default() += packets;
}

fn gap_of(header: &BatchHeader) -> GapRecord {
    GapRecord {
        name: BatchName { ..header.name.clone() },
        last_seq: header.name.seq,
        place: DropPlace::Spool,
        reason: DropReason::BufferFull,
        first_packet: header.first_packet,
        packets: header.packets.into(),
        captured_bytes: header.captured_bytes,
        time_min: header.time_min,
        time_max: header.time_max,
    }
}

fn extend(gap: &mut GapRecord, next: &GapRecord) {
    gap.last_seq = next.last_seq;
    gap.packets += next.packets;
    gap.captured_bytes += next.captured_bytes;
    gap.time_min = gap.time_min.min(next.time_min);
    gap.time_max = gap.time_max.max(next.time_max);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(seq: u64) -> BatchHeader {
        BatchHeader {
            name: BatchName { source: "s".parse().unwrap(), epoch: Epoch([1; 16]), seq },
            interface_set: 0,
            first_packet: seq * 10,
            packets: 10,
            time_min: Timestamp::from_nanos(seq),
            time_max: Timestamp::from_nanos(seq + 1),
            captured_bytes: 100,
        }
    }

    fn spool(full: WhenFull) -> Spool {
        Spool::new("s".parse().unwrap(), Epoch([1; 16]), 500, full, false)
    }

    fn push(spool: &Spool, seqs: std::ops::Range<u64>) {
        for seq in seqs {
            spool.sealed(10);
            spool.push(batch(seq), 300, vec![0; 100]);
        }
    }

    /// Sends everything that is there; gives (first, last) of each entry.
    fn drain(spool: &Spool) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| {
            let next = spool.next()?;
            assert!(spool.mark_sent(&next.head));
            Some((next.head.seq, next.head.last_seq))
        })
        .collect()
    }

    fn closes(spool: &Spool) {
        let statistics = spool.statistics(Timestamp::ZERO);
        let dropped: u64 = statistics.drops.iter().map(|drop| drop.packets).sum();
        assert_eq!(statistics.captured, statistics.held + statistics.acknowledged + dropped, "{statistics:?}");
    }

    #[test]
    fn a_full_spool_puts_one_gap_in_the_place_of_the_oldest() {
        let spool = spool(WhenFull::Oldest);
        push(&spool, 0..2);
        assert_eq!(drain(&spool), [(0, 0), (1, 1)]);
        push(&spool, 2..12);
        closes(&spool);
        assert_eq!(drain(&spool), [(2, 8), (9, 9), (10, 10), (11, 11)]);
        spool.acknowledge(10);
        closes(&spool);
        assert_eq!(spool.statistics(Timestamp::ZERO).acknowledged, 30);
    }

    #[test]
    fn what_may_have_arrived_is_not_dropped_before_the_collector_says_with_what_it_goes_on() {
        let oldest = spool(WhenFull::Oldest);
        push(&oldest, 0..4);
        assert_eq!(drain(&oldest).len(), 4);
        oldest.hello(Timestamp::ZERO);
        push(&oldest, 4..10);
        oldest.resume(4);
        assert_eq!(drain(&oldest).first(), Some(&(4, 8)), "one batch fits beside the four");
        closes(&oldest);

        let newest = spool(WhenFull::Newest);
        push(&newest, 0..7);
        assert_eq!(drain(&newest).last(), Some(&(5, 6)));
        newest.hello(Timestamp::ZERO);
        push(&newest, 7..9);
        newest.resume(7);
        assert_eq!(drain(&newest), [(7, 8)]);
        closes(&newest);
    }

    #[test]
    fn or_of_the_newest() {
        let spool = spool(WhenFull::Newest);
        push(&spool, 0..9);
        assert_eq!(drain(&spool), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 8)]);
        // The gap is on its way: the next drop is a gap of its own.
        push(&spool, 9..11);
        assert_eq!(drain(&spool), [(9, 10)]);
        closes(&spool);
        spool.acknowledge(11);
        closes(&spool);
        assert!(spool.is_empty());
    }

    #[test]
    fn a_new_connection_goes_on_where_the_collector_says() {
        let spool = spool(WhenFull::Oldest);
        push(&spool, 0..4);
        drain(&spool);
        spool.acknowledge(1);
        assert_eq!(spool.hello(Timestamp::ZERO).oldest_seq, 1);
        spool.resume(3);
        assert_eq!(drain(&spool), [(3, 3)]);
        closes(&spool);
    }
}
