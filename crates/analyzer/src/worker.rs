//! One worker: the decoders of its share of every stream, and the rendering of what they give out.
//! Owns no thread and no channel; a decoder that panics costs its stream's open flows, never the process.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use event::Event;

use crate::shard;
use crate::decoder::{Decoder, Emitted, Factory, Numbered, Stream};

/// Turns an event into the bytes that are written of it.
pub trait Render: Send {
    /// Looks at the event before it is rendered; may change it. False drops it.
    fn process(&mut self, event: &mut Event) -> bool {
        let _ = event;
        true
    }

    /// Appends the event's bytes to `out`.
    fn render(&mut self, event: &Event, out: &mut Vec<u8>);
}

/// What a worker is made of, shared by all of them.
#[derive(Clone)]
pub struct Parts {
    /// Makes the decoders.
    pub decoders: Arc<dyn Factory>,
    /// Makes the renderer, one per worker.
    pub renderer: Arc<dyn Fn() -> Box<dyn Render> + Send + Sync>,
}

/// An event with what is to be written of it.
#[derive(Debug)]
pub struct Produced {
    /// The event.
    pub event: Event,
    /// Number of the packet that completed it; `None` if it ended by time-out or end of input.
    pub by_packet: Option<u64>,
    /// Where its bytes are in [`Results::text`].
    pub text: Range<usize>,
}

/// What came out of some packets.
#[derive(Debug, Default)]
pub struct Results {
    /// The events in the order they were given out.
    pub produced: Vec<Produced>,
    /// Their rendered bytes.
    pub text: Vec<u8>,
}

impl Results {
    /// The bytes of one event.
    pub fn text_of(&self, produced: &Produced) -> &[u8] {
        self.text.get(produced.text.clone()).unwrap_or_default()
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.produced.clear();
        self.text.clear();
    }
}

/// A worker.
pub struct Worker {
    parts: Parts,
    renderer: Box<dyn Render>,
    decoders: HashMap<u32, Box<dyn Decoder>>,
    emitted: Emitted,
    /// What has come out since it was last taken.
    pub results: Results,
    /// How often a decoder panicked.
    pub panics: u64,
    /// Its number and how many there are, if it is one of several: events of flows that belong to others are theirs to give out.
    pub one_of: Option<(u16, usize)>,
}

impl Worker {
    /// A worker without streams yet.
    pub fn new(parts: Parts) -> Self {
        let renderer = (parts.renderer)();
        Self {
            parts,
            renderer,
            decoders: HashMap::new(),
            emitted: Emitted::default(),
            results: Results::default(),
            panics: 0,
            one_of: None,
        }
    }

    /// Decodes a packet.
    pub fn packet(&mut self, stream: &Arc<Stream>, packet: &Numbered<'_>) {
        self.emitted.packet = packet.number;
        self.with(stream, |decoder, emitted| decoder.packet(packet, emitted), packet.number);
    }

    /// Moves the time of a stream on.
    pub fn advance(&mut self, stream: &Arc<Stream>, clock: packet::Timestamp) {
        self.with(stream, |decoder, emitted| decoder.advance(clock, emitted), 0);
    }

    /// Notes packets that our own capture lost.
    pub fn lost(&mut self, stream: &Arc<Stream>, packets: u64, clock: packet::Timestamp) {
        self.with(stream, |decoder, _| decoder.lost(packets, clock), 0);
    }

    /// Ends a stream.
    pub fn finish(&mut self, stream: &Arc<Stream>) {
        self.with(stream, |decoder, emitted| decoder.finish(emitted), 0);
        self.decoders.remove(&stream.number);
    }

    /// Number of the oldest packet of a stream that an open flow still needs.
    pub fn oldest_needed(&self, stream: &Stream) -> Option<u64> {
        self.decoders.get(&stream.number)?.oldest_needed()
    }

    fn with(&mut self, stream: &Arc<Stream>, act: impl FnOnce(&mut dyn Decoder, &mut Emitted), packet: u64) {
        let factory = &self.parts.decoders;
        let decoder = match self.decoders.entry(stream.number) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => match factory.decoder(stream) {
                Ok(decoder) => entry.insert(decoder),
                Err(error) => {
                    tracing::error!("no decoder: {error}");
                    return;
                }
            },
        };
        let emitted = &mut self.emitted;
        // After a panic the decoder is thrown away, so no half-changed state is seen again.
        if catch_unwind(AssertUnwindSafe(|| act(decoder.as_mut(), emitted))).is_err() {
            self.panics += 1;
            self.decoders.remove(&stream.number);
            tracing::error!(
                source = stream.observer.name,
                epoch = stream.observer.epoch,
                packet,
                "a decoder panicked; the open flows of this source are lost to it, the packets are in the archive: please report this"
            );
        }
        if !self.emitted.events.is_empty() {
            self.render();
        }
    }

    fn render(&mut self) {
        for (mut event, by_packet) in self.emitted.events.drain(..) {
            if let Some((number, workers)) = self.one_of
                && shard::of_event(&event).is_some_and(|shard| shard.worker(workers) != number)
            {
                continue;
            }
            if !self.renderer.process(&mut event) {
                continue;
            }
            let start = self.results.text.len();
            self.renderer.render(&event, &mut self.results.text);
            let text = start..self.results.text.len();
            self.results.produced.push(Produced { event, by_packet, text });
        }
    }
}
