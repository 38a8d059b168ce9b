//! Blocks of pcapng in both byte orders: sections, interfaces, packets of all three kinds, statistics. Everything else is
//! skipped. Where a block's length lies, the next whole block is looked for.

use std::io::Read;

use super::CaptureError;
use super::clock::Clock;
use super::reader::{CaptureReader, Found, Look, SCAN_BYTES};
use crate::pcapng::{self, InterfaceStatistics};
use crate::{Interface, LinkType};

/// Longest block that is believed.
const BLOCK_MAX: usize = 16 * 1024 * 1024;
/// The obsolete packet block.
const PACKET: u32 = 2;
const MAGIC_LITTLE: [u8; 4] = [0x4d, 0x3c, 0x2b, 0x1a];
const MAGIC_BIG: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

#[inline]
fn u32_at(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk().copied()?;
    Some(if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
}

fn u16_at(bytes: &[u8], at: usize, big_endian: bool) -> Option<u16> {
    let two = bytes.get(at..)?.first_chunk().copied()?;
    Some(if big_endian { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
}

fn u64_of(bytes: &[u8], big_endian: bool) -> Option<u64> {
    let eight = bytes.first_chunk().copied()?;
    Some(if big_endian { u64::from_be_bytes(eight) } else { u64::from_le_bytes(eight) })
}

/// Hands each option to `each`; says whether the list is whole.
fn options<'a>(bytes: &'a [u8], big_endian: bool, mut each: impl FnMut(u16, &'a [u8])) -> bool {
    let mut rest = bytes;
    while let (Some(code), Some(length)) = (u16_at(rest, 0, big_endian), u16_at(rest, 2, big_endian)) {
        if code == 0 {
            return true;
        }
        let length = usize::from(length);
        let Some(value) = rest.get(4..4 + length) else { return false };
        each(code, value);
        rest = rest.get(4 + length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    rest.is_empty()
}

/// Whether a whole block that makes sense stands at the beginning of `window`.
fn is_block(window: &[u8], big_endian: bool) -> bool {
    let order = match window.get(8..12) {
        _ if !window.starts_with(&SECTION) => big_endian,
        Some(magic) if magic == MAGIC_LITTLE => false,
        Some(magic) if magic == MAGIC_BIG => true,
        _ => return false,
    };
    let (Some(kind), Some(length)) = (u32_at(window, 0, order), u32_at(window, 4, order)) else { return false };
    let length = length as usize;
    let known =
        matches!(kind, 1..=6 | 9 | 10 | 0xbad | 0x4000_0bad | 0x8000_0001..=0x8000_ffff | pcapng::SECTION_HEADER);
    known
        && (12..=BLOCK_MAX).contains(&length)
        && length % 4 == 0
        && u32_at(window, length - 4, order) == Some(length as u32)
}

impl<R: Read> CaptureReader<R> {
    pub(super) fn look_block(&mut self) -> Result<Look, CaptureError> {
        if !self.buffer.fill(12)? {
            return match self.buffer.window() {
                [] => Ok(Look::End),
                _ => Err(self.damaged("the file ends within the header of a block")),
            };
        }
        let window = self.buffer.window();
        let is_section = window.starts_with(&SECTION);
        if is_section {
            match window.get(8..12) {
                Some(magic) if magic == MAGIC_LITTLE => self.big_endian = false,
                Some(magic) if magic == MAGIC_BIG => self.big_endian = true,
                _ => return self.lying_block("a section header without byte-order magic"),
            }
        }
        let big_endian = self.big_endian;
        let window = self.buffer.window();
        let (Some(kind), Some(length)) = (u32_at(window, 0, big_endian), u32_at(window, 4, big_endian)) else {
            return Ok(Look::End);
        };
        let length = length as usize;
        if !(12..=BLOCK_MAX).contains(&length) || length % 4 != 0 {
            return self.lying_block("a block whose length cannot be");
        }
        if !self.buffer.fill(length)? {
            return self.lying_block("the file ends within a block");
        }
        if u32_at(self.buffer.window(), length - 4, big_endian) != Some(length as u32) {
            let (window, ended) = self.buffer.next(length + SCAN_BYTES);
            let behind = window.get(length..).unwrap_or(&[]);
            let at_the_end = behind.is_empty() && ended;
            if !at_the_end && !is_block(behind, big_endian) {
                return self.lying_block("a block whose two lengths differ");
            }
            self.warn(self.buffer.offset(), "a block whose two lengths differ; the first one leads on", 0);
        }
        self.block(kind, length)
    }

    /// Reads the whole block of `length` bytes at the beginning of the window.
    #[inline]
    fn block(&mut self, kind: u32, length: usize) -> Result<Look, CaptureError> {
        match kind {
            pcapng::ENHANCED_PACKET => Ok(self.enhanced_packet(length)),
            PACKET => Ok(self.obsolete_packet(length)),
            pcapng::SIMPLE_PACKET => Ok(self.simple_packet(length)),
            pcapng::SECTION_HEADER => {
                self.section_base = self.interfaces.len();
                let version = u16_at(self.buffer.window(), 12, self.big_endian);
                if version != Some(1) {
                    self.warn(self.buffer.offset(), "a section of a version other than 1; read as if it were", 0);
                }
                self.buffer.consume(length);
                Ok(Look::Again)
            }
            pcapng::INTERFACE_DESCRIPTION => {
                self.interface_description(length)?;
                self.buffer.consume(length);
                Ok(Look::Again)
            }
            pcapng::INTERFACE_STATISTICS => {
                self.interface_statistics(length);
                self.buffer.consume(length);
                Ok(Look::Again)
            }
            _ => {
                self.buffer.consume(length);
                Ok(Look::Again)
            }
        }
    }

    fn body(&self, length: usize) -> &[u8] {
        self.buffer.window().get(8..length - 4).unwrap_or(&[])
    }

    #[cold]
    fn skip_block(&mut self, problem: &'static str, length: usize) -> Look {
        self.warn(self.buffer.offset(), problem, length);
        self.buffer.consume(length);
        Look::Again
    }

    /// A packet with a time and a captured length, after `fixed` bytes of body.
    #[inline]
    fn packet(&mut self, length: usize, fixed: usize, interface: u32, words: [u32; 4]) -> Look {
        let [high, low, captured, original_length] = words;
        let index = self.section_base + interface as usize;
        let Some(clock) = self.clocks.get(index) else {
            return self.skip_block("a packet of an interface that was not described", length);
        };
        let time = clock.time(u64::from(high) << 32 | u64::from(low));
        let there = length - 12 - fixed;
        let mut data_length = captured as usize;
        if data_length > there {
            // Options may stand there too: the length on the wire is a better limit, if it is one.
            data_length = there.min(original_length as usize);
            self.warn(self.buffer.offset(), "a packet whose captured length is beyond the end of its block", 0);
        }
        Look::Packet(Found { time, interface: index as u32, original_length, data_at: 8 + fixed, data_length, length })
    }

    #[inline]
    fn enhanced_packet(&mut self, length: usize) -> Look {
        let big_endian = self.big_endian;
        let Some(head) = self.body(length).first_chunk::<20>() else {
            return self.skip_block("a packet block shorter than its fixed part", length);
        };
        let word = |at: usize| {
            let four = [head[at], head[at + 1], head[at + 2], head[at + 3]];
            if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
        };
        let (interface, words) = (word(0), [word(4), word(8), word(12), word(16)]);
        self.packet(length, 20, interface, words)
    }

    fn obsolete_packet(&mut self, length: usize) -> Look {
        let body = self.body(length);
        let interface = u16_at(body, 0, self.big_endian);
        let words = [4, 8, 12, 16].map(|at| u32_at(body, at, self.big_endian));
        match (interface, words) {
            (Some(interface), [Some(high), Some(low), Some(captured), Some(original)]) => {
                self.packet(length, 20, interface.into(), [high, low, captured, original])
            }
            _ => self.skip_block("a packet block shorter than its fixed part", length),
        }
    }

    fn simple_packet(&mut self, length: usize) -> Look {
        let Some(original_length) = u32_at(self.body(length), 0, self.big_endian) else {
            return self.skip_block("a packet block shorter than its fixed part", length);
        };
        let Some(interface) = self.interfaces.get(self.section_base) else {
            return self.skip_block("a packet of an interface that was not described", length);
        };
        let snaplen = if interface.snaplen == 0 { usize::MAX } else { interface.snaplen as usize };
        Look::Packet(Found {
            time: self.last_time,
            interface: self.section_base as u32,
            original_length,
            data_at: 12,
            data_length: (length - 16).min(original_length as usize).min(snaplen),
            length,
        })
    }

    fn interface_description(&mut self, length: usize) -> Result<(), CaptureError> {
        let body = self.body(length);
        let (Some(link_type), Some(snaplen)) = (u16_at(body, 0, self.big_endian), u32_at(body, 4, self.big_endian))
        else {
            self.warn(self.buffer.offset(), "an interface block shorter than its fixed part", length);
            return Ok(());
        };
        let mut interface =
            Interface { name: String::new(), link_type: LinkType(link_type), snaplen, filter: String::new() };
        let (mut resolution, mut offset) = (6, 0);
        let big_endian = self.big_endian;
        let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
        let whole = options(body.get(8..).unwrap_or(&[]), big_endian, |code, value| match code {
            2 => interface.name = text(value),
            9 => resolution = value.first().copied().unwrap_or(6),
            11 if value.first() == Some(&0) => interface.filter = text(value.get(1..).unwrap_or(&[])),
            14 => offset = u64_of(value, big_endian).unwrap_or(0) as i64,
            _ => {}
        });
        if !whole {
            self.warn(self.buffer.offset(), "an interface block whose options are cut", 0);
        }
        self.add_interface(interface, Clock::new(resolution, offset))
    }

    fn interface_statistics(&mut self, length: usize) {
        let big_endian = self.big_endian;
        let body = self.body(length);
        let words = [0, 4, 8].map(|at| u32_at(body, at, big_endian));
        let [Some(interface), Some(high), Some(low)] = words else {
            self.warn(self.buffer.offset(), "a statistics block shorter than its fixed part", length);
            return;
        };
        let index = self.section_base + interface as usize;
        let Some(clock) = self.clocks.get(index) else {
            self.warn(self.buffer.offset(), "statistics of an interface that was not described", length);
            return;
        };
        let mut statistics = InterfaceStatistics {
            interface: index as u32,
            time: clock.time(u64::from(high) << 32 | u64::from(low)),
            ..InterfaceStatistics::default()
        };
        options(body.get(12..).unwrap_or(&[]), big_endian, |code, value| {
            let Some(value) = u64_of(value, big_endian) else { return };
            match code {
                4 => statistics.received = value,
                5 => statistics.dropped_by_interface = value,
                7 => statistics.dropped_by_kernel = value,
                _ => {}
            }
        });
        self.set_statistics(statistics);
    }

    /// A block whose length cannot be: goes on at the next whole block; where the damaged one's second length fits, it is read.
    #[cold]
    fn lying_block(&mut self, problem: &'static str) -> Result<Look, CaptureError> {
        if self.scans_left == 0 {
            return Err(self.damaged(problem));
        }
        self.scans_left -= 1;
        let big_endian = self.big_endian;
        let (window, _) = self.buffer.next(SCAN_BYTES);
        let last_start = window.len().saturating_sub(12);
        let found = (4..=last_start).find(|at| window.get(*at..).is_some_and(|rest| is_block(rest, big_endian)));
        let Some(distance) = found else {
            self.buffer.fill(SCAN_BYTES)?;
            return Err(self.damaged(problem));
        };
        let kind = u32_at(window, 0, big_endian).unwrap_or(0);
        let second = u32_at(window, distance - 4, big_endian);
        if distance >= 12 && second == Some(distance as u32) && kind != pcapng::SECTION_HEADER {
            self.warn(self.buffer.offset(), problem, 0);
            return self.block(kind, distance);
        }
        self.warn(self.buffer.offset(), problem, distance);
        self.buffer.consume(distance);
        Ok(Look::Again)
    }
}
