//! What really happened, kept apart from what the models and the state machines believe; and the checks against it.

use crate::spool::Entry;
use std::collections::HashMap;

/// A check that failed says what was wrong.
pub type Check<T = ()> = Result<T, String>;

/// Fails with the text unless the condition holds.
macro_rules! check {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}
pub(crate) use check;

#[derive(Debug, Default)]
pub struct Truth {
    /// Every entry that was ever sent, by epoch and sequence number.
    sent: HashMap<(u64, u64), Entry>,
    /// What is on the collector's disk: where it ends, by epoch.
    durable: HashMap<u64, u64>,
}

impl Truth {
    /// An entry is sent. It is the same each time: the collector may have it already.
    pub fn sent(&mut self, epoch: u64, entry: &Entry) {
        self.sent.entry((epoch, entry.seq)).or_insert_with(|| entry.clone());
    }

    /// What came out at the collector is what was sent.
    pub fn arrived(&self, epoch: u64, seq: u64, last_seq: u64, bytes: &[u8]) -> Check {
        let sent = self.sent.get(&(epoch, seq)).ok_or(format!("entry {seq} of epoch {epoch} was never sent"))?;
        check!(
            sent.last_seq == last_seq && sent.bytes == bytes,
            "entry {seq} to {last_seq} of epoch {epoch} came out altered: it was sent as {seq} to {}",
            sent.last_seq
        );
        Ok(())
    }

    /// The interface set an entry refers to.
    pub fn set(&self, epoch: u64, seq: u64) -> u32 {
        self.sent.get(&(epoch, seq)).map_or(0, |entry| entry.set)
    }

    /// An entry is on the disk: it follows the one before, so each is there once and in order.
    pub fn stored(&mut self, epoch: u64, entry: &Entry) -> Check {
        let end = self.durable.entry(epoch).or_default();
        check!(entry.seq >= *end, "entry {} of epoch {epoch} is stored twice: all before {end} were there", entry.seq);
        check!(entry.seq == *end, "entries {end} to {} of epoch {epoch} were never stored", entry.seq - 1);
        *end = entry.last_seq + 1;
        Ok(())
    }

    /// Where the disk ends.
    pub fn durable_seq(&self, epoch: u64) -> u64 {
        self.durable.get(&epoch).copied().unwrap_or(0)
    }

    /// Somebody says or was told that everything before this is durable.
    pub fn acknowledged(&self, epoch: u64, durable_seq: u64) -> Check {
        let durable = self.durable_seq(epoch);
        check!(
            durable_seq <= durable,
            "acknowledged before it was durable: all before {durable_seq} of epoch {epoch}, durable are those before {durable}"
        );
        Ok(())
    }
}
