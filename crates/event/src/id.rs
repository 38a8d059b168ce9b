//! The id of an event: derived from what it describes, so that decoding the same packets again gives the same id.

use crate::Event;
use std::fmt;
use xxhash_rust::xxh3::Xxh3Default;

/// 128 bits over type, source, epoch, number of the first packet and ordinal. Shown as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u128);

impl EventId {
    pub(crate) fn of(event: &Event) -> Self {
        let observer = &event.origin.observer;
        let mut hash = Xxh3Default::new();
        hash.update(event.event_type.as_bytes());
        hash.update(&[0]);
        if !observer.is_file {
            hash.update(observer.name.as_bytes());
        }
        hash.update(&[0]);
        hash.update(observer.epoch.as_bytes());
        hash.update(&event.origin.first_packet.to_le_bytes());
        hash.update(&event.ordinal.to_le_bytes());
        Self(hash.digest128())
    }

    /// The 32 digits.
    pub fn digits(self) -> [u8; 32] {
        let mut text = [0; 32];
        for (places, byte) in text.chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            places[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            places[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        text
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_the_display() {
        let id = EventId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(String::from_utf8_lossy(&id.digits()), id.to_string());
    }
}
