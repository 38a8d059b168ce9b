//! The order in which `analyze` gives events: those that a packet completed in the order of that packet, then those that
//! ended by time-out or end of input by their start. So the bytes are the same for any number of workers.
//! Live use does not come here: there events go out as they are completed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use event::{Event, Value, common};

/// Rendered events that wait for the end of input are kept in memory up to this size, then in an unnamed temporary file.
const MEMORY_MAX: usize = 16 << 20;

/// Place among the events that wait for the end: start, then first packet, then what tells several events of one beginning apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    start: u64,
    first_packet: u64,
    time: u64,
    ordinal: u32,
    id: u128,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    key: Key,
    offset: u64,
    length: u32,
}

/// Rendered events that wait for the end of input.
#[derive(Debug, Default)]
pub struct Waiting {
    held: Vec<Held>,
    recent: Vec<u8>,
    file: Option<File>,
    stored: u64,
}

impl Waiting {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Adds an event; `rendered` is what is to be printed of it.
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub fn push(&mut self, event: &Event, rendered: &[u8]) -> io::Result<()> {
        self.push_keyed(place_of(event), rendered)
    }

    /// [`Waiting::push`] for an event that is no longer at hand, with what [`place_of`] gave.
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub fn push_keyed(&mut self, place: Place, rendered: &[u8]) -> io::Result<()> {
        let offset = self.stored + self.recent.len() as u64;
        self.held.push(Held { key: place.0, offset, length: u32::try_from(rendered.len()).unwrap_or(u32::MAX) });
        self.recent.extend_from_slice(rendered);
        if self.recent.len() >= MEMORY_MAX {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(tempfile::tempfile()?),
            };
            file.write_all(&self.recent)?;
            self.stored += self.recent.len() as u64;
            self.recent.clear();
        }
        Ok(())
    }

    /// Writes all of them in their order.
    ///
    /// # Errors
    /// When the temporary file cannot be read or `out` not be written.
    pub fn write_sorted(mut self, out: &mut dyn Write) -> io::Result<()> {
        self.held.sort_unstable_by_key(|held| held.key);
        let mut buffer = Vec::new();
        for held in &self.held {
            let length = held.length as usize;
            if held.offset >= self.stored {
                let start = (held.offset - self.stored) as usize;
                out.write_all(self.recent.get(start..start + length).unwrap_or_default())?;
            } else if let Some(file) = &mut self.file {
                buffer.resize(length, 0);
                file.seek(SeekFrom::Start(held.offset))?;
                file.read_exact(&mut buffer)?;
                out.write_all(&buffer)?;
            }
        }
        Ok(())
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
        for number in (0..40u64).rev() {
            let mut text = large.clone();
            text[0] = number as u8;
            waiting.push(&event(number, 0), &text).unwrap();
        }
        assert!(waiting.recent.len() < MEMORY_MAX);
        let mut out = Vec::new();
        waiting.write_sorted(&mut out).unwrap();
        let firsts: Vec<u8> = out.chunks(1 << 20).map(|chunk| chunk[0]).collect();
        assert_eq!(firsts, (0..40).collect::<Vec<u8>>());
    }
}
