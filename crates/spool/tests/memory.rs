//! The spool without a disk.
#![allow(clippy::unwrap_used)]

use packet::batch::BatchHeader;
use packet::{BatchName, Epoch, Timestamp};
use spool::{Ending, Limits, Mode, Spool, WhenFull};

/// What one of the batches below takes in memory, and what a gap record does.
const BATCH: u64 = 100 + 256;
const GAP: u64 = 256;

fn batch(seq: u64) -> BatchHeader {
    BatchHeader {
        name: BatchName { source: "s".parse().unwrap(), epoch: Epoch([1; 16]), seq },
        interface_set: 0,
        first_packet: seq * 10,
        packets: 10,
        time_min: Timestamp::from_nanos(seq),
        time_max: Timestamp::from_nanos(seq + 1),
        captured_bytes: 100,
    }
}

fn spool(full: WhenFull) -> Spool {
    let limits = Limits { memory: 5 * BATCH + GAP, full, waits: false, mode: Mode::Memory };
    Spool::new("s".parse().unwrap(), Epoch([1; 16]), limits)
}

fn push(spool: &Spool, seqs: std::ops::Range<u64>) {
    for seq in seqs {
        spool.sealed(10);
        spool.push(batch(seq), 300, vec![0; 100]);
    }
}

fn connect(spool: &Spool, durable_seq: u64, next_seq: u64) -> u64 {
    let hello = spool.hello(Timestamp::ZERO);
    spool.acknowledge(durable_seq);
    spool.resume(next_seq);
    hello.oldest_seq
}

/// Sends everything that is there; gives (first, last) of each entry.
fn drain(spool: &Spool) -> Vec<(u64, u64)> {
    std::iter::from_fn(|| {
        let next = spool.next()?;
        assert!(spool.mark_sent(&next.head));
        Some((next.head.seq, next.head.last_seq))
    })
    .collect()
}

fn closes(spool: &Spool) {
    let statistics = spool.statistics(Timestamp::ZERO);
    let dropped: u64 = statistics.drops.iter().map(|drop| drop.packets).sum();
    assert_eq!(statistics.captured, statistics.held + statistics.acknowledged + dropped, "{statistics:?}");
}

#[test]
fn a_full_spool_puts_one_gap_in_the_place_of_the_oldest() {
    let spool = spool(WhenFull::Oldest);
    connect(&spool, 0, 0);
    push(&spool, 0..2);
    assert_eq!(drain(&spool), [(0, 0), (1, 1)]);
    push(&spool, 2..12);
    closes(&spool);
    assert_eq!(drain(&spool), [(2, 8), (9, 9), (10, 10), (11, 11)]);
    spool.acknowledge(10);
    closes(&spool);
    assert_eq!(spool.statistics(Timestamp::ZERO).acknowledged, 30);
}

#[test]
fn what_may_have_arrived_is_not_dropped_before_the_collector_says_with_what_it_goes_on() {
    let oldest = spool(WhenFull::Oldest);
    connect(&oldest, 0, 0);
    push(&oldest, 0..4);
    assert_eq!(drain(&oldest).len(), 4);
    oldest.hello(Timestamp::ZERO);
    push(&oldest, 4..10);
    oldest.resume(4);
    assert_eq!(drain(&oldest).first(), Some(&(4, 8)), "one batch fits beside the four");
    closes(&oldest);

    let newest = spool(WhenFull::Newest);
    connect(&newest, 0, 0);
    push(&newest, 0..7);
    assert_eq!(drain(&newest).last(), Some(&(5, 6)));
    newest.hello(Timestamp::ZERO);
    push(&newest, 7..9);
    newest.resume(7);
    assert_eq!(drain(&newest), [(7, 8)]);
    closes(&newest);
}

#[test]
fn or_of_the_newest() {
    let spool = spool(WhenFull::Newest);
    connect(&spool, 0, 0);
    push(&spool, 0..9);
    assert_eq!(drain(&spool), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 8)]);
    // The gap is on its way: the next drop is a gap of its own.
    push(&spool, 9..11);
    assert_eq!(drain(&spool), [(9, 10)]);
    closes(&spool);
    spool.acknowledge(11);
    closes(&spool);
    assert!(spool.is_empty());
    assert_eq!(spool.ending(), Ending::NotYet);
    spool.close();
    assert_eq!(spool.ending(), Ending::Complete);
}

#[test]
fn a_new_connection_goes_on_where_the_collector_says() {
    let spool = spool(WhenFull::Oldest);
    connect(&spool, 0, 0);
    push(&spool, 0..4);
    drain(&spool);
    spool.acknowledge(1);
    assert_eq!(connect(&spool, 1, 3), 1);
    assert_eq!(drain(&spool), [(3, 3)]);
    closes(&spool);
}

#[test]
fn a_batch_that_becomes_a_gap_record_while_it_is_being_sent_is_not_sent() {
    let spool = spool(WhenFull::Oldest);
    connect(&spool, 0, 0);
    push(&spool, 0..5);
    let next = spool.next().unwrap();
    push(&spool, 5..6);
    assert!(!spool.mark_sent(&next.head), "entry 0 is a gap record now");
    assert_eq!(drain(&spool).first(), Some(&(0, 0)));
    closes(&spool);
}
