//! The head that all messages of ICMP (RFC 792) and ICMPv6 (RFC 4443) share.
//! What each type says further is the ICMP decoder's.

use super::{be16, be32, view};

view! {
    /// The first eight bytes of a message.
    IcmpHeader, 8
}

impl IcmpHeader<'_> {
    /// The header's values, for IP version 4 or 6.
    pub fn values(&self, version: u8) -> super::Icmp {
        super::Icmp {
            version,
            kind: self.head[0],
            code: self.head[1],
            checksum: be16(self.head, 2),
            rest: be32(self.head, 4),
        }
    }
}
