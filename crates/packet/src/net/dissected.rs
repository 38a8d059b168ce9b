//! What [`dissect`](super::dissect) found in a packet: plain values and slices of the packet's own bytes.
//! Nothing here is allocated; lists are short, inline, and say when they were full.

use std::fmt;
use std::net::IpAddr;

use crate::flow::{self, CommunityId, Direction, Endpoint, FlowKey};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    /// As ECS writes it: `00-0C-29-00-00-01`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}-{b:02X}-{c:02X}-{d:02X}-{e:02X}-{g:02X}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// VLAN identifiers from the outermost inwards; at most four are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vlans {
    ids: [u16; 4],
    length: u8,
}

impl Vlans {
    pub(super) fn push(&mut self, id: u16) {
        if let Some(place) = self.ids.get_mut(usize::from(self.length)) {
            *place = id;
            self.length += 1;
        }
    }

    /// The identifiers, outermost first.
    pub fn as_slice(&self) -> &[u16] {
        self.ids.get(..usize::from(self.length)).unwrap_or(&[])
    }

    /// The outermost identifier.
    pub fn outermost(&self) -> Option<u16> {
        self.as_slice().first().copied()
    }

    /// The innermost identifier.
    pub fn innermost(&self) -> Option<u16> {
        self.as_slice().last().copied()
    }
}

/// The link layer: of the capture itself or, in a tunnel that carries whole frames, of the innermost frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Source address, where the link has one.
    pub source_mac: Option<Mac>,
    /// Destination address, where the link has one.
    pub destination_mac: Option<Mac>,
    /// VLAN tags (802.1Q, 802.1ad, 0x9100).
    pub vlans: Vlans,
    /// EtherType of what the link carries; 0 where that is not stated as one.
    pub ethertype: u16,
    /// Packet type of a Linux cooked capture: 0 to us, 1 broadcast, 2 multicast, 3 between others, 4 sent by us.
    pub packet_type: Option<u16>,
    /// Interface index of a Linux cooked capture v2: tells the sights of one packet on several interfaces apart.
    pub interface_index: Option<u32>,
}

/// What kind of tunnel a packet came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TunnelKind {
    /// IP directly in IP: IPIP, 6in4, 4in6, 6in6.
    IpInIp,
    /// GRE (RFC 2784, 2890), also version 1 of PPTP.
    Gre,
    /// ERSPAN types I, II and III.
    Erspan,
    /// VXLAN (RFC 7348).
    Vxlan,
    /// Geneve (RFC 8926).
    Geneve,
    /// GTP-U (TS 29.281).
    GtpU,
    /// Teredo (RFC 4380).
    Teredo,
    /// L2TPv2 data (RFC 2661).
    L2tp,
}

impl TunnelKind {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IpInIp => "ipip",
            Self::Gre => "gre",
            Self::Erspan => "erspan",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::GtpU => "gtp",
            Self::Teredo => "teredo",
            Self::L2tp => "l2tp",
        }
    }
}

/// One tunnel around the innermost packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// Which protocol.
    pub kind: TunnelKind,
    /// Where the outer packet came from.
    pub source: IpAddr,
    /// Where it went.
    pub destination: IpAddr,
    /// Network identifier, key, session or tunnel endpoint identifier; 0 where there is none.
    pub id: u32,
}

/// The tunnels around the innermost packet, the outermost first; at most three are kept, all are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tunnels {
    list: [Option<Tunnel>; 3],
}

impl Tunnels {
    pub(super) fn push(&mut self, tunnel: Tunnel) {
        if let Some(place) = self.list.iter_mut().find(|place| place.is_none()) {
            *place = Some(tunnel);
        }
    }

    /// The tunnels, the outermost first.
    pub fn iter(&self) -> impl Iterator<Item = &Tunnel> {
        self.list.iter().flatten()
    }

    /// The outermost tunnel: its addresses belong under `network.outer`.
    pub fn outermost(&self) -> Option<&Tunnel> {
        self.list[0].as_ref()
    }

    /// Whether the packet came through none.
    pub fn is_empty(&self) -> bool {
        self.list[0].is_none()
    }
}

/// What an IP fragment says of its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Identification: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    /// Place of its payload in the whole, in bytes.
    pub offset: u32,
    /// Whether more follow.
    pub more: bool,
}

/// The innermost IP layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol number of the payload, after IPv6 extension headers and AH.
    pub protocol: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// IPv4 identification; 0 in IPv6.
    pub identification: u16,
    /// Where it is a fragment. An atomic fragment of IPv6 (offset 0, none follow) is not one.
    pub fragment: Option<Fragment>,
    /// Where the IP header begins in the captured bytes.
    pub offset: u32,
    /// Length on the wire of header and payload, in bytes.
    pub wire_length: u32,
    /// What it carries, as far as it was captured: with fragments the fragment's part.
    pub payload: &'a [u8],
    /// Length of the payload on the wire.
    pub payload_wire: u32,
}

impl Network<'_> {
    /// 4 or 6.
    pub const fn version(&self) -> u8 {
        if self.source.is_ipv4() { 4 } else { 6 }
    }
}

/// The UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Its length field.
    pub length: u16,
    /// Its checksum field, unchecked; 0 for none.
    pub checksum: u16,
}

/// The flags of a TCP header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more from the sender.
    pub const FIN: u8 = 0x01;
    /// Begins a connection.
    pub const SYN: u8 = 0x02;
    /// Breaks it off.
    pub const RST: u8 = 0x04;
    /// Wants its data delivered.
    pub const PSH: u8 = 0x08;
    /// Its acknowledgment number counts.
    pub const ACK: u8 = 0x10;
    /// Its urgent pointer counts.
    pub const URG: u8 = 0x20;

    /// FIN is set.
    pub const fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }
    /// SYN is set.
    pub const fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }
    /// RST is set.
    pub const fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }
    /// ACK is set.
    pub const fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in b"FSRPAUEC".iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                write!(f, "{}", char::from(*letter))?;
            }
        }
        Ok(())
    }
}

/// The TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number of the first byte (of SYN, where set).
    pub sequence: u32,
    /// Acknowledgment number; counts where ACK is set.
    pub acknowledgment: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, unscaled.
    pub window: u16,
    /// The options, as far as captured; [`super::tcp::options`] walks them.
    pub options: &'a [u8],
}

/// The head of an ICMP or ICMPv6 message. The dissected payload is what follows these 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// 4 for ICMP, 6 for ICMPv6.
    pub version: u8,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Its checksum field, unchecked.
    pub checksum: u16,
    /// Bytes 4 to 7: identifier and sequence number of an echo, MTU, gateway, ... by type.
    pub rest: u32,
}

impl Icmp {
    /// Identifier of an echo or timestamp.
    pub const fn identifier(&self) -> u16 {
        (self.rest >> 16) as u16
    }

    /// Sequence number of an echo or timestamp.
    pub const fn sequence(&self) -> u16 {
        self.rest as u16
    }

    /// Whether it reports an error and so quotes the packet that caused it, which [`dissect_network`](super::dissect_network) reads.
    pub const fn is_error(&self) -> bool {
        match self.version {
            4 => matches!(self.kind, 3 | 4 | 5 | 11 | 12),
            _ => self.kind < 128,
        }
    }
}

/// The common header of SCTP. The dissected payload is its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sctp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Verification tag.
    pub verification_tag: u32,
    /// Its checksum field, unchecked.
    pub checksum: u32,
}

/// The transport header of the innermost packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport<'a> {
    /// No IP packet, or one whose transport header was not captured or makes no sense.
    None,
    /// A fragment: its payload is a part of a transport packet, see [`dissect_reassembled`](super::dissect_reassembled).
    Fragment,
    /// UDP.
    Udp(Udp),
    /// TCP.
    Tcp(Tcp<'a>),
    /// ICMP or ICMPv6.
    Icmp(Icmp),
    /// SCTP.
    Sctp(Sctp),
    /// Another protocol: the number is in [`Network::protocol`].
    Other,
}

impl Transport<'_> {
    /// Source and destination port, where the protocol has them.
    pub const fn ports(&self) -> Option<(u16, u16)> {
        match self {
            Self::Udp(udp) => Some((udp.source_port, udp.destination_port)),
            Self::Tcp(tcp) => Some((tcp.source_port, tcp.destination_port)),
            Self::Sctp(sctp) => Some((sctp.source_port, sctp.destination_port)),
            _ => None,
        }
    }
}

/// Something in a packet that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Anomaly {
    /// The capture holds fewer bytes than were on the wire.
    Truncated,
    /// The captured bytes end within a header.
    HeaderCut,
    /// The capture claims more bytes than were on the wire.
    CapturedBeyondWire,
    /// A link header contradicts itself.
    BadLinkHeader,
    /// An IP header with an impossible version or header length.
    BadIpHeader,
    /// An IP length that is shorter than its header or longer than the frame.
    BadIpLength,
    /// A chain of IPv6 extension headers that is too long or contradicts itself.
    BadIpExtension,
    /// A fragment that reaches beyond 65,535 bytes, or whose length is no multiple of 8 although more follow.
    BadFragment,
    /// A UDP length shorter than its header or longer than the IP payload.
    BadUdpLength,
    /// A TCP header length shorter than the fixed part or longer than the IP payload.
    BadTcpHeader,
    /// A tunnel header that contradicts itself.
    BadTunnelHeader,
    /// More layers within each other than anyone has a use for.
    TooDeep,
}

impl Anomaly {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::HeaderCut => "header_cut",
            Self::CapturedBeyondWire => "captured_beyond_wire",
            Self::BadLinkHeader => "bad_link_header",
            Self::BadIpHeader => "bad_ip_header",
            Self::BadIpLength => "bad_ip_length",
            Self::BadIpExtension => "bad_ip_extension",
            Self::BadFragment => "bad_fragment",
            Self::BadUdpLength => "bad_udp_length",
            Self::BadTcpHeader => "bad_tcp_header",
            Self::BadTunnelHeader => "bad_tunnel_header",
            Self::TooDeep => "too_deep",
        }
    }
}

/// An anomaly and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// What.
    pub anomaly: Anomaly,
    /// Offset in the captured bytes of the header concerned.
    pub offset: u32,
}

/// The anomalies of a packet in the order they were found; at most four are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Anomalies {
    list: [Option<Noted>; 4],
}

impl Anomalies {
    pub(super) fn push(&mut self, anomaly: Anomaly, offset: u32) {
        if let Some(place) = self.list.iter_mut().find(|place| place.is_none()) {
            *place = Some(Noted { anomaly, offset });
        }
    }

    /// The anomalies in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = Noted> + '_ {
        self.list.iter().flatten().copied()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list[0].is_none()
    }

    /// Whether this one is among them.
    pub fn contains(&self, anomaly: Anomaly) -> bool {
        self.iter().any(|noted| noted.anomaly == anomaly)
    }
}

/// What [`dissect`](super::dissect) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dissected<'a> {
    /// The link layer.
    pub link: Link,
    /// The tunnels the innermost packet came through.
    pub tunnels: Tunnels,
    /// The innermost IP layer; `None` for anything but IP.
    pub network: Option<Network<'a>>,
    /// The innermost transport header.
    pub transport: Transport<'a>,
    /// What the innermost header that was understood carries, as far as it was captured: a transport payload, or
    /// what follows the link header of something other than IP.
    pub payload: &'a [u8],
    /// Length of that payload on the wire, in bytes.
    pub payload_wire: u32,
    /// What is not as it should be.
    pub anomalies: Anomalies,
}

impl<'a> Dissected<'a> {
    /// Of a packet of these captured bytes, of which nothing is known yet.
    #[inline]
    pub fn of_nothing(data: &'a [u8]) -> Self {
        Self {
            link: Link::default(),
            tunnels: Tunnels::default(),
            network: None,
            transport: Transport::None,
            payload: data,
            payload_wire: data.len() as u32,
            anomalies: Anomalies::default(),
        }
    }
    /// How many bytes of the payload were on the wire but not captured.
    pub fn payload_cut(&self) -> u32 {
        self.payload_wire.saturating_sub(self.payload.len() as u32)
    }

    /// Source and destination; ports are 0 where the protocol has none or a fragment hides them.
    pub fn endpoints(&self) -> Option<(Endpoint, Endpoint)> {
        let network = self.network.as_ref()?;
        let (from, to) = self.transport.ports().unwrap_or((0, 0));
        Some((Endpoint::new(network.source, from), Endpoint::new(network.destination, to)))
    }

    /// The key of the packet's flow and its direction in it, without VLAN.
    #[inline]
    pub fn flow_key(&self) -> Option<(FlowKey, Direction)> {
        let (from, to) = self.endpoints()?;
        Some(FlowKey::new(from, to, self.network.as_ref()?.protocol))
    }

    /// The packet's Community ID.
    pub fn community_id(&self) -> Option<CommunityId> {
        let (mut from, mut to) = self.endpoints()?;
        if let Transport::Icmp(icmp) = self.transport {
            (from.port, to.port) = (icmp.kind.into(), icmp.code.into());
        }
        Some(flow::community_id(from, to, self.network.as_ref()?.protocol))
    }
}
