//! What is there after a crash: every byte at which a segment can end, damage anywhere, lost indexes and accounts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use archive::{AppendError, Archive, Compression, Recovered, Writer, WriterOptions};
use fixture::{Probe, copy, ethernet, files, numbers, open, options, scratch};
use std::path::Path;

/// An archive whose collector died with a segment open: three batches, a gap, another epoch. Gives the lengths the segment
/// had after each entry, with the packets and the entries that are whole by then.
fn crashed(root: &Path, compression: Compression) -> Vec<(u64, usize, u64)> {
    let (mut writer, _) = Writer::open(root, WriterOptions { compression, ..options() }).unwrap();
    let mut probe = Probe::new("gw1", 1, ethernet());
    let mut other = Probe::new("gw1", 2, ethernet());
    let mut lengths = vec![(0, 0, 0)];
    for step in 0..6u64 {
        match step {
            2 => probe.lose(&mut writer, 3, 5).unwrap(),
            4 => {
                other.packet = 1_000;
                other.send_numbered(&mut writer, 3).unwrap();
            }
            _ => probe.send_numbered(&mut writer, 3).unwrap(),
        }
        let packets = lengths.last().unwrap().1 + if step == 2 { 0 } else { 3 };
        // In a plain segment a batch counts once its packets are whole; the counters behind them (64 bytes) may be cut.
        let counters = if compression == Compression::None && step != 2 { 64 } else { 0 };
        lengths.push((writer.open_bytes(&probe.source) - counters, packets, step + 1));
    }
    writer.commit().unwrap();
    // The writer is forgotten without closing anything, as a crash does.
    drop(writer);
    lengths
}

fn part(root: &Path) -> std::path::PathBuf {
    files(root, ".part").into_iter().find(|path| path.to_str().unwrap().contains(".pcapng")).unwrap()
}

fn cut_at_every_byte(compression: Compression) {
    let origin = scratch();
    let lengths = crashed(origin.path(), compression);
    let whole = std::fs::read(part(origin.path())).unwrap();
    for cut in 0..=whole.len() {
        let root = scratch();
        copy(origin.path(), root.path());
        let path = part(root.path());
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(cut as u64).unwrap();
        // Also readers without a collector see what is whole.
        let (_, expected, entries) = *lengths.iter().rev().find(|(length, ..)| *length <= cut as u64).unwrap();
        if cut % 7 == 0 {
            assert_eq!(numbers(root.path()).len(), expected, "read as it is, cut at {cut}");
        }
        let (mut writer, recovered) = Writer::open(root.path(), WriterOptions { compression, ..options() }).unwrap();
        assert_eq!(recovered.len(), 1);
        match &recovered[0] {
            Recovered::Closed { entries: found, .. } => assert_eq!(*found as u64, entries, "cut at {cut}"),
            Recovered::Removed { .. } => assert_eq!(entries, 0, "cut at {cut}"),
            other => panic!("{other:?}"),
        }
        // The probes send again what they hold, and all of it is there once.
        let mut probe = Probe::new("gw1", 1, ethernet());
        let mut other = Probe::new("gw1", 2, ethernet());
        other.packet = 1_000;
        for step in 0..6 {
            let sent = match step {
                2 => probe.lose(&mut writer, 3, 5),
                4 => other.send_numbered(&mut writer, 3),
                _ => probe.send_numbered(&mut writer, 3),
            };
            match sent {
                Ok(()) => {}
                Err(AppendError::Repeated { .. }) if step == 2 => {
                    probe.seq += 3;
                    probe.packet += 5;
                }
                Err(AppendError::Repeated { .. }) if step == 4 => {}
                Err(AppendError::Repeated { .. }) => {
                    probe.seq += 1;
                    probe.packet += 3;
                }
                Err(error) => panic!("cut at {cut}, step {step}: {error}"),
            }
        }
        writer.close().unwrap();
        let expected: Vec<u64> = (0..6).chain(11..17).chain(1_000..1_003).collect();
        let expected: Vec<u64> = expected.into_iter().filter(|n| *n < 17 || *n >= 1_000).collect();
        assert_eq!(numbers(root.path()), expected, "cut at {cut}");
    }
}

#[test]
fn a_compressed_segment_may_end_at_any_byte() {
    cut_at_every_byte(Compression::Zstd);
}

#[test]
fn a_plain_segment_may_end_at_any_byte() {
    cut_at_every_byte(Compression::None);
}

#[test]
fn damage_anywhere_costs_what_is_behind_it_and_never_a_panic() {
    let origin = scratch();
    let lengths = crashed(origin.path(), Compression::Zstd);
    let whole = std::fs::read(part(origin.path())).unwrap();
    for at in 0..whole.len() {
        let root = scratch();
        copy(origin.path(), root.path());
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(part(root.path()), &bytes).unwrap();
        let (_, before, _) = *lengths.iter().rev().find(|(length, ..)| *length <= at as u64).unwrap();
        let (writer, _) = Writer::open(root.path(), options()).unwrap();
        drop(writer);
        let found = numbers(root.path()).len();
        assert!(found >= before && found < 18, "byte {at}: {found} packets, at least {before} are whole");
    }
}

#[test]
fn a_crash_while_a_segment_is_closed_leaves_it_whole() {
    let origin = scratch();
    crashed(origin.path(), Compression::Zstd);
    // What closing writes is there in part or whole, the name is still the open one.
    let closed = scratch();
    copy(origin.path(), closed.path());
    drop(open(closed.path()));
    let whole = std::fs::read(files(closed.path(), ".pcapng.zst").pop().unwrap()).unwrap();
    let length = std::fs::metadata(part(origin.path())).unwrap().len() as usize;
    assert!(whole.len() > length);
    for cut in length..=whole.len() {
        let root = scratch();
        copy(origin.path(), root.path());
        std::fs::write(part(root.path()), &whole[..cut]).unwrap();
        assert_eq!(numbers(root.path()).len(), 15, "read as it is, cut at {cut}");
        drop(open(root.path()));
        let again = std::fs::read(files(root.path(), ".pcapng.zst").pop().unwrap()).unwrap();
        assert_eq!(again, whole, "cut at {cut}");
    }
}

#[test]
fn a_missing_or_broken_index_is_made_again() {
    let root = scratch();
    crashed(root.path(), Compression::Zstd);
    drop(open(root.path()));
    let index = files(root.path(), ".idx").pop().unwrap();
    let bytes = std::fs::read(&index).unwrap();
    for broken in [None, Some(&b""[..]), Some(b"TLIX"), Some(&bytes[..bytes.len() / 2][..40])] {
        match broken {
            None => std::fs::remove_file(&index).unwrap(),
            Some(broken) => std::fs::write(&index, broken).unwrap(),
        }
        assert_eq!(numbers(root.path()).len(), 15, "readers do without it");
        let (_, recovered) = Writer::open(root.path(), options()).unwrap();
        assert!(matches!(recovered[..], [Recovered::IndexRebuilt { .. }]));
        assert_eq!(std::fs::read(&index).unwrap(), bytes);
    }
}

#[test]
fn a_lost_account_is_made_again_from_the_segments() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut probe = Probe::new("gw1", 1, ethernet());
    for _ in 0..4 {
        probe.send_numbered(&mut writer, 10).unwrap();
        probe.lose(&mut writer, 5, 100).unwrap();
        writer.rotate(None).unwrap();
    }
    writer.commit().unwrap();
    let account = writer.state(&probe.source, probe.epoch).unwrap().clone();
    assert_eq!((account.next_seq, account.archived_packets, account.gaps()), (24, 40, 400));
    assert_eq!(account.gap_packets["spool/buffer_full"], 400);
    writer.close().unwrap();
    let state = files(root.path(), "state.json").pop().unwrap();
    for broken in [false, true] {
        if broken {
            std::fs::write(&state, "{").unwrap();
        } else {
            std::fs::remove_file(&state).unwrap();
        }
        let writer = open(root.path());
        let mut again = writer.state(&probe.source, probe.epoch).unwrap().clone();
        again.arrived_nanos = account.arrived_nanos;
        assert_eq!(again, account);
    }
}

#[test]
fn retention_does_not_erase_what_was_received() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut probe = Probe::new("gw1", 1, ethernet());
    probe.send_numbered(&mut writer, 10).unwrap();
    writer.rotate(None).unwrap();
    writer.close().unwrap();
    for path in files(root.path(), ".zst").into_iter().chain(files(root.path(), ".idx")) {
        std::fs::remove_file(path).unwrap();
    }
    let mut writer = open(root.path());
    assert_eq!(writer.next_seq(&probe.source, probe.epoch), 1);
    probe.seq = 0;
    assert!(matches!(probe.send_numbered(&mut writer, 10), Err(AppendError::Repeated { seq: 0, next_seq: 1 })));
    assert_eq!(Archive::new(root.path()).segments(&probe.source).unwrap().len(), 0);
}

#[test]
fn a_repeat_and_a_hole_are_refused() {
    let root = scratch();
    let mut writer = open(root.path());
    let mut probe = Probe::new("gw1", 1, ethernet());
    probe.seq = 5;
    probe.send_numbered(&mut writer, 1).unwrap();
    assert_eq!(writer.next_seq(&probe.source, probe.epoch), 6, "received");
    assert_eq!(writer.durable_seq(&probe.source, probe.epoch), 5, "and not durable");
    probe.seq = 5;
    assert!(matches!(probe.send_numbered(&mut writer, 1), Err(AppendError::Repeated { seq: 5, next_seq: 6 })));
    probe.seq = 7;
    assert!(matches!(probe.send_numbered(&mut writer, 1), Err(AppendError::OutOfOrder { seq: 7, next_seq: 6 })));
    assert_eq!(writer.commit().unwrap(), [(probe.source.clone(), probe.epoch, 6)]);
    assert_eq!(writer.commit().unwrap(), []);
    assert_eq!(writer.durable_seq(&probe.source, probe.epoch), 6);
}
