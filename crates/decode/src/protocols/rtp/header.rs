//! The RTP header (RFC 3550 5.1) as a checked view. Looks at no payload and knows no codec.

use packet::{Cursor, Cut};

/// The shortest RTP packet: a header without contributors, extension and payload.
pub(crate) const LENGTH_MIN: usize = 12;

/// The head of one RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Set by the sender at the beginning of a talk spurt or the end of a frame.
    pub(crate) marker: bool,
    /// Payload type, 0 to 127.
    pub(crate) payload_type: u8,
    /// Sequence number.
    pub(crate) sequence: u16,
    /// Timestamp in units of the payload's clock.
    pub(crate) timestamp: u32,
    /// Synchronisation source.
    pub(crate) ssrc: u32,
    /// Where the payload begins.
    pub(crate) payload_at: usize,
    /// Length of the payload on the wire, without padding.
    pub(crate) payload_length: usize,
}

/// Why bytes are no RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoHeader {
    /// The version is not 2.
    #[error("the RTP version is not 2")]
    Version,
    /// Header, contributors or extension reach beyond the packet.
    #[error("the RTP header reaches beyond the packet")]
    Cut,
}

impl From<Cut> for NoHeader {
    fn from(_: Cut) -> Self {
        Self::Cut
    }
}

impl Header {
    /// Reads the header from the captured `bytes` of a packet that was `wire_length` bytes long.
    pub(crate) fn parse(bytes: &[u8], wire_length: usize) -> Result<Self, NoHeader> {
        let Some(fixed) = bytes.first_chunk::<LENGTH_MIN>() else { return Err(NoHeader::Cut) };
        let [first, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = *fixed;
        if first >> 6 != 2 {
            return Err(NoHeader::Version);
        }
        let mut payload_at = LENGTH_MIN + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            let mut cursor = Cursor::at(bytes.get(payload_at..).ok_or(NoHeader::Cut)?, payload_at);
            cursor.skip(2)?;
            payload_at += 4 + 4 * usize::from(cursor.be_u16()?);
        }
        let mut payload_length = wire_length.checked_sub(payload_at).ok_or(NoHeader::Cut)?;
        if first & 0x20 != 0 && bytes.len() >= wire_length {
            let padding = usize::from(bytes.get(wire_length - 1).copied().unwrap_or(0));
            // Where it does not fit it is encrypted (SRTP), like the rest of the payload.
            payload_length = payload_length.checked_sub(padding).unwrap_or(payload_length);
        }
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
            payload_at,
            payload_length,
        })
    }

    /// The payload as far as it was captured.
    pub(crate) fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let end = bytes.len().min(self.payload_at.saturating_add(self.payload_length));
        bytes.get(self.payload_at..end).unwrap_or(&[])
    }

    /// Whether the second byte is one that RTCP has and RTP, next to RTCP on one port, does not (RFC 5761 4).
    pub(crate) fn may_be_rtcp(bytes: &[u8]) -> bool {
        matches!(bytes, [first, 192..=223, ..] if first >> 6 == 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn contributors_extension_and_padding_are_no_payload() {
        let mut bytes = vec![0xb1, 0x80 | 8, 0x12, 0x34, 0, 0, 0, 160, 1, 2, 3, 4]; // V=2 P X CC=1
        bytes.extend([9, 9, 9, 9]); // one contributor
        bytes.extend([0xbe, 0xde, 0, 1, 0x10, 0, 0, 0]); // an extension of one word
        bytes.extend([0xaa, 0xbb, 0, 0, 3]); // two bytes of payload, three of padding
        let header = Header::parse(&bytes, bytes.len()).unwrap();
        assert_eq!(header.payload(&bytes), [0xaa, 0xbb]);
        assert!(header.marker);
        assert_eq!(
            (header.payload_type, header.sequence, header.timestamp, header.ssrc),
            (8, 0x1234, 160, 0x0102_0304)
        );
    }

    #[test]
    fn of_a_packet_cut_by_the_snapshot_length_the_wire_counts() {
        let bytes = [0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4, 7, 7];
        let header = Header::parse(&bytes, 172).unwrap();
        assert_eq!(header.payload_length, 160);
        assert_eq!(header.payload(&bytes), [7, 7]);
    }

    #[test]
    fn what_does_not_fit_is_no_rtp() {
        assert_eq!(Header::parse(&[0x40; 20], 20), Err(NoHeader::Version));
        assert_eq!(Header::parse(&[0x80; 11], 11), Err(NoHeader::Cut));
        assert_eq!(Header::parse(&[0x8f; 20], 20), Err(NoHeader::Cut));
        assert_eq!(Header::parse(&[0xa0; 20], 20).map(|header| header.payload_length), Ok(8));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), extra in 0usize..40) {
            if let Ok(header) = Header::parse(&bytes, bytes.len() + extra) {
                let _ = header.payload(&bytes);
            }
        }
    }
}
