//! The id of an event: derived from what it describes, so that decoding the same packets again gives the same id.

use crate::Event;
use std::fmt;
use xxhash_rust::xxh3::xxh3_128;

/// 128 bits over type, source, epoch, number of the first packet and ordinal. Shown as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u128);

/// A type, the longest name of a source, an epoch in digits, and the numbers fit into so many bytes.
const ROOM: usize = 192;

impl EventId {
    pub(crate) fn of(event: &Event) -> Self {
        let observer = &event.origin.observer;
        let name = if observer.is_file { "" } else { observer.name.as_str() };
        let parts: [&[u8]; 7] = [
            event.event_type.as_bytes(),
            &[0],
            name.as_bytes(),
            &[0],
            observer.epoch.as_bytes(),
            &event.origin.first_packet.to_le_bytes(),
            &event.ordinal.to_le_bytes(),
        ];
        let length = parts.iter().map(|part| part.len()).sum();
        let mut room = [0; ROOM];
        match room.get_mut(..length) {
            Some(mut rest) => {
                for part in parts {
                    let (place, behind) = rest.split_at_mut(part.len());
                    place.copy_from_slice(part);
                    rest = behind;
                }
                Self(xxh3_128(&room[..length]))
            }
            None => Self(xxh3_128(&parts.concat())),
        }
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
    use crate::{Observer, Origin};
    use packet::Timestamp;
    use std::sync::Arc;

    #[test]
    fn ids_are_the_same_in_every_version() {
        let id = |name: &str, is_file| {
            let observer = Arc::new(Observer { name: name.to_owned(), epoch: "00ff".into(), is_file });
            let origin = Origin { observer, interface: "".into(), first_packet: 3, last_packet: 4 };
            Event::new("dns", Timestamp::from_nanos(5), origin).id().to_string()
        };
        assert_eq!(id("web1", false), "0b0c097ab85d6dd3ce8a0da7672a291d");
        assert_eq!(id("web1", true), id("other", true));
        assert_eq!(id(&"x".repeat(500), false), "7a0f51d9c104ddb68583c863c99e80b9");
    }

    #[test]
    fn digits_are_the_display() {
        let id = EventId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(String::from_utf8_lossy(&id.digits()), id.to_string());
    }
}
