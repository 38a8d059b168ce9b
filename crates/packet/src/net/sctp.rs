//! The common header of SCTP (RFC 9260).
//! Chunks are the SCTP decoder's.

use super::{be16, be32, view};

view! {
    /// The common header.
    SctpHeader, 12
}

impl SctpHeader<'_> {
    /// The header's values.
    pub fn values(&self) -> super::Sctp {
        super::Sctp {
            source_port: be16(self.head, 0),
            destination_port: be16(self.head, 2),
            verification_tag: be32(self.head, 4),
            checksum: be32(self.head, 8),
        }
    }
}
