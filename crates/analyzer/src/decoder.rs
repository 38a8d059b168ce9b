//! What a worker needs of whatever decodes: packets in, events out, and which packets are still needed.
//! Knows no protocol; the module beside it, `engine`, fits the decode engine to it.

use std::sync::{Arc, OnceLock};

pub use decode::{Emit, Frame};
use event::Observer;
use packet::Timestamp;

/// A run of packets that belong together: a capture file, or one epoch of a source.
#[derive(Debug)]
pub struct Stream {
    /// Tells the streams of a process apart.
    pub number: u32,
    /// What saw the packets.
    pub observer: Arc<Observer>,
    /// Number of the first packet that was decoded, once there was one.
    first_packet: OnceLock<u64>,
}

impl Stream {
    /// A stream without a packet yet.
    pub const fn new(number: u32, observer: Arc<Observer>) -> Self {
        Self { number, observer, first_packet: OnceLock::new() }
    }

    /// Notes a packet; the first counts.
    pub(crate) fn see(&self, packet: u64) {
        self.first_packet.get_or_init(|| packet);
    }

    /// Whether packets came before the first one that is decoded.
    pub(crate) fn is_from_the_middle(&self) -> bool {
        self.first_packet.get().is_some_and(|first| *first > 0)
    }
}

/// Decodes the packets of one stream, or one worker's share of them.
pub trait Decoder: Send {
    /// Takes a packet. Before it, what timed out until its `clock` is given out.
    fn packet(&mut self, frame: &Frame<'_>, out: &mut dyn Emit);

    /// Gives out what timed out until `clock`.
    fn advance(&mut self, clock: Timestamp, out: &mut dyn Emit);

    /// Notes packets that our own capture is known to have lost up to `clock`.
    fn lost(&mut self, packets: u64, clock: Timestamp);

    /// The stream ends: gives out everything that is open, in order of [`event::Place`].
    fn finish(&mut self, out: &mut dyn Emit);

    /// Number of the oldest packet that an open flow still needs.
    fn oldest_needed(&self) -> Option<u64>;
}

/// Makes decoders, one per worker and stream.
pub trait Factory: Send + Sync {
    /// A decoder for this stream.
    ///
    /// # Errors
    /// When the configuration cannot be used; found before anything starts.
    fn decoder(&self, stream: &Arc<Stream>) -> Result<Box<dyn Decoder>, String>;
}
