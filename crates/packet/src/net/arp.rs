//! ARP for IPv4 over Ethernet. The walk leaves it as payload; whoever wants it reads it with this view.
//! Other hardware and protocol kinds are not read.

use std::net::Ipv4Addr;

use super::{Mac, be16, be32, view};

view! {
    /// An ARP packet for IPv4 over Ethernet.
    Arp, 28
}

impl Arp<'_> {
    /// Whether hardware, protocol and lengths are those of IPv4 over Ethernet.
    pub fn is_ipv4_over_ethernet(&self) -> bool {
        matches!(self.head, [0, 1, 8, 0, 6, 4, ..])
    }

    /// 1 request, 2 reply.
    pub fn operation(&self) -> u16 {
        be16(self.head, 6)
    }

    /// The sender's hardware and protocol address.
    pub fn sender(&self) -> (Mac, Ipv4Addr) {
        let [_, _, _, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.head;
        (Mac([a, b, c, d, e, f]), Ipv4Addr::from_bits(be32(self.head, 14)))
    }

    /// The protocol address asked for or answered to.
    pub fn target(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(be32(self.head, 24))
    }
}
