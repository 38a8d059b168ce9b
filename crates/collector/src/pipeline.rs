//! The way of a checked entry: publish, append, make durable, acknowledge. One thread publishes, one writes; the queue
//! between them is bounded, and a full one stops receiving, not publishing to those who are quick.

use crate::check::Checked;
use crate::hook::Hook;
use crate::live;
use crate::policy::{Left, Part, Policy};
use crate::shared::{Shared, add, now};
use api::EntryMeta;
use archive::{AppendError, BatchIndex, Writer};
use feed::Publisher;
use packet::{BatchHeader, Entry, Epoch, InterfaceSet, SourceName, Timestamp};
use serde_json::json;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Entries that may wait to be published.
pub(crate) const PUBLISH_QUEUE: usize = 32;
/// Entries that may wait to be written.
pub(crate) const WRITE_QUEUE: usize = 32;
/// With so much waiting a commit does not wait for its time once nothing more comes: a probe may be out of credit or of memory.
pub(crate) const COMMIT_BYTES: u64 = 1 << 20;
/// Commits come no faster than this, so that small batches of many sources share one.
const COMMIT_LEAST: Duration = Duration::from_millis(20);
/// The longest pause, after which the clock is looked at: segments are closed and removed by it.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a failing disk is left alone before the next attempt.
const DISK_RETRY: Duration = Duration::from_millis(250);
/// Below so much free space a disk is nearly full.
const NEARLY_FULL_PERCENT: u64 = 5;
/// How often retention is applied.
const RETENTION_EVERY: Duration = Duration::from_secs(10);

/// A checked entry on its way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) source: SourceName,
    pub(crate) epoch: Epoch,
    pub(crate) checked: Checked,
    pub(crate) set: Arc<InterfaceSet>,
    pub(crate) frame: Vec<u8>,
    pub(crate) raw: Arc<Vec<u8>>,
    /// The records as an osmo-pcap client sent them.
    v1: Option<RawV1>,
    /// What of it is stored.
    left: Left,
}

impl Job {
    #[allow(clippy::too_many_arguments)] // One place that makes it, from the parts that sessions have.
    pub(crate) fn new(
        source: SourceName,
        epoch: Epoch,
        checked: Checked,
        set: Arc<InterfaceSet>,
        frame: Vec<u8>,
        raw: Vec<u8>,
        v1: Option<RawV1>,
        policy: Option<Arc<Policy>>,
    ) -> Self {
        let left = match (&checked, policy) {
            (Checked::Batch { .. }, Some(policy)) => policy.apply(&raw, &set),
            _ => Left::Whole,
        };
        Self { source, epoch, checked, set, frame, raw: Arc::new(raw), v1, left }
    }
}

/// Packets as an osmo-pcap client sent them, for v1 subscribers.
#[derive(Debug)]
pub(crate) struct RawV1 {
    header: Arc<[u8]>,
    records: Vec<u8>,
    lengths: Vec<u16>,
}

impl RawV1 {
    pub(crate) fn new(header: Arc<[u8]>) -> Self {
        Self { header, records: Vec::new(), lengths: Vec::new() }
    }

    /// Appends a record; none is longer than a frame of that protocol.
    pub(crate) fn push(&mut self, record: &[u8]) {
        self.records.extend_from_slice(record);
        self.lengths.push(record.len() as u16);
    }

    /// Takes what was appended.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.header.clone()))
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.records.as_slice();
        self.lengths.iter().filter_map(move |length| {
            let (record, behind) = rest.split_at_checked(usize::from(*length))?;
            rest = behind;
            Some(record)
        })
    }
}

/// Name, source and body of an event.
pub(crate) type Event = (&'static str, String, serde_json::Value);

/// What the publishing thread is given.
#[derive(Debug)]
pub(crate) enum Publish {
    Entry(Box<Job>),
    Event {
        name: &'static str,
        source: String,
        body: serde_json::Value,
    },
    Complete {
        source: SourceName,
        epoch: Epoch,
    },
    /// Close segments, then publish an event.
    Rotate(Option<SourceName>, Option<Event>),
    Tick,
}

/// What the writing thread is given.
#[derive(Debug)]
pub(crate) enum Write {
    Entry(Box<Job>),
    Complete { source: SourceName, epoch: Epoch },
    Rotate(Option<SourceName>, Option<Event>),
}

/// Publishes until all senders are gone, then lets go of the writer.
pub(crate) fn publish(
    mut publisher: Publisher,
    mut jobs: mpsc::Receiver<Publish>,
    writer: SyncSender<Write>,
    shared: &Shared,
) {
    let mut events = Events::new();
    while let Some(job) = jobs.blocking_recv() {
        let passed_on = match job {
            Publish::Entry(job) => {
                publish_entry(&mut publisher, &job, shared);
                live::show(&shared.live, &job);
                writer.send(Write::Entry(job))
            }
            Publish::Event { name, source, body } => {
                events.publish(&mut publisher, name, &source, body);
                Ok(())
            }
            Publish::Complete { source, epoch } => writer.send(Write::Complete { source, epoch }),
            Publish::Rotate(source, after) => writer.send(Write::Rotate(source, after)),
            Publish::Tick => {
                publisher.tick();
                Ok(())
            }
        };
        shared.counters.subscribers.store(publisher.subscriptions() as u64, Ordering::Relaxed);
        shared.counters.v1_subscribers.store(publisher.v1_subscriptions() as u64, Ordering::Relaxed);
        shared.counters.published.store(publisher.published, Ordering::Relaxed);
        shared.counters.feed_denied.store(publisher.denied(), Ordering::Relaxed);
        shared.counters.published_events.store(events.seq, Ordering::Relaxed);
        if passed_on.is_err() {
            return;
        }
    }
}

fn publish_entry(publisher: &mut Publisher, job: &Job, shared: &Shared) {
    let meta = match &job.checked {
        Checked::Batch { header, .. } => EntryMeta::new(
            &header.name,
            header.name.seq,
            header.first_packet,
            header.packets.into(),
            (header.time_min.nanos(), header.time_max.nanos()),
            &job.set,
            job.raw.len(),
            None,
        ),
        Checked::Gap(gap) => EntryMeta::new(
            &gap.name,
            gap.last_seq,
            gap.first_packet,
            gap.packets,
            (gap.time_min.nanos(), gap.time_max.nanos()),
            &job.set,
            job.raw.len(),
            Some(gap),
        ),
    };
    publisher.entry(&meta, &job.frame);
    if publisher.v1_wanted(job.source.as_str()) {
        match &job.v1 {
            Some(raw) => publisher.v1_records(job.source.as_str(), &raw.header, raw.records()),
            None => {
                if let Ok(Entry::Batch(batch)) = Entry::parse(&job.raw) {
                    publisher.v1_batch(&batch, &job.set);
                }
            }
        }
    }
    if let Checked::Batch { header, .. } = &job.checked {
        shared.ledger().published(&job.source, job.epoch, header.packets.into(), now().nanos());
    }
}

/// Numbers events and gives them their frame.
struct Events {
    run: String,
    seq: u64,
}

impl Events {
    fn new() -> Self {
        Self { run: format!("{:x}", now().nanos()), seq: 0 }
    }

    fn publish(&mut self, publisher: &mut Publisher, name: &str, source: &str, mut body: serde_json::Value) {
        if let Some(body) = body.as_object_mut() {
            body.insert("v".to_owned(), 1.into());
            body.insert("run".to_owned(), self.run.clone().into());
            body.insert("seq".to_owned(), self.seq.into());
            body.insert("time".to_owned(), now().to_string().into());
            body.insert("event".to_owned(), name.into());
            body.insert("source".to_owned(), source.into());
        }
        self.seq += 1;
        publisher.event(name, source, body.to_string().as_bytes());
        match name {
            "connect" | "disconnect" => publisher.v1_event(name, source, None),
            "segment_closed" => {
                publisher.v1_event("closingtracefile", source, body.get("path").and_then(serde_json::Value::as_str));
            }
            _ => {}
        }
    }
}

/// What the writing thread needs.
pub(crate) struct Writing {
    pub(crate) writer: Writer,
    pub(crate) shared: Arc<Shared>,
    /// For events about segments; a full queue costs the event, never the archive.
    pub(crate) events: mpsc::WeakSender<Publish>,
    /// Commits come no slower than this while something waits: each costs a sync of the disk, however little it is.
    pub(crate) commit_every: Duration,
    /// With so many bytes waiting a commit comes as soon as it is quiet.
    pub(crate) commit_bytes: u64,
    /// How many wait.
    pub(crate) waiting: u64,
    pub(crate) retention: archive::Retention,
    /// Told of each finished segment.
    pub(crate) hook: Option<Arc<Hook>>,
    pub(crate) balance: PathBuf,
    /// First sequence numbers of epochs of which nothing is durable yet.
    pub(crate) begun: HashMap<(SourceName, Epoch), u64>,
    /// Where epochs go on whose last entries were lost to the disk; others of them are not for the archive.
    pub(crate) awaited: HashMap<(SourceName, Epoch), u64>,
    /// Whether that was said of the disk.
    pub(crate) nearly_full: bool,
}

impl Writing {
    /// Writes until the publisher is gone, then makes everything durable and closes the segments.
    pub(crate) fn run(mut self, jobs: &Receiver<Write>) {
        let mut committed = Instant::now();
        let mut retained = Instant::now();
        self.look_at_disk();
        loop {
            let quiet = match jobs.recv_timeout(self.patience(committed.elapsed())) {
                Ok(Write::Entry(job)) => {
                    self.append(&job);
                    false
                }
                Ok(Write::Complete { source, epoch }) => {
                    self.writer.complete(&source, epoch);
                    false
                }
                Ok(Write::Rotate(source, after)) => {
                    if let Err(error) = self.writer.rotate(source.as_ref()) {
                        self.note(Some(error.to_string()));
                    }
                    self.segments();
                    if let Some((name, source, body)) = after {
                        self.event(name, &source, body);
                    }
                    false
                }
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let since = committed.elapsed();
            let much = quiet && since >= COMMIT_LEAST && self.waiting >= self.commit_bytes;
            if self.writer.is_dirty() && (since >= self.commit_every || much) {
                if self.commit() {
                    self.works();
                } else {
                    std::thread::sleep(DISK_RETRY);
                }
                committed = Instant::now();
            }
            if retained.elapsed() >= RETENTION_EVERY {
                self.housekeeping();
                retained = Instant::now();
            }
        }
        self.commit();
        self.save_balance();
        if let Err(error) = self.writer.close() {
            tracing::error!("closing the archive: {error}; what is not durable was not acknowledged");
        }
    }

    /// How long to wait for more, so long after the last commit.
    fn patience(&self, since: Duration) -> Duration {
        if !self.writer.is_dirty() {
            PAUSE
        } else if self.waiting >= self.commit_bytes {
            COMMIT_LEAST
        } else {
            self.commit_every.saturating_sub(since).min(PAUSE)
        }
    }

    fn works(&self) {
        if self.shared.archive_error().is_some() {
            self.note(None);
        }
    }

    fn append(&mut self, job: &Job) {
        let (seq, last_seq) = job.checked.range();
        let key = (job.source.clone(), job.epoch);
        if self.writer.next_seq(&job.source, job.epoch) == 0 {
            self.begun.entry(key.clone()).or_insert(seq);
        }
        loop {
            if self.awaited.get(&key).is_some_and(|awaited| *awaited != seq) {
                // It comes again, after what the disk lost.
                return;
            }
            let arrived = now();
            let appended = match &job.checked {
                Checked::Batch { header, occurs } => self.store(job, header, occurs, arrived),
                Checked::Gap(gap) => self.writer.append_gap(gap, &job.set, &job.frame, &job.raw, arrived),
            };
            match appended {
                Ok(()) => {
                    self.waiting += job.frame.len() as u64;
                    self.awaited.remove(&key);
                    self.works();
                    break;
                }
                Err(AppendError::Repeated { .. }) => break,
                Err(error @ AppendError::OutOfOrder { .. }) => {
                    tracing::error!("{}: batches {seq} to {last_seq} are not archived: {error}", job.source);
                    break;
                }
                Err(error) => {
                    self.note(Some(error.to_string()));
                    // What is written already may be made durable meanwhile.
                    self.commit();
                    if self.shared.stopping.load(Ordering::Relaxed) {
                        // Nothing of it was acknowledged: the probe keeps it.
                        return;
                    }
                    std::thread::sleep(DISK_RETRY);
                }
            }
        }
        self.segments();
    }

    fn store(
        &mut self,
        job: &Job,
        header: &BatchHeader,
        occurs: &BatchIndex,
        arrived: Timestamp,
    ) -> Result<(), AppendError> {
        match &job.left {
            Left::Whole => self.writer.append(header, &job.set, &job.frame, &job.raw, occurs, arrived),
            Left::Nothing => self.writer.pass_over(header, arrived),
            Left::Part(part) => {
                let Part { header, occurs, frame, raw, not_stored } = &**part;
                self.writer.append_part((header, *not_stored), &job.set, frame, raw, occurs, arrived)
            }
        }
    }

    /// Makes durable what was appended; says whether the disk did.
    fn commit(&mut self) -> bool {
        let (durable, failed) = match self.writer.commit() {
            Ok(durable) => (durable, None),
            Err(failed) => {
                let text = failed.to_string();
                (failed.durable, Some((text, failed.rolled_back)))
            }
        };
        self.waiting = 0;
        add(&self.shared.counters.commits, 1);
        let nanos = now().nanos();
        for (source, epoch, next_seq) in durable {
            if let Some(state) = self.writer.state(&source, epoch) {
                self.shared.ledger().committed(&source, epoch, state, nanos);
            }
            self.shared.durable(&source, epoch, next_seq);
            self.begun.remove(&(source, epoch));
        }
        self.count();
        self.segments();
        let Some((problem, rolled_back)) = failed else { return true };
        self.note(Some(problem));
        for (source, epoch, next_seq) in rolled_back {
            let key = (source, epoch);
            let next_seq = if next_seq == 0 { self.begun.get(&key).copied().unwrap_or(0) } else { next_seq };
            tracing::warn!("{}: entries from {next_seq} on must come again", key.0);
            self.shared.roll_back(&key.0, epoch, next_seq);
            self.awaited.insert(key, next_seq);
        }
        false
    }

    fn count(&self) {
        let states = self.writer.states().flat_map(|(_, state)| state.epochs.values());
        let (packets, bytes) = states
            .fold((0, 0), |(packets, bytes), state| (packets + state.archived_packets, bytes + state.archived_bytes));
        self.shared.counters.archived_packets.store(packets, Ordering::Relaxed);
        self.shared.counters.archived_bytes.store(bytes, Ordering::Relaxed);
        let not_stored = self.writer.states().flat_map(|(_, state)| state.epochs.values());
        let not_stored = not_stored.map(|state| state.not_stored_packets).sum();
        self.shared.counters.not_stored_packets.store(not_stored, Ordering::Relaxed);
    }

    /// Says loudly when the disk fails, and when it works again.
    fn note(&self, problem: Option<String>) {
        let mut known = self.shared.archive_error();
        match (&problem, known.is_some()) {
            (Some(problem), was) => {
                add(&self.shared.counters.archive_errors, 1);
                if !was {
                    tracing::error!(
                        "the archive cannot be written: {problem}; nothing is acknowledged until it can, probes keep what they have; free space or repair the disk"
                    );
                    self.event("archive_failing", "", json!({ "problem": problem }));
                }
            }
            (None, true) => {
                tracing::info!("the archive can be written again");
                self.event("archive_working", "", json!({}));
            }
            (None, false) => {}
        }
        *known = problem;
    }

    fn event(&self, name: &'static str, source: &str, body: serde_json::Value) {
        if let Some(events) = self.events.upgrade() {
            let _ = events.try_send(Publish::Event { name, source: source.to_owned(), body });
        }
    }

    /// Publishes which segments were opened and closed.
    fn segments(&mut self) {
        for (name, paths) in
            [("segment_opened", self.writer.take_opened()), ("segment_closed", self.writer.take_closed())]
        {
            for path in paths {
                if let (Some(hook), "segment_closed") = (&self.hook, name) {
                    hook.finished(&path);
                }
                let source = path.ancestors().nth(2).and_then(|folder| folder.file_name()).unwrap_or_default();
                self.event(name, &source.to_string_lossy(), json!({ "path": path.to_string_lossy() }));
            }
        }
    }

    fn housekeeping(&mut self) {
        if let Err(error) = self.writer.tick(now()) {
            self.note(Some(error.to_string()));
        }
        match self.retention.apply(&self.shared.archive, &self.shared.pins(), now()) {
            Ok(removed) => {
                for removed in removed {
                    add(&self.shared.counters.removed_segments, 1);
                    let (path, reason) = (removed.segment.path.to_string_lossy(), removed.reason);
                    tracing::info!("{path} removed by retention: {reason}");
                    let body = json!({ "path": path, "bytes": removed.segment.bytes, "reason": reason.to_string() });
                    self.event("retention_removed", removed.segment.source.as_str(), body);
                }
            }
            Err(error) => tracing::error!("retention: {error}"),
        }
        self.segments();
        self.save_balance();
        self.look_at_disk();
    }

    /// Says once when the disk is nearly full.
    fn look_at_disk(&mut self) {
        let Ok(disk) = rustix::fs::statvfs(self.shared.archive.root()) else { return };
        let (free, total) = (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
        self.shared.counters.free_bytes.store(free, Ordering::Relaxed);
        let full = free < total / 100 * NEARLY_FULL_PERCENT;
        if full && !self.nearly_full {
            tracing::warn!(
                "the archive's disk is nearly full: {free} bytes free; free space, or set collector.retention"
            );
            self.event("disk_nearly_full", "", json!({ "free_bytes": free, "total_bytes": total }));
        }
        self.nearly_full = full;
    }

    fn save_balance(&self) {
        if let Err(error) = self.shared.ledger().save(&self.balance) {
            tracing::warn!("{}: {error}; the balance will not survive a restart", self.balance.display());
        }
    }
}
