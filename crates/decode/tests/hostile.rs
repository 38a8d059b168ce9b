//! Nothing that stands in a packet may make the engine panic, hang or grow: recorded captures with bytes changed, cut, repeated
//! and put in another order, and packets made up.
#![allow(clippy::unwrap_used)]

mod capture;

use std::sync::Arc;

use decode::{Config, Emit, Engine, Frame, protocols};
use event::{Event, JsonWriter, Observer};
use packet::{CaptureReader, Interface, LinkType, Packet, Timestamp};
use proptest::prelude::*;

const OPTIONS: &[&str] = &[
    "",
    "profile = \"packetbeat\"",
    "[limits]\nflows = 3\nstream_bytes = 600\nstream_bytes_total = 900\nfragment_bytes = 600\n",
    "[protocols.dns]\nsend_request = 1\nsend_response = 1\ninclude_authorities = 1\ninclude_additionals = 1\ntransaction_timeout = \"1ms\"\n",
];

struct Written {
    events: usize,
}

impl Emit for Written {
    fn event(&mut self, event: Event, _: bool) {
        let mut writer = JsonWriter::new(decode::schema());
        let line = writer.write(&event);
        assert!(std::str::from_utf8(line).is_ok());
        assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok(), "{}", String::from_utf8_lossy(line));
        self.events += 1;
    }
}

fn run(options: &str, link_type: u16, packets: &[(u64, Vec<u8>)]) -> usize {
    let observer = Arc::new(Observer { name: "hostile".into(), epoch: "0".into(), is_file: true });
    let config: Config = toml::from_str(options).unwrap();
    let mut engine = Engine::new(&config, observer).unwrap();
    let interface =
        Interface { name: "eth0".into(), link_type: LinkType(link_type), snaplen: 0, filter: String::new() };
    let mut out = Written { events: 0 };
    let mut clock = Timestamp::ZERO;
    for (number, (nanos, data)) in packets.iter().enumerate() {
        let time = Timestamp::from_nanos(*nanos);
        clock = clock.max(time);
        let packet = Packet { time, interface: 0, original_length: data.len() as u32, data };
        engine.packet(&Frame { number: number as u64, clock, interface: &interface, packet: &packet }, &mut out);
        engine.oldest_needed();
    }
    engine.finish(&mut out);
    assert_eq!(engine.counters().flows, 0);
    assert_eq!(engine.oldest_needed(), None);
    out.events
}

/// All packets of all fixtures on Ethernet.
fn recorded() -> Vec<(u64, Vec<u8>)> {
    let mut packets = Vec::new();
    for protocol in protocols::ALL {
        let folder = capture::folder().join("src/protocols").join(protocol.name).join("fixtures");
        let mut paths: Vec<_> =
            std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "pcap")) {
            let bytes = std::fs::read(path).unwrap();
            let mut reader = CaptureReader::new(&bytes[..]).unwrap();
            let mut of_file = 0;
            while let Ok(Some(packet)) = reader.next() {
                of_file += 1;
                if of_file <= 60 {
                    packets.push((packet.time.nanos(), packet.data.to_vec()));
                }
            }
        }
    }
    assert!(packets.len() > 100);
    packets
}

fn from_40000(protocol: u8, port: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend(40_000u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    if protocol == 6 {
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    } else {
        packet.extend((8 + payload.len() as u16).to_be_bytes());
        packet.extend([0, 0]);
    }
    packet.extend(payload);
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet
}

/// A question, and then something that is no DNS: the decoder gives the flow back, and its question is told all the same.
#[test]
fn what_was_open_is_told_when_a_flow_is_given_back() {
    const OPTIONS: &str = "[flows]\nenabled = false\n";
    let question = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
    let stream = [&[0, question.len() as u8][..], question, &[0, 3, 1, 2, 3]].concat();
    let whole = [(0, from_40000(6, 53, 1, &stream))];
    assert_eq!(run(OPTIONS, 101, &whole), 1);
    for cut in 1..stream.len() {
        let (first, second) = stream.split_at(cut);
        let cut_in_two = [(0, from_40000(6, 53, 1, first)), (0, from_40000(6, 53, 1 + first.len() as u32, second))];
        assert_eq!(run(OPTIONS, 101, &cut_in_two), 1, "cut at {cut}");
    }
    let datagrams = [(0, from_40000(17, 4321, 0, question)), (1, from_40000(17, 4321, 0, b"?"))];
    assert_eq!(run(OPTIONS, 101, &datagrams), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn changed_captures_are_survived(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..200),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..80), 0..20),
        swaps in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..40),
        options in prop::sample::select(OPTIONS),
    ) {
        let mut packets = recorded();
        for (packet, place, byte) in changes {
            let index = packet.index(packets.len());
            let data = &mut packets[index].1;
            if !data.is_empty() {
                let at = place.index(data.len());
                data[at] = byte;
            }
        }
        for (packet, length) in cuts {
            let at = packet.index(packets.len());
            packets[at].1.truncate(length);
        }
        for (a, b) in swaps {
            let (a, b) = (a.index(packets.len()), b.index(packets.len()));
            packets.swap(a, b);
        }
        run(options, 1, &packets);
    }

    #[test]
    fn made_up_packets_are_survived(
        link_type in prop::sample::select(&[0u16, 1, 12, 101, 113, 127, 147, 228, 276][..]),
        packets in proptest::collection::vec((any::<u64>(), proptest::collection::vec(any::<u8>(), 0..200)), 0..50),
    ) {
        run("", link_type, &packets);
    }

    #[test]
    fn made_up_payloads_of_known_ports_are_survived(
        port in prop::sample::select(&[53u16, 80, 5060, 5004, 5005, 8080][..]),
        udp in any::<bool>(),
        payloads in proptest::collection::vec((any::<bool>(), 0u32..400, proptest::collection::vec(any::<u8>(), 0..300)), 1..40),
        options in prop::sample::select(OPTIONS),
    ) {
        let mut packets = Vec::new();
        for (number, (forth, sequence, payload)) in payloads.iter().enumerate() {
            let (from, to) = if *forth { (40_000, port) } else { (port, 40_000) };
            let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, if udp { 17 } else { 6 }, 0, 0, 10, 0, 0, if *forth { 1 } else { 2 }, 10, 0, 0, if *forth { 2 } else { 1 }];
            ip.extend_from_slice(&from.to_be_bytes());
            ip.extend_from_slice(&to.to_be_bytes());
            if udp {
                ip.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
                ip.extend_from_slice(&[0, 0]);
            } else {
                ip.extend_from_slice(&sequence.to_be_bytes());
                ip.extend_from_slice(&(sequence / 2).to_be_bytes());
                ip.extend_from_slice(&[0x50, if number % 7 == 6 { 0x11 } else { 0x10 }, 255, 255, 0, 0, 0, 0]);
            }
            ip.extend_from_slice(payload);
            let length = ip.len() as u16;
            ip[2..4].copy_from_slice(&length.to_be_bytes());
            packets.push((number as u64 * 1_000_000_000, ip));
        }
        run(options, 101, &packets);
    }
}
