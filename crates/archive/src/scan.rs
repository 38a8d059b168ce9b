//! Walking a segment frame by frame, without its index: for recovery, and for what an open segment's journal does not show yet.
//! Reads only; what is broken is reported, never repaired here.

use crate::index::{BatchEntry, BatchIndex, Index, Section};
use packet::batch::{self, BATCH_BLOCK, GAP_BLOCK};
use packet::pcapng::{self, Blocks, InterfaceStatistics};
use packet::{Entry, Interface, InterfaceSet};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Longest frame that can be in a segment: a batch that does not compress at all, and a little.
pub(crate) const MAX_FRAME: usize = batch::MAX_BYTES + batch::MAX_BYTES / 64 + 4096;

/// One frame of a segment, decompressed.
#[derive(Debug)]
pub(crate) struct ScannedFrame {
    pub(crate) offset: u64,
    pub(crate) length: u32,
    /// The decompressed bytes; empty for a skippable frame.
    pub(crate) raw: Vec<u8>,
}

/// What a segment can be read from: a file, or its bytes.
pub(crate) trait Stored {
    fn length(&self) -> io::Result<u64>;
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Stored for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl Stored for [u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = usize::try_from(offset).ok().and_then(|at| self.get(at..)?.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Walks the frames of a segment from an offset.
pub(crate) struct Frames<'f, S: Stored + ?Sized> {
    file: &'f S,
    compressed: bool,
    offset: u64,
    end: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl<'f, S: Stored + ?Sized> Frames<'f, S> {
    pub(crate) fn new(file: &'f S, compressed: bool, offset: u64) -> io::Result<Self> {
        let end = file.length()?;
        Ok(Self { file, compressed, offset, end, buffer: Vec::new(), buffer_at: offset })
    }

    /// Where the next frame begins: after the last whole one.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes from the present offset on, at least `wanted` of them where the file has them.
    fn window(&mut self, wanted: usize) -> io::Result<&[u8]> {
        let start = (self.offset - self.buffer_at) as usize;
        let available = self.buffer.len().saturating_sub(start);
        let rest = (self.end - self.offset) as usize;
        if available < wanted.min(rest) {
            let length = wanted.max(1 << 20).min(rest);
            let mut buffer = vec![0; length];
            self.file.read_at(&mut buffer, self.offset)?;
            self.buffer = buffer;
            self.buffer_at = self.offset;
            return Ok(&self.buffer);
        }
        Ok(self.buffer.get(start..).unwrap_or_default())
    }

    /// The next whole frame; none at the end or where what follows is no whole, sound frame.
    pub(crate) fn next_frame(&mut self) -> io::Result<Option<ScannedFrame>> {
        let offset = self.offset;
        if offset >= self.end {
            return Ok(None);
        }
        let found = if self.compressed { self.next_compressed() } else { self.next_plain() };
        let (length, raw) = match found {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            // The writer has cut off what the disk refused, or recovery what was broken.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        self.offset += length as u64;
        Ok(Some(ScannedFrame { offset, length: length as u32, raw }))
    }

    fn next_compressed(&mut self) -> io::Result<Option<(usize, Vec<u8>)>> {
        let mut wanted = 256 * 1024;
        loop {
            let rest = (self.end - self.offset) as usize;
            let window = self.window(wanted)?;
            match zstd::zstd_safe::find_frame_compressed_size(window) {
                Ok(length) => {
                    let Some(frame) = window.get(..length) else { return Ok(None) };
                    if frame.first_chunk().is_some_and(|magic| u32::from_le_bytes(*magic) & 0xffff_fff0 == 0x184d_2a50)
                    {
                        return Ok(Some((length, Vec::new())));
                    }
                    return Ok(decompress(frame).map(|raw| (length, raw)));
                }
                Err(_) if wanted < MAX_FRAME && wanted < rest => wanted *= 4,
                Err(_) => return Ok(None),
            }
        }
    }

    /// In a plain segment a "frame" is what a compressed one would be: a section with its interfaces, or one entry. What
    /// follows an entry and opens nothing (statistics) is part of it.
    fn next_plain(&mut self) -> io::Result<Option<(usize, Vec<u8>)>> {
        let mut wanted = 512 * 1024;
        loop {
            let rest = (self.end - self.offset) as usize;
            let window = self.window(wanted)?;
            let (mut length, mut complete) = (0, window.len() >= rest);
            for block in Blocks::new(window) {
                let Ok(block) = block else { break };
                let opens = matches!(block.block_type, BATCH_BLOCK | GAP_BLOCK | pcapng::SECTION_HEADER);
                if opens && block.offset > 0 {
                    complete = true;
                    break;
                }
                length = block.offset + block.body.len() + 12;
            }
            if !complete && wanted < MAX_FRAME {
                wanted *= 2;
                continue;
            }
            if length == 0 {
                return Ok(None);
            }
            return Ok(window.get(..length).map(|raw| (length, raw.to_vec())));
        }
    }
}

/// Decompresses one frame within the bounds of a batch; none if it is broken or too large.
pub(crate) fn decompress(frame: &[u8]) -> Option<Vec<u8>> {
    let size = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten()?;
    let size = usize::try_from(size).ok().filter(|size| *size <= batch::MAX_BYTES)?;
    let mut raw = Vec::with_capacity(size);
    CONTEXT.with_borrow_mut(|context| context.decompress(&mut raw, frame)).ok()?;
    Some(raw)
}

thread_local! {
    /// Making one costs as much as decompressing a small batch.
    static CONTEXT: RefCell<zstd::zstd_safe::DCtx<'static>> = RefCell::new(zstd::zstd_safe::DCtx::create());
}

/// The entries of a decompressed frame: one, or several that were compacted.
pub(crate) fn entries_of(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let opens = |kind| matches!(kind, BATCH_BLOCK | GAP_BLOCK);
        let next = Blocks::new(rest).map_while(Result::ok).skip(1).find(|block| opens(block.block_type));
        let (entry, behind) = rest.split_at_checked(next.map_or(rest.len(), |block| block.offset))?;
        rest = behind;
        Some(entry)
    })
}

/// The one with this sequence number among the entries of a decompressed frame.
pub(crate) fn entry_in(raw: Vec<u8>, seq: u64) -> Option<Vec<u8>> {
    let is_it = |entry: &&[u8]| match Entry::parse(entry) {
        Ok(Entry::Batch(batch)) => batch.header.name.seq == seq,
        Ok(Entry::Gap(gap)) => gap.name.seq == seq,
        Err(_) => false,
    };
    let length = entries_of(&raw).find(is_it)?.len();
    if length == raw.len() {
        return Some(raw);
    }
    let found = entries_of(&raw).find(is_it)?.to_vec();
    Some(found)
}

/// The interfaces that a section's blocks describe.
pub(crate) fn interfaces_of(raw: &[u8]) -> Vec<Interface> {
    Blocks::new(raw)
        .filter_map(Result::ok)
        .filter(|block| block.block_type == pcapng::INTERFACE_DESCRIPTION)
        .filter_map(|block| pcapng::read_interface(block.body).ok())
        .collect()
}

/// What a walk over a segment finds. Begin with the default, or with what is known up to `end`.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Sections and entries.
    pub(crate) index: Index,
    /// The interfaces of each section.
    pub(crate) sets: Vec<InterfaceSet>,
    /// Stored and decompressed length of every frame up to the last entry.
    pub(crate) frames: Vec<(u32, u32)>,
    /// The last counters of each interface of the last section.
    pub(crate) statistics: BTreeMap<u32, InterfaceStatistics>,
    /// Behind the last section or entry.
    pub(crate) end: u64,
    /// Behind the last sound frame of any kind: what follows is broken.
    pub(crate) sound: u64,
}

impl Scan {
    /// Walks on from `end` until the end of the file or what is no sound frame.
    pub(crate) fn run<S: Stored + ?Sized>(&mut self, file: &S, compressed: bool) -> io::Result<()> {
        let mut frames = Frames::new(file, compressed, self.end)?;
        let mut occurs = BatchIndex::default();
        self.sound = self.end;
        while let Some(frame) = frames.next_frame()? {
            if !self.add(&frame, &mut occurs) {
                break;
            }
            self.sound = frames.offset();
        }
        Ok(())
    }

    /// Whether the frame is one that may stand here.
    fn add(&mut self, frame: &ScannedFrame, occurs: &mut BatchIndex) -> bool {
        // The seek table that ends a closed segment.
        let Some(first) = Blocks::new(&frame.raw).next() else { return true };
        let Ok(first) = first else { return false };
        match first.block_type {
            pcapng::SECTION_HEADER => {
                self.index.sections.push(Section {
                    offset: frame.offset,
                    length: frame.length,
                    raw_length: frame.raw.len() as u32,
                    // Known only from the first entry that follows.
                    epoch: packet::Epoch::default(),
                    interface_set: u32::MAX,
                });
                self.sets.push(InterfaceSet { number: u32::MAX, interfaces: interfaces_of(&frame.raw) });
                self.statistics.clear();
            }
            BATCH_BLOCK | GAP_BLOCK => {
                let (sections, batches) = (self.index.sections.len(), self.index.batches.len());
                if !entries_of(&frame.raw).all(|raw| self.add_entry(frame, raw, occurs).is_some()) {
                    self.index.truncate(sections, batches);
                    return false;
                }
            }
            // The statistics before the seek table, or a frame of a later version.
            _ => return true,
        }
        self.end = frame.offset + u64::from(frame.length);
        self.frames.push((frame.length, frame.raw.len() as u32));
        true
    }

    fn add_entry(&mut self, frame: &ScannedFrame, raw: &[u8], occurs: &mut BatchIndex) -> Option<()> {
        let number = self.index.sections.len().checked_sub(1)?;
        let (set, section) = (self.sets.get_mut(number)?, self.index.sections.get_mut(number)?);
        let (offset, length, raw_length) = (frame.offset, frame.length, frame.raw.len() as u32);
        match Entry::parse(raw).ok()? {
            Entry::Batch(batch) => {
                occurs.check(&batch, set).ok()?;
                section.epoch = batch.header.name.epoch;
                section.interface_set = batch.header.interface_set;
                set.number = batch.header.interface_set;
                let entry = BatchEntry::of_batch(&batch.header, number as u32, offset, length, raw_length);
                self.index.push(entry, Some(occurs));
                for statistics in occurs.statistics() {
                    self.statistics.insert(statistics.interface, *statistics);
                }
            }
            Entry::Gap(gap) => {
                section.epoch = gap.name.epoch;
                self.index.push(BatchEntry::of_gap(&gap, number as u32, offset, length, raw_length), None);
            }
        }
        Some(())
    }
}

impl Index {
    /// Makes the index of a segment from its bytes alone; what is broken ends it.
    pub fn of_segment(bytes: &[u8], compressed: bool) -> Self {
        let mut scan = Scan::default();
        // Reading from memory does not fail.
        let _ = scan.run(bytes, compressed);
        scan.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{BatchBuilder, Epoch, LinkType, Packet, Timestamp};
    use proptest::prelude::*;

    fn blocks() -> (Vec<u8>, Vec<u8>) {
        let mut section = Vec::new();
        pcapng::write_section_header(&mut section, "test");
        let interface =
            Interface { name: "eth0".into(), link_type: LinkType::ETHERNET, snaplen: 0, filter: String::new() };
        pcapng::write_interface(&mut section, &interface);
        let mut entries = Vec::new();
        for seq in 0..3 {
            let mut builder = BatchBuilder::new("a".parse().unwrap(), Epoch([1; 16]), 0);
            let time = Timestamp::from_nanos(5 + seq);
            builder.push(&Packet { time, interface: 0, original_length: 20, data: &[seq as u8; 20] });
            entries.extend(builder.seal(seq, seq, Vec::new()).1);
        }
        (section, entries)
    }

    #[test]
    fn a_frame_may_hold_several_entries() {
        let (section, entries) = blocks();
        let mut segment = crate::segment::compress(&section).unwrap();
        segment.extend(crate::segment::compress(&entries).unwrap());
        let index = Index::of_segment(&segment, true);
        assert_eq!(index.batches.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(index.batches.windows(2).all(|pair| pair[0].offset == pair[1].offset));
        let second = entry_in(entries.clone(), 1).unwrap();
        assert!(matches!(Entry::parse(&second), Ok(Entry::Batch(batch)) if batch.header.name.seq == 1));
        assert_eq!(entry_in(entries.clone(), 9), None);
        let mut bytes = Vec::new();
        index.write(&mut bytes);
        assert_eq!(Index::parse(&bytes), Ok(index));
        let mut plain = section;
        plain.extend(entries);
        assert_eq!(Index::of_segment(&plain, false).batches.len(), 3);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(
            mut noise in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<proptest::sample::Index>(),
            compressed: bool,
            frame: bool,
        ) {
            let (mut section, entries) = blocks();
            section.extend(entries);
            if frame {
                let at = at.index(section.len());
                section.splice(at..at, noise.drain(..));
            }
            let mut segment = if compressed { crate::segment::compress(&section).unwrap() } else { section };
            let at = at.index(segment.len());
            segment.splice(at.., noise);
            Index::of_segment(&segment, compressed);
        }
    }
}
