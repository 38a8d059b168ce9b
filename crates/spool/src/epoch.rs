//! One epoch as the spool has it in memory: the newest entries, what was read back from the disk, what is on its way, and the counts.
//! Touches no file.

use crate::record::{Drops, Held};
use packet::batch::{BatchHeader, DropPlace, DropReason, GapRecord};
use packet::{Epoch, InterfaceSet};
use std::collections::{BTreeMap, VecDeque};

/// Key of the present epoch.
pub(crate) const PRESENT: u64 = u64::MAX;

/// Bytes that an entry takes in memory beside its frame.
const OVERHEAD: u64 = 256;

/// What an entry in memory takes of the bound.
pub(crate) fn cost(held: &Held) -> u64 {
    held.bytes() + OVERHEAD
}

/// An entry that was sent and is not acknowledged.
#[derive(Debug, Clone, Copy)]
struct Flight {
    last_seq: u64,
    packets: u64,
    bytes: u64,
}

/// One run of the probe: the present one, or an older one whose entries were found on the disk.
///
/// In order of sequence numbers: `held_from` .. `flown_seq` was sent (or is known to have arrived) and not acknowledged; what follows lies
/// on the disk before `synced_seq`, and in memory from the first entry there, which is never later than `synced_seq`.
#[derive(Debug)]
pub(crate) struct EpochState {
    /// By what the keeper knows it: the number of its folder, or [`PRESENT`].
    pub(crate) key: u64,
    pub(crate) epoch: Epoch,
    /// An older run: nothing is added.
    pub(crate) old: bool,
    /// The older run ended in order.
    pub(crate) ended: bool,
    pub(crate) sets: Vec<InterfaceSet>,

    /// The sequence number that comes next.
    pub(crate) next_seq: u64,
    /// Everything before was acknowledged.
    pub(crate) held_from: u64,
    /// The next to send.
    pub(crate) flown_seq: u64,
    /// Everything before may have been sent on some connection, of this or an earlier run: it is never dropped or changed.
    pub(crate) settled_seq: u64,
    /// What the collector has said to be received on this connection, and what to be durable.
    pub(crate) received_seq: u64,
    pub(crate) durable_seq: u64,
    /// Whether a connection is past its welcome.
    pub(crate) connected: bool,
    flights: VecDeque<Flight>,
    /// Read back from the disk for sending, from `flown_seq` on.
    ahead: VecDeque<Held>,
    pub(crate) ahead_bytes: u64,
    /// The newest entries.
    pub(crate) memory: VecDeque<Held>,
    pub(crate) memory_cost: u64,

    /// Whether new entries are written to the disk, and whether the disk takes them.
    pub(crate) writing: bool,
    pub(crate) failing: bool,
    /// Whether what is not written may be sent nevertheless: the disk does not take it.
    pub(crate) bypass: bool,
    /// Everything before is written to the disk; before `synced_seq` so that it survives a loss of power.
    pub(crate) written_seq: u64,
    pub(crate) synced_seq: u64,
    /// Everything before has been given to the one who writes: it does not change any more.
    pub(crate) taken_seq: u64,
    /// What on the disk may be sent: the disk knows that it may have been.
    pub(crate) lease_seq: u64,
    /// Entries that are just being dropped from the disk, first and last.
    pub(crate) barrier: Option<(u64, u64)>,

    pub(crate) captured: u64,
    pub(crate) queued: u64,
    /// Packets and bytes of batches that are held, in memory or on the disk, each once.
    pub(crate) spooled: u64,
    pub(crate) spooled_bytes: u64,
    /// What cannot be read back may have arrived before: how many packets were lost is not known.
    pub(crate) uncertain: bool,
    pub(crate) acknowledged: u64,
    /// Of these, those that earlier runs handed over.
    pub(crate) acknowledged_before: u64,
    pub(crate) drops: Drops,
    /// Of each interface: received, dropped, dropped by the interface. An older run's are under one name.
    pub(crate) kernel: BTreeMap<String, [u64; 3]>,
}

impl EpochState {
    /// An epoch that begins.
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            key: PRESENT,
            epoch,
            old: false,
            ended: false,
            sets: Vec::new(),
            next_seq: 0,
            held_from: 0,
            flown_seq: 0,
            settled_seq: 0,
            received_seq: 0,
            durable_seq: 0,
            connected: false,
            flights: VecDeque::new(),
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            memory: VecDeque::new(),
            memory_cost: 0,
            writing: false,
            failing: false,
            bypass: false,
            written_seq: 0,
            synced_seq: 0,
            taken_seq: 0,
            lease_seq: 0,
            barrier: None,
            captured: 0,
            queued: 0,
            spooled: 0,
            spooled_bytes: 0,
            uncertain: false,
            acknowledged: 0,
            acknowledged_before: 0,
            drops: Drops::new(),
            kernel: BTreeMap::new(),
        }
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.held_from == self.next_seq && self.queued == 0
    }

    /// The first sequence number that is in memory.
    pub(crate) fn memory_from(&self) -> u64 {
        self.memory.front().map_or(self.next_seq, Held::seq)
    }

    /// The next sequence number that has to be read from the disk for sending, if one has to.
    pub(crate) fn wanted(&self) -> Option<u64> {
        let next = self.ahead.back().map_or(self.flown_seq, |held| held.last_seq() + 1);
        (self.connected && next < self.memory_from() && next < self.written_seq).then_some(next)
    }

    /// Everything before was sent, may have been, or is what is sent next.
    pub(crate) fn reached_seq(&self) -> u64 {
        self.settled_seq.max(self.front().map_or(self.flown_seq, |held| held.last_seq() + 1))
    }

    /// Everything before cannot be changed in memory.
    fn fixed_seq(&self) -> u64 {
        self.settled_seq.max(self.taken_seq)
    }

    /// Everything before cannot be dropped from the disk.
    pub(crate) fn undroppable_seq(&self) -> u64 {
        let read = self.ahead.back().map_or(0, |held| held.last_seq() + 1);
        self.settled_seq.max(self.flown_seq).max(read)
    }

    /// Adds an entry.
    pub(crate) fn add(&mut self, held: Held) {
        self.next_seq = held.last_seq() + 1;
        self.spooled += held.packets();
        self.spooled_bytes += held.bytes();
        self.memory_cost += cost(&held);
        self.memory.push_back(held);
    }

    /// The disk has entries before `end` only, and those for good: what follows is written again.
    pub(crate) fn rewound(&mut self, end: u64) {
        (self.written_seq, self.synced_seq, self.taken_seq) = (end, end, end);
    }

    /// Forgets in memory what is on the disk, until `wanted` more fits below `limit`.
    pub(crate) fn evict(&mut self, wanted: u64, limit: u64) {
        while self.memory_cost + wanted > limit
            && self.memory.front().is_some_and(|held| held.last_seq() < self.synced_seq)
        {
            self.pop_memory();
        }
    }

    fn pop_memory(&mut self) {
        if let Some(held) = self.memory.pop_front() {
            self.memory_cost -= cost(&held);
        }
    }

    /// Puts a gap record in the place of what comes.
    pub(crate) fn drop_newest(&mut self, header: &BatchHeader, reason: DropReason) {
        self.next_seq = header.name.seq + 1;
        self.count_drop(reason, header.packets.into());
        let gap = gap_of(header, reason);
        let fixed = self.fixed_seq();
        // A gap that is not fixed yet grows; one that is on its way, or on the disk, is as it is.
        match self.memory.back_mut() {
            Some(Held::Gap(last)) if last.name.seq >= fixed && last.reason == reason => extend(last, &gap),
            _ => {
                self.memory_cost += OVERHEAD;
                self.memory.push_back(Held::Gap(gap));
            }
        }
    }

    /// Puts gap records in the place of the oldest batches in memory that may be changed, until `wanted` more fits below `limit`.
    pub(crate) fn drop_oldest(&mut self, wanted: u64, limit: u64, reason: DropReason) {
        let fixed = self.fixed_seq();
        let first = self.memory.partition_point(|held| held.seq() < fixed);
        let mut at = first;
        while self.memory_cost + wanted > limit && at < self.memory.len() {
            let Some(held @ Held::Batch { header, .. }) = self.memory.get(at) else {
                at += 1;
                continue;
            };
            let (gap, bytes, packets, freed) = (gap_of(header, reason), held.bytes(), held.packets(), cost(held));
            self.memory_cost -= freed;
            self.spooled_bytes -= bytes;
            self.spooled -= packets;
            self.count_drop(reason, packets);
            let before = at.checked_sub(1).filter(|before| *before >= first);
            match before.and_then(|before| self.memory.get_mut(before)) {
                Some(Held::Gap(last)) if last.reason == reason => {
                    extend(last, &gap);
                    self.memory.remove(at);
                }
                _ => {
                    self.memory_cost += OVERHEAD;
                    if let Some(place) = self.memory.get_mut(at) {
                        *place = Held::Gap(gap);
                    }
                    at += 1;
                }
            }
        }
    }

    fn count_drop(&mut self, reason: DropReason, packets: u64) {
        *self.drops.entry(reason).or_default() += packets;
    }

    /// A gap record has taken the place of `packets` packets in batches of `bytes` on the disk, and of the gap records `gaps`.
    pub(crate) fn dropped_from_disk(&mut self, reason: DropReason, packets: u64, bytes: u64, gaps: &Drops) {
        self.spooled -= packets;
        self.spooled_bytes -= bytes;
        self.count_drop(reason, packets);
        for (other, packets) in gaps {
            if let Some(count) = self.drops.get_mut(other) {
                *count -= packets;
            }
            self.count_drop(reason, *packets);
        }
        self.drops.retain(|_, packets| *packets > 0);
    }

    /// Forgets what is in memory up to `last_seq`: the disk has it, or a gap record in its place.
    pub(crate) fn forget_memory(&mut self, last_seq: u64) {
        while self.memory.front().is_some_and(|held| held.last_seq() <= last_seq) {
            self.pop_memory();
        }
    }

    /// Takes an entry that was read back.
    pub(crate) fn read_ahead(&mut self, held: Held) {
        self.ahead_bytes += cost(&held);
        self.ahead.push_back(held);
    }

    /// A connection begins: until the collector has said where it goes on, nothing is sent.
    pub(crate) fn disconnect(&mut self) {
        self.connected = false;
        self.ahead.clear();
        self.ahead_bytes = 0;
    }

    /// The collector goes on with `next_seq`: what lies before was received, what was sent behind it was not.
    pub(crate) fn resume(&mut self, next_seq: u64) {
        self.disconnect();
        while self.flights.back().is_some_and(|flight| flight.last_seq >= next_seq) {
            self.flights.pop_back();
        }
        self.flown_seq = self.flights.back().map_or(self.held_from, |flight| flight.last_seq + 1);
        self.received_seq = next_seq;
        self.settled_seq = next_seq;
        self.connected = true;
    }

    /// Whether the counts are known: not if the collector has entries that were not found on the disk (a run lost them with the power), not if
    /// what was lost there may have arrived, and not while what arrived has still to be read and counted.
    pub(crate) fn is_certain(&self) -> bool {
        let overtaken = self.old && self.received_seq > self.next_seq;
        let counting = self.flown_seq < self.received_seq.min(self.next_seq)
            || self.held_from < self.durable_seq.min(self.next_seq);
        !overtaken && !counting && !self.uncertain
    }

    /// The next entry to send, if it may be sent now.
    pub(crate) fn next(&mut self) -> Option<&Held> {
        // What the collector has received already is only counted.
        while self.front().is_some_and(|held| held.last_seq() < self.received_seq) {
            let lost =
                self.front().is_some_and(|held| matches!(held, Held::Gap(gap) if gap.reason == DropReason::Corrupt));
            self.uncertain |= lost;
            self.fly();
        }
        self.trim();
        let held = self.front()?;
        let (seq, last_seq) = (held.seq(), held.last_seq());
        if self.barrier.is_some_and(|(first, last)| first <= last_seq && seq <= last) {
            return None;
        }
        let may = if last_seq < self.written_seq { last_seq < self.lease_seq } else { !self.writing || self.bypass };
        if may { self.front() } else { None }
    }

    /// A gap record may stand for what could not be read back and of which the collector has a part: it goes on behind that. How many of its
    /// packets arrived is not known: it says too many rather than too few.
    fn trim(&mut self) {
        let (flown_seq, received_seq) = (self.flown_seq, self.received_seq);
        if let Some(Held::Gap(gap)) = self.ahead.front_mut()
            && gap.name.seq == flown_seq
            && gap.name.seq < received_seq
        {
            self.uncertain = true;
            gap.name.seq = received_seq;
            self.flown_seq = received_seq;
        }
    }

    fn front(&self) -> Option<&Held> {
        if self.flown_seq >= self.memory_from() {
            let at = self.memory.partition_point(|held| held.last_seq() < self.flown_seq);
            self.memory.get(at)
        } else {
            self.ahead.front().filter(|held| held.seq() == self.flown_seq)
        }
    }

    /// The next entry is on its way.
    pub(crate) fn fly(&mut self) {
        let Some(held) = self.front() else { return };
        let flight = Flight { last_seq: held.last_seq(), packets: held.packets(), bytes: held.bytes() };
        self.flown_seq = flight.last_seq + 1;
        self.settled_seq = self.settled_seq.max(self.flown_seq);
        while let Some(read) = self.ahead.front().filter(|read| read.last_seq() < self.flown_seq) {
            self.ahead_bytes -= cost(read);
            self.ahead.pop_front();
        }
        self.flights.push_back(flight);
        self.acknowledge(self.durable_seq);
    }

    /// Everything before `durable_seq` is durable.
    pub(crate) fn acknowledge(&mut self, durable_seq: u64) {
        self.durable_seq = self.durable_seq.max(durable_seq);
        while let Some(flight) = self.flights.front().copied().filter(|flight| flight.last_seq < self.durable_seq) {
            self.flights.pop_front();
            self.acknowledged += flight.packets;
            self.spooled -= flight.packets;
            self.spooled_bytes -= flight.bytes;
            self.held_from = flight.last_seq + 1;
        }
        while self.memory.front().is_some_and(|held| held.last_seq() < self.held_from) {
            self.pop_memory();
        }
    }

    /// Entries to be written, from `written_seq` on, at most about `bytes` of them.
    pub(crate) fn take(&mut self, bytes: u64) -> Vec<Held> {
        let at = self.memory.partition_point(|held| held.seq() < self.written_seq);
        let mut taken: Vec<Held> = Vec::new();
        let mut left = bytes;
        for held in self.memory.iter().skip(at) {
            if !taken.is_empty() && cost(held) > left {
                break;
            }
            left = left.saturating_sub(cost(held));
            self.taken_seq = held.last_seq() + 1;
            taken.push(held.clone());
        }
        taken
    }
}

/// The gap record that would take the place of an entry.
pub(crate) fn in_place_of(held: &Held, reason: DropReason) -> GapRecord {
    match held {
        Held::Batch { header, .. } => gap_of(header, reason),
        Held::Gap(gap) => GapRecord { place: DropPlace::Spool, reason, ..gap.clone() },
    }
}

fn gap_of(header: &BatchHeader, reason: DropReason) -> GapRecord {
    GapRecord {
        name: header.name.clone(),
        last_seq: header.name.seq,
        place: DropPlace::Spool,
        reason,
        first_packet: header.first_packet,
        packets: header.packets.into(),
        captured_bytes: header.captured_bytes,
        time_min: header.time_min,
        time_max: header.time_max,
    }
}

/// Lets a gap record stand for what follows it too.
pub(crate) fn extend(gap: &mut GapRecord, next: &GapRecord) {
    let (packets, min, max) = (gap.packets, gap.time_min, gap.time_max);
    gap.last_seq = next.last_seq;
    gap.packets += next.packets;
    gap.captured_bytes += next.captured_bytes;
    // Batches without packets have no times.
    gap.time_min = if packets == 0 {
        next.time_min
    } else if next.packets == 0 {
        min
    } else {
        min.min(next.time_min)
    };
    gap.time_max = max.max(next.time_max);
}
