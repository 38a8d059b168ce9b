//! One worker: the decoders of its share of every stream, and the rendering of what they give out.
//! Owns no thread and no channel; a decoder that panics costs its stream's open flows, never the process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use event::Event;
use packet::Timestamp;

use crate::decoder::{Decoder, Emit, Factory, Frame, Stream};
use crate::shard;

/// Turns an event into the bytes that are written of it.
pub trait Render: Send {
    /// Looks at the event before it is rendered; may change it. False drops it.
    fn process(&mut self, event: &mut Event) -> bool {
        let _ = event;
        true
    }

    /// The event's bytes.
    fn render(&mut self, event: &Event) -> &[u8];
}

/// What a worker is made of, shared by all of them.
#[derive(Clone)]
pub struct Parts {
    /// Makes the decoders.
    pub decoders: Arc<dyn Factory>,
    /// Makes the renderer, one per worker.
    pub renderer: Arc<dyn Fn() -> Box<dyn Render> + Send + Sync>,
}

/// Takes rendered events one by one, as soon as they are there.
pub trait Take {
    /// An event; `by_packet` is the packet that completed it, `None` if it ended by time-out or end of input.
    fn take(&mut self, event: Event, by_packet: Option<u64>, text: &[u8]);
}

/// A worker.
pub struct Worker {
    parts: Parts,
    renderer: Box<dyn Render>,
    /// By the number of their stream.
    decoders: Vec<Option<Box<dyn Decoder>>>,
    /// How often a decoder panicked.
    pub panics: u64,
    /// Its number and how many there are, if it is one of several: events of flows that belong to others are theirs to give out.
    pub one_of: Option<(u16, usize)>,
}

/// Renders what a decoder gives out and passes it on.
struct Rendering<'w> {
    renderer: &'w mut dyn Render,
    one_of: Option<(u16, usize)>,
    packet: u64,
    take: &'w mut dyn Take,
}

impl Emit for Rendering<'_> {
    fn event(&mut self, mut event: Event, completed: bool) {
        if let Some((number, workers)) = self.one_of
            && shard::of_event(&event).is_some_and(|shard| shard.worker(workers) != number)
        {
            return;
        }
        if self.renderer.process(&mut event) {
            let text = self.renderer.render(&event);
            self.take.take(event, completed.then_some(self.packet), text);
        }
    }
}

impl Worker {
    /// A worker without streams yet.
    pub fn new(parts: Parts) -> Self {
        let renderer = (parts.renderer)();
        Self { parts, renderer, decoders: Vec::new(), panics: 0, one_of: None }
    }

    /// Decodes a packet.
    #[inline]
    pub fn packet(&mut self, stream: &Arc<Stream>, frame: &Frame<'_>, take: &mut dyn Take) {
        self.with(stream, frame.number, take, |decoder, out| decoder.packet(frame, out));
    }

    /// Moves the time of a stream on.
    pub fn advance(&mut self, stream: &Arc<Stream>, clock: Timestamp, take: &mut dyn Take) {
        self.with(stream, 0, take, |decoder, out| decoder.advance(clock, out));
    }

    /// Notes packets that our own capture lost.
    pub fn lost(&mut self, stream: &Arc<Stream>, packets: u64, clock: Timestamp, take: &mut dyn Take) {
        self.with(stream, 0, take, |decoder, _| decoder.lost(packets, clock));
    }

    /// Ends a stream.
    pub fn finish(&mut self, stream: &Arc<Stream>, take: &mut dyn Take) {
        self.with(stream, 0, take, |decoder, out| decoder.finish(out));
        self.forget(stream);
    }

    fn forget(&mut self, stream: &Stream) {
        if let Some(decoder) = self.decoders.get_mut(stream.number as usize) {
            *decoder = None;
        }
    }

    /// Makes the decoder of a stream that has none.
    #[cold]
    fn make(&mut self, stream: &Arc<Stream>) {
        let number = stream.number as usize;
        if self.decoders.len() <= number {
            self.decoders.resize_with(number + 1, || None);
        }
        match self.parts.decoders.decoder(stream) {
            Ok(decoder) => self.decoders[number] = Some(decoder),
            Err(error) => tracing::error!("no decoder: {error}"),
        }
    }

    /// Number of the oldest packet of a stream that an open flow still needs.
    pub fn oldest_needed(&self, stream: &Stream) -> Option<u64> {
        self.decoders.get(stream.number as usize)?.as_ref()?.oldest_needed()
    }

    #[inline]
    fn with(
        &mut self,
        stream: &Arc<Stream>,
        packet: u64,
        take: &mut dyn Take,
        act: impl FnOnce(&mut dyn Decoder, &mut dyn Emit),
    ) {
        let number = stream.number as usize;
        if self.decoders.get(number).is_none_or(Option::is_none) {
            self.make(stream);
        }
        let Some(Some(decoder)) = self.decoders.get_mut(number) else { return };
        let renderer = self.renderer.as_mut();
        let mut rendering = Rendering { renderer, one_of: self.one_of, packet, take };
        // After a panic the decoder is thrown away, so no half-changed state is seen again.
        if catch_unwind(AssertUnwindSafe(|| act(decoder.as_mut(), &mut rendering))).is_err() {
            self.panics += 1;
            self.forget(stream);
            tracing::error!(
                source = stream.observer.name,
                epoch = stream.observer.epoch,
                packet,
                "a decoder panicked; the open flows of this source are lost to it, the packets are in the archive: please report this"
            );
        }
    }
}
