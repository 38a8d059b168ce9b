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
