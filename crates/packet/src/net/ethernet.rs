//! Ethernet frames (IEEE 802.3) and the EtherTypes that the walk knows.
//! Does not look at the frame check sequence: captures rarely carry it, and IP lengths cut it off.

use super::{Mac, be16, view};

/// EtherTypes.
pub mod ethertype {
    /// The largest value that is a length and not a type.
    pub const LONGEST_LENGTH: u16 = 1500;
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// Transparent Ethernet bridging: a whole frame follows.
    pub const BRIDGED: u16 = 0x6558;
    /// VLAN tag (802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// PPP in GRE.
    pub const PPP: u16 = 0x880b;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// MPLS.
    pub const MPLS: u16 = 0x8847;
    /// MPLS with an upstream-assigned label.
    pub const MPLS_UPSTREAM: u16 = 0x8848;
    /// PPPoE discovery.
    pub const PPPOE_DISCOVERY: u16 = 0x8863;
    /// PPPoE session.
    pub const PPPOE: u16 = 0x8864;
    /// Outer VLAN tag (802.1ad).
    pub const QINQ: u16 = 0x88a8;
    /// MACsec (802.1AE).
    pub const MACSEC: u16 = 0x88e5;
    /// Network service header (RFC 8300).
    pub const NSH: u16 = 0x894f;
    /// ERSPAN types I and II in GRE.
    pub const ERSPAN: u16 = 0x88be;
    /// ERSPAN type III in GRE.
    pub const ERSPAN_III: u16 = 0x22eb;
    /// Backbone service instance tag (802.1ah): a whole frame follows.
    pub const BACKBONE: u16 = 0x88e7;
    /// Outer VLAN tag before 802.1ad.
    pub const QINQ_OLD: u16 = 0x9100;
    /// The same, of other makers.
    pub const QINQ_OTHER: u16 = 0x9200;
}

view! {
    /// An Ethernet header.
    Ethernet, 14
}

impl Ethernet<'_> {
    /// Where the frame goes.
    pub fn destination(&self) -> Mac {
        let [a, b, c, d, e, f, ..] = *self.head;
        Mac([a, b, c, d, e, f])
    }

    /// Where it comes from.
    pub fn source(&self) -> Mac {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.head;
        Mac([a, b, c, d, e, f])
    }

    /// EtherType, or a length up to [`ethertype::LONGEST_LENGTH`] that LLC follows.
    pub fn ethertype(&self) -> u16 {
        be16(self.head, 12)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_type_stand_where_they_should() {
        let frame = [1, 2, 3, 4, 5, 6, 0xa, 0xb, 0xc, 0xd, 0xe, 0xf, 0x08, 0x00, 9];
        let view = Ethernet::new(&frame).unwrap();
        assert_eq!(view.destination().to_string(), "01-02-03-04-05-06");
        assert_eq!(view.source().to_string(), "0A-0B-0C-0D-0E-0F");
        assert_eq!((view.ethertype(), view.rest()), (ethertype::IPV4, &[9][..]));
        assert!(Ethernet::new(&frame[..13]).is_none());
    }
}
