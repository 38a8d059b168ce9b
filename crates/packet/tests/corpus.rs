//! Every capture of the shared corpus, where it lies beside the project: counts and flows as tshark found them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use packet::net::{Transport, dissect};
use packet::{CaptureError, CaptureReader};
use serde_json::Value;

fn corpus() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    folder.join("index.json").exists().then_some(folder)
}

#[derive(Debug, Default)]
struct Seen {
    packets: u64,
    bytes: u64,
    first: String,
    last: String,
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
        let (data_len, time, found) = match reader.next() {
            Ok(Some(packet)) => {
                let (interface, data, length) = (packet.interface as usize, packet.data.to_vec(), packet.original_length);
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
                (data.len(), time, names)
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
        let text = format!("{}.{:09}", time.seconds(), time.subsecond_nanos());
        if seen.packets == 0 {
            seen.first = text.clone();
        }
        seen.last = text;
        seen.packets += 1;
        seen.bytes += data_len as u64;
    }
    seen.warnings = reader.warnings().iter().map(ToString::to_string).collect();
    Ok(seen)
}

#[test]
fn survey() {
    let Some(corpus) = corpus() else { return };
    let index: Value = serde_json::from_slice(&std::fs::read(corpus.join("index.json")).unwrap()).unwrap();
    for file in index["files"].as_array().unwrap() {
        let name = file["file"].as_str().unwrap();
        let seen = match read(&corpus.join("files").join(name)) {
            Ok(seen) => seen,
            Err(error) => {
                println!("UNREAD {name}: {error}");
                continue;
            }
        };
        if file["packets"].as_u64() != Some(seen.packets) || seen.error.is_some() || !seen.warnings.is_empty() {
            println!("COUNT {name}: {:?} here {} bytes {} {:?} {:?}", file["packets"], seen.packets, seen.bytes, seen.error, seen.warnings);
        }
        for (key, ours) in [("first_time", &seen.first), ("last_time", &seen.last)] {
            if let Some(theirs) = file[key].as_str() {
                if !ours.starts_with(theirs.trim_end_matches('0')) {
                    println!("TIME {name}: {key} {theirs} {ours}");
                }
            }
        }
        if file["tshark_rc"].as_u64() == Some(0) {
            let mut line = String::new();
            for protocol in ["ip", "ipv6", "udp", "tcp", "icmp", "icmpv6", "sctp"] {
                let theirs = file["protocol_frames"][protocol].as_u64().unwrap_or(0);
                let ours = seen.frames.get(protocol).copied().unwrap_or(0);
                if theirs != ours {
                    line += &format!(" {protocol} {theirs}/{ours}");
                }
            }
            if !line.is_empty() {
                println!("FRAMES {name} [{}] tunnels {} fragments {}:{line}", file["link_type"], seen.tunnels, seen.fragments);
            }
        }
    }
}
