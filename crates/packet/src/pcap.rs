//! Writing the classic pcap format, for feed v1 and for programs that read nothing else.
//! Does not read it; that is `capture`. Headers are in the byte order of this machine, as libpcap writes them.

use crate::{LinkType, Packet};

/// Magic of a file with microseconds.
pub const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
/// Magic of a file with nanoseconds.
pub const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Bytes of the file header.
pub const HEADER_BYTES: usize = 24;
/// Bytes before the data of each packet.
pub const RECORD_HEADER_BYTES: usize = 16;

/// What the second word of a record's time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// Microseconds: what every reader understands. Nanoseconds are cut off, not rounded.
    #[default]
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

/// The file header; version 2.4. `snaplen` 0 (no limit) is written as 262144.
pub fn header(link_type: LinkType, snaplen: u32, precision: Precision) -> [u8; HEADER_BYTES] {
    let magic = match precision {
        Precision::Microseconds => MAGIC_MICROSECONDS,
        Precision::Nanoseconds => MAGIC_NANOSECONDS,
    };
    let snaplen = if snaplen == 0 { 262_144 } else { snaplen };
    let mut out = [0; HEADER_BYTES];
    out[0..4].copy_from_slice(&magic.to_ne_bytes());
    out[4..6].copy_from_slice(&2u16.to_ne_bytes());
    out[6..8].copy_from_slice(&4u16.to_ne_bytes());
    out[16..20].copy_from_slice(&snaplen.to_ne_bytes());
    out[20..24].copy_from_slice(&u32::from(link_type.0).to_ne_bytes());
    out
}

/// Appends the file header.
pub fn write_header(out: &mut Vec<u8>, link_type: LinkType, snaplen: u32, precision: Precision) {
    out.extend_from_slice(&header(link_type, snaplen, precision));
}

/// Appends a packet. Seconds beyond the format's 32 bits (the year 2106) are written as the largest it has.
#[inline]
pub fn write_packet(out: &mut Vec<u8>, packet: &Packet<'_>, precision: Precision) {
    let fraction = match precision {
        Precision::Microseconds => packet.time.subsecond_nanos() / 1_000,
        Precision::Nanoseconds => packet.time.subsecond_nanos(),
    };
    let seconds = u32::try_from(packet.time.seconds()).unwrap_or(u32::MAX);
    let mut head = [0; RECORD_HEADER_BYTES];
    head[0..4].copy_from_slice(&seconds.to_ne_bytes());
    head[4..8].copy_from_slice(&fraction.to_ne_bytes());
    head[8..12].copy_from_slice(&(packet.data.len() as u32).to_ne_bytes());
    head[12..16].copy_from_slice(&packet.original_length.to_ne_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(packet.data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    #[test]
    fn a_packet_of_214_bytes_takes_230() {
        let data = [7; 214];
        let packet = Packet { time: Timestamp::from_parts(5, 1_999), interface: 0, original_length: 300, data: &data };
        let mut out = Vec::new();
        write_header(&mut out, LinkType::ETHERNET, 9000, Precision::Microseconds);
        write_packet(&mut out, &packet, Precision::Microseconds);
        assert_eq!(out.len(), 24 + 230);
        if cfg!(target_endian = "little") {
            assert_eq!(
                out[..24],
                [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x28, 0x23, 0, 0, 1, 0, 0, 0]
            );
            assert_eq!(out[24..40], [5, 0, 0, 0, 1, 0, 0, 0, 214, 0, 0, 0, 44, 1, 0, 0]);
        }
    }
}
