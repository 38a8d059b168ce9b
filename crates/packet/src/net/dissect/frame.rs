//! Steps of the walk through frames: Ethernet and its tags, LLC, PPP, MPLS.
//! What the capture itself begins with, when it is not Ethernet, is in `capture_link`.

use super::super::ethernet::{Ethernet, ethertype};
use super::super::{Anomaly, Vlans, llc, mpls, ppp, vlan};
use super::{Next, Step, Walk};

impl<'a> Walk<'a, '_> {
    #[inline]
    pub(super) fn ethernet(&mut self) -> Step {
        let view = self.view(Ethernet::LENGTH, Ethernet::new)?;
        self.out.link.source_mac = Some(view.source());
        self.out.link.destination_mac = Some(view.destination());
        self.out.link.vlans = Vlans::default();
        Ok(Next::EtherType(view.ethertype()))
    }

    #[inline]
    pub(super) fn ethertype(&mut self, value: u16) -> Step {
        self.out.link.ethertype = value;
        match value {
            ethertype::IPV4 => Ok(Next::Ipv4),
            ethertype::IPV6 => Ok(Next::Ipv6),
            _ => self.other_ethertype(value),
        }
    }

    pub(super) fn other_ethertype(&mut self, value: u16) -> Step {
        match value {
            ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_OLD | ethertype::QINQ_OTHER => {
                let view = self.view(vlan::Vlan::LENGTH, vlan::Vlan::new)?;
                self.out.link.vlans.push(view.id());
                Ok(Next::EtherType(view.ethertype()))
            }
            ethertype::MPLS | ethertype::MPLS_UPSTREAM => Ok(Next::Mpls),
            ethertype::PPPOE => {
                let view = ppp::Pppoe::new(self.rest()).ok_or(Anomaly::HeaderCut)?;
                if !view.is_session() {
                    return Ok(Next::Done);
                }
                self.skip(ppp::Pppoe::LENGTH)?;
                if usize::from(view.length()) > self.wire {
                    self.note(Anomaly::BadLinkHeader);
                }
                self.limit(view.length().into());
                Ok(Next::Ppp)
            }
            ethertype::BRIDGED => Ok(Next::Ethernet),
            ethertype::BACKBONE => {
                self.skip(4)?;
                Ok(Next::Ethernet)
            }
            ethertype::PPP => Ok(Next::Ppp),
            ethertype::MACSEC => {
                let control = *self.rest().first().ok_or(Anomaly::HeaderCut)?;
                if control & 0x0c != 0 {
                    return Ok(Next::Done); // encrypted
                }
                self.skip(if control & 0x20 != 0 { 14 } else { 6 })?;
                self.ethertype_field()
            }
            ethertype::NSH => {
                // RFC 8300: the length in words and what follows.
                let [_, length, _, following] = self.rest().first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
                self.skip(usize::from(length & 0x3f) * 4)?;
                Ok(match following {
                    1 => Next::Ipv4,
                    2 => Next::Ipv6,
                    3 => Next::Ethernet,
                    5 => Next::Mpls,
                    _ => Next::Done,
                })
            }
            length @ 1..=ethertype::LONGEST_LENGTH => {
                self.limit(length.into());
                Ok(Next::Llc)
            }
            _ => Ok(Next::Done),
        }
    }

    /// An EtherType that stands alone.
    pub(super) fn ethertype_field(&mut self) -> Step {
        let [high, low] = self.rest().first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
        self.skip(2)?;
        Ok(Next::EtherType(u16::from_be_bytes([high, low])))
    }

    pub(super) fn llc(&mut self) -> Step {
        let Some(view) = llc::Llc::new(self.rest()) else { return Ok(Next::Done) };
        match view.triple() {
            [0xaa, 0xaa, 0x03] => {
                self.skip(llc::Llc::LENGTH)?;
                Ok(self.snap())
            }
            [0x06, 0x06, 0x03] => {
                self.skip(llc::Llc::LENGTH)?;
                Ok(Next::Ip)
            }
            _ => Ok(Next::Done),
        }
    }

    pub(super) fn snap(&mut self) -> Next {
        let Some(view) = llc::Snap::new(self.rest()) else { return Next::Done };
        // A length in the place of an EtherType would lead in circles.
        if !matches!(view.organisation(), [0, 0, 0] | [0, 0, 0xf8]) || view.protocol() <= ethertype::LONGEST_LENGTH {
            return Next::Done;
        }
        match self.skip(llc::Snap::LENGTH) {
            Ok(()) => Next::EtherType(view.protocol()),
            Err(_) => Next::Done,
        }
    }

    pub(super) fn ppp(&mut self) -> Step {
        let (number, length) = ppp::protocol(self.rest()).ok_or(Anomaly::HeaderCut)?;
        if number == 0x003d {
            // Multilink (RFC 1990): a packet that is whole in one frame is walked on, a part of one is not.
            let whole = self.rest().get(length).is_some_and(|flags| flags & 0xc0 == 0xc0);
            if whole {
                self.skip(length + 4)?;
                return Ok(Next::Ppp);
            }
            return Ok(Next::Done);
        }
        match ppp::ethertype_of(number) {
            Some(value) => {
                self.skip(length)?;
                Ok(Next::EtherType(value))
            }
            None => Ok(Next::Done),
        }
    }

    pub(super) fn mpls(&mut self) -> Step {
        let length = mpls::stack_length(self.rest()).ok_or(Anomaly::HeaderCut)?;
        self.skip(length)?;
        match mpls::payload(self.rest()) {
            mpls::Payload::Ip => Ok(Next::Ip),
            mpls::Payload::Ethernet => Ok(Next::Ethernet),
            mpls::Payload::ControlWord => {
                self.skip(4)?;
                Ok(Next::Ethernet)
            }
            mpls::Payload::Other => Ok(Next::Done),
        }
    }
}
