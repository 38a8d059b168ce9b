//! The probe's spool: what it holds until that is acknowledged.

use crate::Wrong;
use crate::random::Random;
use std::collections::VecDeque;

/// A batch, or a gap record that took the place of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    pub last_seq: u64,
    /// The interface set it refers to.
    pub set: u32,
    pub bytes: Vec<u8>,
}

impl Entry {
    fn new(seq: u64, last_seq: u64, set: u32, random: &mut Random) -> Self {
        let longest = random.one_of(&[20, 300, 300, 300, 9000]);
        let bytes = (0..random.between(1, longest)).map(|_| random.next() as u8).collect();
        Self { seq, last_seq, set, bytes }
    }
}

#[derive(Debug)]
pub struct Spool {
    /// Whether it outlives a crash.
    pub lasting: bool,
    /// Stands for the 128 random bits.
    pub epoch: u64,
    pub entries: VecDeque<Entry>,
    /// How many of them were sent on the present connection.
    pub sent: usize,
    pub next_seq: u64,
    /// Everything before was sent on some connection, so its entries keep their numbers.
    pub settled_seq: u64,
    pub acknowledged_seq: u64,
    pub sets: u32,
    /// Acknowledged, and not yet deleted: a lasting spool holds them again after a crash.
    undeleted: VecDeque<Entry>,
}

impl Spool {
    pub fn new(lasting: bool) -> Self {
        Self {
            lasting,
            epoch: 1,
            entries: VecDeque::new(),
            sent: 0,
            next_seq: 0,
            settled_seq: 0,
            acknowledged_seq: 0,
            sets: 1,
            undeleted: VecDeque::new(),
        }
    }

    /// Another batch; or a run of batches that was dropped at once, as a gap record.
    pub fn push(&mut self, random: &mut Random) {
        if random.once_in(20) {
            self.sets += 1;
        }
        let covered = if random.once_in(6) { random.between(1, 50) } else { 1 };
        let set = random.between(0, u64::from(self.sets) - 1) as u32;
        self.entries.push_back(Entry::new(self.next_seq, self.next_seq + covered - 1, set, random));
        self.next_seq += covered;
    }

    /// Drops neighbours that were never sent; a gap record takes their place.
    pub fn drop_some(&mut self, wrong: Wrong, random: &mut Random) {
        let droppable = |entry: &Entry| match wrong {
            Wrong::DropsWhatWasSent => true,
            _ => entry.seq >= self.settled_seq,
        };
        let first = self.entries.iter().enumerate().position(|(at, entry)| at >= self.sent && droppable(entry));
        let Some(first) = first.map(|first| random.between(first as u64, self.entries.len() as u64 - 1) as usize)
        else {
            return;
        };
        let last = random.between(first as u64, self.entries.len() as u64 - 1) as usize;
        let dropped: Vec<Entry> = self.entries.drain(first..=last).collect();
        let gap = Entry::new(dropped[0].seq, dropped[dropped.len() - 1].last_seq, dropped[0].set, random);
        self.entries.insert(first, gap);
    }

    pub fn oldest_seq(&self) -> u64 {
        self.entries.front().map_or(self.next_seq, |entry| entry.seq)
    }

    /// The collector goes on with `next_seq`.
    pub fn resume(&mut self, next_seq: u64) {
        self.sent = self.entries.iter().take_while(|entry| entry.last_seq < next_seq).count();
    }

    /// Everything before `durable_seq` may be forgotten.
    pub fn acknowledge(&mut self, durable_seq: u64, random: &mut Random) {
        while self.entries.front().is_some_and(|entry| entry.last_seq < durable_seq) {
            self.undeleted.extend(self.entries.pop_front());
            self.sent = self.sent.saturating_sub(1);
        }
        self.acknowledged_seq = self.acknowledged_seq.max(durable_seq);
        if random.once_in(4) {
            self.undeleted.clear();
        }
    }

    /// The probe crashes and starts again: without what it held and as a new epoch, or with it, from the oldest on.
    pub fn crash(&mut self) {
        self.sent = 0;
        if self.lasting {
            let mut entries = std::mem::take(&mut self.undeleted);
            entries.append(&mut self.entries);
            self.entries = entries;
            // What was sent is not noted on the disk: any of it may have been.
            self.settled_seq = self.next_seq;
            self.acknowledged_seq = self.oldest_seq();
        } else {
            *self = Self { epoch: self.epoch + 1, ..Self::new(false) };
        }
    }
}
