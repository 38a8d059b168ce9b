//! Which worker a packet belongs to: all packets of a flow, both directions, in and out of tunnels, go to the same, by the innermost addresses.
//! Deliberately coarse. What concerns flows between other hosts too goes to every worker: signalling that announces media (SIP and its SDP),
//! ICMP errors, and fragments, which do not show what is inside. The event comes from the one it belongs to.

use event::{Event, Field, Value, common};
use packet::flow::{Endpoint, FlowKey};
use packet::net::{self, Dissected, Transport};
use packet::{LinkType, Packet};
use std::net::IpAddr;

/// Ports of signalling that announces media.
const ANNOUNCING_PORTS: [u16; 2] = [5060, 5061];

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// The same for all packets that must meet in one worker.
    pub hash: u64,
    /// Whether every worker must see it.
    pub everywhere: bool,
}

impl Shard {
    /// The worker that it belongs to.
    pub fn worker(self, workers: usize) -> u16 {
        // The high half of the product is as even as the hash, without a division.
        ((u128::from(self.hash) * workers as u128) >> 64) as u16
    }
}

/// The shard of a packet.
pub fn of(link_type: LinkType, packet: &Packet<'_>) -> Shard {
    let dissected = net::dissect(link_type, packet.data, packet.original_length);
    Shard { hash: ends(&dissected), everywhere: concerns_others(&dissected) }
}

fn ends(dissected: &Dissected<'_>) -> u64 {
    dissected.network.as_ref().map_or(0, |network| addresses(network.source, network.destination))
}

fn addresses(from: IpAddr, to: IpAddr) -> u64 {
    FlowKey::new(Endpoint::new(from, 0), Endpoint::new(to, 0), 0).0.hash_addresses()
}

fn concerns_others(dissected: &Dissected<'_>) -> bool {
    match dissected.transport {
        Transport::Fragment => true,
        Transport::Icmp(icmp) => icmp.is_error(),
        Transport::Udp(_) | Transport::Tcp(_) => {
            let (from, to) = dissected.transport.ports().unwrap_or_default();
            ANNOUNCING_PORTS.contains(&from)
                || ANNOUNCING_PORTS.contains(&to)
                || (matches!(dissected.transport, Transport::Udp(_)) && looks_like_sip(dissected.payload))
        }
        _ => false,
    }
}

/// The first line of a SIP message ends in its version or begins with it.
fn looks_like_sip(payload: &[u8]) -> bool {
    const LINE_MAX: usize = 256;
    if payload.starts_with(b"SIP/2.0 ") {
        return true;
    }
    if !payload.first().is_some_and(u8::is_ascii_uppercase) {
        return false;
    }
    let head = payload.get(..payload.len().min(LINE_MAX)).unwrap_or_default();
    head.split(|byte| *byte == b'\r').next().is_some_and(|line| line.ends_with(b" SIP/2.0"))
}

/// The shard that an event belongs to; none if it is not about addresses.
pub fn of_event(event: &Event) -> Option<Shard> {
    let address = |field: &'static Field| match event.get(field)? {
        Value::Ip(address) => Some(*address),
        _ => None,
    };
    let hash = addresses(address(&common::SOURCE_IP)?, address(&common::DESTINATION_IP)?);
    Some(Shard { hash, everywhere: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Timestamp;

    fn shard(bytes: &[u8]) -> Shard {
        let packet = Packet { time: Timestamp::ZERO, interface: 0, original_length: bytes.len() as u32, data: bytes };
        of(LinkType::RAW, &packet)
    }

    fn ipv4(protocol: u8, fragment: u16, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 0, 0, 9, 0, 0, 64, protocol, 0, 0];
        bytes[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
        bytes.extend(from.iter().chain(&to).chain(payload));
        bytes
    }

    fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [from, to, 8 + payload.len() as u16, 0].iter().flat_map(|value| value.to_be_bytes()).collect();
        bytes.extend(payload);
        bytes
    }

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [192, 0, 2, 7];
    const ROUTER: [u8; 4] = [203, 0, 113, 1];

    #[test]
    fn both_directions_of_a_flow_meet_and_errors_reach_everybody() {
        let there = ipv4(17, 0, A, B, &udp(4000, 53, b"ask"));
        let back = ipv4(17, 0, B, A, &udp(53, 4000, b"say"));
        let fragment = ipv4(17, 0x2003, A, B, b"the rest");
        let mut quoting = vec![3, 3, 0, 0, 0, 0, 0, 0];
        quoting.extend(&there);
        let error = ipv4(1, 0, ROUTER, A, &quoting);
        let expect = shard(&there).hash;
        assert_eq!(shard(&back), Shard { hash: expect, everywhere: false });
        assert_eq!(shard(&fragment), Shard { hash: expect, everywhere: true });
        assert!(shard(&error).everywhere);
        let inside = ipv4(4, 0, ROUTER, [203, 0, 113, 9], &there);
        assert_eq!(shard(&inside).hash, expect, "a tunnel changes nothing");
        assert_ne!(shard(&ipv4(17, 0, A, ROUTER, &udp(4000, 53, b"ask"))).hash, expect);
    }

    #[test]
    fn signalling_that_announces_media_goes_everywhere() {
        assert!(shard(&ipv4(17, 0, A, B, &udp(5060, 5060, b"INVITE"))).everywhere);
        assert!(shard(&ipv4(17, 0, A, B, &udp(40, 41, b"INVITE sip:a@b SIP/2.0\r\nVia: x"))).everywhere);
        assert!(shard(&ipv4(17, 0, A, B, &udp(40, 41, b"SIP/2.0 200 OK\r\n"))).everywhere);
        assert!(shard(&ipv4(17, 0x2000, A, B, b"a fragment")).everywhere);
        assert!(!shard(&ipv4(17, 0, A, B, &udp(40, 53, b"ask"))).everywhere);
        assert!(!shard(&ipv4(17, 0, A, B, &udp(40, 1900, b"NOTIFY * HTTP/1.1\r\n"))).everywhere);
    }

    #[test]
    fn shards_are_even_among_workers() {
        let mut counts = [0; 4];
        for host in 0..=255 {
            let bytes = ipv4(17, 0, [10, 0, 0, host], B, &udp(4000, 53, b"ask"));
            counts[usize::from(shard(&bytes).worker(4))] += 1;
        }
        assert!(counts.iter().all(|count| *count > 32), "{counts:?}");
    }
}
