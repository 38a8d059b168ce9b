//! PPP (RFC 1661, 1662), Cisco HDLC and PPPoE (RFC 2516).
//! Compressed and encrypted payloads remain payload, as do the fragments of multilink.

use super::ethernet::ethertype;
use super::{be16, view};

/// The protocol of a PPP frame, and how many bytes stood before its payload: with or without address and control
/// (FF 03), with a protocol field of one byte or two.
pub fn protocol(bytes: &[u8]) -> Option<(u16, usize)> {
    let skipped = if bytes.starts_with(&[0xff, 0x03]) { 2 } else { 0 };
    match *bytes.get(skipped..)? {
        [low, ..] if low & 1 == 1 => Some((u16::from(low), skipped + 1)),
        [high, low, ..] => Some((u16::from_be_bytes([high, low]), skipped + 2)),
        _ => None,
    }
}

/// The EtherType for a PPP protocol number, where there is one.
pub const fn ethertype_of(protocol: u16) -> Option<u16> {
    match protocol {
        0x0021 => Some(ethertype::IPV4),
        0x0057 => Some(ethertype::IPV6),
        0x0281 => Some(ethertype::MPLS),
        0x0283 => Some(ethertype::MPLS_UPSTREAM),
        _ => None,
    }
}

view! {
    /// A Cisco HDLC header.
    Chdlc, 4
}

impl Chdlc<'_> {
    /// Whether the address is unicast (0F) or multicast (8F), which PPP frames never begin with.
    pub const fn is_chdlc(&self) -> bool {
        matches!(self.head, [0x0f | 0x8f, 0x00, ..])
    }

    /// EtherType.
    pub fn ethertype(&self) -> u16 {
        be16(self.head, 2)
    }
}

view! {
    /// A PPPoE header.
    Pppoe, 6
}

impl Pppoe<'_> {
    /// Whether version and type are 1 and this is session data.
    pub const fn is_session(&self) -> bool {
        matches!(self.head, [0x11, 0x00, ..])
    }

    /// The session.
    pub fn session(&self) -> u16 {
        be16(self.head, 2)
    }

    /// Length of what follows, in bytes.
    pub fn length(&self) -> u16 {
        be16(self.head, 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_found_in_every_framing() {
        assert_eq!(protocol(&[0xff, 0x03, 0x00, 0x21, 0x45]), Some((0x21, 4)));
        assert_eq!(protocol(&[0xff, 0x03, 0x21, 0x45]), Some((0x21, 3)));
        assert_eq!(protocol(&[0xc0, 0x21, 1]), Some((0xc021, 2)));
        assert_eq!(protocol(&[0x57]), Some((0x57, 1)));
        assert_eq!(protocol(&[0xff, 0x03]), None);
        assert_eq!(protocol(&[]), None);
    }
}
