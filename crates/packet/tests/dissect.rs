//! Facts about packets built by hand: what the dissection finds in them, and that no bytes make it panic.
#![allow(clippy::unwrap_used)]

use packet::net::*;
use packet::{Endpoint, LinkType};
use proptest::prelude::*;

fn be16(value: u16) -> [u8; 2] {
    value.to_be_bytes()
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    join(&[&[2, 0, 0, 0, 0, 1], &[2, 0, 0, 0, 0, 2], &be16(ethertype), payload])
}

fn ipv4_part(protocol: u8, flags_and_offset: u16, payload: &[u8]) -> Vec<u8> {
    let total = be16(20 + payload.len() as u16);
    let place = be16(flags_and_offset);
    let head = [0x45, 0, total[0], total[1], 0xab, 0xcd, place[0], place[1], 64, protocol, 0, 0];
    join(&[&head, &[10, 0, 0, 1], &[10, 0, 0, 2], payload])
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_part(protocol, 0x4000, payload)
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut address = [0; 16];
    (address[0], address[1]) = (0xfd, 0);
    let (mut from, mut to) = (address, address);
    (from[15], to[15]) = (1, 2);
    join(&[&[0x60, 0, 0, 0], &be16(payload.len() as u16), &[next, 64], &from, &to, payload])
}

fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    join(&[&be16(from), &be16(to), &be16(8 + payload.len() as u16), &[0, 0], payload])
}

fn tcp(from: u16, to: u16, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let words = (20 + options.len() as u8) / 4;
    let rest = [0, 0, 0, 7, 0, 0, 0, 9, words << 4, flags, 0x10, 0, 0, 0, 0, 0];
    join(&[&be16(from), &be16(to), &rest, options, payload])
}

fn see(link_type: LinkType, bytes: &[u8]) -> Dissected<'_> {
    dissect(link_type, bytes, bytes.len() as u32)
}

/// That `bytes` hold the DNS question of the innermost packet, from `from` to `to`, without anomalies.
fn check(link_type: LinkType, bytes: &[u8], from: &str, to: &str) -> Dissected<'static> {
    let bytes: &'static [u8] = bytes.to_vec().leak();
    let found = see(link_type, bytes);
    assert!(found.anomalies.is_empty(), "{found:?}");
    let (source, destination) = found.endpoints().unwrap();
    assert_eq!((source.to_string(), destination.to_string()), (from.to_owned(), to.to_owned()));
    assert_eq!(found.payload, b"question");
    assert_eq!(found.payload_wire, 8);
    found
}

fn question() -> Vec<u8> {
    ipv4(17, &udp(40000, 53, b"question"))
}

fn question6() -> Vec<u8> {
    ipv6(17, &udp(40000, 53, b"question"))
}

const FROM: &str = "10.0.0.1:40000";
const TO: &str = "10.0.0.2:53";
const FROM6: &str = "[fd00::1]:40000";
const TO6: &str = "[fd00::2]:53";

#[test]
fn ethernet_ip_and_udp_are_read_without_their_padding() {
    let found = check(LinkType::ETHERNET, &join(&[&ethernet(0x0800, &question()), &[0; 10]]), FROM, TO);
    assert_eq!(found.link.source_mac.unwrap().to_string(), "02-00-00-00-00-02");
    assert_eq!(found.link.destination_mac.unwrap().to_string(), "02-00-00-00-00-01");
    let network = found.network.unwrap();
    assert_eq!((network.version(), network.protocol, network.ttl, network.identification), (4, 17, 64, 0xabcd));
    assert_eq!((network.offset, network.wire_length, network.payload_wire), (14, 36, 16));
    check(LinkType::ETHERNET, &ethernet(0x86dd, &question6()), FROM6, TO6);
}

#[test]
fn vlans_are_listed_from_the_outermost() {
    let inner = join(&[&[0x20, 7, 0x08, 0x00], &question()]);
    for outer in [0x88a8, 0x9100, 0x8100] {
        let tagged = ethernet(outer, &join(&[&[0, 100], &be16(0x8100), &inner]));
        let found = check(LinkType::ETHERNET, &tagged, FROM, TO);
        assert_eq!(found.link.vlans.as_slice(), [100, 7]);
    }
}

#[test]
fn every_link_type_leads_to_the_packet() {
    let v4 = question();
    let sll = join(&[&[0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0, 0x08, 0x00], &v4]);
    let found = check(LinkType::LINUX_SLL, &sll, FROM, TO);
    assert_eq!((found.link.packet_type, found.link.source_mac), (Some(4), Some(Mac([2, 0, 0, 0, 0, 9]))));
    let sll2 = join(&[&[0x08, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0], &v4]);
    let found = check(LinkType::LINUX_SLL2, &sll2, FROM, TO);
    assert_eq!((found.link.packet_type, found.link.interface_index), (Some(0), Some(3)));
    for (link_type, head) in [
        (LinkType::NULL, &[2, 0, 0, 0][..]),
        (LinkType::NULL, &[0, 0, 0, 2]),
        (LinkType::LOOP, &[0, 0, 0, 2]),
        (LinkType::RAW, &[]),
        (LinkType::IPV4, &[]),
        (LinkType::PPP, &[0xff, 0x03, 0x00, 0x21]),
        (LinkType::PPP, &[0x21]),
        (LinkType::PPP_HDLC, &[0x0f, 0, 0x08, 0]),
        (LinkType::C_HDLC, &[0x0f, 0, 0x08, 0]),
        (LinkType::FRAME_RELAY, &[0x18, 0x41, 0x03, 0xcc]),
        (LinkType::ATM_RFC1483, &[0xaa, 0xaa, 0x03, 0, 0, 0, 8, 0]),
        (LinkType::MPLS, &[0, 1, 0x01, 64]),
        (LinkType::PPI, &[0, 0, 8, 0, 101, 0, 0, 0]),
        (LinkType::PFLOG, &[4, 2, 0, 0]),
        (LinkType::NFLOG, &[2, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0, 40, 0, 9, 0]),
    ] {
        check(link_type, &join(&[head, &v4]), FROM, TO);
    }
    check(LinkType::NULL, &join(&[&[30, 0, 0, 0], &question6()]), FROM6, TO6);
    check(LinkType::RAW, &question6(), FROM6, TO6);
    let mut wifi = vec![0x08, 0x01, 0, 0];
    wifi.extend([7; 20]);
    wifi.extend([0xaa, 0xaa, 0x03, 0, 0, 0, 0x08, 0x00]);
    check(LinkType::IEEE802_11, &join(&[&wifi, &v4]), FROM, TO);
    check(LinkType::IEEE802_11_RADIOTAP, &join(&[&[0, 0, 8, 0, 0, 0, 0, 0], &wifi, &v4]), FROM, TO);
}

#[test]
fn llc_and_snap_and_pppoe_and_mpls_are_walked_over() {
    let v4 = question();
    let snap = join(&[&[0xaa, 0xaa, 0x03, 0, 0, 0, 0x08, 0x00], &v4]);
    check(LinkType::ETHERNET, &join(&[&ethernet(snap.len() as u16, &snap), &[0; 6]]), FROM, TO);
    let pppoe = join(&[&[0x11, 0, 0, 9], &be16(2 + v4.len() as u16), &[0, 0x21], &v4]);
    check(LinkType::ETHERNET, &ethernet(0x8864, &pppoe), FROM, TO);
    let labels = [0, 1, 0x00, 64, 0, 2, 0x01, 64];
    check(LinkType::ETHERNET, &ethernet(0x8847, &join(&[&labels, &v4])), FROM, TO);
    let wire = join(&[&labels, &[0; 4], &ethernet(0x0800, &v4)]);
    check(LinkType::ETHERNET, &ethernet(0x8847, &wire), FROM, TO);
}

#[test]
fn tunnels_give_the_inner_packet_and_the_outer_addresses() {
    let v4 = question();
    let frame = ethernet(0x0800, &v4);
    let ip = |protocol: u8, payload: &[u8]| ethernet(0x86dd, &ipv6(protocol, payload));
    let cases: [(Vec<u8>, TunnelKind, u32); 12] = [
        (ip(4, &v4), TunnelKind::IpInIp, 0),
        (ip(47, &join(&[&[0, 0, 8, 0], &v4])), TunnelKind::Gre, 0),
        (ip(47, &join(&[&[0x20, 0, 8, 0, 0, 0, 0, 5], &v4])), TunnelKind::Gre, 5),
        (ip(47, &join(&[&[0, 0, 0x65, 0x58], &frame])), TunnelKind::Gre, 0),
        (ip(47, &join(&[&[0, 0, 0x88, 0xbe], &frame])), TunnelKind::Erspan, 0),
        (
            ip(47, &join(&[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 3, 0, 0, 0, 0], &frame])),
            TunnelKind::Erspan,
            3,
        ),
        (
            ip(47, &join(&[&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0], &frame])),
            TunnelKind::Erspan,
            3,
        ),
        (ip(17, &udp(9, 4789, &join(&[&[8, 0, 0, 0, 0, 0, 9, 0], &frame]))), TunnelKind::Vxlan, 9),
        (ip(17, &udp(9, 6081, &join(&[&[1, 0, 0x65, 0x58, 0, 0, 9, 0, 1, 2, 3, 0], &frame]))), TunnelKind::Geneve, 9),
        (ip(17, &udp(2152, 2152, &join(&[&[0x30, 255, 0, 36, 0, 0, 0, 9], &v4]))), TunnelKind::GtpU, 9),
        (
            ip(17, &udp(2152, 2152, &join(&[&[0x34, 255, 0, 44, 0, 0, 0, 9, 0, 0, 0, 0x85, 1, 0, 9, 0], &v4]))),
            TunnelKind::GtpU,
            9,
        ),
        (ip(17, &udp(1701, 1701, &join(&[&[0, 2, 0, 1, 0, 2, 0xff, 3, 0, 0x21], &v4]))), TunnelKind::L2tp, 0x1_0002),
    ];
    for (bytes, kind, id) in cases {
        let found = check(LinkType::ETHERNET, &bytes, FROM, TO);
        let outer = found.tunnels.outermost().unwrap();
        assert_eq!((outer.kind, outer.id), (kind, id));
        assert_eq!((outer.source.to_string(), outer.destination.to_string()), ("fd00::1".into(), "fd00::2".into()));
    }
    let teredo = ethernet(0x0800, &ipv4(17, &udp(3544, 9, &question6())));
    assert_eq!(check(LinkType::ETHERNET, &teredo, FROM6, TO6).tunnels.outermost().unwrap().kind, TunnelKind::Teredo);
}

#[test]
fn tunnels_are_left_alone_where_the_caller_wants_it() {
    let vxlan =
        ethernet(0x0800, &ipv4(17, &udp(9, 4789, &join(&[&[8, 0, 0, 0, 0, 0, 9, 0], &ethernet(0x0800, &question())]))));
    let found = dissect_following(LinkType::ETHERNET, &vxlan, vxlan.len() as u32, Follow::IpInIp);
    assert!(found.tunnels.is_empty());
    assert_eq!(found.transport.ports(), Some((9, 4789)));
    let ipip = ipv4(4, &question());
    assert_eq!(dissect_following(LinkType::RAW, &ipip, ipip.len() as u32, Follow::IpInIp).payload, b"question");
}

#[test]
fn extension_headers_are_walked_over() {
    let udp = udp(40000, 53, b"question");
    let hop = [60, 0, 1, 4, 0, 0, 0, 0];
    let destination = [51, 0, 1, 4, 0, 0, 0, 0];
    let authentication = [17, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let bytes = ipv6(0, &join(&[&hop, &destination, &authentication, &udp]));
    let found = check(LinkType::RAW, &bytes, FROM6, TO6);
    assert_eq!(found.network.unwrap().protocol, 17);
    assert_eq!(found.network.unwrap().payload_wire, 16);
    let atomic = ipv6(44, &join(&[&[17, 0, 0, 0, 0, 0, 0, 1], &udp]));
    assert_eq!(check(LinkType::RAW, &atomic, FROM6, TO6).network.unwrap().fragment, None);
}

#[test]
fn fragments_say_their_place_and_go_on_when_put_together() {
    let whole = udp(40000, 53, b"question and more");
    let first = ethernet(0x0800, &ipv4_part(17, 0x2000, &whole[..16]));
    let second = ethernet(0x0800, &ipv4_part(17, 2, &whole[16..]));
    let found = see(LinkType::ETHERNET, &first);
    assert_eq!(found.transport, Transport::Fragment);
    let network = found.network.unwrap();
    assert_eq!(network.fragment, Some(Fragment { id: 0xabcd, offset: 0, more: true }));
    assert_eq!(network.payload, &whole[..16]);
    let other = see(LinkType::ETHERNET, &second).network.unwrap();
    assert_eq!(other.fragment, Some(Fragment { id: 0xabcd, offset: 16, more: false }));
    let put_together = dissect_reassembled(&found, &whole, Follow::All);
    assert_eq!(put_together.payload, b"question and more");
    assert_eq!(put_together.transport.ports(), Some((40000, 53)));
    assert_eq!(put_together.network.unwrap().wire_length, 20 + whole.len() as u32);
    assert!(put_together.link.source_mac.is_some());
    // A tunnel within what was put together is walked into.
    let gre = join(&[&[0, 0, 8, 0], &question()]);
    let first = ipv4_part(47, 0x2000, &gre[..16]);
    let inner = dissect_reassembled(&see(LinkType::RAW, &first), &gre, Follow::All);
    assert_eq!((inner.payload, inner.tunnels.iter().count()), (&b"question"[..], 1));
    // IPv6, with a destination header behind the fragment header.
    let payload = join(&[&[17, 0, 1, 4, 0, 0, 0, 0], &udp(40000, 53, b"question")]);
    let first = ipv6(44, &join(&[&[60, 0, 0, 1, 0, 0, 0, 1], &payload[..16]]));
    let found = see(LinkType::RAW, &first);
    assert_eq!(found.network.unwrap().fragment, Some(Fragment { id: 1, offset: 0, more: true }));
    assert_eq!(dissect_reassembled(&found, &payload, Follow::All).payload, b"question");
}

#[test]
fn fragments_that_cannot_be_are_noted() {
    let long = ethernet(0x0800, &ipv4_part(17, 0x1fff, &[0; 16]));
    assert!(see(LinkType::ETHERNET, &long).anomalies.contains(Anomaly::BadFragment));
    let odd = ethernet(0x0800, &ipv4_part(17, 0x2000, &[0; 15]));
    assert!(see(LinkType::ETHERNET, &odd).anomalies.contains(Anomaly::BadFragment));
}

#[test]
fn tcp_fields_and_options_are_read() {
    let bytes = ipv4(6, &tcp(40000, 80, TcpFlags::SYN, &[2, 4, 5, 0xb4], b""));
    let Transport::Tcp(tcp_found) = see(LinkType::RAW, &bytes).transport else { panic!("no TCP") };
    assert_eq!((tcp_found.sequence, tcp_found.acknowledgment, tcp_found.window), (7, 9, 0x1000));
    assert!(tcp_found.flags.syn() && !tcp_found.flags.ack());
    assert_eq!(tcp::options(tcp_found.options).next(), Some((2, &[5, 0xb4][..])));
}

#[test]
fn a_packet_cut_by_the_snap_length_is_known_to_be_cut() {
    let whole = ethernet(0x0800, &ipv4(6, &tcp(40000, 80, TcpFlags::ACK, &[1; 12], &[b'x'; 1000])));
    let found = dissect(LinkType::ETHERNET, &whole[..96], whole.len() as u32);
    assert!(found.anomalies.contains(Anomaly::Truncated));
    assert_eq!((found.payload.len(), found.payload_wire, found.payload_cut()), (30, 1000, 970));
    // Cut within the options: the payload's length is still known.
    let found = dissect(LinkType::ETHERNET, &whole[..60], whole.len() as u32);
    assert_eq!((found.payload.len(), found.payload_wire), (0, 1000));
    // Cut within the fixed part: ports and sequence number are given.
    let found = dissect(LinkType::ETHERNET, &whole[..44], whole.len() as u32);
    assert_eq!(found.transport.ports(), Some((40000, 80)));
    assert!(found.anomalies.contains(Anomaly::HeaderCut));
    let found = dissect(LinkType::ETHERNET, &whole[..36], whole.len() as u32);
    assert_eq!(found.transport, Transport::None);
    assert!(found.network.is_some());
}

#[test]
fn lying_lengths_are_noted_and_do_not_hide_the_payload() {
    let mut beyond = question();
    beyond[2..4].copy_from_slice(&be16(2000));
    let found = see(LinkType::RAW, &beyond);
    assert!(found.anomalies.contains(Anomaly::BadIpLength));
    assert_eq!(found.payload, b"question");
    let mut short = question();
    short[2..4].copy_from_slice(&be16(10));
    let found = see(LinkType::RAW, &short);
    assert!(found.anomalies.contains(Anomaly::BadIpLength));
    assert_eq!(found.payload, b"question");
    let mut udp_beyond = question();
    udp_beyond[24..26].copy_from_slice(&be16(99));
    let found = see(LinkType::RAW, &udp_beyond);
    assert_eq!(found.anomalies.iter().next(), Some(Noted { anomaly: Anomaly::BadUdpLength, offset: 28 }));
    assert_eq!(found.payload, b"question");
    let mut tcp_bad = ipv4(6, &tcp(1, 2, 0, &[], b"data"));
    tcp_bad[32] = 0x40;
    let found = see(LinkType::RAW, &tcp_bad);
    assert!(found.anomalies.contains(Anomaly::BadTcpHeader));
    assert!(found.payload.is_empty());
    // A length of 0 is the work of the network card, no anomaly.
    let mut offloaded = question();
    offloaded[2..4].copy_from_slice(&[0, 0]);
    check(LinkType::RAW, &offloaded, FROM, TO);
}

#[test]
fn a_quoted_packet_gives_its_ports_and_length() {
    let whole = ipv4(6, &tcp(40000, 80, TcpFlags::ACK, &[], &[0; 500]));
    let found = dissect_network(&whole[..28], 28);
    assert!(found.anomalies.is_empty(), "{found:?}");
    assert_eq!(found.transport.ports(), Some((40000, 80)));
    assert_eq!(found.network.unwrap().wire_length, 540);
}

#[test]
fn both_directions_of_a_conversation_share_key_and_community_id() {
    let there = see(LinkType::RAW, Vec::leak(question()));
    let mut back = question();
    back[12..20].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1]);
    back[20..24].copy_from_slice(&[0, 53, 0x9c, 0x40]);
    let back = see(LinkType::RAW, &back);
    let ((key, up), (other, down)) = (there.flow_key().unwrap(), back.flow_key().unwrap());
    assert_eq!((key, up), (other, down.reversed()));
    assert_eq!(there.community_id(), back.community_id());
    assert_eq!(key.endpoints(up).0, Endpoint::new("10.0.0.1".parse().unwrap(), 40000));
}

#[test]
fn nesting_has_an_end() {
    let mut bytes = question();
    for _ in 0..60 {
        bytes = ipv4(4, &bytes);
    }
    assert!(see(LinkType::RAW, &bytes).anomalies.contains(Anomaly::TooDeep));
    assert!(see(LinkType::PPI, &[0, 0, 8, 0, 192, 0, 0, 0].repeat(40)).network.is_none());
}

#[test]
fn what_is_not_ip_remains_payload() {
    let arp = ethernet(0x0806, &[0; 28]);
    let found = see(LinkType::ETHERNET, &arp);
    assert_eq!((found.link.ethertype, found.payload.len(), found.network), (0x0806, 28, None));
    let found = see(LinkType(140), b"mtp2");
    assert_eq!((found.payload, found.transport), (&b"mtp2"[..], Transport::None));
}

fn seeds() -> Vec<Vec<u8>> {
    let frame = ethernet(0x0800, &question());
    vec![
        frame.clone(),
        ethernet(0x86dd, &question6()),
        ethernet(0x0800, &ipv4(6, &tcp(1, 2, 3, &[1; 12], b"data"))),
        ethernet(0x0800, &ipv4(17, &udp(9, 4789, &join(&[&[8, 0, 0, 0, 0, 0, 9, 0], &frame])))),
        ethernet(
            0x0800,
            &ipv4(
                17,
                &udp(2152, 2152, &join(&[&[0x34, 255, 0, 44, 0, 0, 0, 9, 0, 0, 0, 0x85, 1, 0, 9, 0], &question()])),
            ),
        ),
        ethernet(0x0800, &ipv4(47, &join(&[&[0xf0, 0, 0x88, 0xbe], &[0; 24], &frame]))),
        ethernet(0x8864, &join(&[&[0x11, 0, 0, 9, 0, 40, 0, 0x21], &question()])),
        ethernet(0x86dd, &ipv6(0, &join(&[&[44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 1], &question()]))),
    ]
}

fn total(found: &Dissected<'_>) {
    assert!(found.payload.len() <= found.payload_wire as usize);
    if let Some(network) = found.network {
        assert!(network.payload.len() <= network.payload_wire as usize);
    }
    let _ = (found.flow_key(), found.community_id(), found.payload_cut(), format!("{found:?}"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_it_panic(link_type in 0u16..300, bytes in proptest::collection::vec(any::<u8>(), 0..200), length: u32) {
        let found = dissect(LinkType(link_type), &bytes, length);
        total(&found);
        total(&dissect_network(&bytes, length));
        total(&dissect_reassembled(&found, &bytes, Follow::All));
    }

    #[test]
    fn no_damage_to_a_packet_makes_it_panic(
        which in 0usize..8,
        hits in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..6),
        cut: u16,
        length: u16,
    ) {
        let mut bytes = seeds().swap_remove(which);
        for (at, value) in hits {
            let at = usize::from(at) % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(usize::from(cut) % (bytes.len() + 1) + 20);
        let found = dissect(LinkType::ETHERNET, &bytes, length.into());
        total(&found);
        total(&dissect_reassembled(&found, &bytes, Follow::All));
    }
}
