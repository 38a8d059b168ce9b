//! IPv4 (RFC 791).
//! Options are skipped and the checksum is not verified: capturing hosts leave it to their network card.

use std::net::Ipv4Addr;

use super::{Fragment, be16, be32, view};

view! {
    /// The fixed part of an IPv4 header.
    Ipv4, 20
}

impl Ipv4<'_> {
    /// The version nibble.
    pub const fn version(&self) -> u8 {
        self.head[0] >> 4
    }

    /// Bytes of the header with its options, as it says; less than 20 makes no sense.
    pub const fn header_length(&self) -> usize {
        (self.head[0] & 0x0f) as usize * 4
    }

    /// Type of service.
    pub const fn tos(&self) -> u8 {
        self.head[1]
    }

    /// Bytes of header and payload, as it says; 0 where the network card cuts the packet up later.
    pub fn total_length(&self) -> u16 {
        be16(self.head, 2)
    }

    /// Identification.
    pub fn identification(&self) -> u16 {
        be16(self.head, 4)
    }

    /// Its place among fragments, where it is one.
    pub fn fragment(&self) -> Option<Fragment> {
        let field = be16(self.head, 6);
        if field & 0x3fff == 0 {
            return None;
        }
        Some(Fragment {
            id: u32::from(self.identification()),
            offset: u32::from(field & 0x1fff) * 8,
            more: field & 0x2000 != 0,
        })
    }

    /// Time to live.
    pub const fn ttl(&self) -> u8 {
        self.head[8]
    }

    /// Protocol of the payload.
    pub const fn protocol(&self) -> u8 {
        self.head[9]
    }

    /// Source address.
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(be32(self.head, 12))
    }

    /// Destination address.
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(be32(self.head, 16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_rfc_791_says() {
        let header = [0x46, 1, 0, 100, 0xab, 0xcd, 0x20, 0x02, 64, 17, 0, 0, 10, 0, 0, 1, 192, 168, 0, 2];
        let view = Ipv4::new(&header).unwrap();
        assert_eq!((view.version(), view.header_length(), view.total_length()), (4, 24, 100));
        assert_eq!(view.fragment(), Some(Fragment { id: 0xabcd, offset: 16, more: true }));
        assert_eq!((view.ttl(), view.protocol()), (64, 17));
        assert_eq!(view.source().to_string(), "10.0.0.1");
        assert_eq!(view.destination().to_string(), "192.168.0.2");
    }
}
