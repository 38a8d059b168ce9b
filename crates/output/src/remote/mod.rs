//! What outputs to services over the network share: a bounded backlog that spills to disk, a thread that sends and
//! retries, what is held for places that take nothing, and dead letters.
//! An output is a [`Service`]; it knows how to send documents and what came of each, nothing of queues.

mod backlog;
mod dead_letter;
mod disk;
mod document;
mod held;
mod retry;
mod sender;
mod spill;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::counters::{Counters, add};
use crate::{EventBatch, Failure, OpenError, Output, Place, Written};
use backlog::{Backlog, Bounds};
use dead_letter::Refusals;
pub use dead_letter::{DeadLetters, Letter};
use disk::Disk;
pub use document::Document;
pub(crate) use document::Documents;
pub use retry::{Retried, retry};
use sender::Sender;

/// When the program ends, so long is waited for a service that answers.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// So long the request that is under way then may still take.
const THREAD_PATIENCE: Duration = Duration::from_secs(2);

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The service keeps it.
    Kept,
    /// The service had it already.
    Known,
    /// The service may take it later.
    Later(String),
    /// The place where it belongs takes nothing for now, which says nothing of others.
    Blocked(String),
    /// The service will never take it as it is.
    Refused {
        /// The service's number for the reason, such as an HTTP status; 0 if it has none.
        status: u16,
        /// Why, in its words.
        reason: String,
    },
}

/// Why nothing could be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Something that takes documents.
pub trait Service: Send {
    /// Looks up the names of its servers, once and before anything is sent: behind the sandbox nobody can any more.
    ///
    /// # Errors
    /// Which name was not found.
    fn look_up(&mut self) -> Result<(), OpenError> {
        Ok(())
    }

    /// Sends documents and gives the fate of each, in their order.
    ///
    /// # Errors
    /// When it is not known that any was taken: then all are sent again.
    fn send(&mut self, documents: &[Document<'_>]) -> Result<Vec<Fate>, Unavailable>;

    /// Where a document belongs in the service, as far as one such place may be blocked while others are not: an index, a topic, a key.
    fn place(&self, document: &Document<'_>) -> String;
}

/// `backlog` of each such output: what may wait for the service.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BacklogSettings {
    /// Bytes of events that wait in memory.
    #[serde(with = "settings::size")]
    pub memory: u64,
    /// Bytes of events that wait on disk when the service is away or slow, or single places in it take nothing; 0 keeps nothing on disk.
    #[serde(with = "settings::size")]
    pub disk: u64,
    /// Bytes of refused events that are kept for `tapline output retry`; what comes beyond is dropped and counted.
    #[serde(with = "settings::size")]
    pub dead_letters: u64,
}

impl Default for BacklogSettings {
    fn default() -> Self {
        Self { memory: 16 << 20, disk: 1 << 30, dead_letters: 256 << 20 }
    }
}

/// How much is sent at once.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BulkSettings {
    /// Bytes of events in a request, before compression.
    #[serde(with = "settings::size")]
    pub size: u64,
    /// How long fewer bytes wait for more.
    #[serde(with = "settings::duration")]
    pub time: Duration,
}

impl Default for BulkSettings {
    fn default() -> Self {
        Self { size: 5 << 20, time: Duration::from_secs(1) }
    }
}

/// An output that hands everything to a service.
pub(crate) struct Remote {
    name: &'static str,
    backlog: Arc<Backlog>,
    sender: Option<Sender>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
    refusals: Arc<Refusals>,
}

impl Remote {
    /// Where an output keeps its backlog and its dead letters.
    pub(crate) fn directory(place: &Place, name: &str) -> PathBuf {
        place.data.join("output").join(name)
    }

    /// Opens the backlog, with what an earlier run left in it.
    pub(crate) fn open(
        name: &'static str,
        service: Box<dyn Service>,
        place: &Place,
        backlog: &BacklogSettings,
        bulk: &BulkSettings,
    ) -> Result<Self, OpenError> {
        let directory = Self::directory(place, name);
        let failed = |error: io::Error| OpenError {
            output: name,
            message: format!("{}: {error}; the analyzer must be able to write there", directory.display()),
        };
        let disk = match backlog.disk {
            0 => None,
            limit => Some(Disk::open(name, &directory, limit).map_err(failed)?),
        };
        let letters = DeadLetters::open(directory.join("dead-letters"), backlog.dead_letters).map_err(failed)?;
        let bounds = Bounds {
            memory: usize::try_from(backlog.memory).unwrap_or(usize::MAX),
            bulk_bytes: usize::try_from(bulk.size).unwrap_or(usize::MAX).max(1),
            bulk_time: bulk.time,
        };
        let backlog = Arc::new(Backlog::new(bounds, disk));
        let refusals = letters.refusals();
        let sender = Some(Sender { name, service, backlog: Arc::clone(&backlog), letters });
        Ok(Self { name, backlog, sender, thread: None, counters: Arc::default(), refusals })
    }

    fn show(&self) {
        let on_disk = self.backlog.on_disk();
        self.counters.spilled_events.store(on_disk.spilled_events, Ordering::Relaxed);
        self.counters.spilled_bytes.store(on_disk.spilled_bytes, Ordering::Relaxed);
        self.counters.held_events.store(on_disk.held_events, Ordering::Relaxed);
        self.counters.held_bytes.store(on_disk.held_bytes, Ordering::Relaxed);
        self.counters.events_damaged.store(on_disk.lost, Ordering::Relaxed);
        self.tell_refused(false);
    }

    fn tell_refused(&self, is_end: bool) {
        if let Some(more) = self.refusals.more(Instant::now(), is_end) {
            tracing::warn!(output = self.name, "more events refused since the last such warning: {more}");
        }
    }
}

impl Output for Remote {
    fn name(&self) -> &'static str {
        self.name
    }

    fn start(&mut self, counters: &Arc<Counters>) -> io::Result<()> {
        self.counters = Arc::clone(counters);
        self.show();
        if let Some(sender) = self.sender.take() {
            let counters = Arc::clone(counters);
            let builder = std::thread::Builder::new().name(format!("send-{}", self.name));
            self.thread = Some(builder.spawn(move || sender.run(&counters))?);
        }
        Ok(())
    }

    fn write(&mut self, batch: &EventBatch) -> Result<Written, Failure> {
        let mut documents = Documents::default();
        for (event, line) in batch.iter() {
            documents.push_event(event, line);
        }
        let pushed = self.backlog.push(&Arc::new(documents));
        self.show();
        match pushed {
            // Counted as written when the service has confirmed it.
            Ok(true) => Ok(Written::default()),
            Ok(false) => Err(Failure::Retry("its backlog is full".to_owned())),
            Err(error) => Err(Failure::Retry(format!("its backlog on disk: {error}"))),
        }
    }

    fn flush(&mut self) -> Result<u64, Failure> {
        let unkept = self.backlog.unkept();
        self.show();
        unkept.map_err(|error| Failure::Retry(format!("its backlog on disk: {error}")))
    }

    fn idle(&mut self) {
        self.show();
    }

    fn end(&mut self) -> u64 {
        let left = self.backlog.end(END_PATIENCE).unwrap_or_else(|error| {
            tracing::error!(output = self.name, "the backlog could not be kept on disk: {error}");
            0
        });
        self.show();
        if let Some(thread) = self.thread.take() {
            // A request that hangs is not waited for: what it carries is on disk too.
            let until = Instant::now() + THREAD_PATIENCE;
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            if thread.is_finished() && thread.join().is_err() {
                tracing::error!(output = self.name, "the sending thread panicked; please report this");
            }
        }
        self.tell_refused(true);
        add(&self.counters.events_dropped, left);
        left
    }
}
