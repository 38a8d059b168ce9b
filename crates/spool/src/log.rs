//! One epoch on the disk: a folder with an account, interface sets, and segments, each named after its first sequence number.
//! Decides nothing about what is written, dropped or removed; the keeper does.

use crate::account::{self, Account};
use crate::disk::Disk;
use crate::epoch::{extend, in_place_of};
use crate::record::{self, Broken, Drops, HEAD, Held, Record};
use packet::batch::{DropReason, GapRecord};
use packet::{Epoch, InterfaceSet, SourceName};
use std::collections::VecDeque;
use std::io;

/// Name of the file with the interface sets.
const SETS: &str = "sets";
/// Ending of segments.
const ENDING: &str = ".log";
/// Name of a segment that is being made in the place of another.
const NEW: &str = "new";

/// What stands in a segment.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) first_seq: u64,
    pub(crate) next_seq: u64,
    /// Bytes of the file.
    pub(crate) length: u64,
    /// Packets of its batches, and bytes of their frames.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Packets of its gap records.
    pub(crate) drops: Drops,
    /// The gap record that would stand in its place; none while it is empty.
    pub(crate) whole: Option<GapRecord>,
    /// It is nothing but this gap record.
    pub(crate) gap: Option<GapRecord>,
}

impl Segment {
    fn new(first_seq: u64) -> Self {
        Self {
            first_seq,
            next_seq: first_seq,
            length: 0,
            packets: 0,
            bytes: 0,
            drops: Drops::new(),
            whole: None,
            gap: None,
        }
    }

    fn of_gap(gap: GapRecord) -> Self {
        let mut segment = Self::new(gap.name.seq);
        segment.add(&Held::Gap(gap.clone()));
        segment.gap = Some(gap);
        segment
    }

    fn add(&mut self, held: &Held) {
        self.next_seq = held.last_seq() + 1;
        self.packets += held.packets();
        self.bytes += held.bytes();
        if let Held::Gap(gap) = held {
            *self.drops.entry(gap.reason).or_default() += gap.packets;
        }
        let gap = in_place_of(held, DropReason::BufferFull);
        match &mut self.whole {
            Some(whole) => extend(whole, &gap),
            None => self.whole = Some(gap),
        }
    }

    /// Number of its first packet, and of the one behind its last.
    pub(crate) fn numbers(&self) -> Option<(u64, u64)> {
        self.whole.as_ref().map(|whole| (whole.first_packet, whole.first_packet.saturating_add(whole.packets)))
    }
}

/// Why a record could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The bytes are none.
    Broken,
    /// The disk does not give them.
    Io(io::Error),
}

impl From<Broken> for ReadError {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Where the next record is read.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    first_seq: u64,
    offset: u64,
    seq: u64,
}

/// What became of one that was killed.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) sets: Vec<InterfaceSet>,
    /// What was not as it should be, for people.
    pub(crate) remarks: Vec<String>,
    /// Packets that are lost in the middle and for which a gap record stands now.
    pub(crate) lost: u64,
}

/// An epoch's folder.
#[derive(Debug)]
pub(crate) struct Log {
    /// By what the spool knows it.
    pub(crate) key: u64,
    pub(crate) folder: String,
    pub(crate) source: SourceName,
    pub(crate) epoch: Epoch,
    pub(crate) account: Account,
    pub(crate) segments: VecDeque<Segment>,
    /// The last segment grows.
    open: bool,
    /// It as it was when it was last synced; none if nothing of it was.
    synced: Option<Segment>,
    /// Something was written and not synced; names in the folder have changed.
    dirty: bool,
    names_dirty: bool,
    sets: usize,
    sets_length: u64,
    cursor: Option<Cursor>,
    /// After an error a file could not be cut: until its entries are written again, it holds what may have been dropped since.
    doubtful: bool,
}

impl Log {
    /// Makes the folder of an epoch.
    pub(crate) fn create(
        disk: &mut dyn Disk,
        key: u64,
        number: u64,
        source: &SourceName,
        epoch: Epoch,
        account: Account,
    ) -> io::Result<Self> {
        let mut log = Self::new(key, folder_name(number, epoch), source, epoch);
        log.account = account;
        disk.make_folder(&log.folder)?;
        let made = log.save_account(disk, true).and_then(|()| disk.sync_folder(""));
        if let Err(error) = made {
            log.destroy(disk).ok();
            return Err(error);
        }
        Ok(log)
    }

    fn new(key: u64, folder: String, source: &SourceName, epoch: Epoch) -> Self {
        Self {
            key,
            folder,
            source: source.clone(),
            epoch,
            account: Account::default(),
            segments: VecDeque::new(),
            open: false,
            synced: None,
            dirty: false,
            names_dirty: true,
            sets: 0,
            sets_length: 0,
            cursor: None,
            doubtful: false,
        }
    }

    fn path(&self, first_seq: u64) -> String {
        format!("{}/{first_seq:020}{ENDING}", self.folder)
    }

    fn named(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// Bytes of all segments.
    pub(crate) fn length(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// The sequence number behind its last entry.
    pub(crate) fn next_seq(&self) -> Option<u64> {
        self.segments.back().map(|segment| segment.next_seq)
    }

    #[cfg(test)]
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Lets the last segment grow no further. For one of which everything was acknowledged: it is not synced.
    pub(crate) fn close(&mut self) {
        self.open = false;
    }

    /// How many segments no longer grow.
    pub(crate) fn closed(&self) -> usize {
        self.segments.len() - usize::from(self.open && !self.segments.is_empty())
    }

    /// Whether something is not synced.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Writes the account, and makes it survive a loss of power if `sync`.
    pub(crate) fn save_account(&mut self, disk: &mut dyn Disk, sync: bool) -> io::Result<()> {
        self.account.generation += 1;
        let path = self.named(account::FILE);
        disk.write(&path, self.account.offset(), &self.account.to_bytes(self.epoch))?;
        if sync { disk.sync(&path) } else { Ok(()) }
    }

    /// Writes the interface sets that are not on the disk yet, and syncs them: no entry survives the power without its set.
    pub(crate) fn write_sets(&mut self, disk: &mut dyn Disk, sets: &[InterfaceSet]) -> io::Result<()> {
        let mut bytes = Vec::new();
        if self.sets_length == 0 {
            record::write_begin(&mut bytes, &self.source, self.epoch, 0);
        }
        for set in sets.get(self.sets..).unwrap_or_default() {
            record::write_set(&mut bytes, self.epoch, set);
        }
        disk.write(&self.named(SETS), self.sets_length, &bytes)?;
        disk.sync(&self.named(SETS))?;
        disk.sync_folder(&self.folder)?;
        self.sets_length += bytes.len() as u64;
        self.sets = sets.len();
        Ok(())
    }

    /// How many sets are on the disk.
    pub(crate) fn sets(&self) -> usize {
        self.sets
    }

    /// Writes an entry behind the others: into the segment that grows, or, from `segment_bytes` on, into another. `bytes` is room for it.
    pub(crate) fn append(
        &mut self,
        disk: &mut dyn Disk,
        held: &Held,
        segment_bytes: u64,
        bytes: &mut Vec<u8>,
    ) -> io::Result<()> {
        bytes.clear();
        if self.open && self.segments.back().is_some_and(|segment| segment.length >= segment_bytes) {
            self.sync(disk)?;
            self.open = false;
        }
        if !self.open {
            // What an attempt that failed may have left under this name would be read behind what is written now.
            disk.truncate(&self.path(held.seq()), 0)?;
            self.segments.push_back(Segment::new(held.seq()));
            self.open = true;
            self.synced = None;
            self.names_dirty = true;
            record::write_begin(bytes, &self.source, self.epoch, held.seq());
        }
        record::write_entry(bytes, self.epoch, held);
        let Some(segment) = self.segments.back_mut() else { return Ok(()) };
        let path = format!("{}/{:020}{ENDING}", self.folder, segment.first_seq);
        self.dirty = true;
        disk.write(&path, segment.length, bytes)?;
        segment.length += bytes.len() as u64;
        segment.add(held);
        Ok(())
    }

    /// Makes everything written survive a loss of power.
    pub(crate) fn sync(&mut self, disk: &mut dyn Disk) -> io::Result<()> {
        if self.dirty
            && let Some(segment) = self.segments.back()
        {
            disk.sync(&self.path(segment.first_seq))?;
        }
        if self.names_dirty {
            disk.sync_folder(&self.folder)?;
            self.names_dirty = false;
        }
        self.dirty = false;
        self.synced = self.segments.back().cloned();
        Ok(())
    }

    /// After an error: forgets what was not synced. It is written again, to another file: what is left of it behind does not count.
    pub(crate) fn rewind(&mut self, disk: &mut dyn Disk) {
        if self.open
            && let Some(segment) = self.segments.pop_back()
        {
            let path = self.path(segment.first_seq);
            let cut = match self.synced.take() {
                Some(synced) => {
                    let length = synced.length;
                    self.segments.push_back(synced);
                    disk.truncate(&path, length)
                }
                None => disk.remove(&path),
            };
            // A file whose name comes later counts for what it holds, should this one still hold it too.
            self.doubtful = cut.is_err();
        }
        (self.open, self.dirty, self.cursor) = (false, false, None);
        self.names_dirty = true;
    }

    /// Puts a gap record in the place of a whole segment that no longer grows; `merge`: in that of the gap record before it too. Gives what
    /// was there.
    pub(crate) fn replace(
        &mut self,
        disk: &mut dyn Disk,
        at: usize,
        merge: bool,
        reason: DropReason,
    ) -> io::Result<Option<Segment>> {
        let Some(segment) = self.segments.get(at).cloned() else { return Ok(None) };
        let Some(mut gap) = segment.whole.clone() else { return Ok(None) };
        gap.reason = reason;
        let before = at.checked_sub(1).filter(|_| merge).and_then(|before| self.segments.get(before));
        if let Some(mut merged) = before.and_then(|before| before.gap.clone()) {
            extend(&mut merged, &gap);
            gap = GapRecord { reason, ..merged };
        }
        let made = self.write_gap(disk, &gap)?;
        self.cursor = None;
        if made.first_seq == segment.first_seq {
            if let Some(place) = self.segments.get_mut(at) {
                *place = made;
            }
        } else {
            if let Some(place) = self.segments.get_mut(at.saturating_sub(1)) {
                *place = made;
            }
            self.segments.remove(at);
            // One that stays is covered by the record before it and does not count.
            let _ = disk.remove(&self.path(segment.first_seq));
        }
        Ok(Some(segment))
    }

    /// Makes a segment of one gap record, in the place of what has its name.
    fn write_gap(&self, disk: &mut dyn Disk, gap: &GapRecord) -> io::Result<Segment> {
        let mut bytes = Vec::new();
        record::write_begin(&mut bytes, &self.source, self.epoch, gap.name.seq);
        record::write_entry(&mut bytes, self.epoch, &Held::Gap(gap.clone()));
        let new = self.named(NEW);
        disk.truncate(&new, 0)?;
        disk.write(&new, 0, &bytes)?;
        disk.sync(&new)?;
        disk.rename(&new, &self.path(gap.name.seq))?;
        disk.sync_folder(&self.folder)?;
        let mut segment = Segment::of_gap(gap.clone());
        segment.length = bytes.len() as u64;
        Ok(segment)
    }

    /// Entries from `seq` on, until they are about `bytes`. Those before an error are given with it.
    pub(crate) fn read(&mut self, disk: &mut dyn Disk, seq: u64, bytes: u64) -> (Vec<Held>, Option<ReadError>) {
        let (mut entries, mut left, mut seq) = (Vec::new(), bytes, seq);
        while left > 0 {
            match self.read_one(disk, seq) {
                Ok(Some(held)) => {
                    seq = held.last_seq() + 1;
                    left = left.saturating_sub(held.bytes() + 128);
                    entries.push(held);
                }
                Ok(None) => return (entries, None),
                Err(error) => return (entries, Some(error)),
            }
        }
        (entries, None)
    }

    fn read_one(&mut self, disk: &mut dyn Disk, seq: u64) -> Result<Option<Held>, ReadError> {
        let at = self.segments.partition_point(|segment| segment.next_seq <= seq);
        let Some(segment) = self.segments.get(at) else { return Ok(None) };
        if let Some(gap) = &segment.gap {
            return Ok(Some(Held::Gap(gap.clone())));
        }
        let mut cursor = match self.cursor {
            Some(cursor) if cursor.first_seq == segment.first_seq && cursor.seq <= seq => cursor,
            _ => Cursor { first_seq: segment.first_seq, offset: 0, seq: segment.first_seq },
        };
        let path = self.path(segment.first_seq);
        self.cursor = None;
        loop {
            // Before its end there are entries: that it ends here is an error.
            let (record, length) =
                read_record(disk, &path, cursor.offset, &self.source, self.epoch)?.ok_or(ReadError::Broken)?;
            cursor.offset += length;
            let Record::Entry(held) = record else { continue };
            if held.seq() != cursor.seq {
                return Err(ReadError::Broken);
            }
            cursor.seq = held.last_seq() + 1;
            if held.seq() >= seq {
                self.cursor = Some(cursor);
                return Ok(Some(held));
            }
        }
    }

    /// The entries from `seq` to the end of its segment cannot be read back: a gap record takes their place. Gives what is lost; none
    /// if entries before cannot be read either: what has arrived could not be told from what has not.
    pub(crate) fn cut(&mut self, disk: &mut dyn Disk, seq: u64) -> Option<Segment> {
        if self.open && self.segments.back().is_some_and(|segment| segment.first_seq <= seq) {
            self.rewind(disk);
        }
        let at = self.segments.partition_point(|segment| segment.next_seq <= seq);
        let segment = self.segments.get(at).filter(|segment| segment.first_seq <= seq)?.clone();
        let good = scan(disk, &self.path(segment.first_seq), segment.first_seq, &self.source, self.epoch, seq).0;
        if good.next_seq != seq {
            return None;
        }
        let whole = segment.whole.as_ref()?;
        let kept = good.whole.as_ref();
        let mut gap = whole.clone();
        gap.name.seq = seq;
        gap.reason = DropReason::Corrupt;
        if let Some(kept) = kept {
            gap.first_packet = kept.first_packet + kept.packets;
            gap.packets = whole.packets.saturating_sub(kept.packets);
            gap.captured_bytes = whole.captured_bytes.saturating_sub(kept.captured_bytes);
        }
        let mut lost = Segment::new(seq);
        lost.next_seq = segment.next_seq;
        lost.packets = segment.packets.saturating_sub(good.packets);
        lost.bytes = segment.bytes.saturating_sub(good.bytes);
        for (reason, packets) in &segment.drops {
            let kept = good.drops.get(reason).copied().unwrap_or(0);
            lost.drops.insert(*reason, packets.saturating_sub(kept));
        }
        // First the record: a file whose name comes later counts. Should the disk not take it, it is made again at the next start.
        let made = self.write_gap(disk, &gap).unwrap_or_else(|_| {
            self.doubtful = true;
            Segment::of_gap(gap)
        });
        self.segments.remove(at);
        if good.whole.is_some() {
            let _ = disk.truncate(&self.path(good.first_seq), good.length);
            self.segments.insert(at, good);
            self.segments.insert(at + 1, made);
        } else {
            self.segments.insert(at, made);
        }
        self.cursor = None;
        Some(lost)
    }

    /// Removes the first segment, of which everything was acknowledged; the account says so first.
    pub(crate) fn remove_first(&mut self, disk: &mut dyn Disk) -> io::Result<()> {
        let Some(first) = self.segments.front() else { return Ok(()) };
        let mut account = self.account.clone();
        account.gone_seq = first.next_seq;
        account.gone_packets = first.numbers().map_or(account.gone_packets, |(_, end)| end);
        for (reason, packets) in &first.drops {
            *account.gone_drops.entry(*reason).or_default() += packets;
        }
        let path = self.path(first.first_seq);
        let before = std::mem::replace(&mut self.account, account);
        if let Err(error) = self.save_account(disk, true) {
            self.account = Account { generation: self.account.generation, ..before };
            return Err(error);
        }
        self.segments.pop_front();
        self.cursor = None;
        self.names_dirty = true;
        disk.remove(&path)
    }

    /// Removes the folder and what is in it.
    pub(crate) fn destroy(&self, disk: &mut dyn Disk) -> io::Result<()> {
        let mut items = disk.list(&self.folder)?;
        // The account last: without segments it is known to be at its end.
        items.sort_by_key(|item| (item.name == account::FILE, item.name.clone()));
        for item in items.into_iter().filter(|item| !item.folder) {
            disk.remove(&self.named(&item.name))?;
        }
        disk.remove_folder(&self.folder)
    }

    /// Reads the folder of an earlier run and puts it in order: cuts off what is torn, and lets a gap record stand for what is lost in the middle.
    /// Nothing in it makes this fail; what the disk refuses to write is remarked.
    ///
    /// # Errors
    /// The disk does not give what is there: then nothing was changed behind that place.
    pub(crate) fn recover(
        disk: &mut dyn Disk,
        number: u64,
        source: &SourceName,
        epoch: Epoch,
    ) -> io::Result<(Self, Found)> {
        let mut log = Self::new(number, folder_name(number, epoch), source, epoch);
        let mut found = Found::default();
        let items = disk.list(&log.folder)?;
        if items.iter().any(|item| item.name == account::FILE) {
            log.recover_account(disk, &mut found)?;
        }
        if items.iter().any(|item| item.name == SETS) {
            found.sets = log.read_sets(disk)?;
        }
        let mut names: Vec<(u64, u64)> = Vec::new();
        for item in items.into_iter().filter(|item| !item.folder) {
            match item.name.strip_suffix(ENDING).filter(|digits| digits.len() == 20).and_then(|it| it.parse().ok()) {
                Some(first_seq) => names.push((first_seq, item.length)),
                None if [account::FILE, SETS, NEW].contains(&item.name.as_str()) => {}
                None => found.remarks.push(format!("{}/{} is no file of the spool", log.folder, item.name)),
            }
        }
        names.sort_unstable();
        for (at, (first_seq, length)) in names.iter().enumerate() {
            let later = names.get(at + 1).map_or(u64::MAX, |(later, _)| *later);
            log.recover_segment(disk, *first_seq, *length, later, &mut found)?;
        }
        Ok((log, found))
    }

    fn recover_account(&mut self, disk: &mut dyn Disk, found: &mut Found) -> io::Result<()> {
        let path = self.named(account::FILE);
        let mut slots = Vec::new();
        for offset in [0, account::SLOT] {
            let mut bytes = [0; account::LENGTH];
            let length = disk.read(&path, offset, &mut bytes)?;
            slots.extend(Account::read(bytes.get(..length).unwrap_or_default(), self.epoch));
        }
        self.account = slots.into_iter().max_by_key(|account| account.generation).unwrap_or_else(|| {
            found.remarks.push(format!("{path} cannot be read: nothing of this run is dropped before it is sent"));
            Account { lease_seq: u64::MAX, ..Account::default() }
        });
        Ok(())
    }

    fn read_sets(&self, disk: &mut dyn Disk) -> io::Result<Vec<InterfaceSet>> {
        let (path, mut offset, mut sets) = (self.named(SETS), 0, Vec::new());
        loop {
            let (record, length) = match read_record(disk, &path, offset, &self.source, self.epoch) {
                Ok(Some(read)) => read,
                Ok(None) | Err(ReadError::Broken) => return Ok(sets),
                Err(ReadError::Io(error)) => return Err(error),
            };
            offset += length;
            match record {
                // Those of an earlier attempt to write them are the same.
                Record::Set(set) if set.number as usize == sets.len() => sets.push(set),
                _ => {}
            }
        }
    }

    /// `later` is the name of the file that comes next: what it holds counts.
    fn recover_segment(
        &mut self,
        disk: &mut dyn Disk,
        first_seq: u64,
        length: u64,
        later: u64,
        found: &mut Found,
    ) -> io::Result<()> {
        let path = self.path(first_seq);
        let expected = self.segments.back().map_or(self.account.gone_seq, |segment| segment.next_seq);
        let (segment, broken) = scan(disk, &path, first_seq, &self.source, self.epoch, later);
        let broken = match broken {
            None => false,
            Some(ReadError::Broken) => true,
            Some(ReadError::Io(error)) => return Err(error),
        };
        if segment.whole.is_none() || segment.next_seq <= expected {
            if segment.whole.is_none() && broken {
                found.remarks.push(format!("{path} holds nothing that can be read"));
            }
            // Empty, acknowledged, or covered by a gap record before it.
            let _ = disk.remove(&path);
            return Ok(());
        }
        if first_seq < expected {
            found.remarks.push(format!("{path} overlaps what comes before it and is left out"));
            let _ = disk.remove(&path);
            return Ok(());
        }
        if first_seq > expected {
            self.recover_hole(disk, expected, &segment, found);
        }
        if broken {
            let torn = length.saturating_sub(segment.length);
            found
                .remarks
                .push(format!("{path}: {torn} bytes behind entry {} are torn and cut off", segment.next_seq - 1));
            if let Err(error) = disk.truncate(&path, segment.length) {
                found.remarks.push(format!("{path}: {error}"));
            }
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// Lets a gap record stand for what is missing before a segment.
    fn recover_hole(&mut self, disk: &mut dyn Disk, from: u64, next: &Segment, found: &mut Found) {
        let Some(whole) = &next.whole else { return };
        let before = self.segments.back().and_then(Segment::numbers).map_or(self.account.gone_packets, |(_, end)| end);
        let mut gap = whole.clone();
        gap.name.seq = from;
        gap.last_seq = next.first_seq - 1;
        gap.reason = DropReason::Corrupt;
        gap.first_packet = before;
        gap.packets = whole.first_packet.saturating_sub(before);
        // Their lengths and times are lost with them: those of their neighbours bound the times.
        gap.captured_bytes = 0;
        gap.time_max = whole.time_min;
        gap.time_min =
            self.segments.back().and_then(|before| before.whole.as_ref()).map_or(whole.time_min, |it| it.time_max);
        gap.time_min = gap.time_min.min(gap.time_max);
        found.lost += gap.packets;
        found.remarks.push(format!(
            "{}: entries {from} to {} with {} packets are lost; a gap record says so",
            self.folder, gap.last_seq, gap.packets
        ));
        let made = self.write_gap(disk, &gap).unwrap_or_else(|error| {
            found.remarks.push(format!("{}: {error}", self.folder));
            Segment::of_gap(gap)
        });
        self.segments.push_back(made);
    }
}

/// Reads a segment up to the first entry from `end` on. Gives what is good, and why not more was read.
fn scan(
    disk: &mut dyn Disk,
    path: &str,
    first_seq: u64,
    source: &SourceName,
    epoch: Epoch,
    end: u64,
) -> (Segment, Option<ReadError>) {
    let mut segment = Segment::new(first_seq);
    let (mut entries, mut only) = (0, None);
    let broken = loop {
        let (record, length) = match read_record(disk, path, segment.length, source, epoch) {
            Ok(Some(read)) => read,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        match record {
            Record::Begin { source: of, epoch: run, first_seq: first }
                if segment.length == 0 && of == *source && run == epoch && first == first_seq => {}
            Record::Entry(held) if segment.length > 0 && held.seq() == segment.next_seq => {
                if held.seq() >= end {
                    break None;
                }
                entries += 1;
                only = if let Held::Gap(gap) = &held { Some(gap.clone()) } else { None };
                segment.add(&held);
            }
            _ => break Some(ReadError::Broken),
        }
        segment.length += length;
    };
    segment.gap = only.filter(|_| entries == 1);
    (segment, broken)
}

/// The record at `offset`, and its length; none at the end of the file.
fn read_record(
    disk: &mut dyn Disk,
    path: &str,
    offset: u64,
    source: &SourceName,
    epoch: Epoch,
) -> Result<Option<(Record, u64)>, ReadError> {
    let mut head = [0; HEAD];
    match disk.read(path, offset, &mut head)? {
        0 => return Ok(None),
        HEAD => {}
        _ => return Err(ReadError::Broken),
    }
    let mut body = vec![0; record::body_length(&head)?];
    let whole = disk.read(path, offset + HEAD as u64, &mut body)? == body.len();
    if !whole {
        return Err(ReadError::Broken);
    }
    let length = (HEAD + body.len()) as u64;
    Ok(Some((record::read(&head, &body, source, epoch)?, length)))
}

/// The name of an epoch's folder: a number that rises with each, and the epoch.
fn folder_name(number: u64, epoch: Epoch) -> String {
    format!("{number:010}-{epoch}")
}

/// What a folder's name says.
pub(crate) fn read_folder_name(name: &str) -> Option<(u64, Epoch)> {
    let (number, epoch) = name.split_once('-')?;
    let (number, epoch) = (number.parse().ok()?, epoch.parse().ok()?);
    (folder_name(number, epoch) == name && number < u64::MAX / 2).then_some((number, epoch))
}
