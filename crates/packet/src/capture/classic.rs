//! Records of the classic pcap format, in both byte orders, with micro- or nanoseconds, also Kuznetzov's longer records,
//! and files put behind one another. Where a record's length lies, the next believable record is looked for.

use std::io::Read;

use super::CaptureError;
use super::clock::Clock;
use super::reader::{CaptureReader, Found, Look, SCAN_BYTES};
use crate::batch::MAX_PACKET_BYTES;
use crate::{Interface, LinkType, Timestamp};

/// Longest packet that a file may announce by its snap length beyond what everybody accepts.
const SNAPLEN_MAX: u32 = 16 * 1024 * 1024;
/// How far the time of a record found after damage may be from the one before.
const BELIEVABLE_SECONDS: u64 = 30 * 86_400;
/// How many records in a row must be believable.
const BELIEVABLE_RECORDS: usize = 3;
const FILE_HEADER: usize = 24;
/// The part of a record's header that every kind has.
const RECORD_FIXED: usize = 16;

/// What a magic number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub big_endian: bool,
    pub nanoseconds: bool,
    /// Kuznetzov's: 24 bytes before each packet.
    longer_records: bool,
}

pub(super) fn recognise(magic: [u8; 4]) -> Option<Kind> {
    let of = |value| match value {
        0xa1b2_c3d4 => Some((false, false)),
        0xa1b2_3c4d => Some((true, false)),
        0xa1b2_cd34 => Some((false, true)),
        _ => None,
    };
    let little = of(u32::from_le_bytes(magic)).map(|found| (false, found));
    let (big_endian, (nanoseconds, longer_records)) =
        little.or_else(|| of(u32::from_be_bytes(magic)).map(|found| (true, found)))?;
    Some(Kind { big_endian, nanoseconds, longer_records })
}

/// What the present file header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Classic {
    /// Whether a file header has been read.
    started: bool,
    kind: Kind,
    /// Bytes before the data of a packet.
    record_header: usize,
    /// Longest captured length that is believed.
    longest: usize,
    /// Versions before 2.3 have the two lengths the other way round, 2.3 may.
    swapped: bool,
    maybe_swapped: bool,
    interface: u32,
}

impl Default for Classic {
    fn default() -> Self {
        Self {
            started: false,
            kind: Kind { big_endian: false, nanoseconds: false, longer_records: false },
            record_header: 16,
            longest: MAX_PACKET_BYTES,
            swapped: false,
            maybe_swapped: false,
            interface: 0,
        }
    }
}

/// The fixed part of a record.
#[derive(Debug, Clone, Copy)]
struct Record {
    seconds: u32,
    fraction: u32,
    captured: u32,
    original: u32,
}

impl Classic {
    #[inline]
    fn record(&self, window: &[u8]) -> Option<Record> {
        let head: &[u8; RECORD_FIXED] = window.first_chunk()?;
        let word = |at: usize| {
            let bytes = [head[at], head[at + 1], head[at + 2], head[at + 3]];
            if self.kind.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        let mut record = Record { seconds: word(0), fraction: word(4), captured: word(8), original: word(12) };
        if self.swapped || self.maybe_swapped && record.captured > record.original {
            std::mem::swap(&mut record.captured, &mut record.original);
        }
        Some(record)
    }

    #[inline]
    fn time(&self, record: &Record) -> Timestamp {
        let factor = if self.kind.nanoseconds { 1 } else { 1_000 };
        Timestamp::from_parts(record.seconds.into(), u64::from(record.fraction) * factor)
    }

    /// Whether a record says what records of this file usually say.
    fn is_believable(&self, record: &Record, last: Timestamp) -> bool {
        let fraction_end = if self.kind.nanoseconds { 1_000_000_000 } else { 1_000_000 };
        let near = last == Timestamp::ZERO || u64::from(record.seconds).abs_diff(last.seconds()) <= BELIEVABLE_SECONDS;
        record.fraction < fraction_end
            && record.captured > 0
            && record.captured as usize <= self.longest
            && record.captured <= record.original
            && record.original <= SNAPLEN_MAX
            && near
    }

    /// Whether believable records follow each other from the beginning of `window`; `ended` says that its end is the file's.
    fn is_believable_run(&self, window: &[u8], last: Timestamp, ended: bool) -> bool {
        let mut rest = window;
        for seen in 0..BELIEVABLE_RECORDS {
            let Some(record) = self.record(rest) else {
                // Too little left to tell: fine behind a believable record, at the file's end only without remainder.
                return seen > 0 && (!ended || rest.is_empty());
            };
            if !self.is_believable(&record, last) {
                return false;
            }
            match rest.get(self.record_header + record.captured as usize..) {
                Some(behind) => rest = behind,
                None => return seen > 0 && !ended,
            }
        }
        true
    }
}

impl<R: Read> CaptureReader<R> {
    #[inline]
    pub(super) fn look_classic(&mut self) -> Result<Look, CaptureError> {
        if !self.classic.started {
            return self.file_header();
        }
        if !self.buffer.fill(self.classic.record_header)? {
            return match self.buffer.window() {
                [] => Ok(Look::End),
                _ => Err(self.damaged("the file ends within the header of a record")),
            };
        }
        let classic = self.classic;
        let Some(record) = classic.record(self.buffer.window()) else { return Ok(Look::End) };
        if record.captured as usize > classic.longest {
            return self.lying_record(&record, "a record claims more bytes than any packet has");
        }
        let length = classic.record_header + record.captured as usize;
        if !self.buffer.fill(length)? {
            return self.lying_record(&record, "the file ends within a packet");
        }
        // A look ahead: if the next record is nonsense, this one's length may be the lie.
        self.buffer.look_ahead(length + RECORD_FIXED);
        let next = self.buffer.window().get(length..).and_then(|behind| classic.record(behind));
        let suspicious =
            next.is_some_and(|next| next.captured as usize > classic.longest || next.fraction >= 1_000_000_000);
        if suspicious || record.captured == 0 {
            if self.is_file_header(0) {
                return self.file_header();
            }
            if suspicious && !self.is_file_header(length) {
                return self.suspicious_record(&record, length);
            }
        }
        Ok(Look::Packet(self.classic_packet(&record, record.captured as usize)))
    }

    #[inline]
    fn classic_packet(&self, record: &Record, captured: usize) -> Found {
        Found {
            time: self.classic.time(record),
            interface: self.classic.interface,
            original_length: record.original,
            data_at: self.classic.record_header,
            data_length: captured,
            length: self.classic.record_header + captured,
        }
    }

    /// Whether at `at` of the window another file's header stands: somebody put two files together.
    fn is_file_header(&self, at: usize) -> bool {
        let Some(bytes) = self.buffer.window().get(at..) else { return false };
        let version = bytes.get(4..8);
        bytes.first_chunk().is_some_and(|magic| recognise(*magic).is_some())
            && (version == Some(&[2, 0, 4, 0]) || version == Some(&[0, 2, 0, 4]))
    }

    fn file_header(&mut self) -> Result<Look, CaptureError> {
        self.buffer.fill(FILE_HEADER)?;
        let window = self.buffer.window();
        let kind = window.first_chunk().and_then(|magic| recognise(*magic));
        let (Some(head), Some(kind)) = (window.first_chunk::<FILE_HEADER>().copied(), kind) else {
            return Err(self.damaged("the file ends within its header"));
        };
        let word = |at: usize| {
            let bytes = [head[at], head[at + 1], head[at + 2], head[at + 3]];
            if kind.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        let (major, minor) =
            if kind.big_endian { (word(4) >> 16, word(4) & 0xffff) } else { (word(4) & 0xffff, word(4) >> 16) };
        if self.classic.started {
            self.warn(self.buffer.offset(), "another file's header among the packets: two files in one", 0);
        }
        // 543 is what one maker's tcpdump wrote for 2.3.
        if major != 2 && major != 543 {
            self.warn(self.buffer.offset(), "a version of the format other than 2; read as if it were", 0);
        }
        let snaplen = word(16);
        let announced = if snaplen <= SNAPLEN_MAX { snaplen as usize } else { 0 };
        self.classic = Classic {
            started: true,
            kind,
            record_header: if kind.longer_records { 24 } else { 16 },
            longest: MAX_PACKET_BYTES.max(announced),
            swapped: major == 2 && minor < 3,
            maybe_swapped: major == 543 || (major == 2 && minor == 3),
            interface: u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX),
        };
        // The upper half tells of a frame check sequence and the like.
        let link_type = LinkType(word(20) as u16);
        let interface = Interface { name: String::new(), link_type, snaplen, filter: String::new() };
        self.add_interface(interface, Clock::MICROSECONDS)?;
        self.buffer.consume(FILE_HEADER);
        Ok(Look::Again)
    }

    /// The distance from the window's beginning to the next run of believable records.
    fn find_records(&mut self) -> Option<usize> {
        self.scans_left = self.scans_left.checked_sub(1)?;
        let (classic, last) = (self.classic, self.last_time);
        let (window, ended) = self.buffer.next(SCAN_BYTES);
        let last_start = window.len().saturating_sub(classic.record_header);
        (classic.record_header..=last_start)
            .find(|at| window.get(*at..).is_some_and(|rest| classic.is_believable_run(rest, last, ended)))
    }

    /// A record whose length cannot be: the packet is given out as far as the next believable record, or skipped.
    #[cold]
    fn lying_record(&mut self, record: &Record, problem: &'static str) -> Result<Look, CaptureError> {
        if self.is_file_header(0) {
            return self.file_header();
        }
        // Some writers mix the orders: the header in one, the records in the other.
        let mut turned = self.classic;
        turned.kind.big_endian = !turned.kind.big_endian;
        let (window, ended) = self.buffer.next(SCAN_BYTES);
        if turned.is_believable_run(window, self.last_time, ended) {
            self.warn(self.buffer.offset(), "from here on records are in the other byte order", 0);
            self.classic = turned;
            return Ok(Look::Again);
        }
        let Some(distance) = self.find_records() else {
            self.buffer.fill(SCAN_BYTES)?;
            return Err(self.damaged(problem));
        };
        let captured = distance - self.classic.record_header;
        let longest = self.classic.longest;
        let as_it_is = Record { captured: captured as u32, original: record.original.max(captured as u32), ..*record };
        let fits = captured <= record.original as usize && captured <= longest;
        if fits && self.classic.is_believable(&Record { original: as_it_is.captured, ..as_it_is }, self.last_time) {
            self.warn(self.buffer.offset(), problem, 0);
            let mut found = self.classic_packet(&as_it_is, captured);
            if record.original as usize > longest {
                found.original_length = captured as u32;
            }
            return Ok(Look::Packet(found));
        }
        self.warn(self.buffer.offset(), problem, distance);
        self.buffer.consume(distance);
        Ok(Look::Again)
    }

    /// A believable record before a nonsensical one: whose length lies?
    #[cold]
    fn suspicious_record(&mut self, record: &Record, length: usize) -> Result<Look, CaptureError> {
        let Some(distance) = self.find_records() else {
            return Ok(Look::Packet(self.classic_packet(record, record.captured as usize)));
        };
        let captured = distance - self.classic.record_header;
        if distance < length || captured == record.original as usize {
            self.warn(self.buffer.offset(), "a record's length does not lead to the next record", 0);
            return Ok(Look::Packet(self.classic_packet(record, captured)));
        }
        Ok(Look::Packet(self.classic_packet(record, record.captured as usize)))
    }
}
