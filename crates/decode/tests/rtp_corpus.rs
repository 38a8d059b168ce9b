//! Every stream that tshark finds in the shared corpus, where it lies beside the project: the same packets, losses and
//! duplicates, and jitter within 2 microseconds. Where we differ, the reason stands in docs/decoders/rtp.md.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use decode::protocols::rtp::fields;
use decode::{Clock, Config, Engine, Frame, Output};
use event::{Event, Field, Observer, Value, common};
use packet::{CaptureReader, Packet};

/// Where we and tshark differ: file, SSRC, sender, and what we find (packets, lost, second sights, restarts).
type Found = (u64, u64, u64, u64);
const EXPLAINED: &[(&str, u32, &str, Option<Found>)] = &[
    // Each packet was captured three times on its way through the machine.
    ("diameter__open5gs__ipsec_to_ipsec_call.pcap", 0x000e_61f1, "10.4.128.21", Some((92, 0, 184, 0))),
    ("diameter__open5gs__ipsec_to_ipsec_call.pcap", 0x000e_61f1, "192.168.101.2", Some((92, 0, 184, 0))),
    ("diameter__open5gs__ipsec_to_ipsec_call.pcap", 0x0032_68d0, "10.4.128.21", Some((119, 0, 238, 0))),
    ("diameter__open5gs__ipsec_to_ipsec_call.pcap", 0x0032_68d0, "192.168.101.3", Some((119, 0, 238, 0))),
    ("diameter__open5gs__ipsec_to_nonipsec_call.pcap", 0x0029_b45f, "10.4.128.21", Some((101, 0, 202, 0))),
    ("diameter__open5gs__ipsec_to_nonipsec_call.pcap", 0x0029_b45f, "192.168.101.6", Some((101, 0, 202, 0))),
    ("diameter__open5gs__ipsec_to_nonipsec_call.pcap", 0x4237_2fa3, "10.4.128.21", Some((74, 0, 148, 0))),
    ("diameter__open5gs__ipsec_to_nonipsec_call.pcap", 0x4237_2fa3, "192.168.101.8", Some((74, 0, 148, 0))),
    // The sender began anew; nothing was lost.
    ("rtp__derived__sip-rtp-g711_restart.pcap", 0x343f_fa34, "10.0.2.15", Some((414, 0, 0, 1))),
    ("rtp__derived__sip-rtp-g711_restart.pcap", 0x343d_a99b, "10.0.2.15", Some((425, 0, 0, 1))),
    ("rtp__derived__sip-rtp-g729a_restart.pcap", 0x0445_59a1, "10.0.2.15", Some((425, 0, 0, 1))),
    ("rtp__derived__sip_rtp_restart.pcap", 0xfebd_6340, "127.0.0.1", Some((501, 0, 0, 1))),
    // Its lowest number comes second.
    ("rtp__derived__sip_rtp_jitter15ms.pcap", 0xfebd_6340, "127.0.0.1", Some((501, 0, 0, 0))),
    // Audio after the offer of T.38, which tshark takes for T.38.
    ("rtp__ndpi__FAX-Call-t38-CA-TDM-SIP-FB-1.pcap", 0x0eaf_0eaf, "10.35.60.100", Some((159, 1712, 0, 0))),
    ("rtp__wssamples__FAX-Call-t38-CA-TDM-SIP-FB-1.pcap", 0x0eaf_0eaf, "10.35.60.100", Some((3848, 0, 0, 0))),
    // SRTP with encrypted padding, which tshark throws away.
    ("rtp__ndpi__stun_google_meet.pcap", 0, "2001:4860:4864:6::81", Some((104, 0, 0, 0))),
    ("rtp__ndpi__stun_google_meet.pcap", 0, "142.250.82.76", Some((31, 0, 0, 0))),
    // One packet that happens to begin with version 2.
    ("gtp__zeek__gtp4_udp_2152_inside.pcap", 0x6ed9_277c, "74.125.216.149", None),
    ("rtp__ndpi__telegram_videocall.pcap", 0xaa18_fe23, "192.168.12.169", None),
    ("rtp__ndpi__telegram_videocall.pcap", 0xc0c4_6388, "192.168.12.169", None),
    ("rtp__ndpi__telegram_videocall.pcap", 0x5bc2_14b1, "93.36.13.115", None),
    ("rtp__ndpi__telegram_videocall.pcap", 0x4e03_c69e, "93.36.13.115", None),
    ("rtp__ndpi__telegram_videocall.pcap", 0x5d59_1de4, "93.36.13.115", None),
    ("rtp__ndpi__telegram_videocall.pcap", 0xb383_6fc5, "93.36.13.115", None),
    ("rtp__ndpi__telegram_videocall.pcap", 0xa63b_512e, "192.168.12.169", None),
    ("rtp__ndpi__telegram_videocall.pcap", 0x3124_70af, "192.168.12.169", None),
    ("rtp__ndpi__telegram_videocall.pcap", 0x193b_f706, "93.36.13.115", None),
    ("rtp__ndpi__telegram_videocall.pcap", 0x078e_01c1, "192.168.12.169", None),
    ("rtp__ndpi__telegram_videocall.pcap", 0xaace_039b, "93.36.13.115", None),
    ("rtp__ndpi__telegram_videocall.pcap", 0x3909_a786, "192.168.12.169", None),
    ("rtp__ndpi__telegram_videocall.pcap", 0x7956_4c0c, "192.168.12.169", None),
];

type Key = (IpAddr, u64, IpAddr, u64, u32);

fn corpus() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    folder.join("index.json").exists().then_some(folder)
}

fn number(event: &Event, field: &'static Field) -> u64 {
    match event.get(field) {
        Some(Value::Unsigned(number)) => *number,
        _ => 0,
    }
}

fn float(event: &Event, field: &'static Field) -> Option<f64> {
    match event.get(field) {
        Some(Value::Float(number)) => Some(*number),
        _ => None,
    }
}

fn address(event: &Event, field: &'static Field) -> IpAddr {
    match event.get(field) {
        Some(Value::Ip(address)) => *address,
        other => panic!("{other:?}"),
    }
}

/// The final events about streams in a capture.
fn streams(path: &Path) -> Vec<(Key, Event)> {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    let Ok(mut reader) = CaptureReader::new(&bytes[..]) else { return Vec::new() };
    let observer = Arc::new(Observer { name: "corpus".into(), epoch: "0".into(), is_file: true });
    let mut engine = Engine::new(&Config::default(), observer).unwrap();
    let (mut output, mut count, mut clock) = (Output::default(), 0, Clock::default());
    while let Ok(Some(packet)) = reader.next() {
        let (time, data, index, original_length) =
            (packet.time, packet.data.to_vec(), packet.interface, packet.original_length);
        let Some(interface) = reader.interfaces().get(index as usize) else { continue };
        let clock = clock.see(time);
        let packet = Packet { time, interface: index, original_length, data: &data };
        engine.packet(&Frame { number: count, clock, interface, packet: &packet }, &mut output);
        count += 1;
    }
    engine.finish(&mut output);
    let finals = output.events.into_iter().map(|(event, _)| event);
    let finals = finals.filter(|event| event.get(&fields::FINAL) == Some(&Value::Bool(true)));
    finals
        .map(|event| {
            let ssrc = u32::from_str_radix(&event.get_str(&fields::SSRC).unwrap()[2..], 16).unwrap();
            let key = (
                address(&event, &common::SOURCE_IP),
                number(&event, &common::SOURCE_PORT),
                address(&event, &common::DESTINATION_IP),
                number(&event, &common::DESTINATION_PORT),
                ssrc,
            );
            (key, event)
        })
        .collect()
}

/// What of an event differs from tshark's row.
fn differences(event: &Event, row: &serde_json::Value) -> Vec<String> {
    let mut found = Vec::new();
    let packets = number(event, &fields::PACKETS);
    if packets != row["packets"].as_u64().unwrap() {
        found.push(format!("packets {packets}, tshark {}", row["packets"]));
    }
    // tshark counts duplicates as received.
    let net = number(event, &fields::LOST) as i64 - number(event, &fields::DUPLICATES) as i64;
    if net != row["lost"].as_i64().unwrap() {
        found.push(format!("lost without duplicates {net}, tshark {}", row["lost"]));
    }
    for (name, field, absent) in [
        ("min_jitter", &fields::JITTER_MIN, -1.0),
        ("mean_jitter", &fields::JITTER_MEAN, 0.0),
        ("max_jitter", &fields::JITTER_MAX, 0.0),
        ("mean_delta", &fields::DELTA_MEAN, 0.0),
        ("max_delta", &fields::DELTA_MAX, 0.0),
    ] {
        let (ours, theirs) = (float(event, field).unwrap_or(absent), row[name].as_f64().unwrap());
        if (ours - theirs).abs() > 0.002 {
            found.push(format!("{name} {ours}, tshark {theirs}"));
        }
    }
    found
}

#[test]
fn streams_are_those_of_tshark_or_explained() {
    let Some(folder) = corpus() else { return };
    let index: serde_json::Value = serde_json::from_reader(File::open(folder.join("index.json")).unwrap()).unwrap();
    let (mut same, mut explained, mut problems) = (0, 0, Vec::new());
    for file in index["files"].as_array().unwrap() {
        let name = file["file"].as_str().unwrap();
        let mut rows: BTreeMap<Key, &serde_json::Value> = BTreeMap::new();
        for list in ["rtp_streams", "rtp_streams_heur"] {
            for row in file[list].as_array().into_iter().flatten() {
                let ip = |key: &str| row[key].as_str().unwrap().parse::<IpAddr>().unwrap();
                let ssrc = u32::from_str_radix(&row["ssrc"].as_str().unwrap()[2..], 16).unwrap();
                let key = (ip("src"), row["sport"].as_u64().unwrap(), ip("dst"), row["dport"].as_u64().unwrap(), ssrc);
                rows.insert(key, row);
            }
        }
        if rows.is_empty() {
            continue;
        }
        let ours = streams(&folder.join("files").join(name));
        for (key, row) in rows {
            let mut matching = ours.iter().filter(|(ours, _)| *ours == key).map(|(_, event)| event);
            let (event, again) = (matching.next(), matching.next());
            if again.is_some() {
                problems.push(format!("{name} {key:?}: more than one final event"));
            }
            let sender = key.0;
            let known = EXPLAINED
                .iter()
                .find(|(file, ssrc, from, _)| *file == name && *ssrc == key.4 && from.parse() == Ok(sender));
            match (event, known) {
                (None, Some((.., None))) => explained += 1,
                (Some(event), Some((.., Some(expected)))) => {
                    let found = (
                        number(event, &fields::PACKETS),
                        number(event, &fields::LOST),
                        number(event, &fields::SECOND_SIGHTS),
                        number(event, &fields::RESTARTS),
                    );
                    if found == *expected {
                        explained += 1;
                    } else {
                        problems.push(format!("{name} {key:?}: {found:?} instead of {expected:?}"));
                    }
                }
                (Some(event), None) => {
                    let found = differences(event, row);
                    if found.is_empty() {
                        same += 1;
                    } else {
                        problems.push(format!("{name} {key:?}: {}", found.join("; ")));
                    }
                }
                (event, known) => problems.push(format!("{name} {key:?}: found {}, {known:?}", event.is_some())),
            }
        }
    }
    assert!(problems.is_empty(), "{same} the same, {explained} explained, but\n{}", problems.join("\n"));
    assert_eq!(explained, EXPLAINED.len());
    println!("{same} streams the same, {explained} explained");
}

#[test]
fn what_was_removed_or_doubled_when_a_capture_was_made_is_found() {
    let Some(folder) = corpus() else { return };
    let index: serde_json::Value = serde_json::from_reader(File::open(folder.join("index.json")).unwrap()).unwrap();
    let mut checked = 0;
    for file in index["files"].as_array().unwrap() {
        let name = file["file"].as_str().unwrap();
        let Some(truth) = file.get("truth").filter(|_| name.starts_with("rtp__derived__")) else { continue };
        let of = |kind: &str, ssrc: &str| {
            truth.get(kind).and_then(|all| all.get(ssrc)).and_then(|n| n.as_u64()).unwrap_or(0)
        };
        let ours = streams(&folder.join("files").join(name));
        for (ssrc, sent) in truth["streams"].as_object().unwrap() {
            let sought = u32::from_str_radix(&ssrc[2..], 16).unwrap();
            let Some((_, event)) = ours.iter().find(|(key, _)| key.4 == sought) else { panic!("{name}: no {ssrc}") };
            let (removed, doubled) = (of("removed", ssrc), of("duplicated", ssrc));
            let sent = sent["packets"].as_u64().unwrap();
            assert_eq!(number(event, &fields::PACKETS), sent - removed + doubled, "{name} {ssrc} packets");
            assert_eq!(number(event, &fields::DUPLICATES), doubled, "{name} {ssrc} duplicates");
            assert_eq!(number(event, &fields::LOST), removed, "{name} {ssrc} lost");
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}
