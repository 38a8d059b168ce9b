//! osmo-pcap's protocol as a receiver sees it: frames, link headers in both file formats and byte orders, packets.
//! Owns no socket; nothing is ever sent back, the protocol has no answers.
//!
//! Checks what the original server does not: the inner captured length against the payload, data before a link header,
//! unknown types.

use crate::Fault;
use packet::cursor::Cursor;
use packet::{Interface, LinkType, Packet, Timestamp, batch};

/// Bytes of a frame's head: type (1), spare (1), length of the payload (2, big endian).
pub const HEAD_LENGTH: usize = 4;
/// Bytes of a pcap file header.
const PCAP_HEADER: usize = 24;
const SECTION_HEADER: u32 = packet::pcapng::SECTION_HEADER;

/// A received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A link header: from here on, packets refer to it.
    LinkHeader(&'a [u8]),
    /// A packet.
    Data(&'a [u8]),
}

/// Collects received bytes and cuts them into frames. Holds at most what was pushed last and one frame.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    start: usize,
}

impl Reader {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it has arrived.
    ///
    /// # Errors
    /// A type that the protocol does not have: this is no osmo-pcap client.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Fault> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let Some([kind, _, high, low]) = rest.first_chunk::<HEAD_LENGTH>().copied() else { return Ok(None) };
        if kind > 1 {
            return Err(malformed("frame", "its type is neither 0 nor 1; is this an osmo-pcap client?"));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(payload) = rest.get(HEAD_LENGTH..HEAD_LENGTH + length) else { return Ok(None) };
        self.start += HEAD_LENGTH + length;
        Ok(Some(if kind == 0 { Frame::LinkHeader(payload) } else { Frame::Data(payload) }))
    }

    /// Bytes held that make no whole frame yet.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }
}

fn malformed(message: &'static str, problem: &'static str) -> Fault {
    Fault::Malformed { message, problem }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Pcap { nanoseconds: bool },
    Pcapng,
}

/// What a link header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkHeader {
    /// The interfaces, in the order in which packets number them. Of a pcap header one without a name.
    pub interfaces: Vec<Interface>,
    format: Format,
    big_endian: bool,
    /// Per interface: if_tsresol.
    resolutions: Vec<u8>,
}

impl LinkHeader {
    /// Reads a link header: a pcap file header, or a section header with interface descriptions.
    ///
    /// # Errors
    /// When it is neither.
    pub fn read(payload: &[u8]) -> Result<Self, Fault> {
        let wrong = |problem| malformed("link header", problem);
        let magic: [u8; 4] = payload.first_chunk().copied().ok_or_else(|| wrong("it is too short"))?;
        if u32::from_le_bytes(magic) == SECTION_HEADER {
            return Self::read_pcapng(payload);
        }
        let (big_endian, nanoseconds) = match magic {
            [0xd4, 0xc3, 0xb2, 0xa1] => (false, false),
            [0x4d, 0x3c, 0xb2, 0xa1] => (false, true),
            [0xa1, 0xb2, 0xc3, 0xd4] => (true, false),
            [0xa1, 0xb2, 0x3c, 0x4d] => (true, true),
            _ => return Err(wrong("it begins as neither pcap nor pcapng does")),
        };
        if payload.len() != PCAP_HEADER {
            return Err(wrong("a pcap file header has 24 bytes"));
        }
        let word = |at| word_at(payload, at, big_endian).unwrap_or(0);
        let interface = Interface {
            name: String::new(),
            // The upper bits say how long frame check sequences are.
            link_type: LinkType(word(20) as u16),
            snaplen: word(16),
            filter: String::new(),
        };
        Ok(Self {
            interfaces: vec![interface],
            format: Format::Pcap { nanoseconds },
            big_endian,
            resolutions: vec![if nanoseconds { 9 } else { 6 }],
        })
    }

    fn read_pcapng(payload: &[u8]) -> Result<Self, Fault> {
        let wrong = |problem| malformed("link header", problem);
        let big_endian = match payload.get(8..12) {
            Some([0x4d, 0x3c, 0x2b, 0x1a]) => false,
            Some([0x1a, 0x2b, 0x3c, 0x4d]) => true,
            _ => return Err(wrong("its section header has no byte-order magic")),
        };
        let mut header = Self { interfaces: Vec::new(), format: Format::Pcapng, big_endian, resolutions: Vec::new() };
        let mut rest = payload;
        while !rest.is_empty() {
            let (kind, body, behind) = block(rest, big_endian).map_err(wrong)?;
            if kind == packet::pcapng::INTERFACE_DESCRIPTION {
                header.read_interface(body)?;
            }
            rest = behind;
        }
        if header.interfaces.is_empty() {
            return Err(wrong("it describes no interface"));
        }
        if header.interfaces.len() > batch::MAX_INTERFACES {
            return Err(wrong("it describes too many interfaces"));
        }
        Ok(header)
    }

    fn read_interface(&mut self, body: &[u8]) -> Result<(), Fault> {
        let short = |_| malformed("link header", "an interface description is cut");
        let mut cursor = Cursor::new(body);
        let fixed = cursor.take(8).map_err(short)?;
        let half = |bytes: &[u8], at: usize| half_at(bytes, at, self.big_endian).unwrap_or(0);
        let mut interface = Interface {
            name: String::new(),
            link_type: LinkType(half(fixed, 0)),
            snaplen: word_at(fixed, 4, self.big_endian).unwrap_or(0),
            filter: String::new(),
        };
        let mut resolution = 6;
        while cursor.rest().len() >= 4 {
            let head = cursor.take(4).map_err(short)?;
            let (code, length) = (half(head, 0), usize::from(half(head, 2)));
            if code == 0 {
                break;
            }
            let value = cursor.take(length).map_err(short)?;
            let _ = cursor.skip(length.wrapping_neg() & 3);
            match code {
                2 => interface.name = text(value),
                9 => resolution = value.first().copied().unwrap_or(6),
                // The original writes the expression without the leading type byte that pcapng asks for in some versions.
                11 => interface.filter = text(value.strip_prefix(&[0]).unwrap_or(value)),
                _ => {}
            }
        }
        self.interfaces.push(interface);
        self.resolutions.push(resolution);
        Ok(())
    }

    /// Reads the packet in a data frame.
    ///
    /// # Errors
    /// When it is not as the link header says packets are, or its lengths lie.
    pub fn packet<'a>(&self, payload: &'a [u8]) -> Result<Packet<'a>, Fault> {
        let wrong = |problem| malformed("packet", problem);
        match self.format {
            Format::Pcap { nanoseconds } => {
                let word = |at| word_at(payload, at, self.big_endian);
                let (Some(seconds), Some(fraction), Some(captured), Some(original_length)) =
                    (word(0), word(4), word(8), word(12))
                else {
                    return Err(wrong("it is shorter than its header"));
                };
                let data = payload.get(16..).unwrap_or_default();
                if data.len() != captured as usize {
                    return Err(wrong("its captured length is not what follows"));
                }
                let nanos = if nanoseconds { u64::from(fraction) } else { u64::from(fraction) * 1_000 };
                let time = Timestamp::from_parts(seconds.into(), nanos);
                Ok(Packet { time, interface: 0, original_length, data })
            }
            Format::Pcapng => {
                let (kind, body, behind) = block(payload, self.big_endian).map_err(wrong)?;
                if kind != packet::pcapng::ENHANCED_PACKET || !behind.is_empty() {
                    return Err(wrong("it is not one enhanced packet block"));
                }
                let word = |at| word_at(body, at, self.big_endian);
                let (Some(interface), Some(high), Some(low), Some(captured), Some(original_length)) =
                    (word(0), word(4), word(8), word(12), word(16))
                else {
                    return Err(wrong("it is shorter than its header"));
                };
                let data = body
                    .get(20..)
                    .and_then(|rest| rest.get(..captured as usize))
                    .ok_or_else(|| wrong("its captured length is beyond the end of its block"))?;
                let resolution = self
                    .resolutions
                    .get(interface as usize)
                    .ok_or_else(|| wrong("it is of an interface that was not described"))?;
                let time = time(u64::from(high) << 32 | u64::from(low), *resolution);
                Ok(Packet { time, interface, original_length, data })
            }
        }
    }
}

/// Nanoseconds of a time in units of if_tsresol.
fn time(units: u64, resolution: u8) -> Timestamp {
    let exponent = u32::from(resolution & 0x7f);
    let nanos = if resolution & 0x80 != 0 {
        u64::try_from((u128::from(units) * 1_000_000_000) >> exponent).unwrap_or(u64::MAX)
    } else if exponent <= 9 {
        units.saturating_mul(10u64.pow(9 - exponent))
    } else {
        10u64.checked_pow(exponent - 9).map_or(0, |divisor| units / divisor)
    };
    Timestamp::from_nanos(nanos)
}

/// The first block: type, body, and what stands behind it.
fn block(bytes: &[u8], big_endian: bool) -> Result<(u32, &[u8], &[u8]), &'static str> {
    let kind = word_at(bytes, 0, big_endian).ok_or("a block is cut")?;
    let length = word_at(bytes, 4, big_endian).ok_or("a block is cut")? as usize;
    if length < 12 || length % 4 != 0 || length > bytes.len() {
        return Err("a block's length cannot be");
    }
    if word_at(bytes, length - 4, big_endian) != Some(length as u32) {
        return Err("the two lengths of a block differ");
    }
    let body = bytes.get(8..length - 4).unwrap_or_default();
    Ok((kind, body, bytes.get(length..).unwrap_or_default()))
}

fn word_at(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk().copied()?;
    Some(if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
}

fn half_at(bytes: &[u8], at: usize, big_endian: bool) -> Option<u16> {
    let two = bytes.get(at..)?.first_chunk().copied()?;
    Some(if big_endian { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
}

/// Text of an option, which some writers end with NUL.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pcap_header(magic: u32, swap: bool) -> Vec<u8> {
        let words = [magic, if swap { 0x0002_0004 } else { 0x0004_0002 }, 0, 0, 9000, 1];
        words.iter().flat_map(|word: &u32| if swap { word.to_be_bytes() } else { word.to_le_bytes() }).collect()
    }

    fn record(swap: bool, words: [u32; 4], data: &[u8]) -> Vec<u8> {
        let mut out: Vec<u8> =
            words.iter().flat_map(|w| if swap { w.to_be_bytes() } else { w.to_le_bytes() }).collect();
        out.extend_from_slice(data);
        out
    }

    #[test]
    fn pcap_in_both_byte_orders_and_resolutions() {
        for (magic, nanos) in [(0xa1b2_c3d4, 5_000), (0xa1b2_3c4d, 5)] {
            for swap in [false, true] {
                let header = LinkHeader::read(&pcap_header(magic, swap)).unwrap();
                assert_eq!((header.interfaces[0].link_type, header.interfaces[0].snaplen), (LinkType::ETHERNET, 9000));
                let record = record(swap, [7, 5, 3, 60], b"abc");
                let packet = header.packet(&record).unwrap();
                assert_eq!(
                    (packet.time.nanos(), packet.original_length, packet.data),
                    (7_000_000_000 + nanos, 60, &b"abc"[..])
                );
            }
        }
    }

    #[test]
    fn a_lying_captured_length_is_refused() {
        let header = LinkHeader::read(&pcap_header(0xa1b2_c3d4, false)).unwrap();
        for captured in [0, 2, 4, u32::MAX] {
            assert!(header.packet(&record(false, [7, 5, captured, 60], b"abc")).is_err());
        }
        assert!(header.packet(b"short").is_err());
    }

    #[test]
    fn frames_come_out_however_the_bytes_are_split() {
        let stream = [&[0, 9, 0, 2][..], b"ab", &[1, 0, 0, 0], &[1, 0, 0, 1], b"c"].concat();
        for step in 1..=stream.len() {
            let mut reader = Reader::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(step) {
                reader.push(piece);
                while let Some(frame) = reader.next_frame().unwrap() {
                    seen.push(match frame {
                        Frame::LinkHeader(bytes) => (0, bytes.to_vec()),
                        Frame::Data(bytes) => (1, bytes.to_vec()),
                    });
                }
            }
            assert_eq!(seen, [(0, b"ab".to_vec()), (1, vec![]), (1, b"c".to_vec())]);
            assert_eq!(reader.pending(), 0);
        }
        let mut reader = Reader::default();
        reader.push(b"GET / HTTP/1.1");
        assert!(reader.next_frame().is_err());
    }

    proptest::proptest! {
        #[test]
        fn hostile_bytes_never_panic(header: Vec<u8>, data: Vec<u8>, pcapng: bool, big: bool) {
            let mut header = header;
            if pcapng && header.len() >= 12 {
                header[..4].copy_from_slice(&[0x0a, 0x0d, 0x0d, 0x0a]);
                header[8..12].copy_from_slice(if big { &[0x1a, 0x2b, 0x3c, 0x4d] } else { &[0x4d, 0x3c, 0x2b, 0x1a] });
            }
            if let Ok(header) = LinkHeader::read(&header) {
                let _ = header.packet(&data);
            }
            if let Ok(header) = LinkHeader::read(&pcap_header(0xa1b2_c3d4, big)) {
                let _ = header.packet(&data);
            }
        }
    }
}
