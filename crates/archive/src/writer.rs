//! The writing side: which segment an entry goes to, when segments are closed, and what is durable.
//! One object, owned by one thread. Publishing and acknowledging are the collector's.

use crate::index::{BatchEntry, BatchIndex};
use crate::layout::{self, Archive};
use crate::recovery::{self, Recovered};
use crate::segment::Segment;
use crate::state::{Ahead, EpochState, SourceState};
use packet::batch::{BatchHeader, GapRecord};
use packet::{Epoch, InterfaceSet, LinkType, SourceName, Timestamp};
use rotation::{Rotation, Slot};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// From this many dirty segments on, one `syncfs` is cheaper than a sync of each.
const SYNC_ALL_FROM: usize = 8;
/// Held by the one process that writes the archive.
const LOCK: &str = ".lock";

/// Whether segments are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Entries are kept as they arrive (`.pcapng.zst`).
    #[default]
    Zstd,
    /// Entries are kept decompressed (`.pcapng`).
    None,
}

/// How segments are written.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Whether they are compressed.
    pub compression: Compression,
    /// Size in bytes from which a segment is closed.
    pub segment_bytes: u64,
    /// When it is closed by the clock.
    pub rotation: Rotation,
    /// Whether what is committed is synced to the disk; otherwise it is with the kernel, and a crash of the machine (not of the program)
    /// may lose it.
    pub sync: bool,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { compression: Compression::Zstd, segment_bytes: 256 << 20, rotation: Rotation::utc(3600), sync: true }
    }
}

/// Why an entry was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It was received before.
    #[error("batch {seq} was received before (next is {next_seq})")]
    Repeated {
        /// Its sequence number.
        seq: u64,
        /// The next one expected.
        next_seq: u64,
    },
    /// One before it is missing.
    #[error("batch {seq} does not follow what was received (next is {next_seq})")]
    OutOfOrder {
        /// Its sequence number.
        seq: u64,
        /// The next one expected.
        next_seq: u64,
    },
    /// The disk is full or failing. Nothing of the entry was kept; it can be appended again later. Should the sync of something
    /// appended before have failed, [`Writer::next_seq`] has gone back: see [`CommitError`].
    #[error("writing the archive failed: {0}; free space or mend the disk, it goes on by itself")]
    Disk(#[from] io::Error),
}

/// A commit round in which the disk failed. What was appended to the sources concerned since the round before is forgotten
/// (nobody can know what of it the disk has) and must be received again from [`Writer::next_seq`] on.
#[derive(Debug, thiserror::Error)]
#[error("making the archive durable failed: {error}; free space or mend the disk, it goes on by itself")]
pub struct CommitError {
    /// The first error.
    #[source]
    pub error: io::Error,
    /// What did become durable in this round.
    pub durable: Vec<(SourceName, Epoch, u64)>,
    /// What went back, and from which sequence number it must come again.
    pub rolled_back: Vec<(SourceName, Epoch, u64)>,
}

#[derive(Debug)]
struct Open {
    segment: Segment,
    /// The slot of time it was begun in.
    slot: Slot,
}

/// What an entry adds to the account once it is durable.
#[derive(Debug)]
enum Staged {
    Stored(Epoch, BatchEntry, Timestamp),
    NotStored(BatchHeader, Timestamp),
    /// Packets that were left out of the entry before.
    LeftOut(Epoch, u64),
}

/// What all interfaces of a segment share: tcpdump refuses a file whose interfaces differ in either.
type Kind = (LinkType, u32);

#[derive(Debug, Default)]
struct Source {
    state: SourceState,
    /// Next sequence number to be received, per epoch with staged entries.
    received: BTreeMap<Epoch, u64>,
    staged: Vec<Staged>,
    open: BTreeMap<Kind, Open>,
    /// The state file lacks something that no segment could tell.
    state_dirty: bool,
}

impl Source {
    /// Whether the entry is the next one. The first of an epoch this archive never saw may have any number (the probe said
    /// what it still holds), which is noted durably at once: else nobody could tell after a crash whether it was the first.
    fn expect(
        &mut self,
        (root, name): (&Path, &SourceName),
        epoch: Epoch,
        seq: u64,
        arrived: Timestamp,
    ) -> Result<(), AppendError> {
        if self.state.epoch(epoch).is_none() {
            let before = self.state.clone();
            self.state.begin(epoch, seq, arrived);
            if let Err(error) = self.save(root, name) {
                self.state = before;
                return Err(error.into());
            }
            return Ok(());
        }
        let next_seq = self.next_seq(epoch);
        match seq.cmp(&next_seq) {
            Ordering::Equal => Ok(()),
            Ordering::Less => Err(AppendError::Repeated { seq, next_seq }),
            Ordering::Greater => Err(AppendError::OutOfOrder { seq, next_seq }),
        }
    }

    /// The entry, if a crash left it stored behind a hole in the log.
    fn ahead(&self, epoch: Epoch, seq: u64, last_seq: u64) -> Option<BatchEntry> {
        let same = |ahead: &&Ahead| (ahead.seq, ahead.last_seq) == (seq, last_seq);
        self.state.epoch(epoch)?.ahead.iter().find(same).map(Ahead::entry)
    }

    fn next_seq(&self, epoch: Epoch) -> u64 {
        let durable = self.state.epoch(epoch).map_or(0, |state| state.next_seq);
        self.received.get(&epoch).map_or(durable, |received| durable.max(*received))
    }

    /// Makes what is staged durable; on an error all of it is forgotten. Gives how far each epoch is now.
    fn commit(&mut self, root: &Path, name: &SourceName) -> io::Result<Vec<(Epoch, u64)>> {
        let result = self.try_commit(root, name);
        if result.is_err() {
            self.staged.clear();
            self.received.clear();
            self.open.values_mut().for_each(|open| open.segment.roll_back());
        }
        result
    }

    fn try_commit(&mut self, root: &Path, name: &SourceName) -> io::Result<Vec<(Epoch, u64)>> {
        for open in self.open.values_mut() {
            open.segment.sync()?;
        }
        let not_stored = self.staged.iter().any(|staged| !matches!(staged, Staged::Stored(..)));
        // No segment remembers what was not stored, so the state file must before it is acknowledged.
        let before = not_stored.then(|| self.state.clone());
        let mut moved: BTreeMap<Epoch, u64> = BTreeMap::new();
        for staged in &self.staged {
            let epoch = match staged {
                Staged::Stored(epoch, ..) | Staged::LeftOut(epoch, _) => *epoch,
                Staged::NotStored(header, _) => header.name.epoch,
            };
            let state = self.state.epoch_mut(epoch);
            match staged {
                Staged::Stored(_, entry, arrived) => state.count(entry, *arrived),
                Staged::NotStored(header, arrived) => state.count_not_stored(header, *arrived),
                Staged::LeftOut(_, packets) => state.not_stored_packets += packets,
            }
            moved.insert(epoch, state.next_seq);
        }
        if let Some(before) = before {
            if let Err(error) = self.save(root, name) {
                self.state = before;
                return Err(error);
            }
        } else if self.state_dirty {
            // Only says that an epoch is complete: tried again in the next round.
            let _ = self.save(root, name);
        }
        self.open.values_mut().for_each(|open| open.segment.mark());
        self.staged.clear();
        self.received.clear();
        Ok(moved.into_iter().collect())
    }

    fn save(&mut self, root: &Path, name: &SourceName) -> io::Result<()> {
        std::fs::create_dir_all(root.join(name.as_str()))?;
        self.state.save(root, name)?;
        self.state_dirty = false;
        Ok(())
    }
}

/// Writes the archive.
#[derive(Debug)]
pub struct Writer {
    root: PathBuf,
    options: WriterOptions,
    sources: BTreeMap<SourceName, Source>,
    closed: Vec<PathBuf>,
    opened: Vec<PathBuf>,
    /// What became durable while a segment was closed, for the next round to tell.
    moved: BTreeMap<(SourceName, Epoch), u64>,
    /// What was lost then.
    failed: Option<CommitError>,
    _lock: File,
}

impl Writer {
    /// Opens the archive below `root`, makes it if it is missing, and puts in order what a crash left.
    ///
    /// # Errors
    /// When the root cannot be made, read or written, or another process writes it.
    pub fn open(root: &Path, options: WriterOptions) -> io::Result<(Self, Vec<Recovered>)> {
        std::fs::create_dir_all(root)?;
        let lock = lock(root)?;
        let archive = Archive::new(root);
        let mut recovered = Vec::new();
        let mut sources = BTreeMap::new();
        for name in archive.sources()? {
            let state = recovery::recover(&archive, &name, &mut recovered)?;
            sources.insert(name, Source { state, ..Source::default() });
        }
        let writer = Self {
            root: root.into(),
            options,
            sources,
            closed: Vec::new(),
            opened: Vec::new(),
            moved: BTreeMap::new(),
            failed: None,
            _lock: lock,
        };
        Ok((writer, recovered))
    }

    /// The archive, for reading. What was appended can be read at once.
    pub fn archive(&self) -> Archive {
        Archive::new(&self.root)
    }

    /// The next sequence number that is not yet received, durable or not.
    pub fn next_seq(&self, source: &SourceName, epoch: Epoch) -> u64 {
        self.sources.get(source).map_or(0, |source| source.next_seq(epoch))
    }

    /// Everything before this sequence number is durable.
    pub fn durable_seq(&self, source: &SourceName, epoch: Epoch) -> u64 {
        self.state(source, epoch).map_or(0, |state| state.next_seq)
    }

    /// The durable account of an epoch.
    pub fn state(&self, source: &SourceName, epoch: Epoch) -> Option<&EpochState> {
        self.sources.get(source)?.state.epoch(epoch)
    }

    /// The durable accounts of all sources.
    pub fn states(&self) -> impl Iterator<Item = (&SourceName, &SourceState)> {
        self.sources.iter().map(|(name, source)| (name, &source.state))
    }

    /// Appends a batch: `frame` as it arrived, `raw` decompressed, `occurs` from the walk that checked it
    /// ([`BatchIndex::check`]). Not yet durable.
    ///
    /// # Errors
    /// A repeat, a hole in the sequence, or the disk.
    pub fn append(
        &mut self,
        header: &BatchHeader,
        set: &InterfaceSet,
        frame: &[u8],
        raw: &[u8],
        occurs: &BatchIndex,
        arrived: Timestamp,
    ) -> Result<(), AppendError> {
        let epoch = header.name.epoch;
        let mut copy = None;
        let occurs = if occurs.is_sealed() {
            occurs
        } else {
            let copy: &mut BatchIndex = copy.insert(occurs.clone());
            copy.seal();
            copy
        };
        let times = (header.time_min, arrived);
        let place = (&header.name.source, epoch, header.name.seq, header.name.seq);
        self.append_entry(place, set, times, |segment| {
            segment.append(epoch, set, frame, raw, Some(occurs), |section, offset, length| {
                BatchEntry::of_batch(header, section, offset, length, raw.len() as u32)
            })
        })
    }

    /// [`Writer::append`] for a batch of which the policy has left out so many packets.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn append_part(
        &mut self,
        (header, left_out): (&BatchHeader, u64),
        set: &InterfaceSet,
        frame: &[u8],
        raw: &[u8],
        occurs: &BatchIndex,
        arrived: Timestamp,
    ) -> Result<(), AppendError> {
        self.append(header, set, frame, raw, occurs, arrived)?;
        if left_out > 0
            && let Some(source) = self.sources.get_mut(&header.name.source)
        {
            source.staged.push(Staged::LeftOut(header.name.epoch, left_out));
        }
        Ok(())
    }

    /// Appends a gap record. Not yet durable.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn append_gap(
        &mut self,
        gap: &GapRecord,
        set: &InterfaceSet,
        frame: &[u8],
        raw: &[u8],
        arrived: Timestamp,
    ) -> Result<(), AppendError> {
        let epoch = gap.name.epoch;
        let place = (&gap.name.source, epoch, gap.name.seq, gap.last_seq);
        self.append_entry(place, set, (gap.time_min, arrived), |segment| {
            segment.append(epoch, set, frame, raw, None, |section, offset, length| {
                BatchEntry::of_gap(gap, section, offset, length, raw.len() as u32)
            })
        })
    }

    /// Counts a batch that the policy keeps from being stored; it is never written.
    ///
    /// # Errors
    /// A repeat or a hole in the sequence.
    pub fn pass_over(&mut self, header: &BatchHeader, arrived: Timestamp) -> Result<(), AppendError> {
        let source = self.sources.entry(header.name.source.clone()).or_default();
        source.expect((&self.root, &header.name.source), header.name.epoch, header.name.seq, arrived)?;
        source.received.insert(header.name.epoch, header.name.seq.saturating_add(1));
        source.staged.push(Staged::NotStored(header.clone(), arrived));
        Ok(())
    }

    fn append_entry(
        &mut self,
        (name, epoch, seq, last_seq): (&SourceName, Epoch, u64, u64),
        set: &InterfaceSet,
        (time, arrived): (Timestamp, Timestamp),
        write: impl FnOnce(&mut Segment) -> io::Result<()>,
    ) -> Result<(), AppendError> {
        let slot = self.options.rotation.slot(arrived);
        let limit = self.options.segment_bytes;
        if !self.sources.contains_key(name) {
            self.sources.insert(name.clone(), Source::default());
        }
        let Some(source) = self.sources.get_mut(name) else { return Err(io::Error::other("no source").into()) };
        source.expect((&self.root, name), epoch, seq, arrived)?;
        if let Some(ahead) = source.ahead(epoch, seq, last_seq) {
            source.received.insert(epoch, ahead.last_seq.saturating_add(1));
            source.staged.push(Staged::Stored(epoch, ahead, arrived));
            return Ok(());
        }
        let kind = (set.link_type(), set.interfaces.first().map_or(0, |first| first.snaplen));
        if source.open.get(&kind).is_some_and(|open| open.slot != slot || open.segment.length >= limit) {
            self.close_segment(name, kind)?;
        }
        let Some(source) = self.sources.get_mut(name) else { return Err(io::Error::other("no source").into()) };
        // The commit before closing may have failed: then this entry may no longer be the next.
        source.expect((&self.root, name), epoch, seq, arrived)?;
        let open = match source.open.entry(kind) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let first = if time == Timestamp::ZERO { arrived } else { time };
                let compressed = self.options.compression == Compression::Zstd;
                let path = layout::new_segment_path(&self.root, name, first, compressed)?;
                let segment = Segment::create(path, compressed)?;
                if let Some(folder) = segment.path.parent()
                    && let Err(error) = crate::segment::sync_folder(folder)
                {
                    let _ = std::fs::remove_file(&segment.path);
                    return Err(error.into());
                }
                self.opened.push(segment.path.clone());
                place.insert(Open { segment, slot })
            }
        };
        write(&mut open.segment)?;
        if let Some(entry) = open.segment.index.batches.last() {
            source.received.insert(epoch, entry.last_seq.saturating_add(1));
            source.staged.push(Staged::Stored(epoch, *entry, arrived));
        }
        Ok(())
    }

    /// Whether anything waits to be made durable.
    pub fn is_dirty(&self) -> bool {
        self.failed.is_some()
            || !self.moved.is_empty()
            || self.sources.values().any(|source| !source.staged.is_empty() || source.state_dirty)
    }

    /// Makes everything appended durable, in one round for all sources. Gives how far each log is durable now, for those that
    /// moved on.
    ///
    /// # Errors
    /// The disk. The other sources became durable nevertheless; the error tells what did and what must come again.
    pub fn commit(&mut self) -> Result<Vec<(SourceName, Epoch, u64)>, CommitError> {
        self.sync_all_at_once();
        let mut failed = self.failed.take();
        for (name, source) in &mut self.sources {
            if source.staged.is_empty() && !source.state_dirty {
                continue;
            }
            match commit_source(source, &self.root, name) {
                Ok(moved) => self.moved.extend(moved.into_iter().map(|(epoch, seq)| ((name.clone(), epoch), seq))),
                Err(error) => merge(&mut failed, error),
            }
        }
        let durable = std::mem::take(&mut self.moved);
        let durable = durable.into_iter().map(|((name, epoch), seq)| (name, epoch, seq)).collect();
        match failed {
            None => Ok(durable),
            Some(failed) => Err(CommitError { durable, ..failed }),
        }
    }

    /// With many dirty segments one call for the whole file system; if it fails, each is synced for itself.
    fn sync_all_at_once(&mut self) {
        if !self.options.sync {
            for open in self.sources.values_mut().flat_map(|source| source.open.values_mut()) {
                open.segment.synced_from_outside();
            }
            return;
        }
        let dirty = || self.sources.values().flat_map(|source| source.open.values()).filter(|open| open.segment.dirty);
        if dirty().count() < SYNC_ALL_FROM {
            return;
        }
        if let Some(open) = dirty().next()
            && rustix::fs::syncfs(open.segment.file()).is_ok()
        {
            for open in self.sources.values_mut().flat_map(|source| source.open.values_mut()) {
                open.segment.synced_from_outside();
            }
        }
    }

    /// Notes that a probe said its epoch is complete.
    pub fn complete(&mut self, source: &SourceName, epoch: Epoch) {
        if let Some(source) = self.sources.get_mut(source)
            && source.state.epoch(epoch).is_some()
        {
            source.state.epoch_mut(epoch).complete = true;
            source.state_dirty = true;
        }
    }

    /// Closes the segments whose slot of time has passed.
    ///
    /// # Errors
    /// The disk; they stay open then.
    pub fn tick(&mut self, now: Timestamp) -> io::Result<()> {
        let slot = self.options.rotation.slot(now);
        self.close_where(|_, open| open.slot != slot)
    }

    /// Closes the open segments of one source, or of all.
    ///
    /// # Errors
    /// The disk; they stay open then.
    pub fn rotate(&mut self, source: Option<&SourceName>) -> io::Result<()> {
        self.close_where(|name, _| source.is_none_or(|wanted| wanted == name))
    }

    fn close_where(&mut self, which: impl Fn(&SourceName, &Open) -> bool) -> io::Result<()> {
        let mut due = Vec::new();
        for (name, source) in &self.sources {
            due.extend(source.open.iter().filter(|(_, open)| which(name, open)).map(|(kind, _)| (name.clone(), *kind)));
        }
        let mut result = Ok(());
        for (name, kind) in due {
            let closed = self.close_segment(&name, kind);
            result = result.and(closed);
        }
        result
    }

    /// Closes a segment. What its source has appended becomes durable first, and its account is saved: so whatever has its
    /// final name is counted in the state file, and recovery need not look into it.
    fn close_segment(&mut self, name: &SourceName, kind: Kind) -> io::Result<()> {
        let Some(source) = self.sources.get_mut(name) else { return Ok(()) };
        match commit_source(source, &self.root, name) {
            Ok(moved) => self.moved.extend(moved.into_iter().map(|(epoch, seq)| ((name.clone(), epoch), seq))),
            Err(failed) => {
                let error = io::Error::new(failed.error.kind(), failed.error.to_string());
                merge(&mut self.failed, failed);
                return Err(error);
            }
        }
        source.save(&self.root, name)?;
        let Some(open) = source.open.get_mut(&kind) else { return Ok(()) };
        if open.segment.is_empty() {
            // All of it went back.
            std::fs::remove_file(&open.segment.path)?;
        } else {
            self.closed.push(open.segment.close()?);
        }
        source.open.remove(&kind);
        Ok(())
    }

    /// Segments closed since the last call.
    pub fn take_closed(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.closed)
    }

    /// Segments opened since the last call.
    pub fn take_opened(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.opened)
    }

    /// Bytes in the open segments of a source.
    pub fn open_bytes(&self, source: &SourceName) -> u64 {
        self.sources.get(source).map_or(0, |source| source.open.values().map(|open| open.segment.length).sum())
    }

    /// Makes everything durable and closes all segments. Gives what became durable, as [`Writer::commit`].
    ///
    /// # Errors
    /// The disk. What could not be closed is put in order by the next [`Writer::open`].
    pub fn close(mut self) -> Result<Vec<(SourceName, Epoch, u64)>, CommitError> {
        let durable = self.commit()?;
        match self.rotate(None) {
            Ok(()) => Ok(durable),
            Err(error) => Err(CommitError { error, durable, rolled_back: Vec::new() }),
        }
    }
}

/// Locks the archive for this process, whose number then stands in the file for whoever comes too late.
fn lock(root: &Path) -> io::Result<File> {
    use rustix::fs::{FlockOperation, flock};
    let path = root.join(LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let holder = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u32>().ok());
            let holder = holder.map(|pid| format!(" (process {pid})")).unwrap_or_default();
            let shown = root.display();
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!(
                    "another collector{holder} writes the archive {shown}: stop it, or give this one another directory"
                ),
            ));
        }
        Err(error) => return Err(error.into()),
    }
    // Only for that message: a full disk must not keep the archive from being opened.
    let _ = file.set_len(0).and_then(|()| (&file).write_all(format!("{}\n", std::process::id()).as_bytes()));
    Ok(file)
}

/// Commits one source; the error tells what of it must come again.
fn commit_source(source: &mut Source, root: &Path, name: &SourceName) -> Result<Vec<(Epoch, u64)>, CommitError> {
    let epochs: Vec<Epoch> = source.received.keys().copied().collect();
    source.commit(root, name).map_err(|error| {
        let rolled_back = epochs.iter().map(|epoch| (name.clone(), *epoch, source.next_seq(*epoch))).collect();
        CommitError { error, durable: Vec::new(), rolled_back }
    })
}

fn merge(into: &mut Option<CommitError>, error: CommitError) {
    match into {
        Some(first) => first.rolled_back.extend(error.rolled_back),
        None => *into = Some(error),
    }
}
