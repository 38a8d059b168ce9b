//! The bytes of an index file, see `docs/formats/index.md`. Does not touch the disk.

use super::postings::Runs;
use super::{BatchEntry, Index, Section, varint};
use packet::Timestamp;
use packet::cursor::{Cursor, Cut};

const MAGIC: &[u8; 4] = b"TLIX";
const VERSION: u16 = 1;
/// Bytes before the body.
pub(crate) const HEADER_BYTES: usize = 64;

/// Bytes that are no index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Cut, or of another kind.
    #[error("the index is cut or damaged: {0}")]
    Damaged(&'static str),
    /// Another version.
    #[error("the index has version {0}, this program reads version {VERSION}")]
    Version(u16),
}

impl From<Cut> for IndexError {
    fn from(_: Cut) -> Self {
        Self::Damaged("it ends within an entry")
    }
}

/// What a segment holds, from the head of its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Earliest packet time, of gap records too; zero without any.
    pub time_min: Timestamp,
    /// Latest packet time, of gap records too.
    pub time_max: Timestamp,
    /// Packets in its batches.
    pub packets: u64,
    /// Their captured bytes.
    pub captured_bytes: u64,
    /// Where its last entry ends in the segment.
    pub end: u64,
    /// Entries of the log: batches and gap records.
    pub entries: u32,
    /// Sections.
    pub sections: u32,
}

impl Index {
    /// What the segment holds.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            end: self.batches.last().map_or(0, |entry| entry.offset.saturating_add(entry.length.into())),
            entries: self.batches.len() as u32,
            sections: self.sections.len() as u32,
            ..Summary::default()
        };
        let mut earliest = Timestamp::MAX;
        for entry in &self.batches {
            if entry.packets > 0 {
                earliest = earliest.min(entry.time_min);
                summary.time_max = summary.time_max.max(entry.time_max);
            }
            if !entry.is_gap() {
                summary.packets = summary.packets.saturating_add(entry.packets);
                summary.captured_bytes = summary.captured_bytes.saturating_add(entry.captured_bytes);
            }
        }
        if earliest != Timestamp::MAX {
            summary.time_min = earliest;
        }
        summary
    }

    /// Appends the index as the bytes of its file.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + HEADER_BYTES, 0);
        self.sections.iter().for_each(|section| section.write(out));
        let mut before = BatchEntry::default();
        for entry in &self.batches {
            write_entry(out, &before, entry);
            before = *entry;
        }
        write_keys(out, self.v4.iter().map(|(key, runs)| (u64::from(*key), runs)).collect());
        let mut v6: Vec<_> = self.v6.iter().collect();
        v6.sort_unstable_by_key(|(key, _)| **key);
        varint::write(out, v6.len() as u64);
        for (key, runs) in v6 {
            out.extend_from_slice(&key.to_be_bytes());
            runs.write(out);
        }
        write_keys(out, self.ports.iter().map(|(key, runs)| (u64::from(*key), runs)).collect());
        write_keys(out, self.protocols.iter().map(|(key, runs)| (u64::from(*key), runs)).collect());
        self.unclear.write(out);
        let checksum = crc32fast::hash(out.get(start + HEADER_BYTES..).unwrap_or(&[]));
        let body = (out.len() - start - HEADER_BYTES) as u32;
        out.extend_from_slice(&checksum.to_le_bytes());
        let header = header(&self.summary(), body);
        if let Some(place) = out.get_mut(start..start + HEADER_BYTES) {
            place.copy_from_slice(&header);
        }
    }

    /// Reads the bytes of an index file.
    ///
    /// # Errors
    /// When they are no whole index of this version; it can be made again from the segment.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        let (summary, body) = read_header(bytes)?;
        let whole = bytes.get(HEADER_BYTES..).unwrap_or(&[]);
        if whole.len() != body as usize + 4 {
            return Err(IndexError::Damaged("its length is not what it says"));
        }
        let (body, checksum) = whole.split_last_chunk::<4>().ok_or(IndexError::Damaged("it is too short"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return Err(IndexError::Damaged("its checksum is wrong"));
        }
        let mut cursor = Cursor::new(body);
        let mut index = Self::default();
        for _ in 0..summary.sections {
            index.sections.push(Section::read(&mut cursor)?);
        }
        let mut before = BatchEntry::default();
        for _ in 0..summary.entries {
            let entry = read_entry(&mut cursor, &before)?;
            if entry.section as usize >= index.sections.len() {
                return Err(IndexError::Damaged("a batch of a section that is not there"));
            }
            index.batches.push(entry);
            before = entry;
        }
        let limit = summary.entries;
        let narrow = |_| IndexError::Damaged("a key that is too large");
        read_keys(&mut cursor, limit, |key, runs| Ok(index.v4.insert(u32::try_from(key).map_err(narrow)?, runs)))?;
        for _ in 0..varint::read(&mut cursor)? {
            let key = u128::from_be_bytes(cursor.array()?);
            index.v6.insert(key, Runs::read(&mut cursor, limit)?);
        }
        read_keys(&mut cursor, limit, |key, runs| Ok(index.ports.insert(u16::try_from(key).map_err(narrow)?, runs)))?;
        read_keys(&mut cursor, limit, |key, runs| {
            Ok(index.protocols.insert(u8::try_from(key).map_err(narrow)?, runs))
        })?;
        index.unclear = Runs::read(&mut cursor, limit)?;
        if !cursor.is_empty() {
            return Err(IndexError::Damaged("something stands behind its end"));
        }
        Ok(index)
    }
}

/// Reads the head of an index file alone.
pub(crate) fn read_summary(bytes: &[u8]) -> Result<Summary, IndexError> {
    read_header(bytes).map(|(summary, _)| summary)
}

fn header(summary: &Summary, body: u32) -> [u8; HEADER_BYTES] {
    let mut head = Vec::with_capacity(HEADER_BYTES);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&[0; 2]);
    let times = [summary.time_min.nanos(), summary.time_max.nanos()];
    for long in times.into_iter().chain([summary.packets, summary.captured_bytes, summary.end]) {
        head.extend_from_slice(&long.to_le_bytes());
    }
    for word in [summary.entries, summary.sections, body] {
        head.extend_from_slice(&word.to_le_bytes());
    }
    let checksum = crc32fast::hash(&head);
    head.extend_from_slice(&checksum.to_le_bytes());
    let mut header = [0; HEADER_BYTES];
    header.iter_mut().zip(head).for_each(|(to, from)| *to = from);
    header
}

fn read_header(bytes: &[u8]) -> Result<(Summary, u32), IndexError> {
    let head: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(IndexError::Damaged("it is too short"))?;
    let mut cursor = Cursor::new(head);
    if cursor.take(4)? != MAGIC {
        return Err(IndexError::Damaged("it does not begin as one"));
    }
    let version = cursor.le_u16()?;
    if version != VERSION {
        return Err(IndexError::Version(version));
    }
    cursor.skip(2)?;
    let summary = Summary {
        time_min: Timestamp::from_nanos(cursor.le_u64()?),
        time_max: Timestamp::from_nanos(cursor.le_u64()?),
        packets: cursor.le_u64()?,
        captured_bytes: cursor.le_u64()?,
        end: cursor.le_u64()?,
        entries: cursor.le_u32()?,
        sections: cursor.le_u32()?,
    };
    let body = cursor.le_u32()?;
    if cursor.le_u32()? != crc32fast::hash(head.get(..HEADER_BYTES - 4).unwrap_or(&[])) {
        return Err(IndexError::Damaged("the checksum of its head is wrong"));
    }
    Ok((summary, body))
}

fn end_of(entry: &BatchEntry) -> u64 {
    entry.offset.wrapping_add(entry.length.into())
}

/// An entry as what differs from what the one before it lets expect.
fn write_entry(out: &mut Vec<u8>, before: &BatchEntry, entry: &BatchEntry) {
    varint::write_difference(out, end_of(before), entry.offset);
    varint::write(out, entry.length.into());
    varint::write(out, entry.raw_length.into());
    varint::write_difference(out, before.section.into(), entry.section.into());
    varint::write_difference(out, before.last_seq.wrapping_add(1), entry.seq);
    varint::write_difference(out, entry.seq, entry.last_seq);
    varint::write_difference(out, before.first_packet.wrapping_add(before.packets), entry.first_packet);
    varint::write(out, entry.packets);
    varint::write(out, entry.captured_bytes);
    varint::write_difference(out, before.time_min.nanos(), entry.time_min.nanos());
    varint::write_difference(out, entry.time_min.nanos(), entry.time_max.nanos());
    varint::write(out, entry.gap.into());
}

fn read_entry(cursor: &mut Cursor<'_>, before: &BatchEntry) -> Result<BatchEntry, IndexError> {
    let offset = varint::read_difference(cursor, end_of(before))?;
    let length = varint::read_u32(cursor)?;
    let raw_length = varint::read_u32(cursor)?;
    let section = varint::read_difference(cursor, before.section.into())?;
    let section = u32::try_from(section).map_err(|_| IndexError::Damaged("a section number that is too large"))?;
    let seq = varint::read_difference(cursor, before.last_seq.wrapping_add(1))?;
    let last_seq = varint::read_difference(cursor, seq)?;
    let first_packet = varint::read_difference(cursor, before.first_packet.wrapping_add(before.packets))?;
    let packets = varint::read(cursor)?;
    let captured_bytes = varint::read(cursor)?;
    let time_min = varint::read_difference(cursor, before.time_min.nanos())?;
    let time_max = varint::read_difference(cursor, time_min)?;
    Ok(BatchEntry {
        offset,
        length,
        raw_length,
        section,
        seq,
        last_seq,
        first_packet,
        packets,
        captured_bytes,
        time_min: Timestamp::from_nanos(time_min),
        time_max: Timestamp::from_nanos(time_max),
        gap: varint::read_u32(cursor)?,
    })
}

/// Keys in rising order, each as the difference from the one before it, and their postings.
fn write_keys(out: &mut Vec<u8>, mut keys: Vec<(u64, &Runs)>) {
    keys.sort_unstable_by_key(|(key, _)| *key);
    varint::write(out, keys.len() as u64);
    let mut before = 0;
    for (key, runs) in keys {
        varint::write(out, key - before);
        runs.write(out);
        before = key;
    }
}

fn read_keys(
    cursor: &mut Cursor<'_>,
    limit: u32,
    mut insert: impl FnMut(u64, Runs) -> Result<Option<Runs>, IndexError>,
) -> Result<(), IndexError> {
    let mut key = 0u64;
    for _ in 0..varint::read(cursor)? {
        key = key.checked_add(varint::read(cursor)?).ok_or(IndexError::Damaged("a key that is too large"))?;
        insert(key, Runs::read(cursor, limit)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_index_survives_its_bytes() {
        let mut index = sample();
        index.batches[20].gap = 4 | 1 << 16;
        index.batches[20].last_seq = 99;
        index.batches[21].time_min = Timestamp::MAX;
        let mut bytes = Vec::new();
        index.write(&mut bytes);
        assert_eq!(Index::parse(&bytes).as_ref(), Ok(&index));
        assert_eq!(read_summary(&bytes), Ok(index.summary()));
        assert_eq!(index.summary().packets, 490);
        let empty = Index::default();
        bytes.clear();
        empty.write(&mut bytes);
        assert_eq!(Index::parse(&bytes), Ok(empty));
    }

    #[test]
    fn a_damaged_index_is_refused() {
        let mut bytes = Vec::new();
        sample().write(&mut bytes);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(Index::parse(&damaged).is_err(), "byte {at}");
            assert!(Index::parse(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..400), entries in 0u32..20, sections in 0u32..3) {
            let summary = Summary { entries, sections, ..Summary::default() };
            let mut bytes = header(&summary, body.len() as u32).to_vec();
            bytes.extend_from_slice(&body);
            bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
            let _ = Index::parse(&bytes);
        }
    }
}
