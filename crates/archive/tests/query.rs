//! What a query gives back, compared with tcpdump over the same packets, and its order, bounds and summary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use archive::{Archive, Dump, DumpError, DumpFormat, Filter, Query, QueryError, Writer, WriterOptions};
use fixture::{Probe, START, ethernet, installed, ipv4, numbers, open, options, scratch, set, shell, source, udp};
use packet::pcap::{self, Precision};
use packet::{LinkType, Packet, Timestamp};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a probe may claim to have lost, and where it may say that its packets begin.
#[test]
fn numbers_that_cannot_be_do_not_overflow() {
    let folder = scratch();
    let mut writer = open(folder.path());
    let mut probe = Probe::new("web1", 1, ethernet());
    probe.packet = u64::MAX - 2;
    probe.send(&mut writer, &traffic(2)).unwrap();
    for _ in 0..2 {
        probe.packet = 0;
        probe.lose(&mut writer, 1, u64::MAX).unwrap();
    }
    writer.commit().unwrap();
    assert_eq!(writer.state(&probe.source, probe.epoch).unwrap().gaps(), u64::MAX);
    let mut result = Archive::new(folder.path()).query(Query::default()).unwrap();
    assert_eq!(result.progress().gap_packets, u64::MAX);
    while result.next().unwrap().is_some() {}
}

type Stored = (u64, u32, u32, Vec<u8>);

/// Frames of every kind that filters look at, again and again with other addresses and ports.
fn traffic(count: u64) -> Vec<Stored> {
    let mut packets = Vec::new();
    for n in 0..count {
        let (a, b) = ([10, 0, (n / 40) as u8, (n % 40) as u8], [192, 168, 7, (n / 7 % 20) as u8]);
        let port = 1_000 + (n * 37 % 5_000) as u16;
        let mut cut = None;
        let frame = match n % 16 {
            0..=3 => udp((a, port), (b, 53), b"query"),
            4 => udp((b, 5060), (a, 5060), &[b'x'; 300]),
            5 | 6 => tcp(a, b, port, 80, 0x18),
            7 => tcp(b, a, 443, port, 0x12),
            8 => vlan(7, &udp((a, port), (b, 161), b"get")),
            9 => vlan(9, &vlan(8, &tcp(a, b, 22, port, 0x10))),
            10 => arp(a, b),
            11 => icmp(a, b),
            12 => ipv6(n as u8, port),
            13 => {
                let mut whole = udp((a, port), (b, 53), &[b'y'; 200]);
                let more = n % 32 < 16;
                // The first or a later fragment.
                whole[20..22].copy_from_slice(&if more { [0x20, 0] } else { [0, 0x40] });
                whole
            }
            14 => {
                let whole = udp((a, port), (b, 4789), &[0; 50]);
                cut = Some(20 + (n % 20) as usize);
                whole
            }
            _ => {
                let mut frame = vec![1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 39, 0x42, 0x42, 3];
                frame.resize(60, 0);
                frame
            }
        };
        let wire = frame.len() as u32;
        let data = frame[..cut.unwrap_or(frame.len())].to_vec();
        packets.push((START + n * 1_000_003, (n % 2) as u32, wire, data));
    }
    packets
}

fn tcp(from: [u8; 4], to: [u8; 4], from_port: u16, to_port: u16, flags: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend(ipv4(6, from, to, 30));
    frame.extend(from_port.to_be_bytes());
    frame.extend(to_port.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    frame.extend(b"0123456789");
    frame
}

fn vlan(id: u16, frame: &[u8]) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    tagged.extend([0x81, 0]);
    tagged.extend(id.to_be_bytes());
    tagged.extend(&frame[12..]);
    tagged
}

fn arp(from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let mut frame =
        vec![255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1];
    frame.extend(from);
    frame.extend([0; 6]);
    frame.extend(to);
    frame
}

fn icmp(from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend(ipv4(1, from, to, 16));
    frame.extend([8, 0, 0, 0, 0, 1, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8]);
    frame
}

/// UDP over IPv6, each other time behind a hop-by-hop header.
fn ipv6(n: u8, port: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0];
    let hop = n & 16 != 0;
    frame.extend([0, if hop { 20 } else { 12 }, if hop { 0 } else { 17 }, 64]);
    frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n % 5]);
    frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, n % 3]);
    if hop {
        frame.extend([17, 0, 1, 4, 0, 0, 0, 0]);
    }
    frame.extend(port.to_be_bytes());
    frame.extend([0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    frame
}

fn query(filter: &str) -> Query {
    Query { filter: Filter::new(filter).unwrap(), ..Query::default() }
}

fn run(root: &Path, query: Query) -> Vec<Stored> {
    let mut result = Archive::new(root).query(query).unwrap();
    let mut found = Vec::new();
    while let Some(next) = result.next().unwrap() {
        let packet = next.packet;
        found.push((packet.time.nanos(), packet.interface, packet.original_length, packet.data.to_vec()));
    }
    let progress = result.progress();
    assert_eq!((progress.batches_failed, progress.packets_found), (0, found.len() as u64));
    assert!(progress.batches_read >= progress.batches_total);
    found
}

/// Batches of different sizes in several segments, some closed, the last open.
fn fill(root: &Path, packets: &[Stored]) -> Writer {
    let (mut writer, _) = Writer::open(root, WriterOptions { segment_bytes: 6_000, ..options() }).unwrap();
    let mut probe = Probe::new("gw1", 1, ethernet());
    let mut rest = packets;
    let mut size = 1;
    while !rest.is_empty() {
        let (batch, behind) = rest.split_at(size.min(rest.len()));
        probe.send(&mut writer, batch).unwrap();
        rest = behind;
        size = size % 23 + 3;
    }
    writer
}

const FILTERS: [&str; 34] = [
    "",
    "udp",
    "tcp",
    "udp port 53",
    "port 80 or 443",
    "host 10.0.1.6",
    "src host 10.0.1.5 or dst host 10.0.1.5",
    "src or dst net 192.168.7.0/28",
    "dst net 10.0.3",
    "ip6",
    "ip6 host 2001:db8::2",
    "ip6 net 2001:db8::/64 and udp port 53",
    "arp",
    "arp host 10.0.2.10",
    "icmp",
    "vlan",
    "vlan 7 and udp",
    "vlan and host 10.0.0.8",
    "vlan and vlan and tcp port 22",
    "not udp and not tcp",
    "tcp[tcpflags] & tcp-syn != 0",
    "udp[8:4] = 0x71756572",
    "len > 200",
    "less 60 and ip",
    "portrange 1000-1500 and host 10.0.0.1",
    "tcp or udp and port 53",
    "tcp or (udp and port 53)",
    "ether host 02:00:00:00:00:01",
    "ether multicast",
    "ip proto 17 and not port 53",
    "ip[6:2] & 0x1fff != 0",
    "stp",
    "(port 53 or port 5060) and (host 10.0.0.4 or net 192.168.7.4/30)",
    "host 10.0.250.1",
];

#[test]
fn every_filter_gives_what_tcpdump_gives() {
    if !installed("tcpdump") {
        return;
    }
    let packets = traffic(3_000);
    let root = scratch();
    let writer = fill(root.path(), &packets);
    let mut file = Vec::new();
    pcap::write_header(&mut file, LinkType::ETHERNET, 262_144, Precision::Nanoseconds);
    for (time, interface, original_length, data) in &packets {
        let time = Timestamp::from_nanos(*time);
        let packet = Packet { time, interface: *interface, original_length: *original_length, data };
        pcap::write_packet(&mut file, &packet, Precision::Nanoseconds);
    }
    let input = root.path().join("input.pcap");
    let output = root.path().join("output.pcap");
    std::fs::write(&input, &file).unwrap();
    let check = |state: &str| {
        for filter in FILTERS {
            let command =
                format!("tcpdump --nano -n -r {} -w {} '{filter}' 2>/dev/null", input.display(), output.display());
            shell(&command);
            let bytes = std::fs::read(&output).unwrap();
            let mut reader = packet::CaptureReader::new(bytes.as_slice()).unwrap();
            let mut expected = Vec::new();
            while let Some(packet) = reader.next().unwrap() {
                expected.push((packet.time.nanos(), packet.original_length, packet.data.to_vec()));
            }
            let found: Vec<_> = run(root.path(), query(filter)).into_iter().map(|(t, _, o, d)| (t, o, d)).collect();
            assert_eq!(found.len(), expected.len(), "{state}: {filter}");
            assert!(found == expected, "{state}: {filter}");
            let count = Archive::new(root.path()).query(query(filter)).unwrap().count().unwrap();
            assert_eq!(count, expected.len() as u64, "{state}: count of {filter}");
        }
    };
    check("one segment open");
    writer.close().unwrap();
    check("all closed");
    for index in fixture::files(root.path(), ".idx") {
        std::fs::remove_file(index).unwrap();
    }
    check("without indexes");
}

#[test]
fn the_index_leaves_out_what_cannot_match() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut probe = Probe::new("gw1", 1, ethernet());
    for n in 0..100u8 {
        let frames: Vec<_> = (0..20u64)
            .map(|i| {
                (START + u64::from(n) * 1_000 + i, 0, 60, udp(([10, 0, 0, n], 5060), ([10, 9, 9, 9], 5061), &[n; 8]))
            })
            .collect();
        probe.send(&mut writer, &frames).unwrap();
    }
    for closed in [false, true] {
        if closed {
            writer.rotate(None).unwrap();
        }
        let mut result = Archive::new(root.path()).query(query("host 10.0.0.42 and udp")).unwrap();
        let estimate = result.progress();
        assert_eq!((estimate.batches_total, estimate.packets_total), (1, 20));
        assert_eq!(result.next().unwrap().unwrap().number, 42 * 20);
        let mut timed = query("udp");
        timed.since = Some(Timestamp::from_nanos(START + 10_000));
        timed.until = Some(Timestamp::from_nanos(START + 11_005));
        let found = run(root.path(), timed.clone());
        assert_eq!(found.len(), 25);
        assert!(found.iter().all(|(time, ..)| (START + 10_000..START + 11_005).contains(time)));
        assert_eq!(Archive::new(root.path()).query(timed).unwrap().progress().batches_total, 2);
    }
}

#[test]
fn several_sources_are_merged_in_time_whatever_the_memory() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut probes: Vec<_> = (0..5).map(|n| Probe::new(&format!("gw{n}"), n, ethernet())).collect();
    // Within a batch and between batches times go back and forth.
    for round in 0..30u64 {
        for (n, probe) in probes.iter_mut().enumerate() {
            let frames: Vec<_> = (0..40u64)
                .map(|i| {
                    let time = START + (round * 40 + (i ^ 5) + round % 3 * 60) * 1_000 + n as u64;
                    let number = round * 40 + i;
                    (time, 0, 60, udp(([10, 0, 0, n as u8], 1), ([10, 0, 1, 1], 2), &number.to_be_bytes()))
                })
                .collect();
            probe.send(&mut writer, &frames).unwrap();
        }
    }
    writer.close().unwrap();
    let archive = Archive::new(root.path());
    let collect = |limit: Option<usize>, sources: Vec<packet::SourceName>| {
        let mut result = archive.query(Query { sources, ..Query::default() }).unwrap();
        if let Some(limit) = limit {
            result.limit_buffer(limit);
        }
        let mut found = Vec::new();
        while let Some(next) = result.next().unwrap() {
            found.push((
                next.packet.time,
                next.origin.source.clone(),
                next.seq,
                next.number,
                next.packet.data.to_vec(),
            ));
        }
        (found, result.progress())
    };
    let (all, progress) = collect(None, Vec::new());
    assert_eq!((all.len(), progress.batches_read), (6_000, 150));
    assert!(all.windows(2).all(|pair| pair[0].0 <= pair[1].0), "in the order of time");
    for limit in [0, 1, 5_000, 40_000] {
        let (same, progress) = collect(Some(limit), Vec::new());
        assert!(same == all, "with {limit} bytes");
        assert!(limit > 0 || progress.batches_read > 150, "batches were read again");
    }
    let (some, _) = collect(None, vec![source("gw3"), source("gw1")]);
    assert_eq!(some.len(), 2_400);
    assert!(some.iter().all(|(_, name, ..)| ["gw1", "gw3"].contains(&name.as_str())));
    assert_eq!(collect(None, vec![source("nobody")]).0.len(), 0);
}

#[test]
fn a_packet_is_found_the_moment_it_was_appended() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut probe = Probe::new("gw1", 1, ethernet());
    for n in 1..=30 {
        probe.send_numbered(&mut writer, 2).unwrap();
        if n % 7 == 0 {
            writer.commit().unwrap();
        }
        if n % 13 == 0 {
            writer.rotate(None).unwrap();
        }
        assert_eq!(numbers(root.path()).len(), n * 2);
    }
}

#[test]
fn a_query_survives_what_the_collector_does_meanwhile() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut probe = Probe::new("gw1", 1, ethernet());
    for _ in 0..3 {
        for _ in 0..10 {
            probe.send_numbered(&mut writer, 5).unwrap();
        }
        writer.rotate(None).unwrap();
    }
    for _ in 0..10 {
        probe.send_numbered(&mut writer, 5).unwrap();
    }
    let archive = Archive::new(root.path());
    let mut renamed = archive.query(Query::default()).unwrap();
    renamed.next().unwrap().unwrap();
    writer.rotate(None).unwrap();
    let mut left = 0;
    while renamed.next().unwrap().is_some() {
        left += 1;
    }
    assert_eq!((left, renamed.progress().batches_failed), (199, 0), "the open segment got its final name");
    let retention =
        archive::Retention { all: archive::Limits { age_seconds: 0, total_bytes: 1 }, ..archive::Retention::default() };
    let mut entries = archive.entries(&probe.source, probe.epoch, 0, u64::MAX).unwrap();
    assert_eq!(entries.next().unwrap().unwrap().entry.seq, 0);
    let removed = retention.apply(&archive, &archive::Pins::default(), Timestamp::from_nanos(START)).unwrap();
    assert_eq!(removed.len(), 4);
    assert!(entries.all(|entry| entry.is_ok()), "what is gone is left out");
    assert_eq!(numbers(root.path()).len(), 0);
}

#[test]
fn a_query_can_be_cancelled_and_tells_how_far_it_is() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut probe = Probe::new("gw1", 1, ethernet());
    for _ in 0..20 {
        probe.send_numbered(&mut writer, 5).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(AtomicU64::new(0));
    let mut result = Archive::new(root.path()).query_cancellable(query("tcp or port 1"), Some(stop.clone())).unwrap();
    assert_eq!(result.progress().batches_total, 0, "the index knows that there is none");
    assert!(result.next().unwrap().is_none());
    let mut result = Archive::new(root.path()).query_cancellable(query("len > 1000"), Some(stop.clone())).unwrap();
    let (reader, flag) = (seen.clone(), stop.clone());
    result.on_progress(move |progress| {
        reader.store(progress.batches_read, Ordering::Relaxed);
        flag.store(progress.batches_read == 7, Ordering::Relaxed);
    });
    assert!(matches!(result.next(), Err(QueryError::Cancelled)));
    assert_eq!(seen.load(Ordering::Relaxed), 7);
}

#[test]
fn what_was_lost_stands_in_the_summary_and_in_the_file() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut probe = Probe::new("gw1", 1, ethernet());
    probe.send_numbered(&mut writer, 10).unwrap();
    probe.lose(&mut writer, 3, 77).unwrap();
    probe.send_numbered(&mut writer, 10).unwrap();
    let archive = Archive::new(root.path());
    let mut result = archive.query(Query::default()).unwrap();
    let (mut dump, mut out) = (Dump::new(DumpFormat::Pcapng), Vec::new());
    while let Some(found) = result.next().unwrap() {
        dump.packet(&found, &mut out).unwrap();
    }
    assert_eq!(result.gaps().len(), 1);
    assert_eq!((result.progress().gaps, result.progress().gap_packets), (1, 77));
    dump.finish(result.gaps(), &mut out);
    let path = root.path().join("grab.pcapng");
    std::fs::write(&path, &out).unwrap();
    assert!(
        String::from_utf8_lossy(&out)
            .contains("gw1: 77 packets lost at spool (buffer_full), 2023-11-14T22:13:20.000010Z")
    );
    if installed("capinfos") {
        let shown = shell(&format!("capinfos {}", path.display()));
        assert!(shown.contains("Number of packets:   20"), "{shown}");
        assert!(shown.contains("Name = eth1"), "{shown}");
        assert!(shown.contains("nanoseconds (9)"), "{shown}");
    }
    if installed("tcpdump") {
        assert_eq!(shell(&format!("tcpdump -n -r {} 2>/dev/null | wc -l", path.display())).trim(), "20");
    }
    let later = Query { since: Some(Timestamp::from_nanos(START + 1_000_000)), ..Query::default() };
    assert_eq!(archive.query(later).unwrap().progress().gaps, 0, "outside the range of time");
}

#[test]
fn a_grab_of_sources_that_differ_can_be_opened_where_the_link_types_agree() {
    let root = scratch();
    let mut writer = open(root.path());
    Probe::new("gw1", 1, ethernet()).send_numbered(&mut writer, 3).unwrap();
    Probe::new("gw2", 2, set(4, LinkType::ETHERNET, 96)).send_numbered(&mut writer, 3).unwrap();
    let write = |format: DumpFormat, sources: Vec<packet::SourceName>| {
        let query = Query { sources, ..Query::default() };
        let mut result = Archive::new(root.path()).query(query).unwrap();
        let (mut dump, mut out) = (Dump::new(format), Vec::new());
        while let Some(found) = result.next().unwrap() {
            dump.packet(&found, &mut out)?;
        }
        dump.finish(&[], &mut out);
        Ok::<_, DumpError>(out)
    };
    let path = root.path().join("grab");
    for format in [DumpFormat::Pcapng, DumpFormat::Pcap, DumpFormat::PcapMicroseconds] {
        std::fs::write(&path, write(format, Vec::new()).unwrap()).unwrap();
        if installed("tcpdump") {
            assert_eq!(shell(&format!("tcpdump -n -r {} 2>/dev/null | wc -l", path.display())).trim(), "6");
        }
        std::fs::write(&path, write(format, vec![source("nobody")]).unwrap()).unwrap();
        if installed("capinfos") {
            assert!(shell(&format!("capinfos -c {}", path.display())).contains("0"));
        }
    }
    Probe::new("gw3", 3, set(0, LinkType::RAW, 96)).send_numbered(&mut writer, 3).unwrap();
    assert!(matches!(write(DumpFormat::Pcap, Vec::new()), Err(DumpError::LinkTypes { .. })));
    assert!(write(DumpFormat::Pcapng, Vec::new()).is_ok());
}

#[test]
fn the_entries_of_an_epoch_come_in_order_as_they_were_stored() {
    let root = scratch();
    let (mut writer, _) = Writer::open(root.path(), WriterOptions { segment_bytes: 600, ..options() }).unwrap();
    let mut probe = Probe::new("gw1", 1, ethernet());
    let mut other = Probe::new("gw1", 2, ethernet());
    for n in 0..20 {
        probe.set = set(n / 3, if n % 2 == 0 { LinkType::ETHERNET } else { LinkType::LINUX_SLL }, 262_144);
        probe.send_numbered(&mut writer, 3).unwrap();
        other.send_numbered(&mut writer, 3).unwrap();
        if n % 5 == 0 {
            probe.lose(&mut writer, 4, 9).unwrap();
        }
    }
    let archive = Archive::new(root.path());
    assert!(archive.segments(&probe.source).unwrap().len() > 5);
    let all: Vec<_> = archive.entries(&probe.source, probe.epoch, 0, u64::MAX).unwrap().map(|e| e.unwrap()).collect();
    assert_eq!(all.len(), 24);
    let mut next = 0;
    for stored in &all {
        assert_eq!(stored.entry.seq, next);
        next = stored.entry.last_seq + 1;
        let raw = zstd::bulk::decompress(&stored.frame, 1 << 20).unwrap();
        assert_eq!(raw.len(), stored.entry.raw_length as usize);
        match packet::Entry::parse(&raw).unwrap() {
            packet::Entry::Batch(batch) => {
                assert_eq!((batch.header.name.seq, batch.header.interface_set), (stored.entry.seq, stored.set.number));
                assert_eq!(stored.set.interfaces[1].name, "eth1");
            }
            packet::Entry::Gap(gap) => assert_eq!((gap.last_seq, gap.packets), (stored.entry.last_seq, 9)),
        }
    }
    assert_eq!(next, 36);
    let some = archive.entries(&probe.source, probe.epoch, 2, 7).unwrap();
    let seqs: Vec<_> = some.map(|entry| entry.unwrap().entry.seq).collect();
    assert_eq!(seqs, [1, 5, 6], "the gap record from 1 to 4 stands for 2");
}
