//! Facts about following the log, with a log that loses, repeats and forgets.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use output::{Failure, Output, WhenFull, Written};
use packet::{BatchBuilder, Packet};

use super::*;
use crate::log::EpochState;
use crate::toy;

const PACKETS_PER_BATCH: u64 = 4;

fn source() -> SourceName {
    "web1".parse().unwrap()
}

const EPOCH: Epoch = Epoch([5; 16]);

/// Batch `seq` of packets of hosts that change with every packet.
fn entry(seq: u64) -> LogEntry {
    let mut builder = BatchBuilder::new(source(), EPOCH, 0);
    for number in seq * PACKETS_PER_BATCH..(seq + 1) * PACKETS_PER_BATCH {
        let data = toy::packet((number % 5) as u8 + 1);
        builder.push(&Packet {
            time: Timestamp::from_parts(number, 0),
            interface: 0,
            original_length: data.len() as u32,
            data: &data,
        });
    }
    let (_, raw) = builder.seal(seq, seq * PACKETS_PER_BATCH, Vec::new());
    LogEntry { source: source(), epoch: EPOCH, seqs: seq..=seq, interfaces: toy::interfaces(), raw }
}

/// A feed that brings some entries, and an archive that has some.
struct Fake {
    feed: VecDeque<LogEntry>,
    archive: BTreeMap<u64, LogEntry>,
    ended: bool,
    stop: Arc<AtomicBool>,
    quiet: u32,
    /// How often the archive is asked before it has anything.
    late: u32,
    /// How far the collector is, whether the archive still has it or not.
    durable: u64,
}

impl Log for Fake {
    fn receive(&mut self, timeout: Duration) -> Result<Received, LogError> {
        if let Some(entry) = self.feed.pop_front() {
            return Ok(Received::Entry(entry));
        }
        if !timeout.is_zero() {
            self.quiet += 1;
            self.stop.store(self.quiet > 5, Ordering::Relaxed);
        }
        Ok(Received::Nothing)
    }

    fn fetch(
        &mut self,
        _: &SourceName,
        _: Epoch,
        seqs: RangeInclusive<u64>,
        each: &mut dyn FnMut(LogEntry) -> io::Result<()>,
    ) -> Result<(), LogError> {
        if self.late > 0 {
            self.late -= 1;
            return Ok(());
        }
        for (_, entry) in self.archive.range(seqs) {
            each(entry.clone()).unwrap();
        }
        Ok(())
    }

    fn epochs(&mut self) -> Result<Vec<EpochState>, LogError> {
        let next_seq = if self.late == 0 { self.durable } else { 0 };
        Ok(vec![EpochState { source: source(), epoch: EPOCH, next_seq, ended: self.ended }])
    }
}

struct Memory(Arc<Mutex<Vec<String>>>);

impl Output for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }
    fn write(&mut self, batch: &EventBatch) -> Result<Written, Failure> {
        let text = String::from_utf8_lossy(batch.json()).into_owned();
        self.0.lock().unwrap().extend(text.lines().map(str::to_owned));
        Ok(Written::default())
    }
    fn flush(&mut self) -> Result<u64, Failure> {
        Ok(0)
    }
}

struct Ran {
    events: Vec<String>,
    shared: Arc<Shared>,
    positions: Vec<Position>,
}

fn run(state: &std::path::Path, feed: &[u64], archive: std::ops::Range<u64>, ended: bool, workers: usize) -> Ran {
    run_late(state, feed, archive, ended, workers, 0)
}

/// Like [`run`], with an archive that is behind the feed at first.
fn run_late(
    state: &std::path::Path,
    feed: &[u64],
    archive: std::ops::Range<u64>,
    ended: bool,
    workers: usize,
    late: u32,
) -> Ran {
    let stop = Arc::new(AtomicBool::new(false));
    let archive_end = archive.end;
    let log = Fake {
        feed: feed.iter().map(|seq| entry(*seq)).collect(),
        archive: archive.map(|seq| (seq, entry(seq))).collect(),
        ended,
        stop: Arc::clone(&stop),
        quiet: 0,
        late,
        durable: archive_end.max(feed.iter().map(|seq| seq + 1).max().unwrap_or(0)),
    };
    let events = Arc::new(Mutex::new(Vec::new()));
    let queue = Queue::start(Box::new(Memory(Arc::clone(&events))), 8, WhenFull::Wait, None).unwrap();
    let shared = Arc::new(Shared::default());
    let options = Options { state: state.to_owned(), start: Start::Oldest, rewind_max: Duration::from_secs(600) };
    let pool = Pool::new(workers, &toy::parts()).unwrap();
    let added = Added { stage: Stage::default(), renderer: (toy::parts().renderer)() };
    follow(log, pool, vec![queue], added, Arc::clone(&shared), &options, &stop).unwrap();
    let events = std::mem::take(&mut *events.lock().unwrap());
    Ran { events, shared, positions: position::load(state).unwrap() }
}

fn everything(batches: u64, ended: bool) -> Vec<String> {
    let state = tempfile::tempdir().unwrap();
    let feed: Vec<u64> = (0..batches).collect();
    run(state.path(), &feed, 0..batches, ended, 1).events
}

#[test]
fn what_the_feed_loses_comes_from_the_archive() {
    let expect = everything(20, false);
    assert!(expect.len() > 20);
    for workers in [1, 3] {
        let state = tempfile::tempdir().unwrap();
        let ran = run(state.path(), &[0, 1, 2, 2, 7, 8, 3, 15, 16], 0..20, false, workers);
        assert_eq!(ran.events, expect);
        assert_eq!(ran.shared.batches.load(Ordering::Relaxed), 20);
        assert!(ran.shared.batches_fetched.load(Ordering::Relaxed) >= 4 + 6 + 3);
        assert_eq!(ran.positions[0].next_seq, 20);
    }
}

#[test]
fn what_neither_has_is_counted_and_passed_over() {
    let state = tempfile::tempdir().unwrap();
    let ran = run(state.path(), &[10, 11], 8..12, false, 1);
    assert_eq!(ran.shared.batches_missing.load(Ordering::Relaxed), 8);
    assert_eq!(ran.shared.batches.load(Ordering::Relaxed), 4);
}

#[test]
fn packets_that_neither_has_are_a_loss_of_our_own() {
    for workers in [1, 3] {
        let state = tempfile::tempdir().unwrap();
        let ran = run(state.path(), &[5, 6, 10, 11], 0..0, false, workers);
        assert_eq!(ran.shared.batches.load(Ordering::Relaxed), 4);
        assert_eq!(
            ran.shared.packets_lost.load(Ordering::Relaxed),
            3 * PACKETS_PER_BATCH,
            "what came before is not known"
        );
    }
}

#[test]
fn after_a_restart_nothing_is_lost_and_nothing_twice() {
    let expect = everything(20, false);
    for cut in [1, 4, 9, 10, 15, 19] {
        let state = tempfile::tempdir().unwrap();
        let first = run(state.path(), &[], 0..cut, false, 1);
        let second = run(state.path(), &[18, 19], 0..20, false, 1);
        let both: Vec<String> = first.events.iter().chain(&second.events).cloned().collect();
        assert_eq!(both, expect, "cut after {cut} batches");
    }
}

#[test]
fn the_end_of_an_epoch_gives_out_what_is_open() {
    let open = everything(2, false);
    let ended = everything(2, true);
    assert_eq!(open.len() + 5, ended.len(), "{ended:?}");
    let state = tempfile::tempdir().unwrap();
    let ran = run(state.path(), &[], 0..2, true, 1);
    assert_eq!(ran.positions[0].resume_seq, 2, "nothing is needed any more");
}

#[test]
fn what_the_feed_brought_before_it_was_durable_is_not_missing() {
    let state = tempfile::tempdir().unwrap();
    let ran = run_late(state.path(), &[1, 2, 3], 0..4, true, 1, 5);
    assert_eq!(ran.shared.batches_missing.load(Ordering::Relaxed), 0);
    assert_eq!(ran.events, everything(4, true));
}
