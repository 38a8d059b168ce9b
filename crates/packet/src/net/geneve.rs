//! Geneve (RFC 8926).
//! Options are skipped.

use super::{be16, be32, view};

/// The port of Geneve.
pub const PORT: u16 = 6081;

view! {
    /// The fixed part of a Geneve header.
    Geneve, 8
}

impl Geneve<'_> {
    /// The version, which is 0.
    pub const fn version(&self) -> u8 {
        self.head[0] >> 6
    }

    /// Bytes of the header with its options.
    pub const fn header_length(&self) -> usize {
        8 + (self.head[0] & 0x3f) as usize * 4
    }

    /// EtherType of the payload.
    pub fn ethertype(&self) -> u16 {
        be16(self.head, 2)
    }

    /// The network identifier.
    pub fn network(&self) -> u32 {
        be32(self.head, 4) >> 8
    }
}
