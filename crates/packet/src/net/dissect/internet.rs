//! Steps of the walk through IP, its extension headers and the transport headers.
//! Does not put fragments together.

use std::net::IpAddr;

use super::super::ipv6::extension;
use super::super::{Anomaly, Fragment, Network, Transport, TunnelKind, icmp, ipv4, ipv6, sctp, tcp, udp};
use super::{Follow, Next, Step, Walk};
use crate::flow::protocol;

impl<'a> Walk<'a, '_> {
    #[inline]
    pub(super) fn ip(&mut self) -> Step {
        match self.rest().first().ok_or(Anomaly::HeaderCut)? >> 4 {
            4 => Ok(Next::Ipv4),
            6 => Ok(Next::Ipv6),
            _ => Err(Anomaly::BadIpHeader),
        }
    }

    /// Fits `wire` and `rest` to the length that an IP header states for header and payload; gives the length to go by.
    #[inline]
    pub(super) fn fit_ip_length(&mut self, header: usize, stated: usize) -> usize {
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
    pub(super) fn ipv4(&mut self) -> Step {
        let view = ipv4::Ipv4::new(self.rest()).ok_or(Anomaly::HeaderCut)?;
        let header = view.header_length();
        if view.version() != 4 || header < ipv4::Ipv4::LENGTH {
            return Err(Anomaly::BadIpHeader);
        }
        let offset = self.at;
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
            payload: self.rest(),
            payload_wire: self.wire as u32,
        });
        match fragment {
            None => Ok(Next::Protocol(view.protocol())),
            Some(fragment) => Ok(self.fragment(fragment)),
        }
    }

    pub(super) fn fragment(&mut self, fragment: Fragment) -> Next {
        let beyond = fragment.offset as usize + self.wire > usize::from(u16::MAX);
        if beyond || fragment.more && self.wire % 8 != 0 {
            self.note(Anomaly::BadFragment);
        }
        self.out.transport = Transport::Fragment;
        Next::Done
    }

    pub(super) fn ipv6(&mut self) -> Step {
        let view = ipv6::Ipv6::new(self.rest()).ok_or(Anomaly::HeaderCut)?;
        if view.version() != 6 {
            return Err(Anomaly::BadIpHeader);
        }
        let offset = self.at;
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
            payload: self.rest(),
            payload_wire: self.wire as u32,
        });
        Ok(Next::Protocol(view.next_header()))
    }

    /// An extension header of IPv6, or AH of either version.
    pub(super) fn extension(&mut self, kind: u8) -> Step {
        let view = ipv6::Extension::new(self.rest()).ok_or(Anomaly::HeaderCut)?;
        let length = view.header_length(kind);
        if length > self.wire {
            return Err(Anomaly::BadIpExtension);
        }
        self.skip(length)?;
        let (rest, wire) = (self.rest(), self.wire as u32);
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
    pub(super) fn protocol(&mut self, number: u8) -> Step {
        match number {
            protocol::UDP => self.udp(),
            protocol::TCP => self.tcp(),
            _ => self.other_protocol(number),
        }
    }

    pub(super) fn other_protocol(&mut self, number: u8) -> Step {
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
                if self.rest().first().is_some_and(|byte| byte >> 4 == expected) {
                    self.enter(TunnelKind::IpInIp, 0);
                    return Ok(Next::Ip);
                }
            }
            47 if self.follow == Follow::All => return self.gre(),
            97 if self.follow == Follow::All && self.rest().starts_with(&[0x30, 0]) => {
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

    pub(super) fn icmp(&mut self, version: u8) -> Step {
        let view = self.view(icmp::IcmpHeader::LENGTH, icmp::IcmpHeader::new)?;
        self.out.transport = Transport::Icmp(view.values(version));
        Ok(Next::Done)
    }

    #[inline]
    pub(super) fn udp(&mut self) -> Step {
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
    pub(super) fn tcp(&mut self) -> Step {
        let Some(view) = tcp::TcpHeader::new(self.rest()) else {
            // Enough of it for an ICMP error to name the connection.
            let mut head = [0; tcp::TcpHeader::LENGTH];
            head[..self.rest().len()].copy_from_slice(self.rest());
            if self.rest().len() >= 8 {
                self.out.transport =
                    tcp::TcpHeader::new(&head).map_or(Transport::None, |view| Transport::Tcp(view.values()));
            }
            if !self.quoted {
                self.note(Anomaly::HeaderCut);
            }
            let all = self.rest().len();
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
        if self.rest().len() < header {
            // Options cut by the snap length: the payload is known to be missing, not the header's fields.
            self.at = self.end as u32;
            self.wire -= header;
            return Ok(Next::Done);
        }
        self.skip(header)?;
        Ok(Next::Done)
    }
}
