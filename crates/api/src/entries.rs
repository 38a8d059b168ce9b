//! Entries of the log with what a reader must know to decode them alone: the form in which the feed publishes them and the
//! API streams them.

use packet::batch::GapRecord;
use packet::{BatchName, Interface, InterfaceSet};
use serde::{Deserialize, Serialize};

/// Longest meta part that is accepted.
const MAX_META: usize = 4 << 20;
/// Longest frame.
const MAX_FRAME: usize = 6 << 20;

/// What a reader must know of an entry: JSON in the feed and in the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryMeta {
    /// Version of this form: 1.
    pub v: u32,
    /// `batch` or `gap`.
    pub kind: String,
    /// The source.
    pub source: String,
    /// The epoch, 32 hexadecimal digits.
    pub epoch: String,
    /// Sequence number, of a gap record the first it replaces.
    pub seq: u64,
    /// The same, of a gap record the last.
    pub last_seq: u64,
    /// Number of its first packet in the epoch.
    pub first_packet: u64,
    /// Packets it holds, or that were lost.
    pub packets: u64,
    /// Earliest packet time, nanoseconds.
    pub time_min: u64,
    /// Latest packet time, nanoseconds.
    pub time_max: u64,
    /// Number of the interface set.
    pub interface_set: u32,
    /// The interfaces that its packets refer to by index.
    pub interfaces: Vec<InterfaceMeta>,
    /// `zstd` or `none`.
    pub encoding: String,
    /// Length of the frame when it is decompressed.
    pub raw_length: u32,
    /// For a gap record: what was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapMeta>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceMeta {
    /// Its name.
    pub name: String,
    /// Its link type (LINKTYPE_...).
    pub link_type: u16,
    /// Longest captured length.
    pub snaplen: u32,
    /// The capture filter.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// Resolution of times as a power of ten: always 9.
    pub tsresol: u8,
}

/// What a gap record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapMeta {
    /// Where the packets were lost.
    pub place: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub packets: u64,
    /// Their captured bytes.
    pub bytes: u64,
}

impl EntryMeta {
    /// The meta part of a batch or gap record.
    #[allow(clippy::too_many_arguments)] // The numbers of one line of the index, named where they are passed.
    pub fn new(
        name: &BatchName,
        last_seq: u64,
        first_packet: u64,
        packets: u64,
        times: (u64, u64),
        set: &InterfaceSet,
        raw_length: usize,
        gap: Option<&GapRecord>,
    ) -> Self {
        let interface = |interface: &Interface| InterfaceMeta {
            name: interface.name.clone(),
            link_type: interface.link_type.0,
            snaplen: interface.snaplen,
            filter: interface.filter.clone(),
            tsresol: 9,
        };
        Self {
            v: 1,
            kind: if gap.is_some() { "gap" } else { "batch" }.to_owned(),
            source: name.source.to_string(),
            epoch: name.epoch.to_string(),
            seq: name.seq,
            last_seq,
            first_packet,
            packets,
            time_min: times.0,
            time_max: times.1,
            interface_set: set.number,
            interfaces: set.interfaces.iter().map(interface).collect(),
            encoding: "zstd".to_owned(),
            raw_length: raw_length as u32,
            gap: gap.map(|gap| GapMeta {
                place: gap.place.as_str().to_owned(),
                reason: gap.reason.as_str().to_owned(),
                packets: gap.packets,
                bytes: gap.captured_bytes,
            }),
        }
    }

    /// The interfaces as a set.
    pub fn interface_set(&self) -> InterfaceSet {
        let interface = |meta: &InterfaceMeta| Interface {
            name: meta.name.clone(),
            link_type: packet::LinkType(meta.link_type),
            snaplen: meta.snaplen,
            filter: meta.filter.clone(),
        };
        InterfaceSet { number: self.interface_set, interfaces: self.interfaces.iter().map(interface).collect() }
    }
}

/// An entry as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryFrame {
    /// What it is.
    pub meta: EntryMeta,
    /// Its bytes, encoded as the meta part says.
    pub frame: Vec<u8>,
}

/// Appends an entry to a stream of them: lengths of meta part and frame (u32, little endian), then both.
pub fn write_entry(out: &mut Vec<u8>, meta: &EntryMeta, frame: &[u8]) -> Result<(), serde_json::Error> {
    let meta = serde_json::to_vec(meta)?;
    out.extend_from_slice(&(meta.len() as u32).to_le_bytes());
    out.extend_from_slice(&(frame.len() as u32).to_le_bytes());
    out.extend_from_slice(&meta);
    out.extend_from_slice(frame);
    Ok(())
}

/// Cuts a stream of entries as [`write_entry`] makes it.
#[derive(Debug, Default)]
pub struct EntryReader {
    buffer: Vec<u8>,
}

impl EntryReader {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole entry.
    ///
    /// # Errors
    /// Bytes that are no such stream.
    pub fn next_entry(&mut self) -> Result<Option<EntryFrame>, String> {
        let Some(head) = self.buffer.first_chunk::<8>() else { return Ok(None) };
        let meta_length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let frame_length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if meta_length > MAX_META || frame_length > MAX_FRAME {
            return Err("the collector's stream of entries states a length that cannot be".to_owned());
        }
        let end = 8 + meta_length + frame_length;
        if self.buffer.len() < end {
            return Ok(None);
        }
        let meta = serde_json::from_slice(&self.buffer[8..8 + meta_length])
            .map_err(|error| format!("the collector's stream of entries cannot be read: {error}"))?;
        let frame = self.buffer[8 + meta_length..end].to_vec();
        self.buffer.drain(..end);
        Ok(Some(EntryFrame { meta, frame }))
    }

    /// Whether bytes are left over that make no whole entry.
    pub fn is_cut(&self) -> bool {
        !self.buffer.is_empty()
    }
}
