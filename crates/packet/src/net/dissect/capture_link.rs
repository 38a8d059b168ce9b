//! First steps of the walk where a capture does not begin with Ethernet: one per link type.
//! Link types that never lead to IP are left as payload for whoever knows them.

use super::super::ethernet::ethertype;
use super::super::{Anomaly, Mac, cooked, frame_relay, ieee80211, loopback, ppp};
use super::{Next, Step, Walk};
use crate::LinkType;

impl<'a> Walk<'a, '_> {
    /// The first header of a capture that is not Ethernet.
    pub(super) fn link(&mut self, link_type: LinkType) -> Step {
        match link_type {
            LinkType::LINUX_SLL => {
                let view = self.view(cooked::Sll::LENGTH, cooked::Sll::new)?;
                self.out.link.source_mac = view.source();
                self.out.link.packet_type = Some(view.packet_type());
                Ok(self.cooked(view.hardware(), view.protocol()))
            }
            LinkType::LINUX_SLL2 => {
                let view = self.view(cooked::Sll2::LENGTH, cooked::Sll2::new)?;
                self.out.link.source_mac = view.source();
                self.out.link.packet_type = Some(view.packet_type());
                self.out.link.interface_index = Some(view.interface_index());
                Ok(self.cooked(view.hardware(), view.protocol()))
            }
            LinkType::NULL | LinkType::LOOP => self.family(4),
            LinkType::ENC => self.family(12),
            LinkType::RAW | LinkType(12 | 14) => Ok(Next::Ip),
            LinkType::IPV4 => Ok(Next::Ipv4),
            LinkType::IPV6 => Ok(Next::Ipv6),
            LinkType::ETHERNET => Ok(Next::Ethernet),
            LinkType::PPP | LinkType::PPP_HDLC | LinkType::C_HDLC => match ppp::Chdlc::new(self.rest()) {
                Some(view) if view.is_chdlc() => {
                    self.skip(ppp::Chdlc::LENGTH)?;
                    Ok(Next::EtherType(view.ethertype()))
                }
                _ => Ok(Next::Ppp),
            },
            LinkType::PPP_WITH_DIRECTION => {
                self.skip(1)?;
                Ok(Next::Ppp)
            }
            LinkType::PPP_PPPD => {
                self.skip(2)?; // direction in the place of the address, then control
                Ok(Next::Ppp)
            }
            LinkType::PPP_ETHER => Ok(Next::EtherType(ethertype::PPPOE)),
            LinkType::MPLS => Ok(Next::Mpls),
            LinkType::FRAME_RELAY => match frame_relay::header(self.rest()) {
                Some((encapsulation, length)) => {
                    self.skip(length)?;
                    Ok(encapsulation.map_or_else(|| self.snap(), Next::EtherType))
                }
                None => Ok(Next::Done),
            },
            LinkType::IEEE802_11 => self.ieee80211(false),
            LinkType::IEEE802_11_RADIOTAP => {
                let (length, padded) = ieee80211::radiotap(self.rest()).ok_or(Anomaly::BadLinkHeader)?;
                self.skip(length)?;
                self.ieee80211(padded)
            }
            LinkType::IEEE802_11_PRISM => {
                // Prism's header has 144 bytes; some drivers put AVS's in its place, whose second word is its length.
                let avs = self.rest().starts_with(&[0x80, 0x21, 0x10]);
                let length = if avs { self.be_length(4)? } else { 144 };
                self.skip(length)?;
                self.ieee80211(false)
            }
            LinkType::IEEE802_11_AVS => {
                let length = self.be_length(4)?;
                self.skip(length)?;
                self.ieee80211(false)
            }
            LinkType::PPI => {
                let head: [u8; 8] = self.rest().first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
                let [_, _, low, high, a, b, c, d] = head;
                self.skip(u16::from_le_bytes([low, high]).into())?;
                self.wrapped(u32::from_le_bytes([a, b, c, d]), LinkType::PPI)
            }
            LinkType::PKTAP => {
                let head: [u8; 12] = self.rest().first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
                let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
                self.skip(word(0) as usize)?;
                if word(4) == 1 { self.wrapped(word(8), LinkType::PKTAP) } else { Ok(Next::Done) }
            }
            LinkType::NFLOG => self.nflog(),
            LinkType::FDDI => {
                self.addresses(1)?;
                Ok(Next::Llc)
            }
            LinkType::TOKEN_RING => {
                let routed = self.rest().get(8).is_some_and(|byte| byte & 0x80 != 0);
                self.addresses(2)?;
                if routed {
                    let length = self.rest().first().ok_or(Anomaly::HeaderCut)? & 0x1f;
                    self.skip(length.into())?;
                }
                Ok(Next::Llc)
            }
            LinkType::ATM_RFC1483 | LinkType::LINUX_ATM_CLIP | LinkType(18 | 19) => match self.rest().first() {
                Some(0x45..=0x4f) => Ok(Next::Ipv4),
                _ => Ok(Next::Llc),
            },
            LinkType::SUNATM => {
                let kind = self.rest().first().ok_or(Anomaly::HeaderCut)? & 0x0f;
                self.skip(4)?;
                match kind {
                    1 => {
                        self.skip(2)?; // LAN emulation
                        Ok(Next::Ethernet)
                    }
                    2 => Ok(Next::Llc),
                    _ => Ok(Next::Done),
                }
            }
            LinkType::SLIP => {
                self.skip(16)?;
                Ok(Next::Ip)
            }
            LinkType::IP_OVER_INFINIBAND => {
                self.skip(40)?; // the global routing header
                let [high, low, _, _] = self.rest().first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
                self.skip(4)?;
                Ok(Next::EtherType(u16::from_be_bytes([high, low])))
            }
            LinkType::ERF => self.erf(),
            LinkType::PFLOG => {
                let [length, family] = self.rest().first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
                self.skip(usize::from(length).next_multiple_of(4))?;
                Ok(loopback::ethertype_of([0, 0, 0, family]).map_or(Next::Done, Next::EtherType))
            }
            LinkType::NETANALYZER => {
                self.skip(4)?;
                Ok(Next::Ethernet)
            }
            LinkType::DSA_BROADCOM | LinkType::DSA_MARVELL => self.switch_tag(4),
            LinkType::EDSA_MARVELL => self.switch_tag(8),
            LinkType::DSA_BROADCOM_PREPENDED => {
                self.skip(4)?;
                Ok(Next::Ethernet)
            }
            _ => Ok(Next::Done),
        }
    }

    /// What a cooked header's protocol and hardware type say.
    pub(super) fn cooked(&mut self, hardware: u16, protocol: u16) -> Next {
        self.out.link.ethertype = protocol;
        match (hardware, protocol) {
            (824, _) => Next::Done, // netlink
            (778, protocol) if protocol > ethertype::LONGEST_LENGTH => Next::EtherType(protocol),
            (803, _) => Next::Link(LinkType::IEEE802_11_RADIOTAP),
            (801, _) => Next::Link(LinkType::IEEE802_11),
            (_, 0x0001 | 0x0004) => Next::Llc,
            (_, protocol) if protocol > ethertype::LONGEST_LENGTH => Next::EtherType(protocol),
            _ => Next::Done,
        }
    }

    /// An address family as loopback interfaces write it, in a header of `length` bytes.
    pub(super) fn family(&mut self, length: usize) -> Step {
        let family: [u8; 4] = self.rest().first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
        if matches!(family, [0x0f | 0x8f, 0x00, ..] | [0xff, 0x03, ..]) {
            return Ok(Next::Link(LinkType::PPP_HDLC)); // some tunnel devices call themselves loopback
        }
        self.skip(length)?;
        Ok(loopback::ethertype_of(family).map_or(Next::Done, Next::EtherType))
    }

    /// A length in four bytes, most significant first, at `at`.
    pub(super) fn be_length(&self, at: usize) -> Result<usize, Anomaly> {
        let bytes = self.rest().get(at..).and_then(|rest| rest.first_chunk().copied()).ok_or(Anomaly::HeaderCut)?;
        Ok(u32::from_be_bytes(bytes) as usize)
    }

    /// The packet inside a header that names its link type; another such header would lead in circles.
    pub(super) fn wrapped(&mut self, dlt: u32, around: LinkType) -> Step {
        match i32::try_from(dlt).map(LinkType::from_dlt) {
            Ok(inner) if inner != around => Ok(Next::Link(inner)),
            _ => Ok(Next::Done),
        }
    }

    /// Destination and source after `skipped` bytes.
    pub(super) fn addresses(&mut self, skipped: usize) -> Result<(), Anomaly> {
        self.skip(skipped)?;
        let both: [u8; 12] = self.rest().first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
        let [a, b, c, d, e, f, g, h, i, j, k, l] = both;
        self.out.link.destination_mac = Some(Mac([a, b, c, d, e, f]));
        self.out.link.source_mac = Some(Mac([g, h, i, j, k, l]));
        self.skip(12)
    }

    /// An Ethernet header with a switch's tag of `length` bytes between addresses and EtherType.
    pub(super) fn switch_tag(&mut self, length: usize) -> Step {
        self.addresses(0)?;
        self.skip(length)?;
        self.ethertype_field()
    }

    pub(super) fn ieee80211(&mut self, padded: bool) -> Step {
        let Some(view) = ieee80211::DataFrame::new(self.rest()) else { return Ok(Next::Done) };
        if !view.has_data() || view.is_aggregate() {
            return Ok(Next::Done);
        }
        let (destination, source) = view.ends();
        self.out.link.destination_mac = Some(destination);
        self.out.link.source_mac = Some(source);
        let length = view.header_length();
        self.skip(if padded { length.next_multiple_of(4) } else { length })?;
        // A mesh header may follow; the bit that says so means something else outside a mesh.
        if !self.rest().starts_with(&[0xaa, 0xaa, 0x03]) {
            let mesh = self.rest().first().map_or(0, |flags| 6 + usize::from(flags & 3) * 6);
            if self.rest().get(mesh..).is_some_and(|behind| behind.starts_with(&[0xaa, 0xaa, 0x03])) {
                self.skip(mesh)?;
            }
        }
        Ok(Next::Llc)
    }

    /// Netfilter's log: attributes, of which number 9 is the packet.
    pub(super) fn nflog(&mut self) -> Step {
        self.skip(4)?;
        loop {
            let [a, b, c, d] = self.rest().first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
            let (length, kind) = (usize::from(u16::from_le_bytes([a, b])), u16::from_le_bytes([c, d]) & 0x7fff);
            if length < 4 {
                return Err(Anomaly::BadLinkHeader);
            }
            if kind == 9 {
                self.limit(length);
                self.skip(4)?;
                return Ok(Next::Ip);
            }
            self.skip(length.next_multiple_of(4))?;
        }
    }

    /// Endace's record header, with its extensions.
    pub(super) fn erf(&mut self) -> Step {
        let head: [u8; 16] = self.rest().first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
        self.skip(16)?;
        let mut more = head[8] & 0x80 != 0;
        while more {
            more = self.rest().first().ok_or(Anomaly::HeaderCut)? & 0x80 != 0;
            self.skip(8)?;
        }
        let wire_length = u16::from_be_bytes([head[14], head[15]]);
        match head[8] & 0x7f {
            2 | 11 | 16 | 20 => {
                self.skip(2)?;
                self.limit(wire_length.into());
                Ok(Next::Ethernet)
            }
            22 => Ok(Next::Ipv4),
            23 => Ok(Next::Ipv6),
            _ => Ok(Next::Done),
        }
    }
}
