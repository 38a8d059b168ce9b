//! Every capture of the shared corpus, where it lies beside the project: counts and flows as tshark found them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use packet::net::{Transport, dissect};
use packet::{CaptureError, CaptureReader, Timestamp};
use serde_json::Value;

fn corpus() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    folder.join("index.json").exists().then_some(folder)
}

/// A time as capinfos prints it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Clock(Timestamp);

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:09}", self.0.seconds(), self.0.subsecond_nanos())
    }
}

#[derive(Debug, Default)]
struct Seen {
    packets: u64,
    first: Clock,
    last: Clock,
    frames: BTreeMap<&'static str, u64>,
    warnings: Vec<String>,
    error: Option<String>,
    tunnels: u64,
    fragments: u64,
}

fn read(path: &std::path::Path) -> Result<Seen, CaptureError> {
    let mut reader = CaptureReader::new(File::open(path).unwrap())?;
    let mut seen = Seen::default();
    loop {
        let (time, found) = match reader.next() {
            Ok(Some(packet)) => {
                let (interface, data, length) =
                    (packet.interface as usize, packet.data.to_vec(), packet.original_length);
                let time = packet.time;
                let link_type = reader.interfaces()[interface].link_type;
                let found = dissect(link_type, &data, length);
                let mut names = Vec::new();
                if let Some(network) = found.network {
                    names.push(if network.version() == 4 { "ip" } else { "ipv6" });
                    assert!(network.payload.len() as u32 <= network.payload_wire);
                }
                match found.transport {
                    Transport::Udp(_) => names.push("udp"),
                    Transport::Tcp(_) => names.push("tcp"),
                    Transport::Icmp(icmp) if icmp.version == 4 => names.push("icmp"),
                    Transport::Icmp(_) => names.push("icmpv6"),
                    Transport::Sctp(_) => names.push("sctp"),
                    Transport::Fragment => seen.fragments += 1,
                    _ => {}
                }
                if !found.tunnels.is_empty() {
                    seen.tunnels += 1;
                }
                assert!(found.payload.len() as u32 <= found.payload_wire);
                let _ = (found.flow_key(), found.community_id());
                (time, names)
            }
            Ok(None) => break,
            Err(error) => {
                seen.error = Some(error.to_string());
                continue;
            }
        };
        for name in found {
            *seen.frames.entry(name).or_default() += 1;
        }
        if seen.packets == 0 {
            seen.first = Clock(time);
        }
        seen.first = seen.first.min(Clock(time));
        seen.last = seen.last.max(Clock(time));
        seen.packets += 1;
    }
    seen.warnings = reader.warnings().iter().map(ToString::to_string).collect();
    Ok(seen)
}

fn index(corpus: &std::path::Path) -> Vec<Value> {
    let index: Value = serde_json::from_slice(&std::fs::read(corpus.join("index.json")).unwrap()).unwrap();
    index["files"].as_array().unwrap().clone()
}

/// Files where tshark counts what we do not: with the reason.
const OTHERWISE: [(&str, &str); 6] = [
    ("linklayers__zeek__ayiya-large-identity.pcap", "AYIYA is not walked into: the last broker closed in 2017"),
    ("ipfrag__pcapplusplus__ip4_bad_fragment.pcap", "PPP in MPLS, which tshark takes for IP"),
    ("icmp__tcpdump__icmp-rfc8335-missing-bytes.pcap", "quotes a packet"),
    ("tcp__pkts__base_usage_3_streams.pcap", "an Ethernet header of type IP and nothing behind it"),
    ("tcp__pcapplusplus__tcp-reassembly.pcap", "a TCP header that is cut within its first bytes"),
    ("linklayers__wssamples__BT_USB_LinCooked_Eth_80211_RT.pcap", "broken; tshark stops in it"),
];

#[test]
fn every_readable_file_gives_the_packets_and_times_that_tshark_saw() {
    let Some(corpus) = corpus() else { return };
    let mut compared = 0;
    for file in index(&corpus) {
        let name = file["file"].as_str().unwrap();
        let Some(packets) = file["packets"].as_u64() else { continue };
        let seen = match read(&corpus.join("files").join(name)) {
            Ok(seen) => seen,
            Err(CaptureError::Unrecognised { .. } | CaptureError::Compressed(_) | CaptureError::Empty) => continue,
            Err(error) => panic!("{name}: {error}"),
        };
        assert_eq!(seen.packets, packets, "{name}");
        assert_eq!(seen.error.is_some(), file["tshark_rc"] == 2, "{name}: {:?}", seen.error);
        assert_eq!(seen.warnings, [""; 0], "{name}");
        // Fractions of a second beyond the second are carried here and not there.
        if packets > 0 && !name.contains("fuzz-2021") && file["first_time"] != "n/a" {
            for (key, ours) in [("first_time", seen.first), ("last_time", seen.last)] {
                let theirs = file[key].as_str().unwrap();
                assert!(ours.to_string().starts_with(theirs.trim_end_matches('0')), "{name}: {key} {theirs} {ours}");
            }
        }
        compared += 1;
    }
    assert!(compared > 700, "{compared}");
}

#[test]
fn frames_per_protocol_are_those_of_tshark() {
    let Some(corpus) = corpus() else { return };
    let mut compared = 0;
    for file in index(&corpus) {
        let name = file["file"].as_str().unwrap();
        let frames = |protocol: &str| file["protocol_frames"][protocol].as_u64().unwrap_or(0);
        // tshark also counts what tunnels, quotes and reassembled fragments hold.
        let plain = frames("icmp") == 0 && frames("icmpv6") == 0 && file["category"] != "malformed";
        if !plain || file["tshark_rc"] != 0 || OTHERWISE.iter().any(|(other, _)| *other == name) {
            continue;
        }
        let Ok(seen) = read(&corpus.join("files").join(name)) else { continue };
        if seen.tunnels > 0 || seen.fragments > 0 {
            continue;
        }
        for protocol in ["ip", "ipv6", "udp", "tcp", "icmp", "icmpv6", "sctp"] {
            let ours = seen.frames.get(protocol).copied().unwrap_or(0);
            assert_eq!(ours, frames(protocol), "{name}: {protocol}");
        }
        compared += 1;
    }
    assert!(compared > 450, "{compared}");
}

#[test]
fn broken_files_give_what_they_still_hold() {
    let Some(corpus) = corpus() else { return };
    let check = |name: &str, packets: u64, warnings: usize, error: bool| {
        let seen = read(&corpus.join(format!("files/malformed__derived__file_{name}.pcap"))).unwrap();
        assert_eq!(
            (seen.packets, seen.warnings.len(), seen.error.is_some()),
            (packets, warnings, error),
            "{name}: {seen:?}"
        );
    };
    check("caplen_huge", 40, 1, false);
    check("caplen_minus1", 40, 1, false);
    check("caplen_wrong_second", 40, 1, false);
    check("concat_two", 80, 1, false);
    check("ng_block_length_7", 40, 1, false);
    check("ng_block_length_huge", 40, 1, false);
    check("ng_byte_order_magic_bad", 40, 1, false);
    check("ng_epb_bad_interface", 39, 1, false);
    check("ng_epb_caplen_over_block", 40, 1, false);
    check("ng_option_overrun", 5, 1, false);
    check("ng_shb_version_9", 40, 1, false);
    check("ng_trailer_length_mismatch", 40, 1, false);
    check("ng_trunc_in_block", 39, 0, true);
    check("only_magic", 0, 0, true);
    check("trailing_garbage", 40, 0, true);
    check("trunc_in_global_header", 0, 0, true);
    check("trunc_in_packet", 39, 0, true);
    check("unknown_linktype", 40, 0, false);
    check("version_1_0", 40, 1, false);
}

/// Our Community IDs of a file's packets beside those of tshark, where it is installed.
#[test]
fn community_ids_are_those_of_tshark() {
    let Some(corpus) = corpus() else { return };
    let files = [
        "icmp__packetbeat__icmp_2_pings",
        "icmp__pcapplusplus__IcmpV6_EchoMessages",
        "icmp__zeek__icmp6-mld-query",
        "icmp__zeek__icmp6-mldv1",
        "icmp__zeek__icmp6-router-solicit",
        "icmp__zeek__icmp_dot1q",
        "icmp__zeek__icmp-ping",
        "icmp__tcpdump__icmpv6-ni-flags",
        "sctp__pkts__sctp",
        "tcp__pkts__base_usage_3_streams",
    ];
    for name in files {
        let path = corpus.join(format!("files/{name}.pcap"));
        let arguments = ["--enable-protocol", "communityid", "-T", "fields", "-e", "communityid", "-r"];
        let Ok(output) = std::process::Command::new("tshark").args(arguments).arg(&path).output() else { return };
        let theirs: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        let mut reader = CaptureReader::new(File::open(&path).unwrap()).unwrap();
        let (mut number, mut link_type) = (0, None);
        while let Some(packet) = reader.next().unwrap() {
            let (data, length) = (packet.data.to_vec(), packet.original_length);
            let link = *link_type.get_or_insert_with(|| reader.interfaces()[0].link_type);
            let ours = dissect(link, &data, length).community_id().map_or(String::new(), |id| id.to_string());
            assert_eq!(ours, theirs[number], "{name}: packet {}", number + 1);
            number += 1;
        }
    }
}
