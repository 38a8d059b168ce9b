//! What a worker gives out, on its way to the caller's thread, and the way back of its memory.
//! Knows no order; the pool brings it about.

use std::io;
use std::ops::Range;

use crossbeam_channel::{Receiver, Sender, bounded};
use event::Event;

use super::Sink;

/// What has grown beyond so many bytes of text or events is not kept.
const BYTES_MAX: usize = 1024 * 1024;
const EVENTS_MAX: usize = 4096;

/// An event with what is to be written of it.
pub(super) struct Produced {
    pub(super) event: Event,
    /// Where in its chunk the packet stands that led to it.
    pub(super) at: usize,
    pub(super) by_packet: Option<u64>,
    pub(super) text: Range<usize>,
}

/// Events and their bytes.
#[derive(Default)]
pub(super) struct Results {
    pub(super) produced: Vec<Produced>,
    pub(super) text: Vec<u8>,
}

impl Results {
    pub(super) fn push(&mut self, event: Event, at: usize, by_packet: Option<u64>, text: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        self.produced.push(Produced { event, at, by_packet, text: start..self.text.len() });
    }

    pub(super) fn pass_on(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        for produced in self.produced.drain(..) {
            sink.event(produced.event, produced.by_packet, self.text.get(produced.text).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// The memory of results that were passed on, for those to come: workers fill it, the caller's thread gives it back.
#[derive(Clone)]
pub(super) struct Rooms {
    give: Sender<Results>,
    take: Receiver<Results>,
}

impl Rooms {
    /// Room for so many of them.
    pub(super) fn new(most: usize) -> Self {
        let (give, take) = bounded(most);
        Self { give, take }
    }

    pub(super) fn take(&self) -> Results {
        self.take.try_recv().unwrap_or_default()
    }

    pub(super) fn give(&self, mut results: Results) {
        let (bytes, events) = (results.text.capacity(), results.produced.capacity());
        if bytes > 0 && bytes <= BYTES_MAX && events <= EVENTS_MAX {
            results.produced.clear();
            results.text.clear();
            // Where there are enough it is freed.
            let _ = self.give.try_send(results);
        }
    }
}
