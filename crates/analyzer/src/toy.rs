//! A decoder for tests that knows nothing but host numbers, so that workers and order can be tested without protocols.
//! Only compiled for tests.

use std::sync::Arc;

use event::{Event, Origin, Place};
use packet::{Interface, LinkType, Timestamp};

use crate::decoder::{Decoder, Emit, Factory, Frame, Stream};
use crate::worker::{Parts, Render};

/// Gives out an event for every third packet of a host pair, and one at the end per packet that is left.
struct Threes {
    stream: Arc<Stream>,
    seen: std::collections::BTreeMap<(u64, u8), Vec<u64>>,
}

impl Threes {
    fn event(&self, numbers: &[u64]) -> Event {
        let origin = Origin {
            observer: Arc::clone(&self.stream.observer),
            interface: "".into(),
            first_packet: numbers[0],
            last_packet: numbers[numbers.len() - 1],
        };
        Event::new("three", Timestamp::from_nanos(numbers[0]), origin)
    }
}

impl Decoder for Threes {
    fn packet(&mut self, packet: &Frame<'_>, out: &mut dyn Emit) {
        assert!(packet.packet.data.len() < 60, "a decoder's mistake");
        let host = packet.packet.data[15];
        // A conversation ends with its third packet; what comes later of the host belongs to another one.
        let seen = self.seen.entry((packet.number / 15, host)).or_default();
        seen.push(packet.number);
        if seen.len() == 3 {
            let numbers = std::mem::take(seen);
            self.seen.remove(&(packet.number / 15, host));
            out.event(self.event(&numbers), true);
        }
    }
    fn advance(&mut self, _: Timestamp, _: &mut dyn Emit) {}
    fn lost(&mut self, _: u64, _: Timestamp) {}
    fn finish(&mut self, out: &mut dyn Emit) {
        let left = std::mem::take(&mut self.seen).into_values().filter(|numbers| !numbers.is_empty());
        let mut events: Vec<Event> = left.map(|numbers| self.event(&numbers)).collect();
        events.sort_by_key(Place::of);
        for event in events {
            out.event(event, false);
        }
    }
    fn oldest_needed(&self) -> Option<u64> {
        self.seen.values().flatten().min().copied()
    }
}

struct Make;
impl Factory for Make {
    fn decoder(&self, stream: &Arc<Stream>) -> Result<Box<dyn Decoder>, String> {
        Ok(Box::new(Threes { stream: Arc::clone(stream), seen: Default::default() }))
    }
}

#[derive(Default)]
struct Plain(String);
impl Render for Plain {
    fn render(&mut self, event: &Event) -> &[u8] {
        self.0 = format!("{}-{}\n", event.origin.first_packet, event.origin.last_packet);
        self.0.as_bytes()
    }
}

/// IPv4 between 10.0.0.1 and 10.0.0.HOST.
pub(crate) fn packet(host: u8) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, host, 10, 0, 0, 1];
    bytes[2..4].copy_from_slice(&20u16.to_be_bytes());
    bytes
}

/// Workers that use it.
pub(crate) fn parts() -> Parts {
    Parts { decoders: Arc::new(Make), renderer: Arc::new(|| Box::<Plain>::default()) }
}

/// One interface without a link header.
pub(crate) fn interfaces() -> Arc<[Interface]> {
    Arc::from([Interface { name: String::new(), link_type: LinkType::RAW, snaplen: 0, filter: String::new() }])
}
