//! The part of a backlog that lies on disk: numbered segments of records, written in order, read in order, removed when confirmed.
//! One owner, no threads; what a crash left is read back, and a torn tail is cut off and reported.
//!
//! A segment is named after its first record, `00000000000000000007.spill`. A record is: length of the documents u32, its number u64, CRC-32 of
//! number and documents u32, documents; integers little-endian. `confirmed` holds the number of the last record that was delivered and its CRC-32.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::document::Documents;

const HEAD: usize = 4 + 8 + 4;
/// No record is longer: a batch of events is far below.
const RECORD_MAX: u32 = 64 << 20;

pub(super) struct Spill {
    directory: PathBuf,
    /// A segment that is longer is followed by a new one.
    segment_bytes: u64,
    records: VecDeque<Record>,
    segments: VecDeque<Segment>,
    confirmed: File,
    used: u64,
    events: u64,
    unsynced: bool,
}

#[derive(Clone, Copy)]
struct Record {
    seq: u64,
    segment: u64,
    offset: u64,
    length: u32,
    events: u32,
}

struct Segment {
    first_seq: u64,
    file: File,
    length: u64,
}

impl Spill {
    /// Opens the directory and reads what an earlier run left there.
    pub(super) fn open(directory: PathBuf, segment_bytes: u64) -> io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let confirmed =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(directory.join("confirmed"))?;
        let mut spill = Self {
            directory,
            segment_bytes,
            records: VecDeque::new(),
            segments: VecDeque::new(),
            confirmed,
            used: 0,
            events: 0,
            unsynced: false,
        };
        spill.recover()?;
        Ok(spill)
    }

    fn recover(&mut self) -> io::Result<()> {
        let mut firsts = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let first = name.to_str().and_then(|name| name.strip_suffix(".spill")?.parse::<u64>().ok());
            firsts.extend(first);
        }
        firsts.sort_unstable();
        let confirmed = self.read_confirmed();
        for first_seq in firsts {
            let path = segment_path(&self.directory, first_seq);
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let whole = self.read_segment(first_seq, &file)?;
            let length = file.metadata()?.len();
            if whole < length {
                tracing::warn!(
                    "{}: the last {} bytes are no whole record: a crash cut them off; they are removed",
                    path.display(),
                    length - whole
                );
                file.set_len(whole)?;
            }
            self.used += whole;
            self.segments.push_back(Segment { first_seq, file, length: whole });
        }
        if let Some(last) = self.records.back() {
            let delivered = confirmed.filter(|seq| *seq <= last.seq);
            tracing::info!(
                events = self.events,
                bytes = self.used,
                "{}: an earlier run left events that were not delivered",
                self.directory.display()
            );
            if let Some(seq) = delivered {
                self.confirm(seq);
            }
        }
        self.remove_empty();
        Ok(())
    }

    /// Notes the whole records of a segment; gives the length up to the last of them.
    fn read_segment(&mut self, segment: u64, file: &File) -> io::Result<u64> {
        let length = file.metadata()?.len();
        let mut offset = 0;
        while let Some((seq, documents)) = read_record(file, offset, length)? {
            let bytes = documents.bytes().len() as u32;
            let events = documents.len() as u32;
            self.events += u64::from(events);
            self.records.push_back(Record { seq, segment, offset, length: bytes, events });
            offset += HEAD as u64 + u64::from(bytes);
        }
        Ok(offset)
    }

    fn read_confirmed(&self) -> Option<u64> {
        let mut bytes = [0; 12];
        self.confirmed.read_exact_at(&mut bytes, 0).ok()?;
        let (seq, crc) = bytes.split_at(8);
        let seq: [u8; 8] = seq.try_into().ok()?;
        (crc32fast::hash(&seq).to_le_bytes() == crc).then(|| u64::from_le_bytes(seq))
    }

    /// Number of the last record, here or delivered from here.
    pub(super) fn last_seq(&self) -> Option<u64> {
        self.records.back().map(|record| record.seq).or_else(|| self.read_confirmed())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes on disk.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Events on disk that are not confirmed.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Appends a record; gives false if it takes more than `room` bytes. Nothing of it stays after an error.
    pub(super) fn append(&mut self, seq: u64, documents: &Documents, room: u64) -> io::Result<bool> {
        let bytes = documents.bytes();
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= RECORD_MAX);
        let Some(length) = length else { return Err(io::Error::other("a batch of events is too large to be spilled")) };
        let whole = HEAD as u64 + u64::from(length);
        if whole > room {
            return Ok(false);
        }
        if self.segments.back().is_none_or(|segment| segment.length >= self.segment_bytes) {
            let path = segment_path(&self.directory, seq);
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
            self.segments.push_back(Segment { first_seq: seq, file, length: 0 });
        }
        let Some(segment) = self.segments.back_mut() else { return Ok(false) };
        let mut record = Vec::with_capacity(HEAD + bytes.len());
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&seq.to_le_bytes());
        record.extend_from_slice(&checksum(seq, bytes).to_le_bytes());
        record.extend_from_slice(bytes);
        if let Err(error) = segment.file.write_all_at(&record, segment.length) {
            segment.file.set_len(segment.length)?;
            return Err(error);
        }
        let offset = segment.length;
        segment.length += whole;
        self.used += whole;
        self.events += documents.len() as u64;
        self.unsynced = true;
        let events = documents.len() as u32;
        self.records.push_back(Record { seq, segment: segment.first_seq, offset, length, events });
        Ok(true)
    }

    /// Makes everything appended durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            for segment in self.segments.iter().rev().take(2) {
                segment.file.sync_data()?;
            }
            File::open(&self.directory)?.sync_all()?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// The first records, up to `bytes_max` bytes but at least one; and the number of the last of them.
    pub(super) fn read(&self, bytes_max: usize) -> io::Result<(Vec<Documents>, u64)> {
        let (mut found, mut bytes, mut last_seq) = (Vec::new(), 0, 0);
        for record in &self.records {
            if !found.is_empty() && bytes + record.length as usize > bytes_max {
                break;
            }
            let Some(segment) = self.segments.iter().find(|segment| segment.first_seq == record.segment) else { break };
            let Some((_, documents)) = read_record(&segment.file, record.offset, segment.length)? else {
                return Err(io::Error::other(format!(
                    "{}: the record at {} is damaged",
                    segment_path(&self.directory, record.segment).display(),
                    record.offset
                )));
            };
            bytes += record.length as usize;
            last_seq = record.seq;
            found.push(documents);
        }
        Ok((found, last_seq))
    }

    /// Leaves the first record out, for it cannot be read; gives the number of its events.
    pub(super) fn skip(&mut self) -> u64 {
        let Some(record) = self.records.front().copied() else { return 0 };
        self.confirm(record.seq);
        record.events.into()
    }

    /// Forgets records up to this number: they were delivered.
    pub(super) fn confirm(&mut self, seq: u64) {
        let mut any = false;
        while let Some(record) = self.records.front().filter(|record| record.seq <= seq) {
            self.events -= u64::from(record.events);
            self.records.pop_front();
            any = true;
        }
        if !any {
            return;
        }
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&seq.to_le_bytes());
        bytes[8..].copy_from_slice(&crc32fast::hash(&seq.to_le_bytes()).to_le_bytes());
        // Only saves work: what is delivered twice has the same ids.
        if let Err(error) = self.confirmed.write_all_at(&bytes, 0) {
            tracing::debug!("{}: {error}", self.directory.join("confirmed").display());
        }
        self.remove_empty();
    }

    /// Removes the directory and what is left in it.
    pub(super) fn remove(self) -> io::Result<()> {
        std::fs::remove_dir_all(&self.directory)
    }

    fn remove_empty(&mut self) {
        let first = self.records.front().map(|record| record.segment);
        while let Some(segment) = self.segments.front().filter(|segment| Some(segment.first_seq) != first) {
            let path = segment_path(&self.directory, segment.first_seq);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!("cannot remove {}: {error}", path.display());
            }
            self.used -= segment.length;
            self.segments.pop_front();
        }
    }
}

fn segment_path(directory: &Path, first_seq: u64) -> PathBuf {
    directory.join(format!("{first_seq:020}.spill"))
}

fn checksum(seq: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seq.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// The record at an offset, if there is a whole and sound one.
fn read_record(file: &File, offset: u64, end: u64) -> io::Result<Option<(u64, Documents)>> {
    let mut head = [0; HEAD];
    if offset + HEAD as u64 > end {
        return Ok(None);
    }
    file.read_exact_at(&mut head, offset)?;
    let (length, rest) = head.split_at(4);
    let (seq, crc) = rest.split_at(8);
    let length = length.try_into().map_or(u32::MAX, u32::from_le_bytes);
    let seq = seq.try_into().map_or(0, u64::from_le_bytes);
    if length > RECORD_MAX || offset + HEAD as u64 + u64::from(length) > end {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset + HEAD as u64)?;
    if checksum(seq, &bytes).to_le_bytes() != crc {
        return Ok(None);
    }
    Ok(Documents::from_bytes(bytes).ok().map(|documents| (seq, documents)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::document::Document;
    use packet::Timestamp;

    fn documents(number: u64) -> Documents {
        let json = format!("{{\"_id\":\"{number:032x}\",\"type\":\"dns\"}}");
        let mut documents = Documents::default();
        documents.push(&Document { time: Timestamp::from_nanos(number), kind: "dns", key: "", json: &json });
        documents
    }

    const SEGMENT: u64 = 16 << 20;

    fn times(spill: &Spill) -> Vec<u64> {
        let (found, _) = spill.read(usize::MAX).unwrap();
        found
            .iter()
            .flat_map(|documents| documents.iter().map(|document| document.time.nanos()).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn what_was_written_is_there_after_a_restart_less_what_was_confirmed() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(folder.path().to_owned(), SEGMENT).unwrap();
        for seq in 1..=9 {
            assert!(spill.append(seq, &documents(seq), u64::MAX).unwrap());
        }
        spill.sync().unwrap();
        spill.confirm(4);
        drop(spill);
        let mut spill = Spill::open(folder.path().to_owned(), SEGMENT).unwrap();
        assert_eq!((times(&spill), spill.events(), spill.last_seq()), (vec![5, 6, 7, 8, 9], 5, Some(9)));
        spill.confirm(9);
        assert!(spill.is_empty() && spill.used() == 0);
        assert_eq!(spill.last_seq(), Some(9));
    }

    #[test]
    fn a_torn_tail_is_cut_off_at_any_byte() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(folder.path().to_owned(), SEGMENT).unwrap();
        for seq in 1..=3 {
            spill.append(seq, &documents(seq), u64::MAX).unwrap();
        }
        drop(spill);
        let path = segment_path(folder.path(), 1);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut spill = Spill::open(folder.path().to_owned(), SEGMENT).unwrap();
            let records = cut * 3 / whole.len();
            assert_eq!(times(&spill), (1..=records as u64).collect::<Vec<_>>(), "cut at {cut}");
            assert!(spill.append(100, &documents(100), u64::MAX).unwrap());
            assert_eq!(times(&spill).last(), Some(&100));
            drop(spill);
            std::fs::remove_file(segment_path(folder.path(), 100)).ok();
            std::fs::write(&path, &whole).unwrap();
        }
    }

    #[test]
    fn nothing_is_taken_for_which_there_is_no_room_and_segments_are_removed_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let one = documents(1).bytes().len() as u64 + HEAD as u64;
        let mut spill = Spill::open(folder.path().to_owned(), 2 * one).unwrap();
        assert!(!spill.append(1, &documents(1), one - 1).unwrap() && spill.is_empty());
        for seq in 1..=4 {
            assert!(spill.append(seq, &documents(seq), one).unwrap());
        }
        spill.confirm(1);
        assert_eq!((spill.events(), spill.used()), (3, 4 * one));
        spill.confirm(2);
        assert_eq!((times(&spill), spill.used()), (vec![3, 4], 2 * one));
        spill.remove().unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn arbitrary_bytes_are_no_records() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = 1u64;
        for round in 0..200 {
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as u8
            })
            .take(round)
            .collect();
            std::fs::write(segment_path(folder.path(), 5), bytes).unwrap();
            assert!(Spill::open(folder.path().to_owned(), SEGMENT).unwrap().is_empty());
        }
    }
}
