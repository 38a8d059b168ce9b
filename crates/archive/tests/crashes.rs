//! Thousands of steps of appending, committing, rotating and crashing, by seed: nothing acknowledged is ever missing, nothing is
//! there twice, and the account is that of what is there. `SEED=n` replays one, `SEEDS=n` runs so many.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use archive::{Archive, Compression, Writer, WriterOptions};
use fixture::{Probe, files, numbers, options, scratch, set};
use packet::LinkType;
use std::path::Path;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// An entry that a probe made, by what it needs to make it again.
#[derive(Clone, Copy)]
struct Made {
    seq: u64,
    batches: u64,
    packet: u64,
    packets: u64,
    lost: bool,
    link_type: LinkType,
}

struct Sender {
    probe: Probe,
    made: Vec<Made>,
    acknowledged: u64,
}

impl Sender {
    /// Sends what comes next: what it has already made and the archive lacks, or something new.
    fn send(&mut self, writer: &mut Writer, dice: &mut Dice) {
        let next = writer.next_seq(&self.probe.source, self.probe.epoch);
        assert!(next >= self.acknowledged, "what was acknowledged is no longer known");
        let made = match self.made.iter().find(|made| made.seq == next) {
            Some(made) => *made,
            None => {
                let last = self.made.last();
                assert_eq!(last.map_or(0, |made| made.seq + made.batches), next, "a hole in the log");
                let lost = dice.roll(8) == 0;
                let made = Made {
                    seq: next,
                    batches: if lost { 1 + dice.roll(5) } else { 1 },
                    packet: last.map_or(self.probe.packet, |made| made.packet + made.packets),
                    packets: 1 + dice.roll(9),
                    lost,
                    link_type: if dice.roll(6) == 0 { LinkType::LINUX_SLL } else { LinkType::ETHERNET },
                };
                self.made.push(made);
                made
            }
        };
        (self.probe.seq, self.probe.packet) = (made.seq, made.packet);
        self.probe.set = set(made.link_type.0.into(), made.link_type, 262_144);
        if made.lost {
            self.probe.lose(writer, made.batches, made.packets).unwrap();
        } else {
            self.probe.send_numbered(writer, made.packets).unwrap();
        }
    }
}

fn open(root: &Path, compression: Compression) -> Writer {
    Writer::open(root, WriterOptions { compression, segment_bytes: 1_500, ..options() }).unwrap().0
}

fn run(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let compression = if seed % 3 == 0 { Compression::None } else { Compression::Zstd };
    let root = scratch();
    let mut writer = open(root.path(), compression);
    let mut senders: Vec<Sender> = (0..3u8)
        .map(|n| {
            let mut probe = Probe::new(["gw1", "gw1", "gw2"][usize::from(n)], n, fixture::ethernet());
            probe.packet = u64::from(n) * 1_000_000;
            Sender { probe, made: Vec::new(), acknowledged: 0 }
        })
        .collect();
    let mut durable_bytes = std::collections::BTreeMap::new();
    for _ in 0..120 {
        match dice.roll(20) {
            0..=13 => {
                let which = dice.roll(3) as usize;
                let before = lengths(root.path());
                senders[which].send(&mut writer, &mut dice);
                if !writer.take_closed().is_empty() {
                    // A segment was full: what its source had appended until then became durable.
                    durable_bytes = before;
                }
            }
            14..=16 => {
                for (source, epoch, next_seq) in writer.commit().unwrap() {
                    let sender = senders.iter_mut().find(|s| s.probe.source == source && s.probe.epoch == epoch);
                    sender.unwrap().acknowledged = next_seq;
                }
                durable_bytes = lengths(root.path());
            }
            17 => {
                writer.rotate(None).unwrap();
                writer.take_closed();
                durable_bytes = lengths(root.path());
            }
            _ => {
                drop(writer);
                // What was not synced may be there, in part, or damaged.
                for (path, length) in lengths(root.path()) {
                    let durable = durable_bytes.get(&path).copied().unwrap_or(0);
                    let left = durable + dice.roll(length.saturating_sub(durable) + 1);
                    let mut bytes = std::fs::read(&path).unwrap();
                    bytes.truncate(left as usize);
                    if dice.roll(2) == 0 && left > durable && compression == Compression::Zstd {
                        // A plain segment has no checksums.
                        let at = durable + dice.roll(left - durable);
                        bytes[at as usize] ^= 0xff;
                    }
                    std::fs::write(&path, bytes).unwrap();
                }
                if dice.roll(3) == 0 {
                    for index in files(root.path(), ".idx") {
                        std::fs::remove_file(index).unwrap();
                    }
                }
                writer = open(root.path(), compression);
                durable_bytes = lengths(root.path());
            }
        }
    }
    // The probes send again what they made and the archive lost.
    for sender in &mut senders {
        let made = sender.made.len();
        while sender
            .made
            .last()
            .is_some_and(|last| last.seq >= writer.next_seq(&sender.probe.source, sender.probe.epoch))
        {
            sender.send(&mut writer, &mut dice);
        }
        assert_eq!(sender.made.len(), made);
    }
    writer.commit().unwrap();
    let mut expected: Vec<u64> = senders
        .iter()
        .flat_map(|sender| &sender.made)
        .filter(|made| !made.lost)
        .flat_map(|made| made.packet..made.packet + made.packets)
        .collect();
    expected.sort_unstable();
    let mut found = numbers(root.path());
    found.sort_unstable();
    assert_same(&found, &expected, "while open");
    for sender in &senders {
        let (source, epoch) = (&sender.probe.source, sender.probe.epoch);
        let Some(state) = writer.state(source, epoch) else { continue };
        let sum =
            |lost: bool| sender.made.iter().filter(|made| made.lost == lost).map(|made| made.packets).sum::<u64>();
        assert_eq!((state.archived_packets, state.gaps()), (sum(false), sum(true)), "the account");
        let entries = Archive::new(root.path()).entries(source, epoch, 0, u64::MAX).unwrap();
        let seqs: Vec<_> = entries.map(|entry| entry.unwrap().entry.seq).collect();
        assert_eq!(seqs, sender.made.iter().map(|made| made.seq).collect::<Vec<_>>(), "the log");
    }
    writer.close().unwrap();
    let mut found = numbers(root.path());
    found.sort_unstable();
    assert_same(&found, &expected, "closed");
}

fn assert_same(found: &[u64], expected: &[u64], when: &str) {
    let missing: Vec<_> = expected.iter().filter(|number| !found.contains(number)).collect();
    let strange: Vec<_> = found.iter().filter(|number| !expected.contains(number)).collect();
    let twice: Vec<_> = found.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(
        missing.is_empty() && strange.is_empty() && twice.is_empty(),
        "{when}: missing {missing:?}, strange {strange:?}, twice {twice:?}"
    );
}

/// The open segments and how long they are.
fn lengths(root: &Path) -> std::collections::BTreeMap<std::path::PathBuf, u64> {
    let open = files(root, ".part").into_iter().filter(|path| !path.to_str().unwrap().contains(".idx"));
    open.map(|path| (path.clone(), std::fs::metadata(path).unwrap().len())).collect()
}

#[test]
fn nothing_acknowledged_is_missing_and_nothing_is_there_twice() {
    if let Ok(seed) = std::env::var("SEED") {
        return run(seed.parse().unwrap());
    }
    let seeds = std::env::var("SEEDS").map_or(150, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        if std::panic::catch_unwind(|| run(seed)).is_err() {
            panic!("seed {seed} failed: replay it with SEED={seed} cargo test -p tapline-archive --test crashes");
        }
    }
}
