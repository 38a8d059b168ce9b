//! The batch: consecutive packets of one source under one name, as a run of pcapng blocks. Also the gap record that takes
//! the place of batches that had to be dropped. Neither compresses nor stores: the same bytes travel, are appended and are read.
//!
//! Layout (little endian): one batch block of our own (type [`BATCH_BLOCK`]), then enhanced packet blocks, then, where drop
//! counters changed, interface statistics blocks. A gap record is one block of type [`GAP_BLOCK`] alone. The bytes of both
//! are laid out in `docs/formats/batch.md`.

use crate::pcapng::{self, Blocks, InterfaceStatistics, u32_at};
use crate::{BatchName, Epoch, Packet, SourceName, Timestamp};

/// Type of the block that opens a batch: from the range for local use, which tcpdump and tshark skip in silence.
pub const BATCH_BLOCK: u32 = 0x8000_7401;
/// Type of the block that is a gap record.
pub const GAP_BLOCK: u32 = 0x8000_7402;
/// Version of both layouts. A reader refuses others.
pub const VERSION: u16 = 1;

/// Default size at which a batch is closed, in bytes of uncompressed blocks.
pub const TARGET_BYTES: usize = 256 * 1024;
/// Largest batch that anyone may send, in bytes of uncompressed blocks.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Longest captured packet that anyone may send, in bytes (libpcap's MAXIMUM_SNAPLEN).
pub const MAX_PACKET_BYTES: usize = 262_144;
/// Most interfaces in one set.
pub const MAX_INTERFACES: usize = 1024;

const BATCH_FIXED: usize = 72;
const GAP_FIXED: usize = 88;

/// What stands in the block that opens a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHeader {
    /// Source, epoch and place of the batch.
    pub name: BatchName,
    /// Number of the interface set that its packets refer to.
    pub interface_set: u32,
    /// Number, within the epoch and from 0, of its first packet. Batches dropped later leave a hole in these numbers.
    pub first_packet: u64,
    /// How many packets it holds; 0 for a batch that carries statistics only.
    pub packets: u32,
    /// Earliest packet time in it ([`Timestamp::ZERO`] without packets).
    pub time_min: Timestamp,
    /// Latest packet time in it.
    pub time_max: Timestamp,
    /// Sum of the captured lengths of its packets.
    pub captured_bytes: u64,
}

/// Where a packet was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum DropPlace {
    /// The network interface or its driver.
    Interface = 1,
    /// The kernel's capture buffer.
    Kernel = 2,
    /// The probe between capture and batch.
    Probe = 3,
    /// The probe's spool.
    Spool = 4,
    /// The collector before the archive.
    Collector = 5,
    /// The archive.
    Archive = 6,
}

/// Why a packet was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum DropReason {
    /// A bounded buffer was full.
    BufferFull = 1,
    /// Shed as low-priority traffic under pressure.
    Shed = 2,
    /// Longer than the limits allow, or otherwise not acceptable to the receiver.
    Refused = 3,
    /// The disk was full or failing.
    Disk = 4,
    /// The program ended before it could hand the packets on.
    Unclean = 5,
    /// Bytes that could not be read back.
    Corrupt = 6,
}

impl DropPlace {
    /// Every place, for tables of counters.
    pub const ALL: [Self; 6] =
        [Self::Interface, Self::Kernel, Self::Probe, Self::Spool, Self::Collector, Self::Archive];

    /// The word used in metrics and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Kernel => "kernel",
            Self::Probe => "probe",
            Self::Spool => "spool",
            Self::Collector => "collector",
            Self::Archive => "archive",
        }
    }

    /// From the number that stands for it in records.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|place| *place as u16 == code)
    }
}

impl DropReason {
    /// Every reason, for tables of counters.
    pub const ALL: [Self; 6] = [Self::BufferFull, Self::Shed, Self::Refused, Self::Disk, Self::Unclean, Self::Corrupt];

    /// The word used in metrics and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BufferFull => "buffer_full",
            Self::Shed => "shed",
            Self::Refused => "refused",
            Self::Disk => "disk",
            Self::Unclean => "unclean",
            Self::Corrupt => "corrupt",
        }
    }

    /// From the number that stands for it in records.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u16 == code)
    }
}

/// The entry of the log that takes the place of dropped batches `name.seq ..= last_seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapRecord {
    /// Source, epoch and the first sequence number it replaces.
    pub name: BatchName,
    /// The last sequence number it replaces.
    pub last_seq: u64,
    /// Where the packets were lost.
    pub place: DropPlace,
    /// Why.
    pub reason: DropReason,
    /// Number within the epoch of the first lost packet.
    pub first_packet: u64,
    /// How many packets were lost.
    pub packets: u64,
    /// Sum of their captured lengths.
    pub captured_bytes: u64,
    /// Earliest packet time lost.
    pub time_min: Timestamp,
    /// Latest packet time lost.
    pub time_max: Timestamp,
}

/// Why bytes are no batch and no gap record. Always the sender's or the medium's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The run of blocks is broken.
    #[error(transparent)]
    Block(#[from] pcapng::BlockError),
    /// A block that is whole says something that cannot be.
    #[error("batch: at offset {offset}: {problem}")]
    Content {
        /// Where the block begins in the batch.
        offset: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The layout is of a version this program does not know.
    #[error("batch: version {0} is not known here (known: {VERSION}); upgrade this side")]
    Version(u16),
}

fn content(offset: usize, problem: &'static str) -> BatchError {
    BatchError::Content { offset, problem }
}

/// One entry of the log.
#[derive(Debug, Clone)]
pub enum Entry<'a> {
    /// Packets.
    Batch(Batch<'a>),
    /// What was lost in their place.
    Gap(GapRecord),
}

impl<'a> Entry<'a> {
    /// Reads the opening block of `raw`, the uncompressed bytes of one entry.
    ///
    /// # Errors
    /// When the first block is neither a batch block nor a gap record, or says what cannot be.
    pub fn parse(raw: &'a [u8]) -> Result<Self, BatchError> {
        let first = Blocks::new(raw).next().ok_or_else(|| content(0, "empty"))??;
        match first.block_type {
            BATCH_BLOCK => {
                let header = parse_batch_header(first.body)?;
                Ok(Self::Batch(Batch { header, raw, packets_at: first.body.len() + 12 }))
            }
            GAP_BLOCK => Ok(Self::Gap(parse_gap(first.body)?)),
            _ => Err(content(0, "the first block is neither a batch nor a gap record")),
        }
    }
}

/// A batch whose opening block has been read; borrowed from its uncompressed bytes.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    /// What the opening block says.
    pub header: BatchHeader,
    raw: &'a [u8],
    packets_at: usize,
}

/// What a batch holds after its opening block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// Counters of an interface at that moment.
    Statistics(InterfaceStatistics),
}

impl<'a> Batch<'a> {
    /// Its uncompressed bytes, opening block included.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The packets and statistics in order. Unknown blocks are skipped. Ends after the first error.
    pub fn items(&self) -> impl Iterator<Item = Result<Item<'a>, BatchError>> + use<'a> {
        let base = self.packets_at;
        let mut blocks = Blocks::new(self.raw.get(base..).unwrap_or(&[]));
        let mut failed = false;
        std::iter::from_fn(move || {
            while !failed {
                let block = match blocks.next()? {
                    Ok(block) => block,
                    Err(error) => {
                        failed = true;
                        return Some(Err(pcapng::BlockError { offset: base + error.offset, ..error }.into()));
                    }
                };
                let item = match block.block_type {
                    pcapng::ENHANCED_PACKET => pcapng::read_enhanced_packet(block.body).map(Item::Packet),
                    pcapng::INTERFACE_STATISTICS => pcapng::read_interface_statistics(block.body).map(Item::Statistics),
                    BATCH_BLOCK | GAP_BLOCK | pcapng::SECTION_HEADER | pcapng::INTERFACE_DESCRIPTION => {
                        Err("a block that may not stand inside a batch")
                    }
                    _ => continue,
                };
                failed = item.is_err();
                return Some(item.map_err(|problem| content(base + block.offset, problem)));
            }
            None
        })
    }

    /// Checks everything a receiver must not take on trust, in one walk, and hands every packet with its position
    /// in the batch to `each`: block structure, packet count, captured bytes, time range, interface numbers, packet lengths.
    ///
    /// # Errors
    /// The first thing that is not as the opening block says. `each` may have been called before.
    pub fn check(&self, interfaces: usize, mut each: impl FnMut(u32, &Packet<'a>)) -> Result<(), BatchError> {
        if self.raw.len() > MAX_BYTES {
            return Err(content(0, "longer than the limit for a batch"));
        }
        let (mut packets, mut bytes) = (0u32, 0u64);
        let (mut earliest, mut latest) = (Timestamp::MAX, Timestamp::ZERO);
        for item in self.items() {
            match item? {
                Item::Packet(packet) => {
                    if packet.interface as usize >= interfaces {
                        return Err(content(0, "a packet of an interface that was not announced"));
                    }
                    if packet.data.len() > MAX_PACKET_BYTES {
                        return Err(content(0, "a packet longer than the limit"));
                    }
                    each(packets, &packet);
                    packets += 1;
                    bytes += packet.data.len() as u64;
                    earliest = earliest.min(packet.time);
                    latest = latest.max(packet.time);
                }
                Item::Statistics(statistics) => {
                    if statistics.interface as usize >= interfaces {
                        return Err(content(0, "statistics of an interface that was not announced"));
                    }
                }
            }
        }
        if packets == 0 {
            earliest = Timestamp::ZERO;
        }
        if packets != self.header.packets {
            return Err(content(0, "its packet count is not what it holds"));
        }
        if bytes != self.header.captured_bytes {
            return Err(content(0, "its captured bytes are not what it holds"));
        }
        if (earliest, latest) != (self.header.time_min, self.header.time_max) {
            return Err(content(0, "its time range is not that of its packets"));
        }
        Ok(())
    }
}

fn parse_name(
    body: &[u8],
    epoch_at: usize,
    seq_at: usize,
    length_at: usize,
    fixed: usize,
) -> Result<BatchName, BatchError> {
    let cut = || content(0, "shorter than its fixed part");
    let epoch = body.get(epoch_at..).and_then(|rest| rest.first_chunk()).copied().ok_or_else(cut)?;
    let length = u32_at(body, length_at).ok_or_else(cut)? as usize;
    let text = body.get(fixed..).and_then(|rest| rest.get(..length)).ok_or_else(|| content(0, "its name is cut"))?;
    let source = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<SourceName>().ok())
        .ok_or_else(|| content(0, "its source is no valid name"))?;
    Ok(BatchName { source, epoch: Epoch(epoch), seq: u64_at(body, seq_at).ok_or_else(cut)? })
}

fn check_version(body: &[u8]) -> Result<(), BatchError> {
    match body.first_chunk().copied().map(u16::from_le_bytes) {
        Some(VERSION) => Ok(()),
        Some(other) => Err(BatchError::Version(other)),
        None => Err(content(0, "shorter than its fixed part")),
    }
}

fn parse_batch_header(body: &[u8]) -> Result<BatchHeader, BatchError> {
    check_version(body)?;
    let name = parse_name(body, 8, 24, 44, BATCH_FIXED)?;
    let long = |at| u64_at(body, at).ok_or_else(|| content(0, "shorter than its fixed part"));
    let word = |at| u32_at(body, at).ok_or_else(|| content(0, "shorter than its fixed part"));
    Ok(BatchHeader {
        name,
        interface_set: word(4)?,
        first_packet: long(32)?,
        packets: word(40)?,
        time_min: Timestamp::from_nanos(long(48)?),
        time_max: Timestamp::from_nanos(long(56)?),
        captured_bytes: long(64)?,
    })
}

fn parse_gap(body: &[u8]) -> Result<GapRecord, BatchError> {
    check_version(body)?;
    let name = parse_name(body, 8, 24, 4, GAP_FIXED)?;
    let long = |at| u64_at(body, at).ok_or_else(|| content(0, "shorter than its fixed part"));
    let codes = u32_at(body, 40).ok_or_else(|| content(0, "shorter than its fixed part"))?;
    let gap = GapRecord {
        last_seq: long(32)?,
        place: DropPlace::from_code(codes as u16)
            .ok_or_else(|| content(0, "a place of loss that is not known here"))?,
        reason: DropReason::from_code((codes >> 16) as u16)
            .ok_or_else(|| content(0, "a reason of loss that is not known here"))?,
        first_packet: long(48)?,
        packets: long(56)?,
        captured_bytes: long(64)?,
        time_min: Timestamp::from_nanos(long(72)?),
        time_max: Timestamp::from_nanos(long(80)?),
        name,
    };
    if gap.last_seq < gap.name.seq {
        return Err(content(0, "a gap that ends before it begins"));
    }
    Ok(gap)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

impl GapRecord {
    /// Appends the record's block to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        pcapng::write_block(out, GAP_BLOCK, |out| {
            let source = self.name.source.as_str().as_bytes();
            out.extend_from_slice(&VERSION.to_le_bytes());
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(&(source.len() as u32).to_le_bytes());
            out.extend_from_slice(&self.name.epoch.0);
            out.extend_from_slice(&self.name.seq.to_le_bytes());
            out.extend_from_slice(&self.last_seq.to_le_bytes());
            out.extend_from_slice(&(self.place as u16).to_le_bytes());
            out.extend_from_slice(&(self.reason as u16).to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            for long in
                [self.first_packet, self.packets, self.captured_bytes, self.time_min.nanos(), self.time_max.nanos()]
            {
                out.extend_from_slice(&long.to_le_bytes());
            }
            out.extend_from_slice(source);
        });
    }

    /// The record as the uncompressed bytes of one entry.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(176);
        self.write(&mut out);
        out
    }
}

/// Collects packets into the bytes of one batch. The sequence number and the number of the first packet are given when
/// it is sealed, so that several capture threads can fill builders of their own.
#[derive(Debug)]
pub struct BatchBuilder {
    source: SourceName,
    epoch: Epoch,
    interface_set: u32,
    buffer: Vec<u8>,
    packets: u32,
    captured_bytes: u64,
    time_min: Timestamp,
    time_max: Timestamp,
}

impl BatchBuilder {
    /// An empty batch of one source, epoch and interface set.
    pub fn new(source: SourceName, epoch: Epoch, interface_set: u32) -> Self {
        let mut builder = Self {
            source,
            epoch,
            interface_set,
            buffer: Vec::with_capacity(TARGET_BYTES + 4096),
            packets: 0,
            captured_bytes: 0,
            time_min: Timestamp::MAX,
            time_max: Timestamp::ZERO,
        };
        builder.reserve_header();
        builder
    }

    fn reserve_header(&mut self) {
        self.buffer.resize(self.header_length(), 0);
    }

    fn header_length(&self) -> usize {
        12 + (BATCH_FIXED + self.source.as_str().len()).next_multiple_of(4)
    }

    /// Appends a packet. The caller keeps batches below [`MAX_BYTES`] by looking at [`BatchBuilder::len`].
    #[inline]
    pub fn push(&mut self, packet: &Packet<'_>) {
        pcapng::write_enhanced_packet(&mut self.buffer, packet);
        self.packets += 1;
        self.captured_bytes += packet.data.len() as u64;
        self.time_min = self.time_min.min(packet.time);
        self.time_max = self.time_max.max(packet.time);
    }

    /// Appends counters of an interface.
    pub fn push_statistics(&mut self, statistics: &InterfaceStatistics) {
        pcapng::write_interface_statistics(&mut self.buffer, statistics);
    }

    /// Bytes so far, opening block included.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing stands in it yet, neither packets nor statistics.
    pub fn is_empty(&self) -> bool {
        self.buffer.len() == self.header_length()
    }

    /// Packets so far.
    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// Closes the batch under its name and hands out its bytes; the builder is empty again afterwards and takes
    /// `recycled` as its next buffer.
    pub fn seal(&mut self, seq: u64, first_packet: u64, mut recycled: Vec<u8>) -> (BatchHeader, Vec<u8>) {
        let header = BatchHeader {
            name: BatchName { source: self.source.clone(), epoch: self.epoch, seq },
            interface_set: self.interface_set,
            first_packet,
            packets: self.packets,
            time_min: if self.packets == 0 { Timestamp::ZERO } else { self.time_min },
            time_max: self.time_max,
            captured_bytes: self.captured_bytes,
        };
        header.write_into(&mut self.buffer);
        recycled.clear();
        let bytes = std::mem::replace(&mut self.buffer, recycled);
        self.packets = 0;
        self.captured_bytes = 0;
        self.time_min = Timestamp::MAX;
        self.time_max = Timestamp::ZERO;
        self.reserve_header();
        (header, bytes)
    }
}

impl BatchHeader {
    fn write_into(&self, buffer: &mut [u8]) {
        let source = self.name.source.as_str().as_bytes();
        let length = 12 + (BATCH_FIXED + source.len()).next_multiple_of(4);
        let mut put = |at: usize, bytes: &[u8]| buffer[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &BATCH_BLOCK.to_le_bytes());
        put(4, &(length as u32).to_le_bytes());
        put(8, &VERSION.to_le_bytes());
        put(12, &self.interface_set.to_le_bytes());
        put(16, &self.name.epoch.0);
        put(32, &self.name.seq.to_le_bytes());
        put(40, &self.first_packet.to_le_bytes());
        put(48, &self.packets.to_le_bytes());
        put(52, &(source.len() as u32).to_le_bytes());
        put(56, &self.time_min.nanos().to_le_bytes());
        put(64, &self.time_max.nanos().to_le_bytes());
        put(72, &self.captured_bytes.to_le_bytes());
        put(80, source);
        put(length - 4, &(length as u32).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source() -> SourceName {
        "gw-2".parse().unwrap()
    }

    #[test]
    fn packets_and_statistics_survive_a_batch() {
        let mut builder = BatchBuilder::new(source(), Epoch([7; 16]), 2);
        assert!(builder.is_empty());
        let statistics = InterfaceStatistics { interface: 1, received: 5, ..InterfaceStatistics::default() };
        for round in 0..2u64 {
            for n in 0..5u64 {
                let data = vec![n as u8; n as usize * 3];
                builder.push(&Packet {
                    time: Timestamp::from_nanos(1_000 + (n ^ 3)),
                    interface: (n % 2) as u32,
                    original_length: 100,
                    data: &data,
                });
            }
            builder.push_statistics(&statistics);
            let (header, bytes) = builder.seal(round, round * 5, Vec::new());
            let Ok(Entry::Batch(batch)) = Entry::parse(&bytes) else { panic!("no batch") };
            assert_eq!(batch.header, header);
            assert_eq!((header.packets, header.first_packet, header.captured_bytes), (5, round * 5, 30));
            assert_eq!((header.time_min.nanos(), header.time_max.nanos()), (1_000, 1_007));
            let mut seen = Vec::new();
            batch.check(2, |index, packet| seen.push((index, packet.data.len()))).unwrap();
            assert_eq!(seen, [(0, 0), (1, 3), (2, 6), (3, 9), (4, 12)]);
            assert_eq!(batch.items().last(), Some(Ok(Item::Statistics(statistics))));
            assert!(batch.check(1, |_, _| {}).is_err(), "interface 1 was not announced");
        }
    }

    #[test]
    fn a_gap_record_survives_its_block() {
        let gap = GapRecord {
            name: BatchName { source: source(), epoch: Epoch([9; 16]), seq: 17 },
            last_seq: 40,
            place: DropPlace::Spool,
            reason: DropReason::BufferFull,
            first_packet: 1_000,
            packets: 12_345,
            captured_bytes: 99,
            time_min: Timestamp::from_nanos(1),
            time_max: Timestamp::from_nanos(2),
        };
        let bytes = gap.to_bytes();
        let Ok(Entry::Gap(read)) = Entry::parse(&bytes) else { panic!("no gap") };
        assert_eq!(read, gap);
    }

    #[test]
    fn a_lying_header_is_found() {
        let mut builder = BatchBuilder::new(source(), Epoch([7; 16]), 0);
        builder.push(&Packet { time: Timestamp::from_nanos(5), interface: 0, original_length: 4, data: &[1, 2, 3, 4] });
        let (_, bytes) = builder.seal(0, 0, Vec::new());
        for at in [48, 56, 64, 72] {
            let mut lying = bytes.clone();
            lying[at] ^= 1;
            let Ok(Entry::Batch(batch)) = Entry::parse(&lying) else { panic!("no batch") };
            assert!(batch.check(1, |_, _| {}).is_err(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), gap: bool, fix: bool) {
            if fix && bytes.len() >= 12 {
                let length = bytes.len() & !3;
                bytes.truncate(length);
                let kind = if gap { GAP_BLOCK } else { BATCH_BLOCK };
                bytes[0..4].copy_from_slice(&kind.to_le_bytes());
                bytes[4..8].copy_from_slice(&(length as u32).to_le_bytes());
                bytes[length - 4..].copy_from_slice(&(length as u32).to_le_bytes());
                if length >= 12 { bytes[8] = 1; bytes[9] = 0; }
            }
            if let Ok(Entry::Batch(batch)) = Entry::parse(&bytes) {
                let _ = batch.check(1, |_, _| {});
            }
        }
    }
}
