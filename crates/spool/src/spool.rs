//! The spool as capture, compressor and sender see it: a queue of epochs, each a queue of entries, and the probe's side of the balance, all
//! under one lock. Never waits for a disk; the keeper does.

use crate::epoch::{EpochState, cost};
use crate::record::Held;
use packet::batch::{BatchHeader, DropPlace, DropReason, GapRecord};
use packet::{Epoch, Interface, InterfaceSet, SourceName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uplink::{DropCount, EntryHead, Hello, MAJOR, MINOR, Statistics};

/// What a full spool drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// The oldest batches that were not sent yet.
    #[default]
    Oldest,
    /// What comes.
    Newest,
}

/// When batches are written to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// When memory fills up.
    #[default]
    Memory,
    /// All of them, before they are sent.
    Disk,
}

/// How the spool behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that batches may take in memory.
    pub memory: u64,
    /// What is dropped when memory, and the disk where there is one, are full.
    pub full: WhenFull,
    /// Whether who adds waits instead: the reader of a file.
    pub waits: bool,
    /// When the disk is used, if there is one.
    pub mode: Mode,
}

/// The next entry to send.
#[derive(Debug)]
pub struct Next {
    /// Its numbers; the length of a gap record is not in them.
    pub head: EntryHead,
    /// The interface set it refers to; none for a gap record.
    pub set: Option<u32>,
    /// Its compressed bytes; none for a gap record, which is to be made from the record.
    pub frame: Option<Arc<Vec<u8>>>,
    /// The gap record.
    pub gap: Option<GapRecord>,
}

/// How far the epoch that is being sent is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Entries are held, or will come.
    NotYet,
    /// Everything is acknowledged and the run ended in order: say goodbye.
    Complete,
    /// Everything that an older run left is acknowledged, and the run was killed: close without a goodbye.
    Unclean,
}

/// What became of what older runs left on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Older {
    /// Packets that this run handed over for them.
    pub acknowledged: u64,
    /// Packets that still wait.
    pub held: u64,
}

#[derive(Debug)]
pub(crate) struct State {
    /// Older epochs first, then the present one, which is always there.
    pub(crate) epochs: VecDeque<EpochState>,
    /// There is a disk.
    pub(crate) disk: bool,
    /// Everything is to be written to the disk, whatever the mode: the probe ends.
    pub(crate) flush: bool,
    closed: bool,
    /// Packets of older epochs that were left behind complete.
    older_acknowledged: u64,
}

impl State {
    /// The epoch that is being sent.
    pub(crate) fn head(&mut self) -> &mut EpochState {
        if self.epochs.is_empty() {
            // Never: the present epoch stays.
            self.epochs.push_back(EpochState::new(Epoch([0; 16])));
        }
        &mut self.epochs[0]
    }

    /// The present epoch.
    pub(crate) fn present(&mut self) -> &mut EpochState {
        let last = self.epochs.len().saturating_sub(1);
        if last == 0 { self.head() } else { &mut self.epochs[last] }
    }

    /// An epoch by the keeper's key.
    pub(crate) fn epoch(&mut self, key: u64) -> Option<&mut EpochState> {
        self.epochs.iter_mut().find(|state| state.key == key)
    }
}

/// The spool, shared by capture, compressor, sender and keeper.
#[derive(Debug)]
pub struct Spool {
    source: SourceName,
    epoch: Epoch,
    pub(crate) limits: Limits,
    state: Mutex<State>,
    /// Somebody waits for room in memory.
    room: Condvar,
    /// The keeper waits for work.
    pub(crate) work: Condvar,
}

impl Spool {
    /// An empty spool without a disk.
    pub fn new(source: SourceName, epoch: Epoch, limits: Limits) -> Self {
        let epochs = VecDeque::from([EpochState::new(epoch)]);
        let state = Mutex::new(State { epochs, disk: false, flush: false, closed: false, older_acknowledged: 0 });
        Self { source, epoch, limits, state, room: Condvar::new(), work: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The source.
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// The present epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Adds an interface set to the present epoch; its number is its place.
    pub fn add_set(&self, interfaces: Vec<Interface>) -> u32 {
        let mut state = self.lock();
        let sets = &mut state.present().sets;
        let number = sets.len() as u32;
        sets.push(InterfaceSet { number, interfaces });
        number
    }

    /// Counts packets whose batch was closed and goes to the compressor.
    pub fn sealed(&self, packets: u32) {
        let mut state = self.lock();
        let present = state.present();
        present.captured += u64::from(packets);
        present.queued += u64::from(packets);
    }

    /// Notes the kernel's counters of an interface: received, dropped, dropped by the interface.
    pub fn kernel(&self, interface: &str, received: u64, dropped: u64, dropped_by_interface: u64) {
        let mut state = self.lock();
        let counts = [received, dropped, dropped_by_interface];
        match state.present().kernel.get_mut(interface) {
            Some(known) => *known = counts,
            None => {
                state.present().kernel.insert(interface.to_owned(), counts);
            }
        }
    }

    /// Takes a compressed batch, whose bytes other spools may share. The bound on memory holds before and after.
    pub fn push(&self, header: BatchHeader, raw_length: usize, frame: impl Into<Arc<Vec<u8>>>) {
        let packets = u64::from(header.packets);
        let entry = Held::Batch { header, raw_length: raw_length as u32, frame: frame.into() };
        let (wanted, limit) = (cost(&entry), self.limits.memory);
        let mut state = self.lock();
        while self.limits.waits && !state.closed {
            let present = state.present();
            present.evict(wanted, limit);
            if present.memory_cost + wanted <= limit || present.memory.is_empty() {
                break;
            }
            let (guard, _) =
                self.room.wait_timeout(state, Duration::from_millis(200)).unwrap_or_else(PoisonError::into_inner);
            state = guard;
        }
        let disk = state.disk;
        let present = state.present();
        present.queued -= packets;
        present.evict(wanted, limit);
        if !self.limits.waits && present.memory_cost + wanted > limit {
            let reason = if present.failing { DropReason::Disk } else { DropReason::BufferFull };
            if self.limits.full == WhenFull::Oldest {
                present.drop_oldest(wanted, limit, reason);
            }
            // What may have arrived already cannot make room.
            if present.memory_cost + wanted > limit {
                if let Held::Batch { header, .. } = &entry {
                    present.drop_newest(header, reason);
                }
                return;
            }
        }
        present.add(entry);
        if disk && (present.writing || present.memory_cost > limit / 2) {
            self.work.notify_one();
        }
    }

    /// The hello of a new connection, for the epoch that is to be sent first.
    pub fn hello(&self, clock: Timestamp) -> Hello {
        let mut state = self.lock();
        let head = state.head();
        head.disconnect();
        Hello {
            major: MAJOR,
            minor: MINOR,
            source: self.source.clone(),
            epoch: head.epoch,
            oldest_seq: head.held_from,
            next_seq: head.next_seq,
            clock,
            sets: head.sets.clone(),
        }
    }

    /// An interface set of the epoch that is being sent.
    pub fn set(&self, number: u32) -> Option<InterfaceSet> {
        self.lock().head().sets.get(number as usize).cloned()
    }

    /// The oldest sequence number that is held of the epoch that is being sent: what lies before is durable at a collector.
    pub fn held_from(&self) -> u64 {
        self.lock().head().held_from
    }

    /// Packets that were acknowledged of the epoch that is being sent.
    pub fn acknowledged(&self) -> u64 {
        self.lock().head().acknowledged
    }

    /// The collector goes on with `next_seq`: what lies before was received.
    pub fn resume(&self, next_seq: u64) {
        self.lock().head().resume(next_seq);
        self.work.notify_one();
    }

    /// The next entry to send, if there is one that may be sent now: the keeper wakes the sender when there is more.
    pub fn next(&self) -> Option<Next> {
        let mut state = self.lock();
        let head = state.head();
        let before = head.held_from;
        let next = head.next().map(|held| {
            let head = |raw_length| EntryHead { seq: held.seq(), last_seq: held.last_seq(), raw_length };
            match held {
                Held::Batch { header, raw_length, frame } => Next {
                    head: head(*raw_length),
                    set: Some(header.interface_set),
                    frame: Some(frame.clone()),
                    gap: None,
                },
                Held::Gap(gap) => Next { head: head(0), set: None, frame: None, gap: Some(gap.clone()) },
            }
        });
        if head.held_from != before || (next.is_none() && head.wanted().is_some()) {
            self.work.notify_one();
        }
        next
    }

    /// The entry with this head, as [`Spool::next`] gave it, is sent. False if it has changed since (a batch may have become a gap
    /// record): then it is not to be sent.
    pub fn mark_sent(&self, sent: &EntryHead) -> bool {
        let mut state = self.lock();
        let head = state.head();
        let same = head.next().is_some_and(|held| {
            let raw_length = if let Held::Batch { raw_length, .. } = held { *raw_length } else { 0 };
            (held.seq(), held.last_seq(), raw_length) == (sent.seq, sent.last_seq, sent.raw_length)
        });
        if same {
            head.fly();
        }
        same
    }

    /// Everything before `durable_seq` is durable at the collector: it is forgotten here.
    pub fn acknowledge(&self, durable_seq: u64) {
        let mut state = self.lock();
        state.head().acknowledge(durable_seq);
        let disk = state.disk;
        drop(state);
        self.room.notify_all();
        if disk {
            self.work.notify_one();
        }
    }

    /// How far the epoch that is being sent is from its end.
    pub fn ending(&self) -> Ending {
        let mut state = self.lock();
        let closed = state.closed;
        let head = state.head();
        match (head.is_empty(), head.old) {
            (true, true) if head.ended => Ending::Complete,
            (true, true) => Ending::Unclean,
            (true, false) if closed => Ending::Complete,
            _ => Ending::NotYet,
        }
    }

    /// The epoch that was sent is at its end, and the collector knows: goes on with the next. False if it was the present one.
    pub fn leave(&self) -> bool {
        let mut state = self.lock();
        if !state.head().old || !state.head().is_empty() {
            return false;
        }
        if let Some(left) = state.epochs.pop_front() {
            state.older_acknowledged += left.acknowledged - left.acknowledged_before;
        }
        drop(state);
        self.work.notify_one();
        true
    }

    /// Nothing more will be added: nobody waits for room any longer.
    pub fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
    }

    /// Whether everything is acknowledged, of older epochs too.
    pub fn is_empty(&self) -> bool {
        self.lock().epochs.iter().all(EpochState::is_empty)
    }

    /// What became of what older runs left.
    pub fn older(&self) -> Older {
        let state = self.lock();
        state.epochs.iter().filter(|epoch| epoch.old).fold(
            Older { acknowledged: state.older_acknowledged, held: 0 },
            |sum, epoch| Older {
                acknowledged: sum.acknowledged + epoch.acknowledged - epoch.acknowledged_before,
                held: sum.held + epoch.spooled,
            },
        )
    }

    /// The balance of the epoch that is being sent, at one instant; none while that is not known: see
    /// `docs/formats/spool.md`.
    pub fn statement(&self, time: Timestamp) -> Option<Statistics> {
        let mut state = self.lock();
        let bytes = state.epochs.iter().map(|epoch| epoch.spooled_bytes).sum();
        let head = state.head();
        head.is_certain().then(|| statistics(head, bytes, time))
    }

    /// The balance of the present epoch, at one instant.
    pub fn statistics(&self, time: Timestamp) -> Statistics {
        let mut state = self.lock();
        let bytes = state.epochs.iter().map(|epoch| epoch.spooled_bytes).sum();
        statistics(state.present(), bytes, time)
    }
}

fn statistics(epoch: &EpochState, spool_bytes: u64, time: Timestamp) -> Statistics {
    let kernel = |at: usize| epoch.kernel.values().filter_map(|counts| counts.get(at)).sum();
    let drop = |(reason, packets): (&DropReason, &u64)| DropCount {
        place: DropPlace::Spool,
        reason: *reason,
        packets: *packets,
    };
    Statistics {
        time,
        captured: epoch.captured,
        acknowledged: epoch.acknowledged,
        acknowledged_seq: epoch.held_from,
        held: epoch.queued + epoch.spooled,
        received_by_kernel: kernel(0),
        dropped_by_kernel: kernel(1),
        dropped_by_interface: kernel(2),
        drops: epoch.drops.iter().map(drop).collect(),
        spool_bytes,
    }
}
