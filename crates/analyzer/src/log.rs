//! The log of batches as the analyzer needs it: what the feed brings, and what the archive has of what it did not bring.
//! Knows neither ZeroMQ nor HTTP; `collector.rs` fits feed and API to it, tests bring a log of their own.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use packet::batch::Item;
use packet::{Epoch, Interface, SourceName};

/// One entry, decompressed.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// The source.
    pub source: SourceName,
    /// The epoch.
    pub epoch: Epoch,
    /// The sequence numbers it covers: one, or several if it is a gap record.
    pub seqs: RangeInclusive<u64>,
    /// The interfaces its packets refer to.
    pub interfaces: Arc<[Interface]>,
    /// Its uncompressed bytes, opening block first.
    pub raw: Vec<u8>,
}

/// How far the collector is with an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochState {
    /// The source.
    pub source: SourceName,
    /// The epoch.
    pub epoch: Epoch,
    /// The first sequence number that the archive does not have yet.
    pub next_seq: u64,
    /// Whether nothing will come any more.
    pub ended: bool,
}

/// What the feed brought.
#[derive(Debug)]
pub enum Received {
    /// An entry of the log.
    Entry(LogEntry),
    /// Something happened at the collector that makes it worth asking how far it is.
    Change,
    /// A message that makes no sense.
    Bad(String),
    /// Nothing in this time.
    Nothing,
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The collector could not be asked; it may answer later.
    #[error("the collector cannot be asked: {0}")]
    Unreachable(String),
    /// Nothing can be done any more.
    #[error("{0}")]
    Broken(String),
}

/// The log.
pub trait Log {
    /// Waits for what the feed brings next.
    ///
    /// # Errors
    /// When the feed can no longer be read.
    fn receive(&mut self, timeout: Duration) -> Result<Received, LogError>;

    /// Fetches entries of an epoch from the archive, in order; those that it does not have are left out.
    ///
    /// # Errors
    /// When the archive cannot be asked.
    fn fetch(
        &mut self,
        source: &SourceName,
        epoch: Epoch,
        seqs: RangeInclusive<u64>,
        each: &mut dyn FnMut(LogEntry) -> std::io::Result<()>,
    ) -> Result<(), LogError>;

    /// Asks how far the archive is with every epoch it has.
    ///
    /// # Errors
    /// When the collector cannot be asked.
    fn epochs(&mut self) -> Result<Vec<EpochState>, LogError>;
}

/// What an entry holds, walked once.
pub(crate) fn items(raw: &[u8]) -> Result<Content<'_>, packet::BatchError> {
    match packet::Entry::parse(raw)? {
        packet::Entry::Batch(batch) => {
            let items = batch.items().collect::<Result<Vec<_>, _>>()?;
            Ok(Content::Batch { first_packet: batch.header.first_packet, packets: batch.header.packets.into(), items })
        }
        packet::Entry::Gap(gap) => Ok(Content::Gap { first_packet: gap.first_packet, packets: gap.packets }),
    }
}

/// The content of an entry.
pub(crate) enum Content<'a> {
    /// Packets.
    Batch {
        /// Number of the first one.
        first_packet: u64,
        /// How many.
        packets: u64,
        /// They and the statistics between them.
        items: Vec<Item<'a>>,
    },
    /// Packets that were lost.
    Gap {
        /// Number of the first one.
        first_packet: u64,
        /// How many.
        packets: u64,
    },
}
