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
        for (at, places) in text.chunks_exact_mut(8).enumerate() {
            places.copy_from_slice(&eight_digits((self.0 >> (96 - 32 * at)) as u32));
        }
        text
    }
}

/// The eight hexadecimal digits of a word, all at once.
const fn eight_digits(word: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let halves = (word as u64 | (word as u64) << 16) & 0x0000_ffff_0000_ffff;
    let bytes = (halves | halves << 8) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (bytes | bytes << 4) & (15 * ONES);
    // One where the digit is a letter.
    let letters = (nibbles + 6 * ONES) >> 4 & ONES;
    (nibbles + b'0' as u64 * ONES + letters * (b'a' - b'0' - 10) as u64).to_be_bytes()
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
        for id in [0x0123_4567_89ab_cdef_0011_2233_4455_6677, 0, u128::MAX, 0xf0e1_d2c3_b4a5_9687_7869_5a4b_3c2d_1e0f] {
            let id = EventId(id);
            assert_eq!(String::from_utf8_lossy(&id.digits()), id.to_string());
        }
    }
}
