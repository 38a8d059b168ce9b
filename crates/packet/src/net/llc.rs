//! Logical link control (802.2) and SNAP.
//! Knows the ways that lead to IP; other service access points remain payload.

use super::{be16, view};

view! {
    /// The three bytes of an unnumbered LLC header.
    Llc, 3
}

impl Llc<'_> {
    /// Destination and source service access point and control.
    pub const fn triple(&self) -> [u8; 3] {
        *self.head
    }
}

view! {
    /// What follows an LLC header of AA AA 03.
    Snap, 5
}

impl Snap<'_> {
    /// Who assigned the protocol number.
    pub const fn organisation(&self) -> [u8; 3] {
        let [a, b, c, ..] = *self.head;
        [a, b, c]
    }

    /// The protocol; an EtherType for organisation 0 (and 00-00-F8, Cisco's and Apple's bridges).
    pub fn protocol(&self) -> u16 {
        be16(self.head, 3)
    }
}
