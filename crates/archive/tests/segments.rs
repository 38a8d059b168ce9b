//! What a segment looks like from outside: names, modes, and that other programs read it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use archive::{Archive, Compression, Index, Writer, WriterOptions};
use fixture::{Probe, ethernet, files, installed, numbers, open, options, scratch, set, shell};
use packet::{LinkType, Timestamp};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_closed_segment_has_its_name_mode_and_index() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut probe = Probe::new("gw1", 1, ethernet());
    probe.send_numbered(&mut writer, 10).unwrap();
    let part = files(root.path(), ".part");
    assert!(part.iter().any(|path| path.ends_with("gw1/2023-11-14/gw1_20231114T221320.000000Z_0.pcapng.zst.part")));
    let durable = writer.close().unwrap();
    assert_eq!(durable, [(probe.source.clone(), probe.epoch, 1)]);
    assert!(files(root.path(), ".part").is_empty());
    let segment = files(root.path(), ".pcapng.zst").pop().unwrap();
    assert!(segment.ends_with("gw1/2023-11-14/gw1_20231114T221320.000000Z_0.pcapng.zst"));
    for path in [segment.clone(), segment.with_file_name("gw1_20231114T221320.000000Z_0.idx")] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o640);
    }
    let index = Index::parse(&std::fs::read(files(root.path(), ".idx").pop().unwrap()).unwrap()).unwrap();
    assert_eq!((index.summary().packets, index.summary().entries), (10, 1));
}

#[test]
fn tcpdump_and_tshark_read_a_segment_with_several_epochs_sets_and_gaps() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut first = Probe::new("gw1", 1, ethernet());
    let mut second = Probe::new("gw1", 2, set(3, LinkType::ETHERNET, 262_144));
    for _ in 0..3 {
        first.send_numbered(&mut writer, 20).unwrap();
        first.lose(&mut writer, 2, 7).unwrap();
        second.send_numbered(&mut writer, 10).unwrap();
    }
    writer.close().unwrap();
    let segments = files(root.path(), ".pcapng.zst");
    assert_eq!(segments.len(), 1);
    let segment = segments[0].to_str().unwrap();
    if installed("zstd") {
        shell(&format!("zstd -t -q {segment}"));
        if installed("tcpdump") {
            assert_eq!(shell(&format!("zstdcat {segment} | tcpdump -n -r - 2>/dev/null | wc -l")).trim(), "90");
        }
        if installed("tshark") {
            let fields = "tshark -n -r - -T fields -e frame.interface_name -e frame.time_epoch 2>/dev/null";
            let shown = shell(&format!("zstdcat {segment} | {fields}"));
            assert_eq!(shown.lines().count(), 90);
            assert_eq!(shown.lines().nth(1).unwrap(), "eth1\t1700000000.000001000");
        }
    }
}

#[test]
fn the_seek_table_covers_every_frame() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut probe = Probe::new("gw1", 1, ethernet());
    for _ in 0..5 {
        probe.send_numbered(&mut writer, 10).unwrap();
    }
    writer.close().unwrap();
    let bytes = std::fs::read(files(root.path(), ".pcapng.zst").pop().unwrap()).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let end = bytes.len();
    assert_eq!(word(end - 4), 0x8f92_eab1);
    let frames = word(end - 9) as usize;
    assert_eq!(frames, 7, "a section, five batches, the statistics");
    let table = end - 9 - frames * 8;
    assert_eq!((word(table - 8), word(table - 4) as usize), (0x184d_2a5e, end - table));
    let (mut at, mut raw) = (0usize, 0usize);
    for frame in 0..frames {
        let (stored, length) = (word(table + frame * 8) as usize, word(table + frame * 8 + 4) as usize);
        assert_eq!(zstd::bulk::decompress(&bytes[at..at + stored], 1 << 20).unwrap().len(), length);
        at += stored;
        raw += length;
    }
    assert_eq!(at, table - 8);
    assert!(raw > 0);
}

#[test]
fn another_link_type_or_snaplen_begins_another_segment() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut probe = Probe::new("gw1", 1, ethernet());
    probe.send_numbered(&mut writer, 4).unwrap();
    probe.set = set(1, LinkType::LINUX_SLL2, 262_144);
    probe.send_numbered(&mut writer, 4).unwrap();
    probe.set = set(2, LinkType::ETHERNET, 96);
    probe.send_numbered(&mut writer, 4).unwrap();
    probe.set = ethernet();
    probe.send_numbered(&mut writer, 4).unwrap();
    writer.close().unwrap();
    let segments = files(root.path(), ".pcapng.zst");
    assert_eq!(segments.len(), 3);
    if installed("zstd") && installed("tcpdump") {
        for segment in &segments {
            shell(&format!("zstdcat {} | tcpdump -n -r - >/dev/null 2>&1", segment.display()));
        }
    }
    assert_eq!(numbers(root.path()), (0..16).collect::<Vec<_>>());
    let entries = Archive::new(root.path()).entries(&probe.source, probe.epoch, 1, 4).unwrap();
    let seen: Vec<_> =
        entries.map(|entry| entry.unwrap()).map(|e| (e.entry.seq, e.set.number, e.set.interfaces[0].snaplen)).collect();
    assert_eq!(seen, [(1, 1, 262_144), (2, 2, 96), (3, 0, 262_144)]);
}

#[test]
fn a_plain_archive_is_pcapng_without_anything() {
    let root = scratch();
    let (mut writer, _) =
        Writer::open(root.path(), WriterOptions { compression: Compression::None, ..options() }).unwrap();
    let mut probe = Probe::new("gw1", 1, ethernet());
    for _ in 0..3 {
        probe.send_numbered(&mut writer, 10).unwrap();
    }
    probe.lose(&mut writer, 1, 3).unwrap();
    assert_eq!(numbers(root.path()).len(), 30, "while it is open");
    writer.close().unwrap();
    let segment = files(root.path(), ".pcapng").pop().unwrap();
    if installed("tcpdump") {
        assert_eq!(shell(&format!("tcpdump -n -r {} 2>/dev/null | wc -l", segment.display())).trim(), "30");
    }
    if installed("capinfos") {
        assert!(shell(&format!("capinfos -c {}", segment.display())).contains("30"));
    }
    assert_eq!(numbers(root.path()).len(), 30);
    std::fs::remove_file(files(root.path(), ".idx").pop().unwrap()).unwrap();
    assert_eq!(numbers(root.path()).len(), 30, "without its index");
}

#[test]
fn segments_are_closed_by_size_by_wall_clock_and_on_demand() {
    let root = scratch();
    let options = WriterOptions { segment_bytes: 2_000, rotation: archive::Rotation::utc(60), ..options() };
    let (mut writer, _) = Writer::open(root.path(), options).unwrap();
    let mut probe = Probe::new("gw1", 1, ethernet());
    probe.arrived = Timestamp::from_parts(1_700_000_039, 999_999_999);
    probe.send_numbered(&mut writer, 3).unwrap();
    writer.tick(probe.arrived).unwrap();
    assert_eq!(writer.take_closed().len(), 0);
    probe.arrived = Timestamp::from_parts(1_700_000_040, 0);
    writer.tick(probe.arrived).unwrap();
    assert_eq!(writer.take_closed().len(), 1, "a new minute");
    probe.send_numbered(&mut writer, 3).unwrap();
    probe.arrived = Timestamp::from_parts(1_700_000_100, 0);
    probe.send_numbered(&mut writer, 3).unwrap();
    assert_eq!(writer.take_closed().len(), 1, "also without a tick");
    // An hour back: another slot, another segment, never an existing name.
    probe.arrived = Timestamp::from_parts(1_699_996_500, 0);
    probe.send_numbered(&mut writer, 2_000).unwrap();
    assert_eq!(writer.take_closed().len(), 1);
    probe.send_numbered(&mut writer, 3).unwrap();
    assert_eq!(writer.take_closed().len(), 1, "by size");
    writer.rotate(Some(&probe.source)).unwrap();
    assert_eq!(writer.take_closed().len(), 1, "on demand");
    assert_eq!(writer.take_opened().len(), 5);
    let durable = writer.commit().unwrap();
    assert_eq!(durable, [(probe.source.clone(), probe.epoch, 5)], "what closing made durable is told");
    assert_eq!(numbers(root.path()), (0..2_012).collect::<Vec<_>>());
}

#[test]
fn no_file_is_overwritten_when_names_meet() {
    let root = scratch();
    for run in 0..4 {
        let mut writer = open(root.path());
        let mut probe = Probe::new("gw1", run, ethernet());
        probe.send_numbered(&mut writer, 5).unwrap();
        writer.rotate(None).unwrap();
        probe.packet = 0;
        probe.send_numbered(&mut writer, 5).unwrap();
        // Somebody puts a file where the segment is to go.
        if run == 3 {
            let part = files(root.path(), ".pcapng.zst.part").pop().unwrap();
            std::fs::write(part.with_extension(""), "mine").unwrap();
        }
        writer.close().unwrap();
    }
    let mine: Vec<_> =
        files(root.path(), ".zst").into_iter().filter(|path| std::fs::read(path).unwrap() == b"mine").collect();
    assert_eq!(mine.len(), 1);
    std::fs::remove_file(&mine[0]).unwrap();
    assert_eq!(numbers(root.path()).len(), 40);
}

#[test]
fn the_index_is_a_small_part_of_the_segment() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut probe = Probe::new("gw1", 1, ethernet());
    let mut noise = 1u64;
    // Calls of 214 bytes a packet, 200 at a time, whose voice does not compress; every batch brings ten new ones.
    for batch in 0..60u32 {
        let frames: Vec<_> = (0..1_000u32)
            .map(|n| {
                let call = (n % 200 + batch * 10).to_be_bytes();
                let mut voice = vec![0; 172];
                for byte in &mut voice {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    *byte = (noise >> 56) as u8;
                }
                let port = 20_000 + (n % 200 + batch * 10) as u16 * 2;
                let frame = fixture::udp(([10, 1, call[2], call[3]], port), ([10, 2, call[2], call[3]], port), &voice);
                (fixture::START + u64::from(batch * 1_000 + n) * 100_000, 0, 214, frame)
            })
            .collect();
        probe.send(&mut writer, &frames).unwrap();
    }
    writer.close().unwrap();
    let bytes =
        |ending: &str| files(root.path(), ending).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    assert!(bytes(".idx") * 50 <= bytes(".zst"), "{} of {} bytes", bytes(".idx"), bytes(".zst"));
    // A host whose packets lie in one of a hundred batches costs at most two of a hundred bytes.
    let filter = archive::Filter::new("host 10.1.0.3").unwrap();
    let query = archive::Query { filter, ..archive::Query::default() };
    let mut result = Archive::new(root.path()).query(query).unwrap();
    while result.next().unwrap().is_some() {}
    let progress = result.progress();
    assert_eq!((progress.batches_read, progress.packets_found), (1, 5));
    assert!((progress.bytes_read + progress.index_bytes) * 50 <= progress.archive_bytes + progress.bytes_read);
}

#[test]
fn one_process_writes_an_archive() {
    let root = scratch();
    let _writer = open(root.path());
    let error = Writer::open(root.path(), options()).unwrap_err().to_string();
    assert!(error.contains("another collector"), "{error}");
}
