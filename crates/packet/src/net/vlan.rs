//! VLAN tags (802.1Q, 802.1ad): what follows their EtherType.
//! Priority and drop bits are readable and not used by the walk.

use super::{be16, view};

view! {
    /// The four bytes after a VLAN EtherType.
    Vlan, 4
}

impl Vlan<'_> {
    /// The VLAN identifier, 0 to 4095; 0 marks priority only.
    pub fn id(&self) -> u16 {
        be16(self.head, 0) & 0xfff
    }

    /// The priority, 0 to 7.
    pub fn priority(&self) -> u8 {
        self.head[0] >> 5
    }

    /// What follows: EtherType or length.
    pub fn ethertype(&self) -> u16 {
        be16(self.head, 2)
    }
}
