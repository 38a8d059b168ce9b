//! A probe, the collector, its archive, its feed and its API, with real sockets and processes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod setting;

use feed::Message;
use packet::batch::{DropPlace, DropReason};
use packet::{BatchName, Epoch, GapRecord, Timestamp};
use setting::{Collector, Probe, batch, compress, gap, messages, udp, wait};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use uplink::{EntryHead, Statistics};

#[test]
fn collector_process() {
    setting::collector_process();
}

const EPOCH: Epoch = Epoch([7; 16]);

fn numbered(from: u64, count: u64) -> Vec<Vec<u8>> {
    (from..from + count).map(|n| udp(4000, &[&n.to_be_bytes()[..], &[0xaa; 20]].concat())).collect()
}

#[test]
fn an_entry_is_published_archived_acknowledged_and_accounted_for() {
    let mut collector = Collector::start(|_| {});
    let subscriber = collector.subscriber(&["data.v2.gw/", "event.v2."]);
    let mut probe = Probe::connect(collector.uplink_path(), "gw", EPOCH, 0);
    for seq in 0..5 {
        probe.send(batch("gw", EPOCH, seq, seq * 10, &numbered(seq * 10, 10)));
    }
    let lost = GapRecord {
        name: BatchName { source: "gw".parse().unwrap(), epoch: EPOCH, seq: 5 },
        last_seq: 8,
        place: DropPlace::Spool,
        reason: DropReason::BufferFull,
        first_packet: 50,
        packets: 33,
        captured_bytes: 3300,
        time_min: Timestamp::from_nanos(1_700_000_000_000_000_000),
        time_max: Timestamp::from_nanos(1_700_000_000_000_000_001),
    };
    probe.send(gap(&lost));
    probe.send(batch("gw", EPOCH, 9, 83, &numbered(83, 7)));
    probe.until_acknowledged(10);

    let count = |seen: &[Message]| seen.iter().filter(|message| matches!(message, Message::Entry(_))).count();
    let opened = |message: &Message| matches!(message, Message::Event { name, .. } if name == "segment_opened");
    let seen = messages(&subscriber, |seen| count(seen) == 7 && seen.iter().any(opened));
    let mut ranges = Vec::new();
    let mut events = Vec::new();
    for message in &seen {
        match message {
            Message::Entry(entry) => ranges.push((entry.meta.seq, entry.meta.last_seq, entry.meta.packets)),
            Message::Event { name, source, body } => {
                let body: serde_json::Value = serde_json::from_slice(body).unwrap();
                assert_eq!((body["v"].as_u64(), body["source"].as_str()), (Some(1), Some(source.as_str())));
                events.push(name.as_str());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ranges, [(0, 0, 10), (1, 1, 10), (2, 2, 10), (3, 3, 10), (4, 4, 10), (5, 8, 33), (9, 9, 7)]);
    for name in ["connect", "packets_dropped", "segment_opened"] {
        assert!(events.contains(&name), "{name} in {events:?}");
    }

    let drops = vec![uplink::DropCount { place: DropPlace::Spool, reason: DropReason::BufferFull, packets: 33 }];
    probe.state(Statistics { captured: 95, held: 5, acknowledged: 57, drops, ..Statistics::default() });
    let row = wait("the balance to close", || {
        probe.exchange().unwrap();
        collector.balance("gw").into_iter().find(|row| row.closes)
    });
    assert_eq!((row.captured_packets, row.archived_packets, row.dropped_packets), (95, 57, 33));
    assert_eq!((row.in_flight_packets, row.published_packets), (5, 57));
    assert_eq!(row.dropped.get("spool/buffer_full"), Some(&33));

    let expected = [numbered(0, 50), numbered(83, 7)].concat();
    assert_eq!(collector.grab(""), expected);
    assert_eq!(collector.grab("query=udp%20port%204001").len(), 0);
    assert_eq!(collector.grab("query=udp%20port%204000&source=gw&format=pcap").len(), 57);
    let stored: Vec<_> = collector.entries("gw", EPOCH).iter().map(|entry| entry.meta.seq).collect();
    assert_eq!(stored, [0, 1, 2, 3, 4, 5, 9]);
    assert_eq!(collector.metric("tapline_collector_received_packets_total"), 57);
    assert_eq!(collector.metric("tapline_archive_packets_total"), 57);
    let (status, body) = collector.ask("GET", "/api/v1/packets?query=no+such+filter+(");
    assert_eq!(status, 400, "{}", String::from_utf8_lossy(&body));
    assert!(serde_json::from_slice::<api::ErrorAnswer>(&body).is_ok());

    collector.stop();
    collector.run();
    let row = collector.balance("gw").remove(0);
    assert!(row.closes, "after a restart: {}", row.remark);
    assert_eq!(collector.grab(""), expected);
}

#[test]
fn what_waits_is_made_durable_in_rounds() {
    // So far apart that none comes by itself while this runs.
    let collector = Collector::start(|settings| settings.commit = Duration::from_secs(600));
    let mut probe = Probe::connect(collector.uplink_path(), "gw", EPOCH, 0);
    for seq in 0..10 {
        probe.send(batch("gw", EPOCH, seq, seq * 10, &numbered(seq * 10, 10)));
        // With a pause, as a quiet network has them.
        probe.exchange().unwrap();
    }
    wait("what waits to be readable", || (collector.grab("") == numbered(0, 100)).then_some(()));
    let commits = || collector.metric("tapline_archive_commits_total");
    assert_eq!((probe.acknowledged, commits()), (0, 0));

    // By so much a probe might be out of credit or memory: 1 MiB after seven of these.
    let mut number = 1u64;
    let mut noise = || {
        let bytes = (0..32 * 1024).map(|_| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (number >> 56) as u8
        });
        udp(4000, &bytes.collect::<Vec<_>>())
    };
    for seq in 10..17 {
        let packets: Vec<_> = (0..5).map(|_| noise()).collect();
        probe.send(batch("gw", EPOCH, seq, 100 + (seq - 10) * 5, &packets));
    }
    probe.until_acknowledged(17);
    assert_eq!(commits(), 1);
}

#[test]
fn killed_and_started_again_everything_is_there_once() {
    let mut collector = Collector::start(|_| {});
    let total = 400;
    let mut kills = 0;
    while kills < 6 {
        let mut probe = Probe::connect(collector.uplink_path(), "gw", EPOCH, total);
        let from = probe.welcome.next_seq;
        for seq in from..total {
            probe.send(batch("gw", EPOCH, seq, seq * 10, &numbered(seq * 10, 10)));
            if seq - from > 40 + kills * 7 {
                break;
            }
            if probe.exchange().is_err() {
                break;
            }
        }
        collector.kill();
        kills += 1;
        collector.run();
    }
    let mut probe = Probe::connect(collector.uplink_path(), "gw", EPOCH, total);
    for seq in probe.welcome.next_seq..total {
        probe.send(batch("gw", EPOCH, seq, seq * 10, &numbered(seq * 10, 10)));
    }
    probe.until_acknowledged(total);
    assert_eq!(collector.grab(""), numbered(0, total * 10));
    probe.bye(Statistics { captured: total * 10, acknowledged: total * 10, ..Statistics::default() });
    probe.until_refused();
    let row = collector.balance("gw").remove(0);
    assert!(row.closes && row.state == "complete", "{row:?}");
}

#[test]
fn hostile_peers_are_counted_and_harm_only_themselves() {
    let collector = Collector::start(|_| {});
    let mut good = Probe::connect(collector.uplink_path(), "good", EPOCH, 0);
    let before = collector.resident_kib();
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    for _ in 0..50 {
        let mut stream = UnixStream::connect(collector.uplink_path()).unwrap();
        let bytes: Vec<u8> = (0..4096).map(|_| random()).collect();
        let _ = stream.write_all(&bytes);
        stream.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // Connections that say nothing, and half a message: they are dropped later and cost little.
    let idle: Vec<_> = (0..200).map(|_| UnixStream::connect(collector.uplink_path()).unwrap()).collect();

    let bad = |n: u8, entry: (EntryHead, Vec<u8>)| {
        let epoch = Epoch([n; 16]);
        let mut probe = Probe::connect(collector.uplink_path(), &format!("bad{n}"), epoch, 0);
        probe.send(entry);
        probe.until_refused()
    };
    let epoch = |n: u8| Epoch([n; 16]);
    // 256 MiB of zeros in a few KiB.
    let bomb = compress(&vec![0; 256 << 20]);
    assert!(bad(1, (EntryHead { seq: 0, last_seq: 0, raw_length: 1000 }, bomb.clone())).contains("decompressed"));
    assert!(bad(2, (EntryHead { seq: 0, last_seq: 0, raw_length: 4 << 20 }, bomb)).contains("decompressed"));
    let (head, mut frame) = batch("bad3", epoch(3), 0, 0, &numbered(0, 3));
    frame.extend_from_slice(b"more");
    assert!(bad(3, (head, frame)).contains("decompressed"));
    let other = batch("other", epoch(4), 0, 0, &numbered(0, 3));
    assert!(bad(4, other).contains("names another source"));
    let junk = compress(&[0x5a; 1000]);
    assert!(bad(5, (EntryHead { seq: 0, last_seq: 0, raw_length: 1000 }, junk)).contains("batch"));
    let early = batch("bad6", epoch(6), 9, 0, &numbered(0, 3));
    assert!(bad(6, early).contains("does not follow"));

    good.send(batch("good", EPOCH, 0, 0, &numbered(0, 10)));
    good.until_acknowledged(1);
    assert_eq!(collector.grab(""), numbered(0, 10));
    assert!(collector.metric("tapline_collector_bad_peers_total{reason=\"compression\"}") >= 3);
    assert!(collector.metric("tapline_collector_bad_peers_total{reason=\"content\"}") >= 2);
    let grown = collector.resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB more");
    drop(idle);
}

#[test]
fn one_name_is_one_probe() {
    let collector = Collector::start(|_| {});
    let mut first = Probe::connect(collector.uplink_path(), "gw", EPOCH, 0);
    first.send(batch("gw", EPOCH, 0, 0, &numbered(0, 1)));
    first.until_acknowledged(1);
    let refused = Probe::try_connect(collector.uplink_path(), "gw", Epoch([8; 16]), 0).err().unwrap();
    assert!(refused.contains("another probe with the name gw"), "{refused}");
    let second = Probe::connect(collector.uplink_path(), "gw", EPOCH, 1);
    assert_eq!(second.welcome.next_seq, 1);
    first.until_refused();
}

#[test]
fn what_the_policy_keeps_from_the_disk_is_published_and_accounted_for() {
    let policy = collector::SourcePolicy {
        store: collector::Store::Nothing,
        filter: "udp portrange 10000-20000".into(),
        ..collector::SourcePolicy::default()
    };
    let headers = collector::SourcePolicy { store: collector::Store::Headers, ..collector::SourcePolicy::default() };
    let mut collector = Collector::start(|settings| {
        settings.sources = BTreeMap::from([("gw".to_owned(), policy), ("edge".to_owned(), headers)]);
    });
    let subscriber = collector.subscriber(&["data.v2."]);
    let audio = b"THESE-ARE-THE-BYTES-OF-A-CONVERSATION";
    let mixed = [udp(5060, b"INVITE sip:bob"), udp(10_000, audio), udp(10_002, audio)];
    let mut probe = Probe::connect(collector.uplink_path(), "gw", EPOCH, 0);
    probe.send(batch("gw", EPOCH, 0, 0, &mixed));
    probe.send(batch("gw", EPOCH, 1, 3, &mixed[1..]));
    probe.send(batch("gw", EPOCH, 2, 5, &mixed[..1]));
    probe.until_acknowledged(3);
    let mut edge = Probe::connect(collector.uplink_path(), "edge", EPOCH, 0);
    edge.send(batch("edge", EPOCH, 0, 0, &mixed));
    edge.until_acknowledged(1);
    let heard = messages(&subscriber, |seen| seen.len() == 4);
    let audible = heard.iter().filter(|message| {
        let Message::Entry(entry) = message else { return false };
        let raw = zstd::bulk::decompress(&entry.frame, 1 << 20).unwrap();
        raw.windows(audio.len()).any(|bytes| bytes == audio)
    });
    assert_eq!(audible.count(), 3, "the feed has it all");

    probe.state(Statistics { captured: 6, acknowledged: 6, ..Statistics::default() });
    let row = wait("the balance to close", || {
        probe.exchange().unwrap();
        collector.balance("gw").into_iter().find(|row| row.closes)
    });
    assert_eq!((row.archived_packets, row.not_stored_packets), (2, 4));
    assert_eq!(collector.grab("source=gw"), [mixed[0].clone(), mixed[0].clone()]);
    let cut = collector.grab("source=edge");
    assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), [42, 42, 42]);

    collector.kill();
    collector.run();
    let again = Probe::connect(collector.uplink_path(), "gw", EPOCH, 3);
    assert_eq!(again.welcome.next_seq, 3, "what was not stored is not asked for again");
    collector.stop();
    let mut folders = vec![collector.settings.data.clone()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files += 1;
                let mut bytes = std::fs::read(entry.path()).unwrap();
                if entry.path().extension().is_some_and(|extension| extension == "zst") {
                    bytes = zstd::stream::decode_all(bytes.as_slice()).unwrap();
                }
                let found = bytes.windows(audio.len()).any(|window| window == audio);
                assert!(!found, "{} holds the conversation", entry.path().display());
            }
        }
    }
    assert!(files >= 4, "only {files} files looked at");
}

#[test]
fn live_packets_are_those_of_now_filtered() {
    let collector = Collector::start(|_| {});
    let mut probe = Probe::connect(collector.uplink_path(), "gw", EPOCH, 0);
    probe.send(batch("gw", EPOCH, 0, 0, &numbered(0, 3)));
    probe.until_acknowledged(1);
    let mut watcher = UnixStream::connect(collector.api_path()).unwrap();
    watcher.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    watcher.write_all(b"GET /api/v1/live?query=udp%20port%205060 HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut read = |answer: &mut Vec<u8>| {
        let mut buffer = [0; 65_536];
        if let Ok(length) = watcher.read(&mut buffer) {
            answer.extend_from_slice(&buffer[..length]);
        }
    };
    let head_end = |answer: &[u8]| answer.windows(4).position(|four| four == b"\r\n\r\n");
    wait("the section header", || {
        read(&mut answer);
        let at = head_end(&answer)? + 4;
        answer[at..].starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]).then_some(())
    });
    let invite = udp(5060, b"INVITE");
    probe.send(batch("gw", EPOCH, 1, 3, &[udp(4000, b"other"), invite.clone()]));
    probe.until_acknowledged(2);
    wait("the packet", || {
        read(&mut answer);
        let stream = &answer[head_end(&answer)? + 4..];
        let mut reader = packet::CaptureReader::new(stream).ok()?;
        let first = reader.next().ok()??.data.to_vec();
        assert_eq!(first, invite);
        assert!(matches!(reader.next(), Ok(None)), "nothing else");
        Some(())
    });
}

#[test]
fn a_source_that_brings_nothing_is_said_to_be_silent_and_to_be_back() {
    let collector = Collector::start(|settings| settings.silence = Duration::from_millis(400));
    let subscriber = collector.subscriber(&["event.v2.source_"]);
    let mut probe = Probe::connect(collector.uplink_path(), "gw", EPOCH, 0);
    let name = |message: &Message| match message {
        Message::Event { name, source, .. } if source == "gw" => name.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(messages(&subscriber, |seen| !seen.is_empty()).iter().map(name).collect::<Vec<_>>(), ["source_silent"]);
    probe.send(batch("gw", EPOCH, 0, 0, &numbered(0, 3)));
    probe.until_acknowledged(1);
    assert_eq!(messages(&subscriber, |seen| !seen.is_empty()).iter().map(name).collect::<Vec<_>>()[0], "source_back");
}

/// A small file system, where this user may mount one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: &std::path::Path) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs"])
            .arg(path)
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-l"]).arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_costs_nothing_once_there_is_room_again() {
    let mut disk = None;
    let collector = Collector::start(|settings| {
        disk = SmallDisk::mount(&settings.data.join("archive"));
        settings.commit = Duration::from_millis(20);
    });
    let Some(disk) = disk else {
        println!("no file system can be mounted here: nothing tested");
        return;
    };
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![1; 700 << 10]).unwrap();
    let mut state = 9u64;
    let mut noise = |n: u64| {
        let mut bytes = n.to_be_bytes().to_vec();
        bytes.extend((0..1000).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        }));
        udp(4000, &bytes)
    };
    let packets: Vec<Vec<u8>> = (0..600).map(&mut noise).collect();
    let total = 60;
    let send = |probe: &mut Probe, from: u64| {
        for seq in from..total {
            let first = seq * 10;
            probe.send(batch("gw", EPOCH, seq, first, &packets[first as usize..first as usize + 10]));
        }
    };
    let mut probe = Probe::connect(collector.uplink_path(), "gw", EPOCH, total);
    send(&mut probe, 0);
    wait("the disk to be full", || {
        let _ = probe.exchange();
        (collector.ask("GET", "/readyz").0 == 503).then_some(())
    });
    assert!(probe.acknowledged < total);
    std::fs::remove_file(&ballast).unwrap();
    // The connection may have been ended so that what was lost is sent again.
    wait("everything to be durable", || {
        if probe.exchange().is_err() {
            probe = Probe::try_connect(collector.uplink_path(), "gw", EPOCH, total).ok()?;
            let from = probe.welcome.next_seq;
            send(&mut probe, from);
        }
        (probe.acknowledged == total).then_some(())
    });
    assert_eq!(collector.ask("GET", "/readyz").0, 200);
    assert!(collector.grab("") == packets, "every packet once");
    assert!(collector.metric("tapline_archive_errors_total") > 0);
}

#[test]
fn no_root_no_capability_no_way_back() {
    let collector = Collector::start(|_| {});
    let mut looked_at = 0;
    for task in std::fs::read_dir(format!("/proc/{}/task", collector.pid())).unwrap().map(Result::unwrap) {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        // The others are the test harness's own.
        if !["writer", "publisher", "tokio-rt-worker"].contains(&field("Name:").as_str()) {
            continue;
        }
        looked_at += 1;
        assert_ne!(field("Uid:").split_whitespace().nth(1), Some("0"));
        assert_eq!(field("CapEff:"), "0000000000000000");
        assert_eq!(field("NoNewPrivs:"), "1");
    }
    assert!(looked_at >= 3);
}
