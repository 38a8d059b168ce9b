//! The one owner of the disk: writes what memory hands over, reads back what is to be sent, makes room, removes what was acknowledged, and
//! recovers what earlier runs left. Works in steps, so that a test can stand between them; the lock of the spool is never held meanwhile.

use crate::account::Account;
use crate::disk::Disk;
use crate::epoch::{EpochState, PRESENT};
use crate::log::{Log, ReadError, read_folder_name};
use crate::record::{Drops, Held};
use crate::spool::{Mode, Spool, State, WhenFull};
use packet::batch::DropReason;
use packet::{Epoch, InterfaceSet};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes that are read back or written in one step.
const STEP_BYTES: u64 = if cfg!(test) { 4 << 10 } else { 1 << 20 };
/// Bytes that may be read back before they are sent.
const AHEAD_BYTES: u64 = if cfg!(test) { 8 << 10 } else { 2 << 20 };
/// How many entries beyond those that were sent may be sent before the disk is told again.
const LEASE: u64 = 256;
/// Times that reading an entry back is tried.
const READ_ATTEMPTS: u32 = if cfg!(test) { 3 } else { 20 };
/// First and longest wait before a failing disk is tried again, in nanoseconds.
const RETRY_NANOS: (u64, u64) = (500_000_000, 10_000_000_000);
/// The shortest and longest segment, in bytes.
const SEGMENT_BYTES: (u64, u64) = (64 << 10, 16 << 20);

/// How much disk the spool takes, and how long what is written may be lost with the power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of all files with entries.
    pub disk: u64,
    /// The longest time from writing to syncing, in nanoseconds; 0 syncs after each step.
    pub sync_nanos: u64,
}

impl Bounds {
    fn segment_bytes(&self) -> u64 {
        (self.disk / 16).clamp(SEGMENT_BYTES.0.min(self.disk / 4 + 1), SEGMENT_BYTES.1)
    }
}

/// The owner of the disk.
pub struct Keeper {
    spool: Arc<Spool>,
    disk: Box<dyn Disk>,
    bounds: Bounds,
    /// Older epochs first; the present one is last, once something of it was written.
    logs: VecDeque<Log>,
    /// Folders that could not be removed yet.
    doomed: Vec<Log>,
    next_number: u64,
    report: Box<dyn FnMut(&str) + Send>,
    buffer: Vec<u8>,
    synced_nanos: u64,
    /// The disk is failing: when it is tried again, and how long is waited after the next failure.
    retry: Option<(u64, u64)>,
    read_attempts: u32,
    /// When reading is tried again.
    read_again: u64,
    full: bool,
}

/// What writing came to.
enum Written {
    /// Everything before this sequence number.
    Before(u64),
    /// The disk's share is full, and nothing on it may be dropped.
    Full(u64),
}

impl Keeper {
    /// Recovers what earlier runs left, puts it before the present epoch, and gives the spool its disk. `report` is told what an operator
    /// should know.
    ///
    /// # Errors
    /// The directory itself cannot be read. Nothing in it is an error: what cannot be understood is reported and left alone.
    pub fn open(
        spool: Arc<Spool>,
        mut disk: Box<dyn Disk>,
        bounds: Bounds,
        mut report: Box<dyn FnMut(&str) + Send>,
    ) -> io::Result<Self> {
        let mut numbers = Vec::new();
        for item in disk.list("")? {
            match read_folder_name(&item.name).filter(|_| item.folder) {
                Some(named) => numbers.push(named),
                None if item.name == "lock" => {}
                None => report(&format!("{} is nothing of the spool and is left alone", item.name)),
            }
        }
        numbers.sort_unstable_by_key(|(number, _)| *number);
        let next_number = numbers.last().map_or(1, |(number, _)| number + 1);
        let mut keeper = Self {
            spool,
            disk,
            bounds,
            logs: VecDeque::new(),
            doomed: Vec::new(),
            next_number,
            report,
            buffer: Vec::new(),
            synced_nanos: 0,
            retry: None,
            read_attempts: 0,
            read_again: 0,
            full: false,
        };
        for (number, epoch) in numbers {
            keeper.recover(number, epoch);
        }
        keeper.spool.lock().disk = true;
        Ok(keeper)
    }

    fn recover(&mut self, number: u64, epoch: Epoch) {
        let (log, found) = match Log::recover(&mut *self.disk, number, self.spool.source(), epoch) {
            Ok(recovered) => recovered,
            Err(error) => {
                (self.report)(&format!(
                    "what the run {epoch} left cannot be read ({error}): it is left alone, the next start tries again"
                ));
                return;
            }
        };
        for remark in &found.remarks {
            (self.report)(remark);
        }
        let Some(state) = recovered(&log, found.sets) else {
            self.doomed.push(log);
            return;
        };
        (self.report)(&format!(
            "{} packets of the run {epoch}, which {}, are still to be delivered",
            state.spooled,
            if state.ended { "ended in order" } else { "was killed" }
        ));
        self.logs.push_back(log);
        let mut shared = self.spool.lock();
        let present = shared.epochs.len().saturating_sub(1);
        shared.epochs.insert(present, state);
    }

    /// Works until `stop`; `wake` is called when there is something new to send. Then everything that is not acknowledged is written, and the end
    /// noted.
    pub fn run(mut self, stop: &AtomicBool, mut wake: impl FnMut()) {
        let begin = Instant::now();
        let now = || u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        while !stop.load(Ordering::Relaxed) {
            if self.step(now(), &mut wake) {
                continue;
            }
            let spool = Arc::clone(&self.spool);
            let mut state = spool.lock();
            if stop.load(Ordering::Relaxed) || self.has_work(&mut state, now()) {
                continue;
            }
            let patience = Duration::from_millis(if self.logs.is_empty() { 500 } else { 50 });
            drop(spool.work.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner));
        }
        self.finish(now());
    }

    /// Does a bounded piece of each kind of work that there is; whether there was any.
    pub fn step(&mut self, now_nanos: u64, wake: &mut dyn FnMut()) -> bool {
        let waiting = self.retry.is_some_and(|(at, _)| now_nanos < at);
        let tidied = !waiting && self.tidy(now_nanos);
        let leased = self.lease();
        let read = now_nanos >= self.read_again && self.read_ahead(now_nanos);
        if leased || read {
            wake();
        }
        if waiting {
            return read;
        }
        let written = self.write(now_nanos);
        if written {
            wake();
        }
        self.sync(now_nanos, false);
        tidied || read || written
    }

    /// The probe ends: writes everything that is not acknowledged and says that nothing is missing, or removes what is no longer needed.
    pub fn finish(&mut self, now_nanos: u64) {
        let spool = Arc::clone(&self.spool);
        let empty = {
            let mut state = spool.lock();
            state.flush = true;
            state.present().disconnect();
            state.present().is_empty()
        };
        self.retry = None;
        while self.write(now_nanos) {}
        self.sync(now_nanos, true);
        self.tidy(now_nanos);
        let mut state = spool.lock();
        let present = state.present();
        let complete = present.written_seq == present.next_seq && present.queued == 0;
        let kernel = kernel(present);
        drop(state);
        let Some(log) = self.logs.iter_mut().find(|log| log.key == PRESENT) else {
            if !empty {
                (self.report)("what was not acknowledged could not be written and is lost");
            }
            return;
        };
        let outcome = if empty {
            log.destroy(&mut *self.disk)
        } else {
            (log.account.ended, log.account.kernel) = (complete, kernel);
            log.save_account(&mut *self.disk, true)
        };
        if let Err(error) = outcome {
            (self.report)(&format!("the end of this run could not be noted: {error}"));
        }
    }

    /// Epochs of which what a failing disk was left with may differ from what was sent.
    #[cfg(test)]
    pub(crate) fn doubtful(&self) -> Vec<Epoch> {
        self.logs.iter().filter(|log| log.is_doubtful()).map(|log| log.epoch).collect()
    }

    /// Whether the end of this run was noted as one in order.
    #[cfg(test)]
    pub(crate) fn has_ended(&self) -> bool {
        self.logs.iter().any(|log| log.key == PRESENT && log.account.ended)
    }

    #[cfg(test)]
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    fn log(&mut self, key: u64) -> Option<&mut Log> {
        self.logs.iter_mut().find(|log| log.key == key)
    }

    fn used(&self) -> u64 {
        self.logs.iter().chain(&self.doomed).map(Log::length).sum()
    }

    /// Removes what was acknowledged.
    fn tidy(&mut self, now_nanos: u64) -> bool {
        let mut worked = false;
        let mut failed = None;
        for at in (0..self.logs.len()).rev() {
            let Some(log) = self.logs.get_mut(at) else { continue };
            let mut state = self.spool.lock();
            let over = match state.epoch(log.key) {
                None => true,
                Some(epoch) if epoch.old => false,
                Some(epoch) => !epoch.writing && epoch.held_from >= epoch.written_seq,
            };
            let held_from = state.epoch(log.key).map_or(u64::MAX, |epoch| epoch.held_from);
            if over && let Some(log) = self.logs.remove(at) {
                self.doomed.push(log);
                continue;
            }
            drop(state);
            let Some(log) = self.logs.get_mut(at) else { continue };
            if self.full && log.next_seq().is_some_and(|next_seq| next_seq <= held_from) {
                log.close();
            }
            while log.closed() > 0 && log.segments.front().is_some_and(|first| first.next_seq <= held_from) {
                if let Err(error) = log.remove_first(&mut *self.disk) {
                    failed = Some(error);
                    break;
                }
                (worked, self.full) = (true, false);
            }
        }
        while let Some(log) = self.doomed.pop() {
            match log.destroy(&mut *self.disk) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    failed = Some(error);
                    self.doomed.push(log);
                    break;
                }
                _ => (worked, self.full) = (true, false),
            }
        }
        if let Some(error) = failed {
            self.fail(&error, now_nanos);
        }
        worked
    }

    /// Tells the disk of the epoch that is being sent how far that may go; then it may. Whether it may now.
    fn lease(&mut self) -> bool {
        let mut state = self.spool.lock();
        let head = state.head();
        let reached = head.reached_seq();
        let key = head.key;
        if head.lease_seq >= head.written_seq.min(reached.saturating_add(LEASE / 2)) {
            return false;
        }
        drop(state);
        let lease_seq = reached.saturating_add(LEASE);
        if let Some(log) = self.logs.iter_mut().find(|log| log.key == key) {
            log.account.lease_seq = log.account.lease_seq.max(lease_seq);
            if let Err(error) = log.save_account(&mut *self.disk, true) {
                // Better to send: at worst a later run drops what has arrived, and says so.
                self.say_failing(&error);
            }
        }
        if let Some(epoch) = self.spool.lock().epoch(key) {
            epoch.lease_seq = epoch.lease_seq.max(lease_seq);
        }
        true
    }

    /// Reads back what is to be sent next.
    fn read_ahead(&mut self, now_nanos: u64) -> bool {
        let mut state = self.spool.lock();
        let head = state.head();
        let key = head.key;
        let Some(seq) = head.wanted().filter(|_| head.ahead_bytes < AHEAD_BYTES) else { return false };
        drop(state);
        let Some(log) = self.logs.iter_mut().find(|log| log.key == key) else { return false };
        let (entries, error) = log.read(&mut *self.disk, seq, STEP_BYTES);
        let next = entries.last().map_or(seq, |held| held.last_seq() + 1);
        let mut read = false;
        let mut state = self.spool.lock();
        // Another connection may have begun meanwhile; what fits is used all the same.
        if let Some(epoch) = state.epoch(key) {
            for held in entries {
                if epoch.wanted() == Some(held.seq()) {
                    epoch.read_ahead(held);
                    read = true;
                }
            }
        }
        drop(state);
        match error {
            None => self.read_attempts = 0,
            Some(ReadError::Io(error)) if self.read_attempts < READ_ATTEMPTS => {
                self.read_attempts += 1;
                self.read_again = now_nanos.saturating_add(RETRY_NANOS.0);
                (self.report)(&format!("entry {next} cannot be read back: {error}; it is tried again"));
            }
            Some(error) => {
                self.read_again = now_nanos.saturating_add(RETRY_NANOS.1);
                self.give_up(key, next, &error);
            }
        }
        read
    }

    /// An entry cannot be read back: it and the rest of its segment are given up.
    fn give_up(&mut self, key: u64, seq: u64, error: &ReadError) {
        self.read_attempts = 0;
        let mut state = self.spool.lock();
        let Some(epoch) = state.epoch(key).filter(|epoch| epoch.wanted().is_some_and(|wanted| wanted <= seq)) else {
            return;
        };
        epoch.barrier = Some((seq, u64::MAX));
        drop(state);
        let log = self.logs.iter_mut().find(|log| log.key == key);
        let lost = log.and_then(|log| {
            let lost = log.cut(&mut *self.disk, seq)?;
            Some((lost, log.next_seq()?))
        });
        let mut state = self.spool.lock();
        let Some(epoch) = state.epoch(key) else { return };
        epoch.barrier = None;
        let Some((lost, end)) = lost else {
            drop(state);
            (self.report)(
                "entries before it cannot be read back either: nothing is sent until they can; restarting the probe leaves them out",
            );
            return;
        };
        // If the segment still grew, what of it was not synced is written again.
        for reached in [&mut epoch.written_seq, &mut epoch.synced_seq, &mut epoch.taken_seq] {
            *reached = end.min(*reached);
        }
        epoch.uncertain |= seq < epoch.received_seq;
        epoch.dropped_from_disk(DropReason::Corrupt, lost.packets, lost.bytes, &lost.drops);
        epoch.forget_memory(lost.next_seq.saturating_sub(1));
        drop(state);
        let why = match error {
            ReadError::Io(error) => error.to_string(),
            ReadError::Broken => "its checksum is wrong".to_owned(),
        };
        (self.report)(&format!(
            "entry {seq} cannot be read back ({why}): {} packets are lost; a gap record says so",
            lost.packets
        ));
    }

    /// Writes what is to be on the disk.
    fn write(&mut self, now_nanos: u64) -> bool {
        let limits = self.spool.limits;
        let shared = Arc::clone(&self.spool);
        let mut state = shared.lock();
        let flush = state.flush;
        let present = state.present();
        let (cost, limit) = (present.memory_cost, limits.memory);
        let all_in_memory = present.memory_from() <= present.held_from;
        present.writing = flush
            || limits.mode == Mode::Disk
            || cost > limit / 4 * 3
            || (present.writing && !(all_in_memory && cost < limit / 4));
        if !present.writing {
            return false;
        }
        if present.held_from > present.written_seq {
            // What the disk has is all acknowledged, and more: it begins anew.
            present.written_seq = present.held_from;
            present.synced_seq = present.held_from;
            present.taken_seq = present.held_from;
            if let Some(at) = self.logs.iter().position(|log| log.key == PRESENT) {
                self.doomed.extend(self.logs.remove(at));
            }
        }
        let written_seq = present.written_seq;
        let entries = present.take(STEP_BYTES);
        if entries.is_empty() {
            return false;
        }
        let settled_seq = present.settled_seq;
        let log = self.logs.iter().find(|log| log.key == PRESENT);
        let begin = if log.is_none() { beginning(present) } else { Account::default() };
        let known = log.map_or(0, Log::sets);
        let sets = if present.sets.len() > known { present.sets.clone() } else { Vec::new() };
        drop(state);
        let outcome = self.write_entries(&entries, &sets, settled_seq, begin);
        if outcome.is_err() {
            self.rewind();
        }
        let mut state = shared.lock();
        let present = state.present();
        match outcome {
            Ok(Written::Before(seq)) => {
                (present.written_seq, present.taken_seq) = (seq, seq);
                (present.failing, present.bypass) = (false, false);
                drop(state);
                self.full = false;
                if self.retry.take().is_some() {
                    (self.report)("the disk takes batches again");
                }
                true
            }
            Ok(Written::Full(seq)) => {
                let worked = seq > written_seq;
                (present.written_seq, present.taken_seq) = (seq, seq);
                (present.failing, present.bypass) = (false, true);
                drop(state);
                if !self.full && limits.full == WhenFull::Oldest {
                    (self.report)("its share of the disk is full, and what is there may have been sent");
                } else if !self.full {
                    (self.report)("its share of the disk is full: what comes is dropped once memory is full too");
                }
                self.full = true;
                worked
            }
            Err(error) => {
                drop(state);
                self.fail(&error, now_nanos);
                false
            }
        }
    }

    fn write_entries(
        &mut self,
        entries: &[Held],
        sets: &[InterfaceSet],
        settled_seq: u64,
        begin: Account,
    ) -> io::Result<Written> {
        if self.log(PRESENT).is_none() {
            let number = self.next_number;
            self.next_number += 1;
            let (source, epoch) = (self.spool.source().clone(), self.spool.epoch());
            self.logs.push_back(Log::create(&mut *self.disk, PRESENT, number, &source, epoch, begin)?);
        }
        let segment_bytes = self.bounds.segment_bytes();
        let (disk, logs) = (&mut *self.disk, &mut self.logs);
        if let Some(log) = logs.back_mut() {
            if log.account.lease_seq < settled_seq {
                log.account.lease_seq = settled_seq;
                log.save_account(disk, true)?;
            }
            if sets.len() > log.sets() {
                log.write_sets(disk, sets)?;
            }
        }
        let mut seq = entries.first().map_or(0, Held::seq);
        for held in entries {
            let wanted = held.bytes() + 512;
            while self.used() + wanted > self.bounds.disk {
                if !self.make_room()? {
                    return Ok(Written::Full(seq));
                }
            }
            let (disk, buffer) = (&mut *self.disk, &mut self.buffer);
            if let Some(log) = self.logs.back_mut() {
                log.append(disk, held, segment_bytes, buffer)?;
            }
            seq = held.last_seq() + 1;
        }
        Ok(Written::Before(seq))
    }

    /// Puts a gap record in the place of the oldest segment that was certainly not sent; false if there is none, or the oldest is to stay.
    fn make_room(&mut self) -> io::Result<bool> {
        if self.spool.limits.full == WhenFull::Newest {
            return Ok(false);
        }
        let mut state = self.spool.lock();
        let chosen = self.logs.iter().find_map(|log| {
            let floor = state.epoch(log.key)?.undroppable_seq();
            let droppable = log.segments.iter().take(log.closed());
            let at = droppable.enumerate().find(|(_, it)| it.first_seq >= floor && it.gap.is_none())?.0;
            let merge = at.checked_sub(1).and_then(|before| log.segments.get(before));
            Some((log.key, at, merge.is_some_and(|before| before.first_seq >= floor)))
        });
        let Some((key, at, merge)) = chosen else { return Ok(false) };
        let Some(log) = self.logs.iter_mut().find(|log| log.key == key) else { return Ok(false) };
        let Some(segment) = log.segments.get(at) else { return Ok(false) };
        let before = at.checked_sub(1).filter(|_| merge).and_then(|before| log.segments.get(before));
        let mut drops = segment.drops.clone();
        let first_seq = match before.and_then(|before| before.gap.as_ref()) {
            Some(gap) => {
                if gap.reason != DropReason::BufferFull {
                    *drops.entry(gap.reason).or_default() += gap.packets;
                }
                gap.name.seq
            }
            None => segment.first_seq,
        };
        if let Some(epoch) = state.epoch(key) {
            epoch.barrier = Some((first_seq, segment.next_seq.saturating_sub(1)));
        }
        drop(state);
        let replaced = log.replace(&mut *self.disk, at, merge, DropReason::BufferFull);
        let mut state = self.spool.lock();
        let Some(epoch) = state.epoch(key) else { return Ok(false) };
        epoch.barrier = None;
        let Some(segment) = replaced? else { return Ok(false) };
        epoch.dropped_from_disk(DropReason::BufferFull, segment.packets, segment.bytes, &drops);
        epoch.forget_memory(segment.next_seq.saturating_sub(1));
        Ok(true)
    }

    /// Whether there is something to do at once.
    fn has_work(&self, state: &mut State, now_nanos: u64) -> bool {
        let present = state.present();
        let write = present.writing && present.written_seq < present.next_seq;
        let head = state.head();
        let read = head.wanted().is_some() && head.ahead_bytes < AHEAD_BYTES && now_nanos >= self.read_again;
        read || (write && self.retry.is_none() && !self.full)
    }

    /// Makes what is written survive a loss of power, if it is time, or memory waits for it.
    fn sync(&mut self, now_nanos: u64, at_once: bool) {
        let mut state = self.spool.lock();
        let pressed = state.present().memory_cost > self.spool.limits.memory / 2;
        let (kernel, written_seq) = (kernel(state.present()), state.present().written_seq);
        drop(state);
        let due = now_nanos.saturating_sub(self.synced_nanos) >= self.bounds.sync_nanos;
        let disk = &mut *self.disk;
        let Some(log) = self.logs.iter_mut().find(|log| log.key == PRESENT) else { return };
        if !log.is_dirty() || !(due || pressed || at_once) {
            return;
        }
        self.synced_nanos = now_nanos;
        log.account.kernel = kernel;
        match log.save_account(disk, false).and_then(|()| log.sync(disk)) {
            Ok(()) => {
                let mut state = self.spool.lock();
                state.present().synced_seq = written_seq;
            }
            Err(error) => {
                self.rewind();
                self.fail(&error, now_nanos);
            }
        }
    }

    /// The disk has failed: what was written behind the last sync is to be written again.
    fn rewind(&mut self) {
        let mut end = None;
        if let Some(log) = self.logs.iter_mut().find(|log| log.key == PRESENT) {
            log.rewind(&mut *self.disk);
            end = log.next_seq();
        }
        let mut state = self.spool.lock();
        let present = state.present();
        (present.failing, present.bypass) = (true, true);
        let end = end.unwrap_or(present.synced_seq);
        present.rewound(end);
    }

    fn fail(&mut self, error: &io::Error, now_nanos: u64) {
        let wait = self.retry.map_or(RETRY_NANOS.0, |(_, wait)| wait);
        self.say_failing(error);
        self.retry = Some((now_nanos.saturating_add(wait), (wait * 2).min(RETRY_NANOS.1)));
    }

    fn say_failing(&mut self, error: &io::Error) {
        if self.retry.is_none() {
            (self.report)(&format!(
                "the disk fails: {error}; batches are kept in memory, and dropped and counted when that is full; trying again"
            ));
        }
    }
}

fn kernel(epoch: &EpochState) -> [u64; 3] {
    let mut sums = [0; 3];
    for counts in epoch.kernel.values() {
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    sums
}

/// The account of an epoch of which nothing is on the disk yet.
fn beginning(present: &EpochState) -> Account {
    let mut gone_drops = present.drops.clone();
    for held in &present.memory {
        if let Held::Gap(gap) = held
            && let Some(packets) = gone_drops.get_mut(&gap.reason)
        {
            *packets = packets.saturating_sub(gap.packets);
        }
    }
    Account {
        lease_seq: present.settled_seq.max(present.lease_seq),
        gone_seq: present.written_seq,
        gone_packets: present.memory.front().map_or(0, |held| held.numbers().0),
        gone_drops,
        ..Account::default()
    }
}

/// An earlier run as its folder has it; none if nothing is left to deliver.
fn recovered(log: &Log, sets: Vec<InterfaceSet>) -> Option<EpochState> {
    let (first, last) = (log.segments.front()?, log.segments.back()?);
    let mut state = EpochState::new(log.epoch);
    let mut drops: Drops = log.account.gone_drops.clone();
    for segment in &log.segments {
        state.spooled += segment.packets;
        state.spooled_bytes += segment.bytes;
        for (reason, packets) in &segment.drops {
            *drops.entry(*reason).or_default() += packets;
        }
    }
    let gone_drops: u64 = log.account.gone_drops.values().sum();
    state.key = log.key;
    state.old = true;
    state.ended = log.account.ended;
    state.sets = sets;
    state.held_from = first.first_seq;
    state.flown_seq = first.first_seq;
    for end in [&mut state.next_seq, &mut state.written_seq, &mut state.synced_seq, &mut state.taken_seq] {
        *end = last.next_seq;
    }
    state.settled_seq = log.account.lease_seq;
    state.lease_seq = log.account.lease_seq;
    state.captured = last.numbers().map_or(0, |(_, end)| end);
    state.acknowledged = log.account.gone_packets.saturating_sub(gone_drops);
    state.acknowledged_before = state.acknowledged;
    // Whether what could not be read back had arrived, only the run knew that found it so.
    state.uncertain = log.account.gone_drops.contains_key(&DropReason::Corrupt);
    state.drops = drops;
    state.kernel.insert(String::new(), log.account.kernel);
    Some(state)
}
