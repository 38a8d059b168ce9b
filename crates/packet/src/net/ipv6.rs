//! IPv6 (RFC 8200) and its extension headers.
//! Options within extension headers are skipped; a jumbogram's length is taken from the frame.

use std::net::Ipv6Addr;

use super::{Fragment, be16, be32, view};

/// Protocol numbers of extension headers.
pub mod extension {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing.
    pub const ROUTING: u8 = 43;
    /// Fragment.
    pub const FRAGMENT: u8 = 44;
    /// Encapsulating security payload: what follows is encrypted.
    pub const ESP: u8 = 50;
    /// Authentication header; also in IPv4.
    pub const AUTHENTICATION: u8 = 51;
    /// Nothing follows.
    pub const NONE: u8 = 59;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
    /// Mobility.
    pub const MOBILITY: u8 = 135;
    /// Host identity.
    pub const HOST_IDENTITY: u8 = 139;
    /// Shim6.
    pub const SHIM6: u8 = 140;
}

view! {
    /// The IPv6 header.
    Ipv6, 40
}

impl Ipv6<'_> {
    /// The version nibble.
    pub const fn version(&self) -> u8 {
        self.head[0] >> 4
    }

    /// Traffic class.
    pub fn traffic_class(&self) -> u8 {
        (be16(self.head, 0) >> 4) as u8
    }

    /// Bytes of the payload with extension headers; 0 for a jumbogram or where the network card cuts the packet up later.
    pub fn payload_length(&self) -> u16 {
        be16(self.head, 4)
    }

    /// Protocol of what follows.
    pub const fn next_header(&self) -> u8 {
        self.head[6]
    }

    /// Hop limit.
    pub const fn hop_limit(&self) -> u8 {
        self.head[7]
    }

    fn address(&self, at: usize) -> Ipv6Addr {
        let words = [0, 4, 8, 12].map(|offset| u128::from(be32(self.head, at + offset)));
        Ipv6Addr::from_bits(words[0] << 96 | words[1] << 64 | words[2] << 32 | words[3])
    }

    /// Source address.
    pub fn source(&self) -> Ipv6Addr {
        self.address(8)
    }

    /// Destination address.
    pub fn destination(&self) -> Ipv6Addr {
        self.address(24)
    }
}

view! {
    /// The first eight bytes of any extension header: the whole of a fragment header.
    Extension, 8
}

impl Extension<'_> {
    /// Protocol of what follows.
    pub const fn next_header(&self) -> u8 {
        self.head[0]
    }

    /// Bytes of the header, for one with protocol number `kind`.
    pub const fn header_length(&self, kind: u8) -> usize {
        let length = self.head[1] as usize;
        match kind {
            extension::FRAGMENT => 8,
            extension::AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        }
    }

    /// What a fragment header says.
    pub fn fragment(&self) -> Fragment {
        let field = be16(self.head, 2);
        Fragment { id: be32(self.head, 4), offset: u32::from(field & 0xfff8), more: field & 1 == 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_rfc_8200_says() {
        let mut header = [0; 40];
        header[..8].copy_from_slice(&[0x6a, 0xb0, 0, 0, 0, 9, 17, 64]);
        header[23] = 1;
        header[24] = 0xfe;
        let view = Ipv6::new(&header).unwrap();
        assert_eq!((view.version(), view.traffic_class(), view.payload_length()), (6, 0xab, 9));
        assert_eq!((view.source().to_string(), view.destination().to_string()), ("::1".into(), "fe00::".into()));
    }

    #[test]
    fn a_fragment_header_counts_bytes() {
        let view = Extension::new(&[17, 0, 0x05, 0xa9, 1, 2, 3, 4]).unwrap();
        assert_eq!(view.fragment(), Fragment { id: 0x0102_0304, offset: 1448, more: true });
        assert_eq!(view.header_length(extension::FRAGMENT), 8);
    }
}
