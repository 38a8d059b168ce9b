//! Where packets were captured: link types and interfaces, and the sets of interfaces that a batch refers to.

use std::fmt;

/// A link-layer header type as tcpdump.org registers it (`LINKTYPE_...`), not the host's `DLT_...` value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: protocol family in the byte order of the capturing host.
    pub const NULL: Self = Self(0);
    /// IEEE 802.3 Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP, optionally in HDLC-like framing.
    pub const PPP: Self = Self(9);
    /// Raw IPv4 or IPv6, chosen by the version nibble.
    pub const RAW: Self = Self(101);
    /// Cisco HDLC.
    pub const C_HDLC: Self = Self(104);
    /// IEEE 802.11.
    pub const IEEE802_11: Self = Self(105);
    /// OpenBSD loopback: protocol family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux "cooked" capture v1.
    pub const LINUX_SLL: Self = Self(113);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux "cooked" capture v2.
    pub const LINUX_SLL2: Self = Self(276);

    /// IBM token ring.
    pub const TOKEN_RING: Self = Self(6);
    /// SLIP, with a header of 16 bytes.
    pub const SLIP: Self = Self(8);
    /// FDDI.
    pub const FDDI: Self = Self(10);
    /// PPP in HDLC framing, or Cisco HDLC.
    pub const PPP_HDLC: Self = Self(50);
    /// PPPoE, beginning with its session header.
    pub const PPP_ETHER: Self = Self(51);
    /// ATM with LLC.
    pub const ATM_RFC1483: Self = Self(100);
    /// Linux classical IP over ATM.
    pub const LINUX_ATM_CLIP: Self = Self(106);
    /// Frame relay.
    pub const FRAME_RELAY: Self = Self(107);
    /// OpenBSD's encapsulating interface.
    pub const ENC: Self = Self(109);
    /// OpenBSD's packet filter log.
    pub const PFLOG: Self = Self(117);
    /// IEEE 802.11 after a Prism header.
    pub const IEEE802_11_PRISM: Self = Self(119);
    /// ATM as SunATM gives it.
    pub const SUNATM: Self = Self(123);
    /// IEEE 802.11 after a radiotap header.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// IEEE 802.11 after an AVS header.
    pub const IEEE802_11_AVS: Self = Self(163);
    /// PPP with a direction in the place of the address.
    pub const PPP_PPPD: Self = Self(166);
    /// Per-packet information, which names the link type inside.
    pub const PPI: Self = Self(192);
    /// Endace's extensible record format.
    pub const ERF: Self = Self(197);
    /// PPP after a byte of direction.
    pub const PPP_WITH_DIRECTION: Self = Self(204);
    /// MPLS.
    pub const MPLS: Self = Self(219);
    /// Linux netfilter log.
    pub const NFLOG: Self = Self(239);
    /// Ethernet after four bytes of a netANALYZER.
    pub const NETANALYZER: Self = Self(240);
    /// IP over InfiniBand.
    pub const IP_OVER_INFINIBAND: Self = Self(242);
    /// Apple's PKTAP, which names the link type inside.
    pub const PKTAP: Self = Self(258);
    /// Ethernet with a Broadcom switch tag.
    pub const DSA_BROADCOM: Self = Self(281);
    /// Ethernet after a Broadcom switch tag.
    pub const DSA_BROADCOM_PREPENDED: Self = Self(282);
    /// Ethernet with a Marvell switch tag.
    pub const DSA_MARVELL: Self = Self(283);
    /// Ethernet with a Marvell switch tag of eight bytes.
    pub const EDSA_MARVELL: Self = Self(284);

    /// From libpcap's `DLT_` value on Linux: they agree except for raw IP and a few historic ones.
    pub const fn from_dlt(dlt: i32) -> Self {
        match dlt {
            12 | 14 => Self::RAW,
            other => Self(other as u16),
        }
    }

    /// The `DLT_` value that libpcap's filter compiler takes for this link type on Linux.
    pub const fn to_dlt(self) -> i32 {
        match self.0 {
            101 => 12,
            other => other as i32,
        }
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::NULL => "NULL",
            Self::ETHERNET => "ETHERNET",
            Self::PPP => "PPP",
            Self::RAW => "RAW",
            Self::C_HDLC => "C_HDLC",
            Self::IEEE802_11 => "IEEE802_11",
            Self::LOOP => "LOOP",
            Self::LINUX_SLL => "LINUX_SLL",
            Self::IPV4 => "IPV4",
            Self::IPV6 => "IPV6",
            Self::LINUX_SLL2 => "LINUX_SLL2",
            Self(other) => return write!(f, "LINKTYPE {other}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One capture interface as a pcapng interface description block states it. Times are always in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Interface {
    /// Its name, such as `eth0`; empty if unknown.
    pub name: String,
    /// What its packets begin with.
    pub link_type: LinkType,
    /// Longest captured length in bytes, 0 for no limit.
    pub snaplen: u32,
    /// The capture filter in use; empty if none.
    pub filter: String,
}

/// The interfaces that the packets of a batch refer to by index. All of one set share link type and snaplen, because
/// tcpdump refuses a file whose interfaces differ; a probe whose interfaces differ announces several sets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InterfaceSet {
    /// Number of the set within its epoch, from 0; a changed set gets a new number.
    pub number: u32,
    /// At least one.
    pub interfaces: Vec<Interface>,
}

impl InterfaceSet {
    /// The link type all interfaces of the set share.
    pub fn link_type(&self) -> LinkType {
        self.interfaces.first().map_or(LinkType::NULL, |first| first.link_type)
    }
}
