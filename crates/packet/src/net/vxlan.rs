//! VXLAN (RFC 7348).
//! The generic extension (GPE) is read where it says what follows.

use super::{be32, view};

/// The port of VXLAN.
pub const PORT: u16 = 4789;
/// The port that Linux used before.
pub const PORT_LINUX: u16 = 8472;
/// The port of the generic extension.
pub const PORT_GPE: u16 = 4790;

view! {
    /// A VXLAN header.
    Vxlan, 8
}

impl Vxlan<'_> {
    /// Whether the flags say that a network identifier is there. Reserved fields are ignored, as RFC 7348 wants it.
    pub const fn is_valid(&self) -> bool {
        self.head[0] & 0x08 != 0
    }

    /// The network identifier.
    pub fn network(&self) -> u32 {
        be32(self.head, 4) >> 8
    }

    /// What follows in the generic extension: 1 IPv4, 2 IPv6, 3 Ethernet; 0 where it is not in use. Counts on its port only.
    pub const fn next_protocol(&self) -> u8 {
        if self.head[0] & 0x04 != 0 { self.head[3] } else { 0 }
    }
}
