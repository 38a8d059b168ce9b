//! pcapng blocks: writing them, and walking a buffer of them (IETF draft-ietf-opsawg-pcapng).
//! Does not read whole files from a stream; that is `capture`. Everything written is little endian, times in nanoseconds.

use crate::{Interface, LinkType, Packet, Timestamp};

/// Section header block.
pub const SECTION_HEADER: u32 = 0x0a0d_0d0a;
/// Interface description block.
pub const INTERFACE_DESCRIPTION: u32 = 1;
/// Simple packet block.
pub const SIMPLE_PACKET: u32 = 3;
/// Interface statistics block.
pub const INTERFACE_STATISTICS: u32 = 5;
/// Enhanced packet block.
pub const ENHANCED_PACKET: u32 = 6;
/// Byte-order magic of a section header.
pub const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Bytes of an enhanced packet block around its (padded) data, without options.
pub const ENHANCED_PACKET_OVERHEAD: usize = 32;

/// Writes one block of `block_type` around what `body` appends; pads the body to 4 bytes.
pub fn write_block(out: &mut Vec<u8>, block_type: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&block_type.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    pad(out, start);
    let length = (out.len() - start + 4) as u32;
    out.extend_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
}

fn pad(out: &mut Vec<u8>, start: usize) {
    while (out.len() - start) % 4 != 0 {
        out.push(0);
    }
}

fn write_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    let start = out.len();
    out.extend_from_slice(value);
    pad(out, start);
}

/// Writes a section header block (section length unknown) naming the program that wrote it.
pub fn write_section_header(out: &mut Vec<u8>, application: &str) {
    write_block(out, SECTION_HEADER, |out| {
        out.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
        out.extend_from_slice(&[1, 0, 0, 0]);
        out.extend_from_slice(&u64::MAX.to_le_bytes());
        if !application.is_empty() {
            write_option(out, 4, application.as_bytes());
            out.extend_from_slice(&[0; 4]);
        }
    });
}

/// Writes an interface description block with name, filter and nanosecond resolution.
pub fn write_interface(out: &mut Vec<u8>, interface: &Interface) {
    write_block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend_from_slice(&interface.link_type.0.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&interface.snaplen.to_le_bytes());
        if !interface.name.is_empty() {
            write_option(out, 2, interface.name.as_bytes());
        }
        write_option(out, 9, &[9]);
        if !interface.filter.is_empty() {
            let mut filter = vec![0];
            filter.extend_from_slice(interface.filter.as_bytes());
            write_option(out, 11, &filter);
        }
        out.extend_from_slice(&[0; 4]);
    });
}

/// Writes an enhanced packet block without options.
#[inline]
pub fn write_enhanced_packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let padding = packet.data.len().wrapping_neg() & 3;
    let length = (ENHANCED_PACKET_OVERHEAD + packet.data.len() + padding) as u32;
    let nanos = packet.time.nanos();
    let mut head = [0; 28];
    head[0..4].copy_from_slice(&ENHANCED_PACKET.to_le_bytes());
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8..12].copy_from_slice(&packet.interface.to_le_bytes());
    head[12..16].copy_from_slice(&((nanos >> 32) as u32).to_le_bytes());
    head[16..20].copy_from_slice(&(nanos as u32).to_le_bytes());
    head[20..24].copy_from_slice(&(packet.data.len() as u32).to_le_bytes());
    head[24..28].copy_from_slice(&packet.original_length.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(packet.data);
    out.extend_from_slice(&[0; 3][..padding]);
    out.extend_from_slice(&length.to_le_bytes());
}

/// Counters of one interface since the start of its epoch, as an interface statistics block carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InterfaceStatistics {
    /// Index of the interface.
    pub interface: u32,
    /// When the counters were read.
    pub time: Timestamp,
    /// Packets that passed the filter (isb_ifrecv), including those then dropped by the kernel.
    pub received: u64,
    /// Packets dropped by the interface or its driver (isb_ifdrop).
    pub dropped_by_interface: u64,
    /// Packets dropped by the kernel for want of buffer space (isb_osdrop).
    pub dropped_by_kernel: u64,
}

/// Writes an interface statistics block.
pub fn write_interface_statistics(out: &mut Vec<u8>, statistics: &InterfaceStatistics) {
    let nanos = statistics.time.nanos();
    write_block(out, INTERFACE_STATISTICS, |out| {
        out.extend_from_slice(&statistics.interface.to_le_bytes());
        out.extend_from_slice(&((nanos >> 32) as u32).to_le_bytes());
        out.extend_from_slice(&(nanos as u32).to_le_bytes());
        write_option(out, 4, &statistics.received.to_le_bytes());
        write_option(out, 5, &statistics.dropped_by_interface.to_le_bytes());
        write_option(out, 7, &statistics.dropped_by_kernel.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    });
}

/// One block of a little-endian buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// The block type.
    pub block_type: u32,
    /// Offset of the block in the buffer.
    pub offset: usize,
    /// What stands between the two lengths.
    pub body: &'a [u8],
}

/// A structural error in a run of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("pcapng block at offset {offset}: {problem}")]
pub struct BlockError {
    /// Where the block begins in the buffer.
    pub offset: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Walks the blocks of a little-endian buffer; ends after the first error.
#[derive(Debug, Clone)]
pub struct Blocks<'a> {
    buffer: &'a [u8],
    offset: usize,
}

impl<'a> Blocks<'a> {
    /// Begins at the start of `buffer`.
    pub fn new(buffer: &'a [u8]) -> Self {
        Self { buffer, offset: 0 }
    }

    fn next_block(&self) -> Result<(Block<'a>, usize), &'static str> {
        let rest = self.buffer.get(self.offset..).unwrap_or(&[]);
        let block_type = u32_at(rest, 0).ok_or("cut in its type")?;
        let length = u32_at(rest, 4).ok_or("cut in its length")? as usize;
        if length < 12 || length % 4 != 0 {
            return Err("its length is no multiple of 4 of at least 12");
        }
        let block = rest.get(..length).ok_or("longer than what is there")?;
        if u32_at(block, length - 4) != Some(length as u32) {
            return Err("its two lengths differ");
        }
        Ok((Block { block_type, offset: self.offset, body: &block[8..length - 4] }, length))
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, BlockError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.buffer.len() {
            return None;
        }
        match self.next_block() {
            Ok((block, length)) => {
                self.offset += length;
                Some(Ok(block))
            }
            Err(problem) => {
                let offset = self.offset;
                self.offset = self.buffer.len();
                Some(Err(BlockError { offset, problem }))
            }
        }
    }
}

/// Reads the body of an enhanced packet block whose times are in nanoseconds.
#[inline]
pub fn read_enhanced_packet(body: &[u8]) -> Result<Packet<'_>, &'static str> {
    let head: &[u8; 20] = body.first_chunk().ok_or("an enhanced packet block shorter than its fixed part")?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let captured = word(12) as usize;
    let data = body[20..].get(..captured).ok_or("a captured length beyond the end of its block")?;
    Ok(Packet {
        time: Timestamp::from_nanos(u64::from(word(4)) << 32 | u64::from(word(8))),
        interface: word(0),
        original_length: word(16),
        data,
    })
}

/// The options of a little-endian block, from where they begin; ends at the end-of-options or at the first cut one.
pub fn options(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let code = u16::from_le_bytes([*rest.first()?, *rest.get(1)?]);
        let length = usize::from(u16::from_le_bytes([*rest.get(2)?, *rest.get(3)?]));
        let value = rest.get(4..4 + length)?;
        rest = rest.get(4 + length.next_multiple_of(4)..).unwrap_or(&[]);
        (code != 0).then_some((code, value))
    })
}

/// Reads the body of an interface description block as we write it.
pub fn read_interface(body: &[u8]) -> Result<Interface, &'static str> {
    let (Some(link_type), Some(snaplen)) = (u32_at(body, 0), u32_at(body, 4)) else {
        return Err("an interface description block shorter than its fixed part");
    };
    let mut interface =
        Interface { name: String::new(), link_type: LinkType(link_type as u16), snaplen, filter: String::new() };
    let mut resolution = 6;
    for (code, value) in options(&body[8..]) {
        match code {
            2 => interface.name = String::from_utf8_lossy(value).into_owned(),
            9 => resolution = value.first().copied().unwrap_or(6),
            11 => interface.filter = String::from_utf8_lossy(value.get(1..).unwrap_or(&[])).into_owned(),
            _ => {}
        }
    }
    if resolution != 9 {
        return Err("an interface whose times are not in nanoseconds");
    }
    Ok(interface)
}

/// Reads the body of an interface statistics block; counters that are absent are 0.
pub fn read_interface_statistics(body: &[u8]) -> Result<InterfaceStatistics, &'static str> {
    let (Some(interface), Some(high), Some(low)) = (u32_at(body, 0), u32_at(body, 4), u32_at(body, 8)) else {
        return Err("an interface statistics block shorter than its fixed part");
    };
    let mut statistics = InterfaceStatistics {
        interface,
        time: Timestamp::from_nanos(u64::from(high) << 32 | u64::from(low)),
        ..InterfaceStatistics::default()
    };
    for (code, value) in options(&body[12..]) {
        let Some(value) = value.first_chunk().copied().map(u64::from_le_bytes) else { continue };
        match code {
            4 => statistics.received = value,
            5 => statistics.dropped_by_interface = value,
            7 => statistics.dropped_by_kernel = value,
            _ => {}
        }
    }
    Ok(statistics)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// Counts the packets of a pcapng stream that comes in pieces.
#[derive(Debug, Default)]
pub struct PacketCount {
    count: u64,
    link_types: Vec<LinkType>,
    /// The first bytes of a block whose head is not yet whole.
    head: Vec<u8>,
    /// Bytes of the present block still to come.
    rest: usize,
}

/// Type and length of a block, and what every block still has behind them: of an interface's the link type.
const HEAD_BYTES: usize = 12;

impl PacketCount {
    /// Takes the next piece.
    pub fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skip = self.rest.min(bytes.len());
            self.rest -= skip;
            bytes = bytes.get(skip..).unwrap_or_default();
            let take = (HEAD_BYTES - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(bytes.get(..take).unwrap_or_default());
            bytes = bytes.get(take..).unwrap_or_default();
            if let Ok(head) = <[u8; HEAD_BYTES]>::try_from(self.head.as_slice()) {
                let [a, b, c, d, e, f, g, h, i, j, _, _] = head;
                let block_type = u32::from_le_bytes([a, b, c, d]);
                self.count += u64::from(block_type == ENHANCED_PACKET);
                let link_type = LinkType(u16::from_le_bytes([i, j]));
                if block_type == INTERFACE_DESCRIPTION && !self.link_types.contains(&link_type) {
                    self.link_types.push(link_type);
                }
                self.rest = (u32::from_le_bytes([e, f, g, h]) as usize).saturating_sub(HEAD_BYTES);
                self.head.clear();
            }
        }
    }

    /// Packets whose heads have come.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The link types of the interfaces, each once.
    pub fn link_types(&self) -> &[LinkType] {
        &self.link_types
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_survives_its_block() {
        for length in 0..9 {
            let data: Vec<u8> = (0..length).collect();
            let packet = Packet {
                time: Timestamp::from_nanos(0x1122_3344_5566_7788),
                interface: 3,
                original_length: 99,
                data: &data,
            };
            let mut out = Vec::new();
            write_enhanced_packet(&mut out, &packet);
            let block = Blocks::new(&out).next().unwrap().unwrap();
            assert_eq!(block.block_type, ENHANCED_PACKET);
            assert_eq!(read_enhanced_packet(block.body), Ok(packet));
        }
    }

    #[test]
    fn interfaces_and_statistics_survive_their_blocks() {
        let interface = Interface {
            name: "eth0".into(),
            link_type: LinkType::ETHERNET,
            snaplen: 262_144,
            filter: "udp port 53".into(),
        };
        let statistics = InterfaceStatistics {
            interface: 1,
            time: Timestamp::from_nanos(7 << 40),
            received: 10,
            dropped_by_interface: 1,
            dropped_by_kernel: 2,
        };
        let mut out = Vec::new();
        write_section_header(&mut out, "test");
        write_interface(&mut out, &interface);
        write_interface_statistics(&mut out, &statistics);
        let blocks: Vec<_> = Blocks::new(&out).map(|block| block.unwrap()).collect();
        assert_eq!(blocks.iter().map(|b| b.block_type).collect::<Vec<_>>(), [SECTION_HEADER, 1, 5]);
        assert_eq!(read_interface(blocks[1].body), Ok(interface));
        assert_eq!(read_interface_statistics(blocks[2].body), Ok(statistics));
    }

    #[test]
    fn a_cut_buffer_is_an_error_and_then_the_end() {
        let mut out = Vec::new();
        write_section_header(&mut out, "test");
        for cut in 1..out.len() {
            let mut blocks = Blocks::new(&out[..cut]);
            assert!(blocks.next().is_some_and(|block| block.is_err()));
            assert!(blocks.next().is_none());
        }
    }

    #[test]
    fn packets_are_counted_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        write_section_header(&mut stream, "test");
        for link_type in [LinkType::ETHERNET, LinkType::LINUX_SLL2, LinkType::ETHERNET] {
            let interface = Interface { name: String::new(), link_type, snaplen: 0, filter: String::new() };
            write_interface(&mut stream, &interface);
        }
        for number in 0..5u8 {
            let data = vec![number; 40 + usize::from(number)];
            let packet =
                Packet { time: Timestamp::ZERO, interface: 0, original_length: data.len() as u32, data: &data };
            write_enhanced_packet(&mut stream, &packet);
        }
        for piece in [1, 3, 7, 50, 1000] {
            let mut packets = PacketCount::default();
            stream.chunks(piece).for_each(|bytes| packets.see(bytes));
            assert_eq!(packets.count(), 5, "in pieces of {piece}");
            assert_eq!(packets.link_types(), [LinkType::ETHERNET, LinkType::LINUX_SLL2], "in pieces of {piece}");
        }
    }
}
