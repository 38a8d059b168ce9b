//! The reader: recognises the format, keeps interfaces and warnings, and hands packets out of the buffer.
//! What records and blocks look like is in `classic` and `blocks`.

use std::io::Read;

use super::buffer::Buffer;
use super::classic::{self, Classic};
use super::clock::Clock;
use super::*;
use crate::{Interface, Packet, Timestamp};

/// Warnings that are kept; all are counted.
const WARNINGS_MAX: usize = 64;
/// Most interfaces in one file.
const INTERFACES_MAX: usize = 65_536;
/// Most bytes of their names and filters that are kept; those of further interfaces stay empty.
const INTERFACE_TEXT_MAX: usize = 16 * 1024 * 1024;
/// How far behind damage the next whole record or block is looked for.
pub(super) const SCAN_BYTES: usize = 1024 * 1024;
/// How often that is done in one file, so that a file made of damage ends in reasonable time.
const SCANS_MAX: u32 = 1024;

/// Reads the packets of a capture file from a stream.
#[derive(Debug)]
pub struct CaptureReader<R> {
    pub(super) buffer: Buffer<R>,
    format: Format,
    pub(super) classic: Classic,
    /// Whether the present section of a pcapng file is most significant byte first.
    pub(super) big_endian: bool,
    /// Index of the first interface of the present section or concatenated file.
    pub(super) section_base: usize,
    pub(super) interfaces: Vec<Interface>,
    pub(super) clocks: Vec<Clock>,
    interface_text: usize,
    statistics: Vec<InterfaceStatistics>,
    /// Per interface, where its statistics are: their place and one.
    statistics_at: Vec<u32>,
    warnings: Vec<Warning>,
    warning_count: u64,
    pub(super) scans_left: u32,
    pub(super) last_time: Timestamp,
    finished: bool,
}

/// A packet found at the beginning of the window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub time: Timestamp,
    pub interface: u32,
    pub original_length: u32,
    /// Where its data begins in the window.
    pub data_at: usize,
    pub data_length: usize,
    /// Bytes of the whole record or block.
    pub length: usize,
}

/// What became of a look at the beginning of the window.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    Packet(Found),
    /// No packet, but something was consumed.
    Again,
    /// The stream ends here as it should.
    End,
}

impl<R: Read> CaptureReader<R> {
    /// Reads the first bytes and recognises the format. What a recognised file may lack or have damaged right behind
    /// them is an error of [`CaptureReader::next`].
    ///
    /// # Errors
    /// When nothing can be read, or it is compressed, or the format is not known.
    pub fn new(input: R) -> Result<Self, CaptureError> {
        let mut buffer = Buffer::new(input);
        buffer.fill(12)?;
        let window = buffer.window();
        let Some(magic) = window.first_chunk::<4>().copied() else {
            return Err(match window {
                [] => CaptureError::Empty,
                _ => CaptureError::Unrecognised { magic: [0; 4], hint: "shorter than any file header" },
            });
        };
        if let Some(compression) = Compression::detect(window) {
            return Err(CaptureError::Compressed(compression));
        }
        let big_section = window.get(8..12) == Some(&[0x1a, 0x2b, 0x3c, 0x4d]);
        let format = match magic {
            [0x0a, 0x0d, 0x0d, 0x0a] => Format::Pcapng { big_endian: big_section },
            _ => match classic::recognise(magic) {
                Some(kind) => Format::Pcap { big_endian: kind.big_endian, nanoseconds: kind.nanoseconds },
                None => return Err(CaptureError::Unrecognised { magic, hint: hint(magic) }),
            },
        };
        Ok(Self {
            buffer,
            format,
            classic: Classic::default(),
            big_endian: big_section,
            section_base: 0,
            interfaces: Vec::new(),
            clocks: Vec::new(),
            interface_text: 0,
            statistics: Vec::new(),
            statistics_at: Vec::new(),
            warnings: Vec::new(),
            warning_count: 0,
            scans_left: SCANS_MAX,
            last_time: Timestamp::ZERO,
            finished: false,
        })
    }

    /// The next packet; `None` at the end. Its `interface` indexes [`CaptureReader::interfaces`], which grows while reading.
    /// A simple packet block has no time: it gets that of the packet before it. After an error there is nothing more: the next
    /// call gives `None`.
    ///
    /// # Errors
    /// When the stream fails or is damaged beyond repair. Everything before has been given out by then.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        let found = loop {
            if self.finished {
                return Ok(None);
            }
            let look = match self.format {
                Format::Pcap { .. } => self.look_classic(),
                Format::Pcapng { .. } => self.look_block(),
            };
            match look {
                Ok(Look::Packet(found)) => break found,
                Ok(Look::Again) => {}
                Ok(Look::End) => self.finished = true,
                Err(error) => {
                    self.finished = true;
                    return Err(error);
                }
            }
        };
        self.last_time = found.time;
        // The window does not move before the next fill, so the data is taken before the record is consumed.
        let window_start = self.buffer.mark();
        self.buffer.consume(found.length);
        Ok(Some(Packet {
            time: found.time,
            interface: found.interface,
            original_length: found.original_length,
            data: self.buffer.marked(window_start + found.data_at, found.data_length),
        }))
    }

    /// The interfaces seen so far, of all sections. A pcap file has one, without a name.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The latest statistics that the file states, per interface that it states them for.
    pub fn statistics(&self) -> &[InterfaceStatistics] {
        &self.statistics
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Damage that was got over: the first 64 of them.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// How many times damage was got over.
    pub fn warning_count(&self) -> u64 {
        self.warning_count
    }

    /// Bytes consumed so far: for progress.
    pub fn position(&self) -> u64 {
        self.buffer.offset()
    }

    pub(super) fn warn(&mut self, offset: u64, problem: &'static str, skipped: usize) {
        self.warning_count += 1;
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(Warning { offset, problem, skipped: skipped as u64 });
        }
    }

    /// The error for damage at the beginning of the window that could not be got over.
    pub(super) fn damaged(&self, problem: &'static str) -> CaptureError {
        CaptureError::Damaged { offset: self.buffer.offset(), problem }
    }

    pub(super) fn add_interface(&mut self, mut interface: Interface, clock: Clock) -> Result<(), CaptureError> {
        if self.interfaces.len() >= INTERFACES_MAX {
            return Err(self.damaged("more than 65536 interfaces"));
        }
        self.interface_text += interface.name.len() + interface.filter.len();
        if self.interface_text > INTERFACE_TEXT_MAX {
            (interface.name, interface.filter) = (String::new(), String::new());
        }
        self.interfaces.push(interface);
        self.clocks.push(clock);
        Ok(())
    }

    /// Keeps the latest statistics of an interface that was described.
    pub(super) fn set_statistics(&mut self, statistics: InterfaceStatistics) {
        self.statistics_at.resize(self.interfaces.len(), 0);
        let Some(at) = self.statistics_at.get_mut(statistics.interface as usize) else { return };
        match (*at as usize).checked_sub(1).and_then(|at| self.statistics.get_mut(at)) {
            Some(known) => *known = statistics,
            None => {
                self.statistics.push(statistics);
                *at = self.statistics.len() as u32;
            }
        }
    }
}

fn hint(magic: [u8; 4]) -> &'static str {
    match &magic {
        b"snoo" => "a snoop file; convert it with editcap",
        b"iptr" => "an AIX iptrace file; convert it with editcap",
        b"GMBU" | b"RTSS" => "a Microsoft Network Monitor file; convert it with editcap",
        [0x0a, 0x0d, 0x0a, _] | [0x0d, 0x0a, 0x0d, 0x0a] => {
            "a pcapng file damaged by a transfer in text mode; copy it again in binary mode"
        }
        [0x00..=0x03, _, _, _] => "unknown; if it is a capture of another program, convert it with editcap",
        [b'{' | b'[' | b'<' | b'#', ..] => "text",
        _ => "an unknown format; if it is a capture, convert it with editcap",
    }
}
