//! Where events go: one folder per output; batching, queueing, retrying and counting are shared.
//! Knows nothing of packets or decoders, and never decides what an event says.
//!
//! A new output is one folder with a `Settings` structure and an [`Output`], and one line in `registry.rs`.
#![forbid(unsafe_code)]

use std::sync::Arc;

mod address;
mod batch;
mod counters;
pub mod elasticsearch;
pub mod kafka;
mod known;
pub mod ndjson;
mod queue;
pub mod redis;
mod registry;
pub mod remote;
mod secrets;
pub mod stdout;
pub mod store;

pub use batch::EventBatch;
pub use counters::{Counters, Snapshot};
pub use queue::{Queue, WhenFull};
pub use registry::{Opened, Place, Prepared, Settings};
pub use secrets::Tls;

/// An output: takes batches of events one after the other.
pub trait Output: Send {
    /// Its name, as in the configuration and in metrics.
    fn name(&self) -> &'static str;

    /// Called once before the first batch, on the thread that starts the queue: an output that counts by itself does it here.
    ///
    /// # Errors
    /// If the system gives no thread.
    fn start(&mut self, _counters: &Arc<Counters>) -> std::io::Result<()> {
        Ok(())
    }

    /// Takes a whole batch or nothing of it. After a [`Failure::Retry`] the same batch is offered again.
    ///
    /// # Errors
    /// Why it could not be taken.
    fn write(&mut self, batch: &EventBatch) -> Result<Written, Failure>;

    /// Hands everything taken so far to whoever keeps it; gives how many of the batches taken last are still on their way there.
    ///
    /// # Errors
    /// Why that was not possible.
    fn flush(&mut self) -> Result<u64, Failure>;

    /// Called again and again while there is nothing to write, for what is to be done meanwhile. Must not take long.
    fn idle(&mut self) {}

    /// Called once after the last batch and flush. Gives the number of events that are kept nowhere.
    fn end(&mut self) -> u64 {
        0
    }
}

/// What became of a batch that an output took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Events written.
    pub events: u64,
    /// Events left out because they were written in an earlier run.
    pub known: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// Why an output could not take a batch.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It may go better later; nothing of the batch was kept.
    #[error("{0}")]
    Retry(String),
    /// Nobody reads any more; there is no point in going on.
    #[error("the reader is gone")]
    Closed,
}

/// What is wrong with the settings of an output, or why it could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("analyzer.output.{output}: {message}")]
pub struct OpenError {
    /// Which one.
    pub output: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}
