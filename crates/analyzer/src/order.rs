//! The order in which `analyze` gives events: those that a packet completed in the order of that packet, then those that
//! ended by time-out or end of input by their start, then calls. So the bytes are the same for any number of workers.
//! Live use does not come here: there events go out as they are completed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use event::{Event, Place};

/// Rendered events that wait for the end of input are kept in memory up to this size, then in an unnamed temporary file.
const MEMORY_MAX: usize = 8 << 20;
/// Read at once of each sorted run of that file.
const RUN_BUFFER: usize = 64 * 1024;

/// A place in the temporary file, and behind it the length of the bytes that follow.
const HEAD_BYTES: usize = Place::BYTES + 4;

/// Rendered events that wait for the end of input.
#[derive(Debug, Default)]
pub struct Waiting {
    held: Vec<(Place, Range<usize>)>,
    recent: Vec<u8>,
    file: Option<File>,
    /// Where the sorted runs begin and end in the file.
    runs: Vec<Range<u64>>,
}

impl Waiting {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
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
        self.held.push((Place::of(event), start..self.recent.len()));
        Ok(())
    }

    /// Writes what is in memory as one more sorted run.
    fn spill(&mut self) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile()?),
        };
        self.held.sort_unstable_by_key(|(place, _)| *place);
        let begin = self.runs.last().map_or(0, |run| run.end);
        let mut end = begin;
        let mut out = BufWriter::with_capacity(RUN_BUFFER, file);
        for (place, range) in self.held.drain(..) {
            let bytes = self.recent.get(range).unwrap_or_default();
            out.write_all(&place.to_bytes())?;
            out.write_all(&(bytes.len() as u32).to_le_bytes())?;
            out.write_all(bytes)?;
            end += (HEAD_BYTES + bytes.len()) as u64;
        }
        out.flush()?;
        self.runs.push(begin..end);
        self.recent.clear();
        Ok(())
    }

    /// All of them in their order.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn sorted(mut self) -> io::Result<Sorted> {
        self.held.sort_unstable_by_key(|(place, _)| *place);
        let mut sorted = Sorted {
            file: self.file,
            runs: self.runs.into_iter().map(|rest| Run { rest, ..Run::default() }).collect(),
            held: self.held.into_iter(),
            memory: self.recent,
            heads: BinaryHeap::new(),
            ranges: Vec::new(),
        };
        sorted.ranges.resize(sorted.runs.len() + 1, 0..0);
        for number in 0..=sorted.runs.len() {
            sorted.advance(number)?;
        }
        Ok(sorted)
    }
}

/// Rendered events in their order.
#[derive(Debug)]
pub struct Sorted {
    file: Option<File>,
    runs: Vec<Run>,
    held: std::vec::IntoIter<(Place, Range<usize>)>,
    memory: Vec<u8>,
    /// The next of each run and (under the number behind the last of them) of what is in memory, the earliest on top.
    heads: BinaryHeap<Reverse<(Place, usize)>>,
    /// Where the bytes of each of these are.
    ranges: Vec<Range<usize>>,
}

impl Sorted {
    /// Whether all have been written.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Writes those that stand before `place`, or all.
    ///
    /// # Errors
    /// When the temporary file cannot be read or `out` not be written.
    pub fn write_until(&mut self, place: Option<Place>, out: &mut dyn Write) -> io::Result<()> {
        while let Some(Reverse((next, number))) = self.heads.peek().copied()
            && place.is_none_or(|place| next < place)
        {
            let bytes = self.runs.get(number).map_or(&self.memory, |run| &run.buffer);
            let range = self.ranges.get(number).cloned().unwrap_or_default();
            out.write_all(bytes.get(range).unwrap_or_default())?;
            self.heads.pop();
            self.advance(number)?;
        }
        Ok(())
    }

    fn advance(&mut self, number: usize) -> io::Result<()> {
        let next = match (self.runs.get_mut(number), &self.file) {
            (Some(run), Some(file)) => run.next(file)?,
            _ => self.held.next(),
        };
        if let (Some((place, range)), Some(at)) = (next, self.ranges.get_mut(number)) {
            *at = range;
            self.heads.push(Reverse((place, number)));
        }
        Ok(())
    }
}

/// Reads a sorted run of the temporary file.
#[derive(Debug, Default)]
struct Run {
    /// What has not been read into the buffer yet.
    rest: Range<u64>,
    buffer: Vec<u8>,
    at: usize,
}

impl Run {
    /// The next key, and where its bytes are in the buffer.
    fn next(&mut self, file: &File) -> io::Result<Option<(Place, Range<usize>)>> {
        if !self.fill(file, HEAD_BYTES)? {
            return Ok(None);
        }
        let Some((place, behind)) = self.buffer.get(self.at..).and_then(<[u8]>::split_first_chunk) else {
            return Ok(None);
        };
        let Some(length) = behind.first_chunk() else { return Ok(None) };
        let (place, length) = (Place::from_bytes(place), u32::from_le_bytes(*length) as usize);
        if !self.fill(file, HEAD_BYTES + length)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let start = self.at + HEAD_BYTES;
        self.at = start + length;
        Ok(Some((place, start..start + length)))
    }

    /// Makes `wanted` bytes available from `at` on; false at the end of the run.
    fn fill(&mut self, file: &File, wanted: usize) -> io::Result<bool> {
        if self.buffer.len() - self.at >= wanted {
            return Ok(true);
        }
        let left = usize::try_from(self.rest.end - self.rest.start).unwrap_or(usize::MAX);
        self.buffer.drain(..self.at);
        self.at = 0;
        let have = self.buffer.len();
        let read = left.min(RUN_BUFFER.max(wanted) - have);
        self.buffer.resize(have + read, 0);
        file.read_exact_at(self.buffer.get_mut(have..).unwrap_or_default(), self.rest.start)?;
        self.rest.start += read as u64;
        Ok(self.buffer.len() >= wanted)
    }
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
        waiting.sorted().unwrap().write_until(None, &mut out).unwrap();
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
        let mut out = Vec::new();
        waiting.sorted().unwrap().write_until(None, &mut out).unwrap();
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
        waiting.sorted().unwrap().write_until(None, &mut out).unwrap();
        let lines: Vec<&[u8]> = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 100_000);
        assert!(lines.is_sorted_by_key(|line| &line[..7]));
    }
}
