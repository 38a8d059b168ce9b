//! Linux "cooked" captures, versions 1 and 2: what capturing on `any` gives.
//! The hardware type decides little: the protocol is nearly always an EtherType.

use super::{Mac, be16, be32, view};

view! {
    /// Version 1.
    Sll, 16
}

fn mac(length: u16, address: [u8; 6]) -> Option<Mac> {
    (length == 6).then_some(Mac(address))
}

impl Sll<'_> {
    /// 0 to us, 1 broadcast, 2 multicast, 3 between others, 4 sent by us.
    pub fn packet_type(&self) -> u16 {
        be16(self.head, 0)
    }

    /// Hardware type (ARPHRD).
    pub fn hardware(&self) -> u16 {
        be16(self.head, 2)
    }

    /// The sender's address, where it has six bytes.
    pub fn source(&self) -> Option<Mac> {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.head;
        mac(be16(self.head, 4), [a, b, c, d, e, f])
    }

    /// EtherType; 1 and 4 mark 802.3 and 802.2 frames.
    pub fn protocol(&self) -> u16 {
        be16(self.head, 14)
    }
}

view! {
    /// Version 2.
    Sll2, 20
}

impl Sll2<'_> {
    /// EtherType; 1 and 4 mark 802.3 and 802.2 frames.
    pub fn protocol(&self) -> u16 {
        be16(self.head, 0)
    }

    /// Index of the interface at the capturing host.
    pub fn interface_index(&self) -> u32 {
        be32(self.head, 4)
    }

    /// Hardware type (ARPHRD).
    pub fn hardware(&self) -> u16 {
        be16(self.head, 8)
    }

    /// As in version 1.
    pub fn packet_type(&self) -> u16 {
        u16::from(self.head[10])
    }

    /// The sender's address, where it has six bytes.
    pub fn source(&self) -> Option<Mac> {
        let [.., a, b, c, d, e, f, _, _] = *self.head;
        mac(u16::from(self.head[11]), [a, b, c, d, e, f])
    }
}
