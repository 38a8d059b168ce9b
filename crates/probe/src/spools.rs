//! The spools that every batch goes into: one, which the collectors empty in turn, or one for each collector. What one of them drops, only
//! it drops, and none waits for another, except where the reader of a file waits for the fullest.

use packet::batch::BatchHeader;
use packet::{Epoch, Interface, SourceName};
use spool::Spool;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A spool, and what wakes the one who sends from it.
#[derive(Debug)]
struct Branch {
    spool: Arc<Spool>,
    waker: UnixStream,
}

/// All spools of the probe, of one source and one epoch.
#[derive(Debug, Clone)]
pub struct Spools {
    source: SourceName,
    epoch: Epoch,
    branches: Arc<Vec<Branch>>,
}

impl Spools {
    /// Spools of this source and epoch, each with the non-blocking socket that wakes its sender.
    pub fn new(source: SourceName, epoch: Epoch, branches: Vec<(Arc<Spool>, UnixStream)>) -> Self {
        let branches = branches.into_iter().map(|(spool, waker)| Branch { spool, waker }).collect();
        Self { source, epoch, branches: Arc::new(branches) }
    }

    /// The source.
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// The present epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Adds an interface set to the present epoch; its number is its place, the same in every spool.
    pub fn add_set(&self, interfaces: Vec<Interface>) -> u32 {
        self.branches.iter().fold(0, |_, branch| branch.spool.add_set(interfaces.clone()))
    }

    /// Counts packets whose batch was closed and goes to the compressor.
    pub fn sealed(&self, packets: u32) {
        for branch in self.branches.iter() {
            branch.spool.sealed(packets);
        }
    }

    /// Notes the kernel's counters of an interface: received, dropped, dropped by the interface.
    pub fn kernel(&self, interface: &str, received: u64, dropped: u64, dropped_by_interface: u64) {
        for branch in self.branches.iter() {
            branch.spool.kernel(interface, received, dropped, dropped_by_interface);
        }
    }

    /// Puts a compressed batch into every spool; its bytes are there once. Each sender is woken before the next spool may have to be waited for.
    pub fn push(&self, header: BatchHeader, raw_length: usize, frame: Arc<Vec<u8>>) {
        for branch in self.branches.iter() {
            branch.spool.push(header.clone(), raw_length, Arc::clone(&frame));
            // A full pipe already says that there is something.
            let _ = (&branch.waker).write(&[1]);
        }
    }

    /// Nothing more will be added.
    pub fn close(&self) {
        for branch in self.branches.iter() {
            branch.spool.close();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use packet::{BatchName, LinkType, Timestamp};
    use spool::{Ending, Limits, Mode, WhenFull};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    const EPOCH: Epoch = Epoch([1; 16]);
    /// What a batch takes in memory.
    const BATCH: u64 = 100 + 256;

    fn header(seq: u64) -> BatchHeader {
        BatchHeader {
            name: BatchName { source: "s".parse().unwrap(), epoch: EPOCH, seq },
            interface_set: 0,
            first_packet: seq * 10,
            packets: 10,
            time_min: Timestamp::from_nanos(seq),
            time_max: Timestamp::from_nanos(seq + 1),
            captured_bytes: 100,
        }
    }

    fn spools(count: usize, waits: bool) -> (Spools, Vec<Arc<Spool>>, Vec<UnixStream>) {
        let source: SourceName = "s".parse().unwrap();
        let limits = Limits { memory: 5 * BATCH, full: WhenFull::Oldest, waits, mode: Mode::Memory };
        let all: Vec<_> = (0..count).map(|_| Arc::new(Spool::new(source.clone(), EPOCH, limits))).collect();
        let (wakes, wakers): (Vec<_>, Vec<_>) = (0..count).map(|_| UnixStream::pair().unwrap()).unzip();
        (Spools::new(source, EPOCH, all.iter().cloned().zip(wakers).collect()), all, wakes)
    }

    fn push(spools: &Spools, seqs: std::ops::Range<u64>) {
        for seq in seqs {
            spools.sealed(10);
            spools.push(header(seq), 300, Arc::new(vec![seq as u8; 100]));
        }
    }

    fn connect(spool: &Spool, next_seq: u64) {
        spool.hello(Timestamp::ZERO);
        spool.acknowledge(next_seq);
        spool.resume(next_seq);
    }

    /// Sends everything that is there; gives what each entry is: its numbers, and whether it is a gap.
    fn drain(spool: &Spool) -> Vec<(u64, u64, bool)> {
        std::iter::from_fn(|| {
            let next = spool.next()?;
            assert!(spool.mark_sent(&next.head));
            Some((next.head.seq, next.head.last_seq, next.gap.is_some()))
        })
        .collect()
    }

    #[test]
    fn each_gets_the_same_batch_whose_bytes_are_there_once_and_is_woken() {
        let (spools, all, wakes) = spools(2, false);
        let interface =
            Interface { name: "eth0".to_owned(), link_type: LinkType::ETHERNET, snaplen: 100, filter: String::new() };
        assert_eq!((spools.add_set(vec![interface.clone()]), spools.add_set(vec![interface])), (0, 1));
        push(&spools, 0..1);
        all.iter().for_each(|spool| connect(spool, 0));
        let [one, other] = [&all[0], &all[1]].map(|spool| spool.next().unwrap());
        assert_eq!(one.head, other.head);
        assert!(Arc::ptr_eq(&one.frame.unwrap(), &other.frame.unwrap()));
        assert_eq!(all[0].set(1), all[1].set(1));
        for mut wake in wakes {
            wake.set_nonblocking(true).unwrap();
            assert_eq!(std::io::Read::read(&mut wake, &mut [0; 8]).unwrap(), 1);
        }
    }

    #[test]
    fn what_one_drops_the_other_has() {
        let (spools, all, _wakes) = spools(2, false);
        all.iter().for_each(|spool| connect(spool, 0));
        for seq in 0..20 {
            push(&spools, seq..seq + 1);
            // The first is away; the second keeps up.
            assert_eq!(drain(&all[1]), [(seq, seq, false)]);
            all[1].acknowledge(seq + 1);
        }
        let counts = all.iter().map(|spool| spool.statistics(Timestamp::ZERO)).collect::<Vec<_>>();
        let dropped: Vec<u64> =
            counts.iter().map(|counts| counts.drops.iter().map(|drop| drop.packets).sum()).collect();
        assert_eq!((counts[1].acknowledged, counts[1].held, dropped[1]), (200, 0, 0));
        assert!(dropped[0] > 0);
        assert_eq!((counts[0].captured, counts[1].captured), (200, 200));
        assert_eq!(counts[0].captured, counts[0].held + dropped[0]);
        let sent = drain(&all[0]);
        assert!(sent[0].2 && sent[1..].iter().all(|(_, _, gap)| !gap), "{sent:?}");
        assert_eq!(sent.last().map(|(_, last, _)| *last), Some(19));
        assert_eq!(u64::from(sent[0].1 as u32 + 1) * 10, dropped[0]);
    }

    #[test]
    fn each_ends_when_it_is_done() {
        let (spools, all, _wakes) = spools(2, false);
        all.iter().for_each(|spool| connect(spool, 0));
        push(&spools, 0..2);
        drain(&all[0]);
        all[0].acknowledge(2);
        spools.close();
        assert_eq!((all[0].ending(), all[1].ending()), (Ending::Complete, Ending::NotYet));
        drain(&all[1]);
        all[1].acknowledge(2);
        assert_eq!(all[1].ending(), Ending::Complete);
    }

    #[test]
    fn the_slowest_sets_the_pace_of_a_file() {
        let (spools, all, _wakes) = spools(2, true);
        all.iter().for_each(|spool| connect(spool, 0));
        let pushed = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for seq in 0..12 {
                    push(&spools, seq..seq + 1);
                    pushed.fetch_add(1, Ordering::SeqCst);
                }
            });
            // The first takes all there is, the second nothing.
            let deadline = std::time::Instant::now() + Duration::from_millis(600);
            while std::time::Instant::now() < deadline {
                drain(&all[0]);
                all[0].acknowledge(12);
                std::thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(pushed.load(Ordering::SeqCst), 5, "what fits into the slowest");
            while pushed.load(Ordering::SeqCst) < 12 {
                for spool in &all {
                    drain(spool);
                    spool.acknowledge(12);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        for spool in &all {
            drain(spool);
            spool.acknowledge(12);
            let counts = spool.statistics(Timestamp::ZERO);
            assert_eq!((counts.acknowledged, counts.held, counts.drops.len()), (120, 0, 0));
        }
    }
}
