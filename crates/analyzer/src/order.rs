//! The order in which `analyze` gives events: those that a packet completed in the order of that packet, then those that
//! ended by time-out or end of input by their start. So the bytes are the same for any number of workers.
//! Live use does not come here: there events go out as they are completed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use event::{Event, Value, common};

/// Rendered events that wait for the end of input are kept in memory up to this size, then in an unnamed temporary file.
const MEMORY_MAX: usize = 8 << 20;
/// Read at once of each sorted run of that file.
const RUN_BUFFER: usize = 64 * 1024;

/// Place among the events that wait for the end: start, then first packet, then what tells several events of one beginning apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    start: u64,
    first_packet: u64,
    time: u64,
    ordinal: u32,
    id: u128,
}

/// A key in the temporary file, and the length of the bytes behind it.
const HEAD_BYTES: usize = 48;

impl Key {
    fn head(self, length: usize) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&self.start.to_le_bytes());
        head[8..16].copy_from_slice(&self.first_packet.to_le_bytes());
        head[16..24].copy_from_slice(&self.time.to_le_bytes());
        head[24..28].copy_from_slice(&self.ordinal.to_le_bytes());
        head[28..32].copy_from_slice(&(length as u32).to_le_bytes());
        head[32..].copy_from_slice(&self.id.to_le_bytes());
        head
    }

    fn from_head(head: &[u8; HEAD_BYTES]) -> (Self, usize) {
        let long = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let id = u128::from(long(32)) | u128::from(long(40)) << 64;
        let (ordinal, length) = (long(24) as u32, (long(24) >> 32) as usize);
        (Self { start: long(0), first_packet: long(8), time: long(16), ordinal, id }, length)
    }
}

/// Rendered events that wait for the end of input.
#[derive(Debug, Default)]
pub struct Waiting {
    held: Vec<(Key, Range<usize>)>,
    recent: Vec<u8>,
    file: Option<File>,
    /// Where the sorted runs begin and end in the file.
    runs: Vec<Range<u64>>,
    count: usize,
}

impl Waiting {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an event; `rendered` is what is to be printed of it.
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub fn push(&mut self, event: &Event, rendered: &[u8]) -> io::Result<()> {
        if self.recent.len() + rendered.len() > MEMORY_MAX && !self.held.is_empty() {
            self.spill()?;
        }
        let start = self.recent.len();
        self.recent.extend_from_slice(rendered);
        self.held.push((place_of(event).0, start..self.recent.len()));
        self.count += 1;
        Ok(())
    }

    /// Writes what is in memory as one more sorted run.
    fn spill(&mut self) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile()?),
        };
        self.held.sort_unstable_by_key(|(key, _)| *key);
        let begin = self.runs.last().map_or(0, |run| run.end);
        let mut end = begin;
        let mut out = BufWriter::with_capacity(RUN_BUFFER, file);
        for (key, range) in self.held.drain(..) {
            let bytes = self.recent.get(range).unwrap_or_default();
            out.write_all(&key.head(bytes.len()))?;
            out.write_all(bytes)?;
            end += (HEAD_BYTES + bytes.len()) as u64;
        }
        out.flush()?;
        self.runs.push(begin..end);
        self.recent.clear();
        Ok(())
    }

    /// Writes all of them in their order.
    ///
    /// # Errors
    /// When the temporary file cannot be read or `out` not be written.
    pub fn write_sorted(mut self, out: &mut dyn Write) -> io::Result<()> {
        self.held.sort_unstable_by_key(|(key, _)| *key);
        let mut readers = Vec::with_capacity(self.runs.len());
        if let Some(file) = &self.file {
            readers.extend(self.runs.iter().map(|run| Run { file, rest: run.clone(), buffer: Vec::new(), at: 0 }));
        }
        // The next of each run, and (last) of what is in memory, the earliest on top.
        let mut heads = BinaryHeap::new();
        let mut next = Vec::with_capacity(readers.len());
        for (number, run) in readers.iter_mut().enumerate() {
            let head = run.next()?;
            heads.extend(head.as_ref().map(|(key, _)| Reverse((*key, number))));
            next.push(head.map(|(_, range)| range).unwrap_or_default());
        }
        let memory = readers.len();
        let mut held = self.held.iter().peekable();
        heads.extend(held.peek().map(|(key, _)| Reverse((*key, memory))));
        while let Some(Reverse((_, number))) = heads.pop() {
            match (readers.get_mut(number), next.get_mut(number)) {
                (Some(run), Some(range)) => {
                    out.write_all(run.buffer.get(range.clone()).unwrap_or_default())?;
                    if let Some((key, following)) = run.next()? {
                        *range = following;
                        heads.push(Reverse((key, number)));
                    }
                }
                _ => {
                    if let Some((_, range)) = held.next() {
                        out.write_all(self.recent.get(range.clone()).unwrap_or_default())?;
                    }
                    heads.extend(held.peek().map(|(key, _)| Reverse((*key, memory))));
                }
            }
        }
        Ok(())
    }
}

/// Reads a sorted run of the temporary file.
struct Run<'f> {
    file: &'f File,
    /// What has not been read into the buffer yet.
    rest: Range<u64>,
    buffer: Vec<u8>,
    at: usize,
}

impl Run<'_> {
    /// The next key, and where its bytes are in the buffer.
    fn next(&mut self) -> io::Result<Option<(Key, Range<usize>)>> {
        if !self.fill(HEAD_BYTES)? {
            return Ok(None);
        }
        let Some(head) = self.buffer.get(self.at..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
        let (key, length) = Key::from_head(head);
        if !self.fill(HEAD_BYTES + length)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let start = self.at + HEAD_BYTES;
        self.at = start + length;
        Ok(Some((key, start..start + length)))
    }

    /// Makes `wanted` bytes available from `at` on; false at the end of the run.
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        if self.buffer.len() - self.at >= wanted {
            return Ok(true);
        }
        let left = usize::try_from(self.rest.end - self.rest.start).unwrap_or(usize::MAX);
        self.buffer.drain(..self.at);
        self.at = 0;
        let have = self.buffer.len();
        let read = left.min(RUN_BUFFER.max(wanted) - have);
        self.buffer.resize(have + read, 0);
        self.file.read_exact_at(self.buffer.get_mut(have..).unwrap_or_default(), self.rest.start)?;
        self.rest.start += read as u64;
        Ok(self.buffer.len() >= wanted)
    }
}

/// An event's place among those that wait for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(Key);

/// The place of an event.
pub fn place_of(event: &Event) -> Place {
    let start = match event.get(&common::EVENT_START) {
        Some(Value::Time(start)) => *start,
        _ => event.time,
    };
    Place(Key {
        start: start.nanos(),
        first_packet: event.origin.first_packet,
        time: event.time.nanos(),
        ordinal: event.ordinal,
        id: event.id().0,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use event::{Observer, Origin};
    use packet::Timestamp;

    fn event(time: u64, first_packet: u64) -> Event {
        let observer = Arc::new(Observer { name: "f".into(), epoch: "e".into(), is_file: true });
        let origin = Origin { observer, interface: "".into(), first_packet, last_packet: first_packet };
        Event::new("flow", Timestamp::from_nanos(time), origin)
    }

    #[test]
    fn what_waits_comes_out_by_start_then_packet() {
        let mut waiting = Waiting::new();
        for (time, packet) in [(3, 1), (1, 5), (2, 9), (1, 4)] {
            waiting.push(&event(time, packet), format!("{time}.{packet} ").as_bytes()).unwrap();
        }
        let mut out = Vec::new();
        waiting.write_sorted(&mut out).unwrap();
        assert_eq!(out, b"1.4 1.5 2.9 3.1 ");
    }

    #[test]
    fn more_than_memory_holds_goes_through_a_file() {
        let mut waiting = Waiting::new();
        let large = vec![b'x'; 1 << 20];
        for number in 0..40u64 {
            let number = number * 7 % 40;
            let mut text = large.clone();
            text[0] = number as u8;
            waiting.push(&event(number, 0), &text).unwrap();
        }
        assert!(waiting.recent.len() <= MEMORY_MAX && waiting.runs.len() > 3);
        assert_eq!(waiting.len(), 40);
        let mut out = Vec::new();
        waiting.write_sorted(&mut out).unwrap();
        let firsts: Vec<u8> = out.chunks(1 << 20).map(|chunk| chunk[0]).collect();
        assert_eq!(firsts, (0..40).collect::<Vec<u8>>());
    }

    #[test]
    fn small_events_come_out_sorted_across_many_runs() {
        let mut waiting = Waiting::new();
        let filler = " ".repeat(300);
        for number in 0..100_000u64 {
            let time = number.wrapping_mul(2_654_435_761) % 1_000_003;
            waiting.push(&event(time, number), format!("{time:07}{filler}\n").as_bytes()).unwrap();
        }
        let mut out = Vec::new();
        waiting.write_sorted(&mut out).unwrap();
        let lines: Vec<&[u8]> = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 100_000);
        assert!(lines.is_sorted_by_key(|line| &line[..7]));
    }
}
