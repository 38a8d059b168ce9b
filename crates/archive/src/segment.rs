//! One open segment: appending entries, its journal, cutting back after a failed disk, and closing it.
//! Which segment an entry goes to is `writer`'s.

use crate::index::{BatchEntry, BatchIndex, Index, Section};
use crate::layout::{closed_path, index_path, next_free};
use packet::batch::MAX_BYTES;
use packet::pcapng::{self, InterfaceStatistics};
use packet::{Epoch, InterfaceSet};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Magic of the journal beside an open segment.
pub(crate) const JOURNAL_MAGIC: &[u8; 8] = b"TLIXJ\x01\0\0";
/// Kinds of journal records.
pub(crate) const JOURNAL_SECTION: u8 = 1;
pub(crate) const JOURNAL_ENTRY: u8 = 2;
/// Bytes of journal kept in memory; readers find what is not in it yet in the segment itself.
const JOURNAL_BUFFER: usize = 64 * 1024;

const SEEK_TABLE_MAGIC: u32 = 0x184d_2a5e;
const SEEK_TABLE_FOOTER: u32 = 0x8f92_eab1;
/// Longest name and filter of an interface that a section repeats if all of them together are too long.
const CLIPPED: usize = 255;

/// Compresses blocks of our own (sections, statistics) as one frame, like the batches around them.
pub(crate) fn compress(raw: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::bulk::Compressor::new(1)?;
    encoder.include_checksum(true)?;
    encoder.include_contentsize(true)?;
    encoder.compress(raw)
}

/// How far a segment was when it was last durable.
#[derive(Debug, Clone, Copy)]
struct Mark {
    length: u64,
    sections: usize,
    batches: usize,
    frames: usize,
    section: Option<(Epoch, u32)>,
}

/// The journal of an open segment: its index so far, for readers in other processes. Never needed, so never synced, and given
/// up at the first error: what it lacks at its end is read from the segment.
#[derive(Debug)]
struct Journal {
    file: Option<File>,
    length: u64,
    buffer: Vec<u8>,
}

impl Journal {
    fn add(&mut self, record: &[u8]) {
        if self.file.is_some() {
            self.buffer.extend_from_slice(&(record.len() as u32).to_le_bytes());
            self.buffer.extend_from_slice(record);
            self.buffer.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
            if self.buffer.len() >= JOURNAL_BUFFER {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        if let Some(file) = &self.file
            && !self.buffer.is_empty()
        {
            if file.write_all_at(&self.buffer, self.length).is_ok() {
                self.length += self.buffer.len() as u64;
            } else {
                self.give_up();
            }
        }
        self.buffer.clear();
    }

    fn give_up(&mut self) {
        if let Some(file) = self.file.take() {
            // A record that is cut ends the reading of it, so a failure here is none.
            let _ = file.set_len(self.length);
        }
    }
}

/// A segment that is being written.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    file: File,
    journal: Journal,
    compressed: bool,
    /// Bytes written and sound.
    pub(crate) length: u64,
    pub(crate) index: Index,
    section: Option<(Epoch, u32)>,
    statistics: BTreeMap<u32, InterfaceStatistics>,
    frames: Vec<(u32, u32)>,
    durable: Mark,
    pub(crate) dirty: bool,
    /// Something broken may stand behind `length`.
    overhang: bool,
}

impl Segment {
    pub(crate) fn create(path: PathBuf, compressed: bool) -> io::Result<Self> {
        let create = |path: &Path| OpenOptions::new().read(true).write(true).create_new(true).mode(0o640).open(path);
        let file = create(&path)?;
        let _ = fs::remove_file(index_path(&path));
        let journal = create(&index_path(&path)).ok();
        let mut journal = Journal { file: journal, length: 0, buffer: JOURNAL_MAGIC.to_vec() };
        journal.flush();
        Ok(Self {
            path,
            file,
            journal,
            compressed,
            length: 0,
            index: Index::default(),
            section: None,
            statistics: BTreeMap::new(),
            frames: Vec::new(),
            durable: Mark { length: 0, sections: 0, batches: 0, frames: 0, section: None },
            dirty: true,
            overhang: false,
        })
    }

    /// Writes bytes at the end; on an error the file is cut back to its last sound length.
    fn write(&mut self, bytes: &[u8], raw_length: u32) -> io::Result<u64> {
        self.repair()?;
        let offset = self.length;
        if let Err(error) = self.file.write_all_at(bytes, offset) {
            self.overhang = true;
            let _ = self.repair();
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.frames.push((bytes.len() as u32, raw_length));
        self.dirty = true;
        Ok(offset)
    }

    /// Cuts off what a failed write left. Nothing is written behind it before that has worked.
    fn repair(&mut self) -> io::Result<()> {
        if self.overhang {
            self.file.set_len(self.length)?;
            self.overhang = false;
        }
        Ok(())
    }

    /// Begins a section unless the present one is of this epoch and set.
    fn begin_section(&mut self, epoch: Epoch, set: &InterfaceSet) -> io::Result<u32> {
        if self.section != Some((epoch, set.number)) {
            let raw = section_blocks(set);
            let raw_length = raw.len() as u32;
            let bytes = if self.compressed { compress(&raw)? } else { raw };
            let offset = self.write(&bytes, raw_length)?;
            let section = Section { offset, length: bytes.len() as u32, raw_length, epoch, interface_set: set.number };
            self.index.sections.push(section);
            self.section = Some((epoch, set.number));
            self.statistics.clear();
            let mut record = vec![JOURNAL_SECTION];
            section.write(&mut record);
            self.journal.add(&record);
        }
        Ok((self.index.sections.len() - 1) as u32)
    }

    /// Appends an entry: `frame` as it arrived, `raw` decompressed. `entry` gives what stands in the index, from section,
    /// offset and length. On an error nothing of the entry is kept (a section before it may be: it is sound).
    pub(crate) fn append(
        &mut self,
        epoch: Epoch,
        set: &InterfaceSet,
        frame: &[u8],
        raw: &[u8],
        occurs: Option<&BatchIndex>,
        entry: impl FnOnce(u32, u64, u32) -> BatchEntry,
    ) -> io::Result<()> {
        let section = self.begin_section(epoch, set)?;
        let bytes = if self.compressed { frame } else { raw };
        let offset = self.write(bytes, raw.len() as u32)?;
        let entry = entry(section, offset, bytes.len() as u32);
        self.index.push(entry, occurs);
        let mut record = vec![JOURNAL_ENTRY];
        entry.write(&mut record);
        if let Some(occurs) = occurs {
            occurs.write(&mut record);
            for statistics in occurs.statistics() {
                self.statistics.insert(statistics.interface, *statistics);
            }
        }
        self.journal.add(&record);
        Ok(())
    }

    /// Makes what was appended durable. It counts as durable only after [`Segment::mark`].
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.journal.flush();
        if self.dirty {
            self.repair()?;
            self.file.sync_data()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Notes that a sync of the whole file system has made it durable.
    pub(crate) fn synced_from_outside(&mut self) {
        self.dirty &= self.overhang;
    }

    /// Notes that everything appended so far is durable.
    pub(crate) fn mark(&mut self) {
        self.durable = Mark {
            length: self.length,
            sections: self.index.sections.len(),
            batches: self.index.batches.len(),
            frames: self.frames.len(),
            section: self.section,
        };
    }

    /// Goes back to the last mark. The file is cut at once if the disk allows, otherwise before the next write.
    pub(crate) fn roll_back(&mut self) {
        let Mark { length, sections, batches, frames, section } = self.durable;
        if length == self.length && !self.dirty {
            return;
        }
        self.length = length;
        self.section = section;
        self.index.truncate(sections, batches);
        self.frames.truncate(frames);
        self.journal.give_up();
        // The journal knows entries that are no longer there: readers must not trust it any more.
        let _ = fs::remove_file(index_path(&self.path));
        self.dirty = true;
        self.overhang = true;
        let _ = self.repair();
    }

    /// Whether no entry is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.index.batches.is_empty()
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Closes it: statistics, seek table, index, then the final name, which it gives. On an error the segment is as before and
    /// goes on.
    pub(crate) fn close(&mut self) -> io::Result<PathBuf> {
        self.journal.flush();
        self.repair()?;
        let (length, frames) = (self.length, self.frames.len());
        let closed =
            self.write_end().and_then(|()| self.file.sync_all()).and_then(|()| finish(&self.path, &self.index));
        if closed.is_err() {
            self.length = length;
            self.frames.truncate(frames);
            self.dirty = true;
            self.overhang = true;
            let _ = self.repair();
        }
        closed
    }

    fn write_end(&mut self) -> io::Result<()> {
        let end = end_of_segment(&self.statistics, &mut self.frames, self.compressed)?;
        if let Err(error) = self.file.write_all_at(&end, self.length) {
            self.overhang = true;
            return Err(error);
        }
        self.length += end.len() as u64;
        Ok(())
    }
}

/// Section header and interface descriptions of a set, within the limit of a frame.
fn section_blocks(set: &InterfaceSet) -> Vec<u8> {
    let mut raw = Vec::new();
    pcapng::write_section_header(&mut raw, concat!("tapline ", env!("CARGO_PKG_VERSION")));
    let begin = raw.len();
    set.interfaces.iter().for_each(|interface| pcapng::write_interface(&mut raw, interface));
    if raw.len() > MAX_BYTES {
        raw.truncate(begin);
        for interface in &set.interfaces {
            let mut clipped = interface.clone();
            clipped.name = clipped.name.chars().take(CLIPPED / 4).collect();
            clipped.filter = clipped.filter.chars().take(CLIPPED / 4).collect();
            pcapng::write_interface(&mut raw, &clipped);
        }
    }
    raw
}

/// What ends a closed segment: the last counters of the interfaces and, if it is compressed, the seek table.
pub(crate) fn end_of_segment(
    statistics: &BTreeMap<u32, InterfaceStatistics>,
    frames: &mut Vec<(u32, u32)>,
    compressed: bool,
) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    statistics.values().for_each(|statistics| pcapng::write_interface_statistics(&mut raw, statistics));
    if !compressed {
        return Ok(raw);
    }
    let mut end = Vec::new();
    if !raw.is_empty() {
        end = compress(&raw)?;
        frames.push((end.len() as u32, raw.len() as u32));
    }
    write_seek_table(frames, &mut end);
    Ok(end)
}

/// The seek table of the zstd seekable format: a skippable frame with the sizes of all frames.
fn write_seek_table(frames: &[(u32, u32)], out: &mut Vec<u8>) {
    let length = frames.len() * 8 + 9;
    out.reserve(length + 8);
    out.extend_from_slice(&SEEK_TABLE_MAGIC.to_le_bytes());
    out.extend_from_slice(&(length as u32).to_le_bytes());
    for (compressed, raw) in frames {
        out.extend_from_slice(&compressed.to_le_bytes());
        out.extend_from_slice(&raw.to_le_bytes());
    }
    out.extend_from_slice(&(frames.len() as u32).to_le_bytes());
    out.push(0);
    out.extend_from_slice(&SEEK_TABLE_FOOTER.to_le_bytes());
}

/// Writes the index of a finished segment and gives the segment its final name, never that of a file that is there.
pub(crate) fn finish(open: &Path, index: &Index) -> io::Result<PathBuf> {
    let mut closed = closed_path(open);
    loop {
        if closed.exists() {
            closed = next_free(&closed)?;
        }
        write_index(&closed, index)?;
        match rename_new(open, &closed) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let _ = fs::remove_file(index_path(&closed));
                return Err(error);
            }
        }
    }
    let _ = fs::remove_file(index_path(open));
    if let Some(folder) = closed.parent() {
        // Should the new name not survive a crash, recovery finishes the segment under the old one again.
        let _ = sync_folder(folder);
    }
    Ok(closed)
}

/// Renames, but not over a file that is there.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot promise it. This process is the only one that makes names here.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.exists() => fs::rename(from, to),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        other => Ok(other?),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes the index file of a closed segment.
pub(crate) fn write_index(segment: &Path, index: &Index) -> io::Result<()> {
    let mut bytes = Vec::new();
    index.write(&mut bytes);
    let path = index_path(segment);
    let new = path.with_extension("idx.new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(&new)
        .and_then(|file| file.write_all_at(&bytes, 0).and_then(|()| file.sync_all()));
    if let Err(error) = written.and_then(|()| fs::rename(&new, &path)) {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    Ok(())
}
