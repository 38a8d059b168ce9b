//! Steps of the walk into tunnels: GRE, ERSPAN, and those over UDP.
//! A payload that does not look like what its port promises stays a payload.

use super::super::ethernet::{Ethernet, ethertype};
use super::super::{
    Anomaly, Transport, Tunnel, TunnelKind, Udp, erspan, geneve, gre, gtpu, l2tp, mpls, ppp, teredo, vxlan,
};
use super::{Next, Step, Walk};
use crate::LinkType;

impl<'a> Walk<'a, '_> {
    /// Notes the present IP layer as a tunnel's and forgets what was found in it.
    pub(super) fn enter(&mut self, kind: TunnelKind, id: u32) {
        if let Some(network) = self.out.network.take() {
            self.out.tunnels.push(Tunnel { kind, source: network.source, destination: network.destination, id });
        }
        self.out.transport = Transport::None;
    }

    pub(super) fn gre(&mut self) -> Step {
        let view = gre::Gre::new(self.rest()).ok_or(Anomaly::HeaderCut)?;
        let (length, key) = view.length_and_key().ok_or(Anomaly::BadTunnelHeader)?;
        let payload = self.rest().get(length..).unwrap_or(&[]);
        if view.version() > 1 || payload.is_empty() {
            // Nothing in it (a keepalive, an acknowledgment of PPTP), or not captured.
            self.out.transport = Transport::Other;
            return Ok(Next::Done);
        }
        match view.ethertype() {
            ethertype::ERSPAN | ethertype::ERSPAN_III => {
                if view.ethertype() == ethertype::ERSPAN && !view.has_sequence() {
                    self.enter(TunnelKind::Erspan, 0);
                    self.skip(length)?;
                    return Ok(Next::Ethernet);
                }
                let erspan = erspan::Erspan::new(payload).ok_or(Anomaly::HeaderCut)?;
                let header = erspan.length().ok_or(Anomaly::BadTunnelHeader)?;
                self.enter(TunnelKind::Erspan, erspan.session().into());
                self.skip(length + header)?;
                Ok(Next::Ethernet)
            }
            // WCCP: its redirect header of four bytes is there or not.
            0x883e => {
                let redirect = if payload.first().is_some_and(|byte| byte >> 4 == 4) { 0 } else { 4 };
                self.enter(TunnelKind::Gre, key);
                self.skip(length + redirect)?;
                Ok(Next::Ip)
            }
            // Aruba: access points hand 802.11 frames to their controller.
            0x8200..=0x83f0 => {
                self.enter(TunnelKind::Gre, key);
                self.skip(length)?;
                Ok(Next::Link(LinkType::IEEE802_11))
            }
            value if value > ethertype::LONGEST_LENGTH => {
                self.enter(TunnelKind::Gre, key);
                self.skip(length)?;
                Ok(Next::EtherType(value))
            }
            _ => {
                self.out.transport = Transport::Other;
                Ok(Next::Done)
            }
        }
    }

    /// A UDP payload that is a tunnel's, by port and by what it says.
    #[inline]
    pub(super) fn udp_tunnel(&mut self, udp: Udp) -> Step {
        let either = |port: u16| udp.destination_port == port || udp.source_port == port;
        let next = if either(gtpu::PORT) {
            self.gtpu()
        } else if matches!(udp.destination_port, vxlan::PORT | vxlan::PORT_LINUX | vxlan::PORT_GPE) {
            self.vxlan(udp.destination_port)
        } else if udp.destination_port == geneve::PORT {
            self.geneve()
        } else if either(l2tp::PORT) {
            l2tp::data_message(self.rest()).and_then(|(ids, length)| {
                // PPP must follow, or it is another version's session.
                let (number, _) = ppp::protocol(self.rest().get(length..)?)?;
                ppp::ethertype_of(number)?;
                Some((TunnelKind::L2tp, ids, length, Next::Ppp))
            })
        } else if either(teredo::PORT) {
            teredo::header_length(self.rest()).map(|length| (TunnelKind::Teredo, 0, length, Next::Ipv6))
        } else if udp.destination_port == 6635 && mpls::stack_length(self.rest()).is_some() {
            Some((TunnelKind::IpInIp, 0, 0, Next::Mpls)) // RFC 7510
        } else {
            None
        };
        let Some((kind, id, length, next)) = next else { return Ok(Next::Done) };
        self.enter(kind, id);
        self.skip(length)?;
        Ok(next)
    }

    pub(super) fn gtpu(&self) -> Option<(TunnelKind, u32, usize, Next)> {
        let view = gtpu::GtpU::new(self.rest()).filter(|view| view.is_user_data())?;
        if usize::from(view.length()) > self.wire {
            return None;
        }
        let length = view.header_length()?;
        // IP, nearly always; PPP and bare Ethernet are left to the GTP decoder.
        let version = self.rest().get(length)? >> 4;
        matches!(version, 4 | 6).then_some((TunnelKind::GtpU, view.endpoint(), length, Next::Ip))
    }

    pub(super) fn vxlan(&self, port: u16) -> Option<(TunnelKind, u32, usize, Next)> {
        let view = vxlan::Vxlan::new(self.rest()).filter(|view| view.is_valid())?;
        let next = match if port == vxlan::PORT_GPE { view.next_protocol() } else { 0 } {
            0 | 3 if view.rest().len() >= Ethernet::LENGTH => Next::Ethernet,
            1 => Next::Ipv4,
            2 => Next::Ipv6,
            _ => return None,
        };
        Some((TunnelKind::Vxlan, view.network(), vxlan::Vxlan::LENGTH, next))
    }

    pub(super) fn geneve(&self) -> Option<(TunnelKind, u32, usize, Next)> {
        let view = geneve::Geneve::new(self.rest()).filter(|view| view.version() == 0)?;
        let length = view.header_length();
        let known = view.ethertype() > ethertype::LONGEST_LENGTH && self.rest().len() > length;
        known.then_some((TunnelKind::Geneve, view.network(), length, Next::EtherType(view.ethertype())))
    }
}
