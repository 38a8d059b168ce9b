//! The walk from a packet's link header to its innermost transport payload. One step per layer; which header follows is a
//! value, so that depth is a loop with a limit and not recursion. Does not verify checksums.

use std::net::IpAddr;

use super::ethernet::{Ethernet, ethertype};
use super::ipv6::extension;
use super::*;
use crate::LinkType;
use crate::flow::protocol;

/// Most headers in one packet, IPv6 extension headers and VLAN tags included.
const LAYERS_MAX: usize = 32;

/// Which tunnels are walked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Follow {
    /// All that are known.
    #[default]
    All,
    /// Only IP directly in IP; GRE, VXLAN and the like remain payload.
    IpInIp,
}

/// Dissects a packet that begins with the header of `link_type` and was `original_length` bytes long on the wire.
#[inline]
pub fn dissect(link_type: LinkType, data: &[u8], original_length: u32) -> Dissected<'_> {
    dissect_following(link_type, data, original_length, Follow::All)
}

/// Like [`dissect`], walking only into the tunnels that `follow` says.
pub fn dissect_following(link_type: LinkType, data: &[u8], original_length: u32, follow: Follow) -> Dissected<'_> {
    let mut walk = Walk::new(data, original_length as usize, follow);
    if walk.wire > data.len() {
        walk.out.anomalies.push(Anomaly::Truncated, data.len());
    } else if walk.wire < data.len() {
        walk.wire = data.len();
        walk.out.anomalies.push(Anomaly::CapturedBeyondWire, 0);
    }
    walk.run(if link_type == LinkType::ETHERNET { Next::Ethernet } else { Next::Link(link_type) })
}

/// Dissects bytes that begin with an IP header, such as the packet that an ICMP error quotes. `wire_length` is how many
/// bytes there were. A quoted packet is usually cut: its lengths are what its own header says, and that they reach
/// beyond `wire_length` is no anomaly. Of a TCP header that is cut the fields that are there are given, the others are 0.
pub fn dissect_network(bytes: &[u8], wire_length: u32) -> Dissected<'_> {
    let mut walk = Walk::new(bytes, (wire_length as usize).max(bytes.len()), Follow::IpInIp);
    walk.quoted = true;
    walk.run(Next::Ip)
}

/// Goes on where `first`, the dissection of one of the fragments, had to stop: `payload` is the IP payload put together.
/// Link, tunnels and addresses are those of `first`, tunnels within the payload are walked into. Offsets of anomalies count
/// from the beginning of `payload`.
pub fn dissect_reassembled<'a>(first: &Dissected<'_>, payload: &'a [u8], follow: Follow) -> Dissected<'a> {
    let mut walk = Walk::new(payload, payload.len(), follow);
    walk.out.link = first.link;
    walk.out.tunnels = first.tunnels;
    let Some(network) = &first.network else { return walk.run(Next::Done) };
    let header = network.wire_length.saturating_sub(network.payload_wire);
    walk.out.network = Some(Network {
        source: network.source,
        destination: network.destination,
        protocol: network.protocol,
        ttl: network.ttl,
        tos: network.tos,
        identification: network.identification,
        fragment: None,
        offset: network.offset,
        wire_length: header + payload.len() as u32,
        payload,
        payload_wire: payload.len() as u32,
    });
    walk.run(Next::Protocol(network.protocol))
}

/// Which header comes next.
#[derive(Debug, Clone, Copy)]
enum Next {
    Link(LinkType),
    Ethernet,
    EtherType(u16),
    Llc,
    Ppp,
    Mpls,
    Ip,
    Ipv4,
    Ipv6,
    Protocol(u8),
    Done,
}

struct Walk<'a> {
    /// What is not yet walked over, of the innermost layer.
    rest: &'a [u8],
    /// Its offset in the captured bytes.
    at: usize,
    /// Its length on the wire; never less than `rest.len()`.
    wire: usize,
    follow: Follow,
    quoted: bool,
    out: Dissected<'a>,
}

/// A step of the walk: what comes next, or what keeps it from going on.
type Step = Result<Next, Anomaly>;

impl<'a> Walk<'a> {
    #[inline]
    fn new(rest: &'a [u8], wire: usize, follow: Follow) -> Self {
        let out = Dissected {
            link: Link::default(),
            tunnels: Tunnels::default(),
            network: None,
            transport: Transport::None,
            payload: rest,
            payload_wire: 0,
            anomalies: Anomalies::default(),
        };
        Self { rest, at: 0, wire, follow, quoted: false, out }
    }

    #[inline]
    fn run(mut self, first: Next) -> Dissected<'a> {
        let mut next = first;
        for _ in 0..LAYERS_MAX {
            let step = match next {
                Next::Ethernet => self.ethernet(),
                Next::EtherType(value) => self.ethertype(value),
                Next::Ipv4 => self.ipv4(),
                Next::Ipv6 => self.ipv6(),
                Next::Protocol(number) => self.protocol(number),
                Next::Ip => self.ip(),
                Next::Link(link_type) => self.link(link_type),
                Next::Llc => self.llc(),
                Next::Ppp => self.ppp(),
                Next::Mpls => self.mpls(),
                Next::Done => return self.finish(),
            };
            match step {
                Ok(following) => next = following,
                Err(anomaly) => {
                    self.note(anomaly);
                    return self.finish();
                }
            }
        }
        if !matches!(next, Next::Done) {
            self.note(Anomaly::TooDeep);
        }
        self.finish()
    }

    #[inline]
    fn finish(mut self) -> Dissected<'a> {
        self.out.payload = self.rest;
        self.out.payload_wire = u32::try_from(self.wire).unwrap_or(u32::MAX);
        self.out
    }

    fn note(&mut self, anomaly: Anomaly) {
        self.out.anomalies.push(anomaly, self.at);
    }

    /// Moves over `length` bytes.
    #[inline]
    fn skip(&mut self, length: usize) -> Result<(), Anomaly> {
        self.rest = self.rest.get(length..).ok_or(Anomaly::HeaderCut)?;
        self.at += length;
        self.wire -= length;
        Ok(())
    }

    /// Cuts off what stands behind the next `length` bytes: padding, trailers.
    #[inline]
    fn limit(&mut self, length: usize) {
        if length < self.wire {
            self.wire = length;
            self.rest = self.rest.get(..length).unwrap_or(self.rest);
        }
    }

    /// Reads a view and moves over its fixed part.
    #[inline]
    fn view<V>(&mut self, length: usize, new: impl FnOnce(&'a [u8]) -> Option<V>) -> Result<V, Anomaly> {
        let view = new(self.rest).ok_or(Anomaly::HeaderCut)?;
        self.skip(length)?;
        Ok(view)
    }

    #[inline]
    fn ethernet(&mut self) -> Step {
        let view = self.view(Ethernet::LENGTH, Ethernet::new)?;
        self.out.link.source_mac = Some(view.source());
        self.out.link.destination_mac = Some(view.destination());
        self.out.link.vlans = Vlans::default();
        Ok(Next::EtherType(view.ethertype()))
    }

    #[inline]
    fn ethertype(&mut self, value: u16) -> Step {
        self.out.link.ethertype = value;
        match value {
            ethertype::IPV4 => Ok(Next::Ipv4),
            ethertype::IPV6 => Ok(Next::Ipv6),
            _ => self.other_ethertype(value),
        }
    }

    fn other_ethertype(&mut self, value: u16) -> Step {
        match value {
            ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_OLD | ethertype::QINQ_OTHER => {
                let view = self.view(vlan::Vlan::LENGTH, vlan::Vlan::new)?;
                self.out.link.vlans.push(view.id());
                Ok(Next::EtherType(view.ethertype()))
            }
            ethertype::MPLS | ethertype::MPLS_UPSTREAM => Ok(Next::Mpls),
            ethertype::PPPOE => {
                let view = ppp::Pppoe::new(self.rest).ok_or(Anomaly::HeaderCut)?;
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
            length @ 1..=ethertype::LONGEST_LENGTH => {
                self.limit(length.into());
                Ok(Next::Llc)
            }
            _ => Ok(Next::Done),
        }
    }

    fn llc(&mut self) -> Step {
        let Some(view) = llc::Llc::new(self.rest) else { return Ok(Next::Done) };
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

    fn snap(&mut self) -> Next {
        let Some(view) = llc::Snap::new(self.rest) else { return Next::Done };
        // A length in the place of an EtherType would lead in circles.
        if !matches!(view.organisation(), [0, 0, 0] | [0, 0, 0xf8]) || view.protocol() <= ethertype::LONGEST_LENGTH {
            return Next::Done;
        }
        match self.skip(llc::Snap::LENGTH) {
            Ok(()) => Next::EtherType(view.protocol()),
            Err(_) => Next::Done,
        }
    }

    fn ppp(&mut self) -> Step {
        let (number, length) = ppp::protocol(self.rest).ok_or(Anomaly::HeaderCut)?;
        if number == 0x003d {
            // Multilink (RFC 1990): a packet that is whole in one frame is walked on, a part of one is not.
            let whole = self.rest.get(length).is_some_and(|flags| flags & 0xc0 == 0xc0);
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

    fn mpls(&mut self) -> Step {
        let length = mpls::stack_length(self.rest).ok_or(Anomaly::HeaderCut)?;
        self.skip(length)?;
        match mpls::payload(self.rest) {
            mpls::Payload::Ip => Ok(Next::Ip),
            mpls::Payload::Ethernet => Ok(Next::Ethernet),
            mpls::Payload::ControlWord => {
                self.skip(4)?;
                Ok(Next::Ethernet)
            }
            mpls::Payload::Other => Ok(Next::Done),
        }
    }

    #[inline]
    fn ip(&mut self) -> Step {
        match self.rest.first().ok_or(Anomaly::HeaderCut)? >> 4 {
            4 => Ok(Next::Ipv4),
            6 => Ok(Next::Ipv6),
            _ => Err(Anomaly::BadIpHeader),
        }
    }

    /// Fits `wire` and `rest` to the length that an IP header states for header and payload; gives the length to go by.
    #[inline]
    fn fit_ip_length(&mut self, header: usize, stated: usize) -> usize {
        if stated < header {
            self.note(Anomaly::BadIpLength);
        } else if stated <= self.wire {
            self.limit(stated);
        } else if self.quoted {
            self.wire = stated;
        } else {
            self.note(Anomaly::BadIpLength);
        }
        self.wire
    }

    #[inline]
    fn ipv4(&mut self) -> Step {
        let view = ipv4::Ipv4::new(self.rest).ok_or(Anomaly::HeaderCut)?;
        let header = view.header_length();
        if view.version() != 4 || header < ipv4::Ipv4::LENGTH {
            return Err(Anomaly::BadIpHeader);
        }
        let offset = self.at as u32;
        let wire_length = match usize::from(view.total_length()) {
            0 => self.wire, // cut up later by the network card
            total => self.fit_ip_length(header, total),
        };
        self.skip(header)?;
        let fragment = view.fragment();
        self.out.network = Some(Network {
            source: IpAddr::V4(view.source()),
            destination: IpAddr::V4(view.destination()),
            protocol: view.protocol(),
            ttl: view.ttl(),
            tos: view.tos(),
            identification: view.identification(),
            fragment,
            offset,
            wire_length: wire_length as u32,
            payload: self.rest,
            payload_wire: self.wire as u32,
        });
        match fragment {
            None => Ok(Next::Protocol(view.protocol())),
            Some(fragment) => Ok(self.fragment(fragment)),
        }
    }

    fn fragment(&mut self, fragment: Fragment) -> Next {
        let beyond = fragment.offset as usize + self.wire > usize::from(u16::MAX);
        if beyond || fragment.more && self.wire % 8 != 0 {
            self.note(Anomaly::BadFragment);
        }
        self.out.transport = Transport::Fragment;
        Next::Done
    }

    fn ipv6(&mut self) -> Step {
        let view = ipv6::Ipv6::new(self.rest).ok_or(Anomaly::HeaderCut)?;
        if view.version() != 6 {
            return Err(Anomaly::BadIpHeader);
        }
        let offset = self.at as u32;
        let wire_length = match usize::from(view.payload_length()) {
            // A jumbogram or cut up later by the network card, if there is something at all.
            0 => self.wire,
            length => self.fit_ip_length(ipv6::Ipv6::LENGTH, ipv6::Ipv6::LENGTH + length),
        };
        self.skip(ipv6::Ipv6::LENGTH)?;
        self.out.network = Some(Network {
            source: IpAddr::V6(view.source()),
            destination: IpAddr::V6(view.destination()),
            protocol: view.next_header(),
            ttl: view.hop_limit(),
            tos: view.traffic_class(),
            identification: 0,
            fragment: None,
            offset,
            wire_length: wire_length as u32,
            payload: self.rest,
            payload_wire: self.wire as u32,
        });
        Ok(Next::Protocol(view.next_header()))
    }

    /// An extension header of IPv6, or AH of either version.
    fn extension(&mut self, kind: u8) -> Step {
        let view = ipv6::Extension::new(self.rest).ok_or(Anomaly::HeaderCut)?;
        let length = view.header_length(kind);
        if length > self.wire {
            return Err(Anomaly::BadIpExtension);
        }
        self.skip(length)?;
        let (rest, wire) = (self.rest, self.wire as u32);
        let Some(network) = &mut self.out.network else { return Ok(Next::Done) };
        network.protocol = view.next_header();
        (network.payload, network.payload_wire) = (rest, wire);
        if kind == extension::FRAGMENT {
            let fragment = view.fragment();
            // An atomic fragment (RFC 6946) is whole.
            if fragment.offset != 0 || fragment.more {
                network.fragment = Some(fragment);
                return Ok(self.fragment(fragment));
            }
        }
        Ok(Next::Protocol(view.next_header()))
    }

    #[inline]
    fn protocol(&mut self, number: u8) -> Step {
        match number {
            protocol::UDP => self.udp(),
            protocol::TCP => self.tcp(),
            _ => self.other_protocol(number),
        }
    }

    fn other_protocol(&mut self, number: u8) -> Step {
        let version = self.out.network.as_ref().map_or(0, Network::version);
        self.out.transport = Transport::None;
        match number {
            extension::AUTHENTICATION => return self.extension(number),
            extension::HOP_BY_HOP
            | extension::ROUTING
            | extension::FRAGMENT
            | extension::DESTINATION
            | extension::MOBILITY
            | extension::HOST_IDENTITY
            | extension::SHIM6
                if version == 6 =>
            {
                // Mobility and the like usually end the chain; what they carry is then "no next header".
                return self.extension(number);
            }
            protocol::ICMP if version == 4 => return self.icmp(4),
            protocol::ICMPV6 if version == 6 => return self.icmp(6),
            protocol::SCTP => {
                let view = self.view(sctp::SctpHeader::LENGTH, sctp::SctpHeader::new)?;
                self.out.transport = Transport::Sctp(view.values());
                return Ok(Next::Done);
            }
            4 | 41 => {
                // What a router quotes or a tunnel carries must be IP, else it remains payload.
                let expected = if number == 4 { 4 } else { 6 };
                if self.rest.first().is_some_and(|byte| byte >> 4 == expected) {
                    self.enter(TunnelKind::IpInIp, 0);
                    return Ok(Next::Ip);
                }
            }
            47 if self.follow == Follow::All => return self.gre(),
            97 if self.follow == Follow::All && self.rest.starts_with(&[0x30, 0]) => {
                // EtherIP (RFC 3378)
                self.enter(TunnelKind::IpInIp, 0);
                self.skip(2)?;
                return Ok(Next::Ethernet);
            }
            137 if self.follow == Follow::All => {
                self.enter(TunnelKind::IpInIp, 0);
                return Ok(Next::Mpls);
            }
            _ => {}
        }
        self.out.transport = Transport::Other;
        Ok(Next::Done)
    }

    fn icmp(&mut self, version: u8) -> Step {
        let view = self.view(icmp::IcmpHeader::LENGTH, icmp::IcmpHeader::new)?;
        self.out.transport = Transport::Icmp(view.values(version));
        Ok(Next::Done)
    }

    #[inline]
    fn udp(&mut self) -> Step {
        let view = self.view(udp::UdpHeader::LENGTH, udp::UdpHeader::new)?;
        let udp = view.values();
        self.out.transport = Transport::Udp(udp);
        match usize::from(udp.length).checked_sub(udp::UdpHeader::LENGTH) {
            Some(length) if length <= self.wire => self.limit(length),
            // Length 0 is a jumbogram's, or left to the network card.
            None if udp.length == 0 => {}
            _ => self.note(Anomaly::BadUdpLength),
        }
        if self.follow == Follow::All { self.udp_tunnel(udp) } else { Ok(Next::Done) }
    }

    #[inline]
    fn tcp(&mut self) -> Step {
        let Some(view) = tcp::TcpHeader::new(self.rest) else {
            // Enough of it for an ICMP error to name the connection.
            let mut head = [0; tcp::TcpHeader::LENGTH];
            head[..self.rest.len()].copy_from_slice(self.rest);
            if self.rest.len() >= 8 {
                self.out.transport = tcp::TcpHeader::new(&head).map_or(Transport::None, |view| Transport::Tcp(view.values()));
            }
            if !self.quoted {
                self.note(Anomaly::HeaderCut);
            }
            let all = self.rest.len();
            self.skip(all)?;
            self.wire = 0;
            return Ok(Next::Done);
        };
        let header = view.header_length();
        let mut tcp = view.values();
        if header < tcp::TcpHeader::LENGTH || header > self.wire {
            self.out.transport = Transport::Tcp(tcp);
            self.note(Anomaly::BadTcpHeader);
            // Where the data would begin is not known.
            self.limit(0);
            return Ok(Next::Done);
        }
        tcp.options = view.rest().get(..header - tcp::TcpHeader::LENGTH).unwrap_or(view.rest());
        self.out.transport = Transport::Tcp(tcp);
        if self.rest.len() < header {
            // Options cut by the snap length: the payload is known to be missing, not the header's fields.
            self.at += self.rest.len();
            self.wire -= header;
            self.rest = &[];
            return Ok(Next::Done);
        }
        self.skip(header)?;
        Ok(Next::Done)
    }

    /// Notes the present IP layer as a tunnel's and forgets what was found in it.
    fn enter(&mut self, kind: TunnelKind, id: u32) {
        if let Some(network) = self.out.network.take() {
            self.out.tunnels.push(Tunnel { kind, source: network.source, destination: network.destination, id });
        }
        self.out.transport = Transport::None;
    }

    fn gre(&mut self) -> Step {
        let view = gre::Gre::new(self.rest).ok_or(Anomaly::HeaderCut)?;
        let (length, key) = view.length_and_key().ok_or(Anomaly::BadTunnelHeader)?;
        let payload = self.rest.get(length..).unwrap_or(&[]);
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
    fn udp_tunnel(&mut self, udp: Udp) -> Step {
        let either = |port: u16| udp.destination_port == port || udp.source_port == port;
        let next = if either(gtpu::PORT) {
            self.gtpu()
        } else if matches!(udp.destination_port, vxlan::PORT | vxlan::PORT_LINUX | vxlan::PORT_GPE) {
            self.vxlan()
        } else if udp.destination_port == geneve::PORT {
            self.geneve()
        } else if either(l2tp::PORT) {
            l2tp::data_message(self.rest).and_then(|(ids, length)| {
                // PPP must follow, or it is another version's session.
                let (number, _) = ppp::protocol(self.rest.get(length..)?)?;
                ppp::ethertype_of(number)?;
                Some((TunnelKind::L2tp, ids, length, Next::Ppp))
            })
        } else if either(teredo::PORT) {
            teredo::header_length(self.rest).map(|length| (TunnelKind::Teredo, 0, length, Next::Ipv6))
        } else if udp.destination_port == 6635 && mpls::stack_length(self.rest).is_some() {
            Some((TunnelKind::IpInIp, 0, 0, Next::Mpls)) // RFC 7510
        } else {
            None
        };
        let Some((kind, id, length, next)) = next else { return Ok(Next::Done) };
        self.enter(kind, id);
        self.skip(length)?;
        Ok(next)
    }

    fn gtpu(&self) -> Option<(TunnelKind, u32, usize, Next)> {
        let view = gtpu::GtpU::new(self.rest).filter(|view| view.is_user_data())?;
        if usize::from(view.length()) > self.wire {
            return None;
        }
        let length = view.header_length()?;
        // IP, nearly always; PPP and bare Ethernet are left to the GTP decoder.
        let version = self.rest.get(length)? >> 4;
        matches!(version, 4 | 6).then_some((TunnelKind::GtpU, view.endpoint(), length, Next::Ip))
    }

    fn vxlan(&self) -> Option<(TunnelKind, u32, usize, Next)> {
        let view = vxlan::Vxlan::new(self.rest).filter(|view| view.is_valid())?;
        let next = match view.next_protocol() {
            0 | 3 if view.rest().len() >= Ethernet::LENGTH => Next::Ethernet,
            1 => Next::Ipv4,
            2 => Next::Ipv6,
            _ => return None,
        };
        Some((TunnelKind::Vxlan, view.network(), vxlan::Vxlan::LENGTH, next))
    }

    fn geneve(&self) -> Option<(TunnelKind, u32, usize, Next)> {
        let view = geneve::Geneve::new(self.rest).filter(|view| view.version() == 0)?;
        let length = view.header_length();
        let known = view.ethertype() > ethertype::LONGEST_LENGTH && self.rest.len() > length;
        known.then_some((TunnelKind::Geneve, view.network(), length, Next::EtherType(view.ethertype())))
    }

    /// The first header of a capture that is not Ethernet.
    fn link(&mut self, link_type: LinkType) -> Step {
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
            LinkType::PPP | LinkType::PPP_HDLC | LinkType::C_HDLC => match ppp::Chdlc::new(self.rest) {
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
            LinkType::FRAME_RELAY => match frame_relay::header(self.rest) {
                Some((encapsulation, length)) => {
                    self.skip(length)?;
                    Ok(encapsulation.map_or_else(|| self.snap(), Next::EtherType))
                }
                None => Ok(Next::Done),
            },
            LinkType::IEEE802_11 => self.ieee80211(false),
            LinkType::IEEE802_11_RADIOTAP => {
                let (length, padded) = ieee80211::radiotap(self.rest).ok_or(Anomaly::BadLinkHeader)?;
                self.skip(length)?;
                self.ieee80211(padded)
            }
            LinkType::IEEE802_11_PRISM => {
                // Prism's header has 144 bytes; some drivers put AVS's in its place, whose second word is its length.
                let avs = self.rest.starts_with(&[0x80, 0x21, 0x10]);
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
                let head: [u8; 8] = self.rest.first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
                let [_, _, low, high, a, b, c, d] = head;
                self.skip(u16::from_le_bytes([low, high]).into())?;
                self.wrapped(u32::from_le_bytes([a, b, c, d]), LinkType::PPI)
            }
            LinkType::PKTAP => {
                let head: [u8; 12] = self.rest.first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
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
                let routed = self.rest.get(8).is_some_and(|byte| byte & 0x80 != 0);
                self.addresses(2)?;
                if routed {
                    let length = self.rest.first().ok_or(Anomaly::HeaderCut)? & 0x1f;
                    self.skip(length.into())?;
                }
                Ok(Next::Llc)
            }
            LinkType::ATM_RFC1483 | LinkType::LINUX_ATM_CLIP => match self.rest.first() {
                Some(0x45..=0x4f) => Ok(Next::Ipv4),
                _ => Ok(Next::Llc),
            },
            LinkType::SUNATM => {
                let kind = self.rest.first().ok_or(Anomaly::HeaderCut)? & 0x0f;
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
                self.skip(20)?;
                let [high, low, _, _] = self.rest.first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
                self.skip(4)?;
                Ok(Next::EtherType(u16::from_be_bytes([high, low])))
            }
            LinkType::ERF => self.erf(),
            LinkType::PFLOG => {
                let [length, family] = self.rest.first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
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
    fn cooked(&mut self, hardware: u16, protocol: u16) -> Next {
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
    fn family(&mut self, length: usize) -> Step {
        let family = self.rest.first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
        self.skip(length)?;
        Ok(loopback::ethertype_of(family).map_or(Next::Done, Next::EtherType))
    }

    /// A length in four bytes, most significant first, at `at`.
    fn be_length(&self, at: usize) -> Result<usize, Anomaly> {
        let bytes = self.rest.get(at..).and_then(|rest| rest.first_chunk().copied()).ok_or(Anomaly::HeaderCut)?;
        Ok(u32::from_be_bytes(bytes) as usize)
    }

    /// The packet inside a header that names its link type; another such header would lead in circles.
    fn wrapped(&mut self, dlt: u32, around: LinkType) -> Step {
        match i32::try_from(dlt).map(LinkType::from_dlt) {
            Ok(inner) if inner != around => Ok(Next::Link(inner)),
            _ => Ok(Next::Done),
        }
    }

    /// Destination and source after `skipped` bytes.
    fn addresses(&mut self, skipped: usize) -> Result<(), Anomaly> {
        self.skip(skipped)?;
        let both: [u8; 12] = self.rest.first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
        let [a, b, c, d, e, f, g, h, i, j, k, l] = both;
        self.out.link.destination_mac = Some(Mac([a, b, c, d, e, f]));
        self.out.link.source_mac = Some(Mac([g, h, i, j, k, l]));
        self.skip(12)
    }

    /// An Ethernet header with a switch's tag of `length` bytes between addresses and EtherType.
    fn switch_tag(&mut self, length: usize) -> Step {
        self.addresses(0)?;
        self.skip(length)?;
        let [high, low] = self.rest.first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
        self.skip(2)?;
        Ok(Next::EtherType(u16::from_be_bytes([high, low])))
    }

    fn ieee80211(&mut self, padded: bool) -> Step {
        let Some(view) = ieee80211::DataFrame::new(self.rest) else { return Ok(Next::Done) };
        if !view.has_data() || view.is_aggregate() {
            return Ok(Next::Done);
        }
        let (destination, source) = view.ends();
        self.out.link.destination_mac = Some(destination);
        self.out.link.source_mac = Some(source);
        let length = view.header_length();
        self.skip(if padded { length.next_multiple_of(4) } else { length })?;
        Ok(Next::Llc)
    }

    /// Netfilter's log: attributes, of which number 9 is the packet.
    fn nflog(&mut self) -> Step {
        self.skip(4)?;
        loop {
            let [a, b, c, d] = self.rest.first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
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
    fn erf(&mut self) -> Step {
        let head: [u8; 16] = self.rest.first_chunk().copied().ok_or(Anomaly::HeaderCut)?;
        self.skip(16)?;
        let mut more = head[8] & 0x80 != 0;
        while more {
            more = self.rest.first().ok_or(Anomaly::HeaderCut)? & 0x80 != 0;
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
