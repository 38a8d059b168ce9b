//! What the index knows of a section and of an entry of the log. Their form in the journal of an open segment stands
//! here too; that in the index file is in `file`.

use packet::batch::{BatchHeader, GapRecord};
use packet::cursor::{Cursor, Cut};
use packet::{Epoch, Timestamp};

/// Section header and interface blocks in a segment; the batches after it refer to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Where its frame begins in the file.
    pub offset: u64,
    /// Length of the frame.
    pub length: u32,
    /// Length when decompressed.
    pub raw_length: u32,
    /// The epoch of its batches.
    pub epoch: Epoch,
    /// The interface set it describes.
    pub interface_set: u32,
}

/// One entry of the log in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchEntry {
    /// Where its frame begins in the file.
    pub offset: u64,
    /// Length of the frame.
    pub length: u32,
    /// Length when decompressed.
    pub raw_length: u32,
    /// Which section it belongs to.
    pub section: u32,
    /// Sequence number, of a gap record the first.
    pub seq: u64,
    /// The same, of a gap record the last.
    pub last_seq: u64,
    /// Number of its first packet in the epoch.
    pub first_packet: u64,
    /// Packets it holds, or that were lost.
    pub packets: u64,
    /// Their captured bytes.
    pub captured_bytes: u64,
    /// Earliest packet time.
    pub time_min: Timestamp,
    /// Latest packet time.
    pub time_max: Timestamp,
    /// 0 for a batch; for a gap record place and reason as in the record.
    pub gap: u32,
}

impl BatchEntry {
    pub(crate) fn of_batch(header: &BatchHeader, section: u32, offset: u64, length: u32, raw_length: u32) -> Self {
        Self {
            offset,
            length,
            raw_length,
            section,
            seq: header.name.seq,
            last_seq: header.name.seq,
            first_packet: header.first_packet,
            packets: header.packets.into(),
            captured_bytes: header.captured_bytes,
            time_min: header.time_min,
            time_max: header.time_max,
            gap: 0,
        }
    }

    pub(crate) fn of_gap(gap: &GapRecord, section: u32, offset: u64, length: u32, raw_length: u32) -> Self {
        Self {
            offset,
            length,
            raw_length,
            section,
            seq: gap.name.seq,
            last_seq: gap.last_seq,
            first_packet: gap.first_packet,
            packets: gap.packets,
            captured_bytes: gap.captured_bytes,
            time_min: gap.time_min,
            time_max: gap.time_max,
            gap: u32::from(gap.place as u16) | u32::from(gap.reason as u16) << 16,
        }
    }

    /// Whether it is a gap record.
    pub const fn is_gap(&self) -> bool {
        self.gap != 0
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for long in [self.offset, self.seq, self.last_seq, self.first_packet, self.packets, self.captured_bytes] {
            out.extend_from_slice(&long.to_le_bytes());
        }
        for long in [self.time_min.nanos(), self.time_max.nanos()] {
            out.extend_from_slice(&long.to_le_bytes());
        }
        for word in [self.length, self.raw_length, self.section, self.gap] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Cut> {
        Ok(Self {
            offset: cursor.le_u64()?,
            seq: cursor.le_u64()?,
            last_seq: cursor.le_u64()?,
            first_packet: cursor.le_u64()?,
            packets: cursor.le_u64()?,
            captured_bytes: cursor.le_u64()?,
            time_min: Timestamp::from_nanos(cursor.le_u64()?),
            time_max: Timestamp::from_nanos(cursor.le_u64()?),
            length: cursor.le_u32()?,
            raw_length: cursor.le_u32()?,
            section: cursor.le_u32()?,
            gap: cursor.le_u32()?,
        })
    }
}

impl Section {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.raw_length.to_le_bytes());
        out.extend_from_slice(&self.interface_set.to_le_bytes());
        out.extend_from_slice(&self.epoch.0);
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Cut> {
        Ok(Self {
            offset: cursor.le_u64()?,
            length: cursor.le_u32()?,
            raw_length: cursor.le_u32()?,
            interface_set: cursor.le_u32()?,
            epoch: Epoch(cursor.array()?),
        })
    }
}
