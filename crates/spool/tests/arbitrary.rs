//! Whatever lies in the spool's directory, opening it does not panic, says what is wrong, and the spool works.
#![allow(clippy::unwrap_used)]

use packet::batch::BatchHeader;
use packet::{BatchName, Epoch, Timestamp};
use spool::{Bounds, Directory, Keeper, Limits, Mode, Spool, WhenFull};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

const ELSEWHERE: &str = "a file of somebody else";

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize % end.max(1)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

/// Runs a probe's spool without any collector, to its end; gives what was reported and how many packets of earlier runs wait.
fn run(path: &Path, life: u8, kill: bool) -> (Vec<String>, u64) {
    let limits = Limits { memory: 20_000, full: WhenFull::Oldest, waits: false, mode: Mode::Disk };
    let spool = Arc::new(Spool::new("s".parse().unwrap(), Epoch([life; 16]), limits));
    spool.add_set(vec![packet::Interface {
        name: "a".into(),
        link_type: packet::LinkType::ETHERNET,
        snaplen: 100,
        filter: String::new(),
    }]);
    let directory = Directory::open(path, None).unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let saying = said.clone();
    let report = Box::new(move |text: &str| saying.lock().unwrap().push(text.to_owned()));
    let bounds = Bounds { disk: 100_000, sync_nanos: 0 };
    let mut keeper = Keeper::open(spool.clone(), Box::new(directory), bounds, report).unwrap();
    let held = spool.older().held;
    for seq in 0..40 {
        let header = BatchHeader {
            name: BatchName { source: "s".parse().unwrap(), epoch: Epoch([life; 16]), seq },
            interface_set: 0,
            first_packet: seq * 3,
            packets: 3,
            time_min: Timestamp::from_nanos(seq),
            time_max: Timestamp::from_nanos(seq),
            captured_bytes: 100,
        };
        spool.sealed(3);
        spool.push(header, 300, vec![seq as u8; 200]);
        keeper.step(seq, &mut || {});
    }
    // What is there is read for sending too.
    spool.hello(Timestamp::ZERO);
    spool.resume(0);
    for step in 0..50 {
        keeper.step(100_000_000_000 * step, &mut || {});
        while let Some(next) = spool.next() {
            assert!(spool.mark_sent(&next.head));
        }
    }
    if !kill {
        keeper.finish(0);
    }
    (said.lock().unwrap().clone(), held)
}

fn files(path: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else if entry.file_name() != "lock" {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn damaged_files_are_reported_and_the_rest_is_delivered() {
    let mut random = Random(0x1234_5678_9abc);
    for round in 0..300 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        run(&path, 1, true);
        let all = files(&path);
        assert!(!all.is_empty());
        let mut gone = false;
        for _ in 0..1 + random.below(3) {
            let file = &all[random.below(all.len())];
            let mut content = fs::read(file).unwrap_or_default();
            match random.below(5) {
                0 => content.truncate(random.below(content.len() + 1)),
                1 if !content.is_empty() => {
                    let at = random.below(content.len());
                    content[at] ^= 1 << random.below(8);
                }
                2 => content = random.bytes(random.0 as usize % 3_000),
                3 => content.extend(random.bytes(500)),
                _ => {
                    fs::remove_file(file).ok();
                    gone = true;
                    continue;
                }
            }
            gone |= content.is_empty();
            fs::write(file, content).unwrap();
        }
        let (said, _) = run(&path, 2, round % 2 == 0);
        assert!(gone || !said.is_empty(), "round {round}: a killed run is always reported, damaged or not");
        let (_, held) = run(&path, 3, false);
        assert!(held >= 120, "round {round}: what was written after the damage is there: {held}");
    }
}

#[test]
fn arbitrary_names_and_bytes_are_left_alone() {
    let mut random = Random(0xfeed_beef);
    for _ in 0..100 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        fs::create_dir(&path).unwrap();
        // Somebody else's file, to which a link in the spool's directory points: nothing of it may change.
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, ELSEWHERE).unwrap();
        let epoch = "02".repeat(16);
        for number in 0..random.below(8) {
            let inner = match random.below(4) {
                0 => path.join(format!("{number:010}-{epoch}")),
                1 => path.join(format!("{number}-x")),
                2 => path.join(format!("9999999999999-{epoch}")),
                _ => path.clone(),
            };
            fs::create_dir_all(&inner).unwrap();
            let names =
                ["account", "sets", "new", "00000000000000000000.log", "18446744073709551615.log", "x.log", "y"];
            let file = inner.join(names[random.below(names.len())]);
            // What is written below must not go through a link that an earlier round made.
            if file.is_symlink() {
                continue;
            }
            match random.below(6) {
                0 => drop(symlink(&elsewhere, &file)),
                1 => drop(fs::create_dir(&file)),
                _ => drop(fs::write(&file, random.bytes(random.0 as usize % 2_000))),
            }
        }
        run(&path, 7, false);
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), ELSEWHERE);
    }
}

#[test]
fn two_probes_cannot_share_a_spool() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gw");
    let first = Directory::open(&path, None).unwrap();
    let refused = Directory::open(&path, None).unwrap_err().to_string();
    assert!(refused.contains("another probe uses this spool") && refused.contains("gw"), "{refused}");
    drop(first);
    Directory::open(&path, None).unwrap();
}
