//! Payload types and codecs: what SDP says of them, and what their static numbers say. Decodes no payload.

use crate::protocols::sdp::{Mapping, static_encoding};

/// What a payload type means in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Codec {
    /// Encoding name as registered, such as `PCMA`.
    pub(crate) name: Box<str>,
    /// Ticks of the timestamp per second.
    pub(crate) clock_rate: u32,
    /// What the packets carry.
    pub(crate) role: Role,
}

/// What packets of a payload type carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Sound, pictures or the like.
    Media,
    /// Telephone events (RFC 4733): their timestamps stand still, so jitter is not measured on them.
    Event,
    /// Comfort noise (RFC 3389).
    ComfortNoise,
}

/// Comfort noise, today's and the reserved old number.
pub(crate) const fn is_comfort_noise(payload_type: u8) -> bool {
    matches!(payload_type, 13 | 19)
}

/// Whether RFC 3551 gives the payload type no meaning and leaves it to nobody: such a number speaks against RTP.
pub(crate) const fn is_unassigned(payload_type: u8) -> bool {
    matches!(payload_type, 20..=24 | 27 | 29 | 30 | 35..=95)
}

impl Codec {
    /// The codec of a payload type: what was signalled, else what the number alone says.
    pub(crate) fn of(payload_type: u8, signalled: &[Mapping]) -> Option<Self> {
        let mapped = signalled.iter().rev().find(|mapping| mapping.payload_type == payload_type);
        let (name, clock_rate) = match mapped {
            Some(mapping) => (&*mapping.encoding, mapping.clock_rate),
            None => static_encoding(payload_type)?,
        };
        let role = if name.eq_ignore_ascii_case("telephone-event") || name.eq_ignore_ascii_case("tone") {
            Role::Event
        } else if name.eq_ignore_ascii_case("CN") {
            Role::ComfortNoise
        } else {
            Role::Media
        };
        Some(Self { name: name.into(), clock_rate, role })
    }

    /// The clock that jitter is measured with.
    pub(crate) fn jitter_clock(&self) -> Option<u32> {
        (self.role != Role::Event && self.clock_rate != 0).then_some(self.clock_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signalled_goes_before_the_static_table() {
        let signalled = [Mapping { payload_type: 8, encoding: "opus".into(), clock_rate: 48000, format: "".into() }];
        assert_eq!(Codec::of(8, &signalled).unwrap().clock_rate, 48000);
        assert_eq!(&*Codec::of(8, &[]).unwrap().name, "PCMA");
        assert_eq!(Codec::of(97, &signalled), None);
    }

    #[test]
    fn telephone_events_have_no_clock_for_jitter() {
        let signalled = [Mapping {
            payload_type: 101,
            encoding: "telephone-event".into(),
            clock_rate: 8000,
            format: "0-15".into(),
        }];
        assert_eq!(Codec::of(101, &signalled).unwrap().jitter_clock(), None);
    }
}
