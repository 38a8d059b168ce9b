//! UDP (RFC 768).
//! The checksum is readable and not verified.

use super::{be16, view};

view! {
    /// A UDP header.
    UdpHeader, 8
}

impl UdpHeader<'_> {
    /// The header's values.
    pub fn values(&self) -> super::Udp {
        super::Udp {
            source_port: be16(self.head, 0),
            destination_port: be16(self.head, 2),
            length: be16(self.head, 4),
            checksum: be16(self.head, 6),
        }
    }
}
