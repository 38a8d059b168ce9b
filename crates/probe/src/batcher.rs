//! From packets to compressed batches: each capture thread fills a builder of its own; a sequencer numbers what is closed
//! and keeps the order into the one compressing thread.

use crate::failure::Failure;
use crate::spools::Spools;
use packet::batch::{BatchHeader, MAX_BYTES};
use packet::pcapng::{ENHANCED_PACKET_OVERHEAD, InterfaceStatistics};
use packet::{BatchBuilder, Packet, Timestamp};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Closed batches that may wait for the compressor.
const QUEUE: usize = 8;

struct Sealed {
    header: BatchHeader,
    bytes: Vec<u8>,
}

struct Numbers {
    next_seq: u64,
    next_packet: u64,
    out: SyncSender<Sealed>,
    recycled: Receiver<Vec<u8>>,
}

/// Numbers batches and passes them on, one after the other.
#[derive(Clone)]
pub struct Sequencer {
    numbers: Arc<Mutex<Numbers>>,
    spools: Spools,
}

/// Starts the compressing thread, which puts each batch into every spool.
pub fn start(spools: Spools, level: i32) -> Result<(Sequencer, JoinHandle<Result<(), Failure>>), Failure> {
    let (out, sealed) = sync_channel::<Sealed>(QUEUE);
    let (recycle, recycled) = sync_channel::<Vec<u8>>(QUEUE + 2);
    let into = spools.clone();
    let thread = std::thread::Builder::new()
        .name("compress".to_owned())
        .spawn(move || compress(&sealed, &recycle, &into, level))
        .map_err(Failure::failed)?;
    let numbers = Arc::new(Mutex::new(Numbers { next_seq: 0, next_packet: 0, out, recycled }));
    Ok((Sequencer { numbers, spools }, thread))
}

fn compress(
    sealed: &Receiver<Sealed>,
    recycle: &SyncSender<Vec<u8>>,
    spools: &Spools,
    level: i32,
) -> Result<(), Failure> {
    let mut compressor = zstd::bulk::Compressor::new(level).map_err(Failure::failed)?;
    compressor.include_checksum(true).map_err(Failure::failed)?;
    compressor.include_contentsize(true).map_err(Failure::failed)?;
    let mut scratch = Vec::new();
    while let Ok(Sealed { header, bytes }) = sealed.recv() {
        scratch.resize(zstd::zstd_safe::compress_bound(bytes.len()), 0);
        let length = compressor.compress_to_buffer(&bytes, scratch.as_mut_slice()).map_err(Failure::failed)?;
        let frame = scratch.get(..length).unwrap_or_default().to_vec();
        let raw_length = bytes.len();
        let _ = recycle.try_send(bytes);
        spools.push(header, raw_length, Arc::new(frame));
    }
    Ok(())
}

impl Sequencer {
    fn seal(&self, builder: &mut BatchBuilder) -> Result<(), Failure> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let next = numbers.recycled.try_recv().unwrap_or_default();
        let (header, bytes) = builder.seal(numbers.next_seq, numbers.next_packet, next);
        numbers.next_seq += 1;
        numbers.next_packet += u64::from(header.packets);
        self.spools.sealed(header.packets);
        // Waits while the compressor is behind: then the kernel's buffer fills, and what it drops it counts.
        numbers.out.send(Sealed { header, bytes }).map_err(|_| Failure::failed("the compressor has ended"))
    }

    /// A batcher for one capture thread.
    pub fn batcher(&self, set: u32, target: usize, linger: Duration) -> Batcher {
        Batcher {
            builder: BatchBuilder::new(self.spools.source().clone(), self.spools.epoch(), set),
            sequencer: self.clone(),
            set,
            target: target.clamp(4096, MAX_BYTES / 2),
            linger,
            first_time: Timestamp::ZERO,
            opened: Instant::now(),
        }
    }
}

/// Fills batches and closes them by size and by time.
pub struct Batcher {
    builder: BatchBuilder,
    sequencer: Sequencer,
    set: u32,
    target: usize,
    linger: Duration,
    first_time: Timestamp,
    opened: Instant,
}

impl Batcher {
    /// Adds a packet of this batcher's interface set.
    #[inline]
    pub fn push(&mut self, packet: &Packet<'_>) -> Result<(), Failure> {
        if self.builder.len() + packet.data.len() + ENHANCED_PACKET_OVERHEAD > self.target.max(64 * 1024)
            && self.builder.packets() > 0
        {
            self.seal()?;
        }
        if self.builder.packets() == 0 {
            self.first_time = packet.time;
            self.opened = Instant::now();
        }
        self.builder.push(packet);
        let lasted = packet.time.since(self.first_time);
        if self.builder.len() >= self.target || lasted >= self.linger.as_nanos() as u64 {
            self.seal()?;
        }
        Ok(())
    }

    /// Adds counters of an interface.
    pub fn push_statistics(&mut self, statistics: &InterfaceStatistics) {
        self.builder.push_statistics(statistics);
    }

    /// Closes the batch if it has waited long enough.
    pub fn tick(&mut self) -> Result<(), Failure> {
        if !self.builder.is_empty() && self.opened.elapsed() >= self.linger {
            self.seal()?;
        }
        Ok(())
    }

    /// Goes on with another interface set.
    pub fn use_set(&mut self, set: u32) -> Result<(), Failure> {
        if set != self.set {
            self.seal()?;
            let spools = &self.sequencer.spools;
            self.builder = BatchBuilder::new(spools.source().clone(), spools.epoch(), set);
            self.set = set;
        }
        Ok(())
    }

    /// Closes the batch, if anything is in it.
    pub fn seal(&mut self) -> Result<(), Failure> {
        if self.builder.is_empty() { Ok(()) } else { self.sequencer.seal(&mut self.builder) }
    }
}
