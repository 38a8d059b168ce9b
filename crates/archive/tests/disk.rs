//! A disk that is full: a clear error, nothing acknowledged lost, no half frame, and it goes on when there is space again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use archive::{AppendError, Archive};
use fixture::{Probe, ethernet, files, installed, numbers, open, scratch, shell};
use std::path::Path;
use std::process::Command;

/// A small file system in memory, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Option<Self> {
        let folder = scratch();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|done| done.status.success());
        if !mounted {
            eprintln!("skipped: a small tmpfs cannot be mounted here (needs root)");
        }
        mounted.then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all space that is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.path().join("filler")).unwrap();
        let block = [0; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_costs_nothing_and_it_goes_on() {
    let Some(disk) = SmallDisk::new("4m") else { return };
    let root = disk.path().join("archive");
    let mut writer = open(&root);
    let mut probe = Probe::new("gw1", 1, ethernet());
    let mut other = Probe::new("gw2", 2, ethernet());
    other.packet = 1_000_000;
    for _ in 0..20 {
        probe.send_numbered(&mut writer, 50).unwrap();
        other.send_numbered(&mut writer, 50).unwrap();
    }
    writer.commit().unwrap();
    for round in 0..3 {
        disk.fill();
        let mut refused = 0;
        for _ in 0..200 {
            for probe in [&mut probe, &mut other] {
                match probe.send_numbered(&mut writer, 50) {
                    Ok(()) => {}
                    Err(AppendError::Disk(error)) => {
                        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
                        refused += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert!(refused > 100, "round {round}: {refused} refused");
        // What was appended still becomes durable; closing needs space, so the segment stays open.
        writer.commit().unwrap();
        assert_eq!(writer.durable_seq(&probe.source, probe.epoch), probe.seq);
        assert!(writer.rotate(None).is_err());
        assert!(writer.take_closed().is_empty());
        assert_eq!(numbers(&root).len() as u64, probe.packet + other.packet - 1_000_000);
        disk.free();
        for _ in 0..5 {
            probe.send_numbered(&mut writer, 50).unwrap();
            other.send_numbered(&mut writer, 50).unwrap();
        }
        writer.commit().unwrap();
        if round == 1 {
            writer.rotate(None).unwrap();
            assert_eq!(writer.take_closed().len(), 2);
        }
    }
    disk.fill();
    let error = writer.close();
    assert!(error.is_err());
    disk.free();
    let writer = open(&root);
    assert_eq!(writer.state(&probe.source, probe.epoch).unwrap().archived_packets, probe.packet);
    drop(writer);
    let expected: Vec<u64> = (0..probe.packet).chain(1_000_000..other.packet).collect();
    assert_eq!(numbers(&root), expected);
    assert_eq!(Archive::new(&root).sources().unwrap().len(), 2);
    if installed("zstd") {
        for segment in files(&root, ".zst") {
            shell(&format!("zstd -t -q {}", segment.display()));
        }
    }
}

#[test]
fn a_disk_without_room_for_a_first_segment_leaves_nothing_behind() {
    let Some(disk) = SmallDisk::new("256k") else { return };
    let root = disk.path().join("archive");
    let mut writer = open(&root);
    disk.fill();
    let mut probe = Probe::new("gw1", 1, ethernet());
    for _ in 0..3 {
        assert!(matches!(probe.send_numbered(&mut writer, 50), Err(AppendError::Disk(_))));
    }
    disk.free();
    probe.send_numbered(&mut writer, 50).unwrap();
    writer.close().unwrap();
    assert_eq!(numbers(&root).len(), 50);
}
