//! Reading entries out of segments: the loaded form of a segment, and the log of one epoch in order, for filling gaps and
//! for replay.

use crate::index::{BatchEntry, BatchIndex, HEADER_BYTES, Index, Section, Summary, read_summary};
use crate::layout::{Archive, SegmentFile, closed_path};
use crate::scan::{self, Scan};
use crate::segment::{self, JOURNAL_ENTRY, JOURNAL_MAGIC, JOURNAL_SECTION};
use packet::cursor::Cursor;
use packet::{Epoch, Interface, InterfaceSet, SourceName};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A segment opened for reading, with its index as of now.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) segment: SegmentFile,
    pub(crate) file: File,
    pub(crate) index: Index,
    /// Bytes of the index, or of the journal, that were read.
    pub(crate) index_bytes: u64,
}

impl Loaded {
    /// Opens it, under the name it has by now.
    ///
    /// # Errors
    /// With the path that could not be read; of kind `NotFound` when retention removed it.
    pub(crate) fn open(segment: SegmentFile) -> Result<Self, (PathBuf, io::Error)> {
        let at = segment.path.clone();
        Self::try_open(segment).map_err(|error| (at, error))
    }

    fn try_open(mut segment: SegmentFile) -> io::Result<Self> {
        let file = match File::open(&segment.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && segment.open => {
                segment.path = closed_path(&segment.path);
                segment.open = false;
                File::open(&segment.path)?
            }
            other => other?,
        };
        let (index, index_bytes) =
            if segment.open { open_index(&segment, &file)? } else { closed_index(&segment, &file)? };
        Ok(Self { segment, file, index, index_bytes })
    }

    /// Frees what only the first look needs.
    pub(crate) fn without_postings(mut self) -> Self {
        self.index.forget_postings();
        self
    }

    /// The stored bytes of an entry.
    pub(crate) fn frame(&self, entry: &BatchEntry) -> io::Result<Vec<u8>> {
        read_at(&self.segment, &self.file, entry.offset, entry.length)
    }

    /// An entry, decompressed.
    pub(crate) fn raw(&self, entry: &BatchEntry) -> io::Result<Vec<u8>> {
        let frame = self.frame(entry)?;
        if !self.segment.compressed {
            return Ok(frame);
        }
        scan::decompress(&frame).and_then(|raw| scan::entry_in(raw, entry.seq)).ok_or_else(|| broken(&self.segment))
    }

    /// Whether the frame holds other entries too.
    fn shares_its_frame(&self, entry: &BatchEntry) -> bool {
        let before = self.index.batches.partition_point(|other| other.offset < entry.offset);
        self.index.batches.iter().skip(before).take_while(|other| other.offset == entry.offset).nth(1).is_some()
    }

    /// The interfaces that a section describes.
    pub(crate) fn interfaces(&self, section: &Section) -> io::Result<Vec<Interface>> {
        read_interfaces(&self.segment, &self.file, section)
    }
}

fn broken(segment: &SegmentFile) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: a frame is damaged", segment.path.display()))
}

/// What a closed segment holds, from the head of its index alone; none if the segment is open or its index unreadable.
pub(crate) fn summary(segment: &SegmentFile) -> Option<Summary> {
    if segment.open {
        return None;
    }
    let mut head = [0; HEADER_BYTES];
    File::open(segment.index_path()).ok()?.read_exact_at(&mut head, 0).ok()?;
    read_summary(&head).ok()
}

fn closed_index(segment: &SegmentFile, file: &File) -> io::Result<(Index, u64)> {
    let length = file.metadata()?.len();
    if let Ok(bytes) = fs::read(segment.index_path())
        && let Ok(index) = Index::parse(&bytes)
        && index.summary().end <= length
    {
        return Ok((index, bytes.len() as u64));
    }
    let mut scan = Scan::default();
    scan.run(file, segment.compressed)?;
    Ok((scan.index, length))
}

/// The index of an open segment: what its journal says, and what stands behind that in the segment.
fn open_index(segment: &SegmentFile, file: &File) -> io::Result<(Index, u64)> {
    let journal = fs::read(segment.index_path()).unwrap_or_default();
    let mut index = Index::default();
    read_journal(&journal, &mut index);
    let length = file.metadata()?.len();
    if index.batches.iter().any(|entry| entry.offset.saturating_add(entry.length.into()) > length)
        || index.sections.iter().any(|section| section.offset.saturating_add(section.length.into()) > length)
    {
        // A journal that knows more than the segment holds is none of this segment's.
        index = Index::default();
    }
    let end_of_entries = index.summary().end;
    let end_of_sections =
        index.sections.last().map_or(0, |section| section.offset.saturating_add(section.length.into()));
    let known = end_of_entries.max(end_of_sections);
    let mut scan = Scan { end: known, index, ..Scan::default() };
    if known < length {
        for section in &scan.index.sections {
            scan.sets.push(InterfaceSet {
                number: section.interface_set,
                interfaces: read_interfaces(segment, file, section)?,
            });
        }
        scan.run(file, segment.compressed)?;
    }
    Ok((scan.index, journal.len() as u64 + (scan.end - known)))
}

fn read_interfaces(segment: &SegmentFile, file: &File, section: &Section) -> io::Result<Vec<Interface>> {
    let mut bytes = read_at(segment, file, section.offset, section.length)?;
    if segment.compressed {
        bytes = scan::decompress(&bytes).ok_or_else(|| broken(segment))?;
    }
    Ok(scan::interfaces_of(&bytes))
}

/// Bytes of the segment; an index cannot make it ask for more than a frame may have.
fn read_at(segment: &SegmentFile, file: &File, offset: u64, length: u32) -> io::Result<Vec<u8>> {
    if length as usize > scan::MAX_FRAME {
        return Err(broken(segment));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Adds the whole records of a journal; ends at the first that is cut or damaged.
fn read_journal(journal: &[u8], index: &mut Index) {
    let mut cursor = Cursor::new(journal);
    if cursor.take(JOURNAL_MAGIC.len()) != Ok(JOURNAL_MAGIC.as_slice()) {
        return;
    }
    let mut next = || -> Option<()> {
        let length = cursor.le_u32().ok()?;
        let record = cursor.take(length as usize).ok()?;
        if cursor.le_u32().ok()? != crc32fast::hash(record) {
            return None;
        }
        let mut record = Cursor::new(record);
        match record.u8().ok()? {
            JOURNAL_SECTION => index.sections.push(Section::read(&mut record).ok()?),
            JOURNAL_ENTRY => {
                let entry = BatchEntry::read(&mut record).ok()?;
                if entry.section as usize >= index.sections.len() {
                    return None;
                }
                if entry.is_gap() {
                    index.push(entry, None);
                } else {
                    index.push(entry, Some(&BatchIndex::read(&mut record).ok()?));
                }
            }
            _ => {}
        }
        Some(())
    };
    while next().is_some() {}
}

/// An entry of the log as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEntry {
    /// What the index says of it.
    pub entry: BatchEntry,
    /// The interface set it refers to.
    pub set: InterfaceSet,
    /// Whether `frame` is compressed.
    pub compressed: bool,
    /// Its bytes as stored.
    pub frame: Vec<u8>,
}

/// The stored entries of one epoch, in order of sequence. Keeps few segments open, however many there are.
#[derive(Debug)]
pub struct StoredEntries {
    epoch: Epoch,
    next: u64,
    to: u64,
    /// Segments not yet begun by their first sequence number in the range, the next one last.
    waiting: Vec<(u64, SegmentFile)>,
    /// Segments begun (more than one where link types alternate), with their entries, the next one last.
    active: Vec<(Loaded, Vec<BatchEntry>)>,
}

impl Archive {
    /// The entries of an epoch with a sequence number from `from` up to, but not including, `to`. What retention removed is
    /// missing.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn entries(&self, source: &SourceName, epoch: Epoch, from: u64, to: u64) -> io::Result<StoredEntries> {
        let mut waiting = Vec::new();
        for file in self.segments(source)? {
            let loaded = match Loaded::open(file) {
                Ok(loaded) => loaded,
                // Removed since it was listed.
                Err((_, error)) if error.kind() == io::ErrorKind::NotFound => continue,
                Err((_, error)) => return Err(error),
            };
            if let Some(entry) = in_range(&loaded.index, epoch, from, to).last() {
                waiting.push((entry.seq, loaded.segment));
            }
        }
        waiting.sort_by(|(a, _), (b, _)| b.cmp(a));
        Ok(StoredEntries { epoch, next: from, to, waiting, active: Vec::new() })
    }
}

/// The entries of an epoch within a range, the first one last.
fn in_range(index: &Index, epoch: Epoch, from: u64, to: u64) -> Vec<BatchEntry> {
    let of_epoch =
        |entry: &BatchEntry| index.sections.get(entry.section as usize).is_some_and(|section| section.epoch == epoch);
    let within = |entry: &BatchEntry| entry.seq < to && entry.last_seq >= from;
    let mut found: Vec<BatchEntry> =
        index.batches.iter().filter(|entry| within(entry) && of_epoch(entry)).copied().collect();
    found.sort_by_key(|entry| std::cmp::Reverse(entry.seq));
    found
}

impl StoredEntries {
    fn advance(&mut self) -> io::Result<Option<StoredEntry>> {
        loop {
            self.active.retain(|(_, entries)| !entries.is_empty());
            let next = self
                .active
                .iter_mut()
                .filter_map(|(loaded, entries)| Some((entries.last()?.seq, loaded, entries)))
                .min_by_key(|(seq, ..)| *seq);
            if let Some((first, _)) = self.waiting.last()
                && next.as_ref().is_none_or(|(seq, ..)| first <= seq)
            {
                let Some((_, segment)) = self.waiting.pop() else { return Ok(None) };
                match Loaded::open(segment) {
                    Ok(loaded) => {
                        let entries = in_range(&loaded.index, self.epoch, self.next, self.to);
                        self.active.push((loaded.without_postings(), entries));
                    }
                    Err((_, error)) if error.kind() == io::ErrorKind::NotFound => {}
                    Err((_, error)) => return Err(error),
                }
                continue;
            }
            let Some((_, loaded, entries)) = next else { return Ok(None) };
            let Some(entry) = entries.pop() else { return Ok(None) };
            if entry.last_seq < self.next {
                continue;
            }
            self.next = entry.last_seq.saturating_add(1);
            let Some(section) = loaded.index.sections.get(entry.section as usize) else { continue };
            let set = InterfaceSet { number: section.interface_set, interfaces: loaded.interfaces(section)? };
            let compressed = loaded.segment.compressed;
            let frame = if compressed && loaded.shares_its_frame(&entry) {
                segment::compress(&loaded.raw(&entry)?)?
            } else {
                loaded.frame(&entry)?
            };
            return Ok(Some(StoredEntry { entry, set, compressed, frame }));
        }
    }
}

impl Iterator for StoredEntries {
    type Item = io::Result<StoredEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
