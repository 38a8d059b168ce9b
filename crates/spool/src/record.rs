//! The records of a segment file and their bytes. Reads and writes no files.
//!
//! Little endian: length of the body (u32), checksum (u32), body. The checksum is CRC-32 over the epoch, the length and the body: what
//! another run left on the same blocks of a disk is never taken for a record.

use packet::batch::{BatchHeader, DropReason, Entry, GapRecord, MAX_BYTES};
use packet::cursor::{Cursor, Cut};
use packet::{BatchName, Epoch, Interface, InterfaceSet, LinkType, SourceName, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes before a body.
pub(crate) const HEAD: usize = 8;
/// Longest body that is accepted: a batch that does not compress, and its header.
pub(crate) const MAX_BODY: usize = MAX_BYTES + MAX_BYTES / 8;
/// Version of the files.
pub(crate) const VERSION: u8 = 1;

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    Batch { header: BatchHeader, raw_length: u32, frame: Arc<Vec<u8>> },
    Gap(GapRecord),
}

impl Held {
    pub(crate) fn seq(&self) -> u64 {
        match self {
            Self::Batch { header, .. } => header.name.seq,
            Self::Gap(gap) => gap.name.seq,
        }
    }

    pub(crate) fn last_seq(&self) -> u64 {
        match self {
            Self::Batch { header, .. } => header.name.seq,
            Self::Gap(gap) => gap.last_seq,
        }
    }

    /// Packets that it brings; a gap record brings none.
    pub(crate) fn packets(&self) -> u64 {
        match self {
            Self::Batch { header, .. } => header.packets.into(),
            Self::Gap(_) => 0,
        }
    }

    /// Bytes of its compressed frame.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Batch { frame, .. } => frame.len() as u64,
            Self::Gap(_) => 0,
        }
    }

    /// Number of its first packet, and of the one after its last.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        let (first, packets) = match self {
            Self::Batch { header, .. } => (header.first_packet, header.packets.into()),
            Self::Gap(gap) => (gap.first_packet, gap.packets),
        };
        (first, first.saturating_add(packets))
    }
}

/// Packets that gap records stand for, by reason.
pub(crate) type Drops = BTreeMap<DropReason, u64>;

/// A record as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// The first of each file: whose it is, and its first sequence number.
    Begin {
        source: SourceName,
        epoch: Epoch,
        first_seq: u64,
    },
    Entry(Held),
    Set(InterfaceSet),
}

const BEGIN: u8 = 1;
const BATCH: u8 = 2;
const GAP: u8 = 3;
const SET: u8 = 4;

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

impl From<Cut> for Broken {
    fn from(_: Cut) -> Self {
        Self
    }
}

fn checksum(epoch: Epoch, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&epoch.0);
    crc.update(&(body.len() as u32).to_le_bytes());
    crc.update(body);
    crc.finalize()
}

/// Appends a record whose body is what `body` appends.
fn frame(out: &mut Vec<u8>, epoch: Epoch, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    body(out);
    let crc = checksum(epoch, out.get(start + HEAD..).unwrap_or_default());
    let length = (out.len() - start - HEAD) as u32;
    if let Some(head) = out.get_mut(start..start + HEAD) {
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..].copy_from_slice(&crc.to_le_bytes());
    }
}

fn longs(out: &mut Vec<u8>, values: &[u64]) {
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes().get(..text.len().min(usize::from(u16::MAX))).unwrap_or_default();
    out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends the record that begins a file.
pub(crate) fn write_begin(out: &mut Vec<u8>, source: &SourceName, epoch: Epoch, first_seq: u64) {
    frame(out, epoch, |out| {
        out.extend_from_slice(&[BEGIN, VERSION]);
        out.extend_from_slice(&epoch.0);
        longs(out, &[first_seq]);
        text(out, source.as_str());
    });
}

/// Appends an entry.
pub(crate) fn write_entry(out: &mut Vec<u8>, epoch: Epoch, held: &Held) {
    frame(out, epoch, |out| match held {
        Held::Batch { header, raw_length, frame } => {
            out.extend_from_slice(&[BATCH, 0]);
            for short in [header.interface_set, header.packets, *raw_length] {
                out.extend_from_slice(&short.to_le_bytes());
            }
            let (min, max) = (header.time_min.nanos(), header.time_max.nanos());
            longs(out, &[header.name.seq, header.first_packet, min, max, header.captured_bytes]);
            out.extend_from_slice(frame);
        }
        Held::Gap(gap) => {
            out.extend_from_slice(&[GAP, 0]);
            out.extend_from_slice(&gap.to_bytes());
        }
    });
}

/// Appends an interface set.
pub(crate) fn write_set(out: &mut Vec<u8>, epoch: Epoch, set: &InterfaceSet) {
    frame(out, epoch, |out| {
        out.extend_from_slice(&[SET, 0]);
        out.extend_from_slice(&set.number.to_le_bytes());
        out.extend_from_slice(&(set.interfaces.len() as u16).to_le_bytes());
        for interface in &set.interfaces {
            out.extend_from_slice(&interface.link_type.0.to_le_bytes());
            out.extend_from_slice(&interface.snaplen.to_le_bytes());
            text(out, &interface.name);
            text(out, &interface.filter);
        }
    });
}

/// The length of the body that follows a head, if it can be one.
pub(crate) fn body_length(head: &[u8; HEAD]) -> Result<usize, Broken> {
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if (2..=MAX_BODY).contains(&length) { Ok(length) } else { Err(Broken) }
}

/// Reads a record of a known epoch.
pub(crate) fn read(head: &[u8; HEAD], body: &[u8], source: &SourceName, epoch: Epoch) -> Result<Record, Broken> {
    if u32::from_le_bytes([head[4], head[5], head[6], head[7]]) != checksum(epoch, body) {
        return Err(Broken);
    }
    let mut cursor = Cursor::new(body);
    let kind = cursor.u8()?;
    let version = cursor.u8()?;
    Ok(match kind {
        BEGIN if version == VERSION => {
            let (named, first_seq) = (Epoch(cursor.array()?), cursor.le_u64()?);
            Record::Begin { source: read_text(&mut cursor)?.parse().map_err(|_| Broken)?, epoch: named, first_seq }
        }
        BATCH => Record::Entry(read_batch(&mut cursor, source, epoch)?),
        GAP => match Entry::parse(cursor.rest()) {
            Ok(Entry::Gap(gap)) if gap.name.epoch == epoch && gap.name.source == *source && gap.last_seq < u64::MAX => {
                Record::Entry(Held::Gap(gap))
            }
            _ => return Err(Broken),
        },
        SET => Record::Set(read_set(&mut cursor)?),
        _ => return Err(Broken),
    })
}

fn read_batch(cursor: &mut Cursor<'_>, source: &SourceName, epoch: Epoch) -> Result<Held, Broken> {
    let (interface_set, packets, raw_length) = (cursor.le_u32()?, cursor.le_u32()?, cursor.le_u32()?);
    let seq = cursor.le_u64()?;
    let header = BatchHeader {
        name: BatchName { source: source.clone(), epoch, seq },
        interface_set,
        first_packet: cursor.le_u64()?,
        packets,
        time_min: Timestamp::from_nanos(cursor.le_u64()?),
        time_max: Timestamp::from_nanos(cursor.le_u64()?),
        captured_bytes: cursor.le_u64()?,
    };
    if seq == u64::MAX || raw_length as usize > MAX_BYTES {
        return Err(Broken);
    }
    Ok(Held::Batch { header, raw_length, frame: Arc::new(cursor.rest().to_vec()) })
}

fn read_set(cursor: &mut Cursor<'_>) -> Result<InterfaceSet, Broken> {
    let number = cursor.le_u32()?;
    let count = cursor.le_u16()?;
    let mut interfaces = Vec::new();
    for _ in 0..count {
        let (link_type, snaplen) = (LinkType(cursor.le_u16()?), cursor.le_u32()?);
        let (name, filter) = (read_text(cursor)?, read_text(cursor)?);
        interfaces.push(Interface { name, link_type, snaplen, filter });
    }
    Ok(InterfaceSet { number, interfaces })
}

fn read_text(cursor: &mut Cursor<'_>) -> Result<String, Broken> {
    let length = usize::from(cursor.le_u16()?);
    Ok(String::from_utf8_lossy(cursor.take(length)?).into_owned())
}
