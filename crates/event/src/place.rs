//! The order in which events are told that no packet completed: by their beginning, the same however they were found.

use crate::{Event, EventId, Value, common};
use packet::Timestamp;

/// An event's place: its start, then its first packet, then what tells several events of one beginning apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `event.start` where it is set, else `@timestamp`.
    pub start: Timestamp,
    first_packet: u64,
    time: Timestamp,
    ordinal: u32,
    id: EventId,
}

impl Place {
    /// Bytes of a place that is written down.
    pub const BYTES: usize = 44;

    /// The place of an event.
    pub fn of(event: &Event) -> Self {
        let (first_packet, time) = (event.origin.first_packet, event.time);
        Self { start: Self::start_of(event), first_packet, time, ordinal: event.ordinal, id: event.id() }
    }

    /// The `start` of an event's place.
    pub fn start_of(event: &Event) -> Timestamp {
        match event.get(&common::EVENT_START) {
            Some(Value::Time(start)) => *start,
            _ => event.time,
        }
    }

    /// To be written down for a while; other versions may write it otherwise.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.start.nanos().to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first_packet.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.time.nanos().to_le_bytes());
        bytes[24..28].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[28..].copy_from_slice(&self.id.0.to_le_bytes());
        bytes
    }

    /// What [`Place::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
            let mut part = [0; N];
            part.copy_from_slice(&bytes[at..at + N]);
            part
        }
        Self {
            start: Timestamp::from_nanos(u64::from_le_bytes(part(bytes, 0))),
            first_packet: u64::from_le_bytes(part(bytes, 8)),
            time: Timestamp::from_nanos(u64::from_le_bytes(part(bytes, 16))),
            ordinal: u32::from_le_bytes(part(bytes, 24)),
            id: EventId(u128::from_le_bytes(part(bytes, 28))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_being_written_down() {
        let place = Place {
            start: Timestamp::from_nanos(u64::MAX - 1),
            first_packet: 2,
            time: Timestamp::from_nanos(3 << 40),
            ordinal: 4,
            id: EventId(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
        };
        assert_eq!(Place::from_bytes(&place.to_bytes()), place);
    }
}
