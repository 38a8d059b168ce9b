//! A bounded queue before an output and the thread that empties it: retries, flushes on a tick, counts.
//! Deliberately in order and never two batches at once, so that "flushed up to batch N" means what it says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TrySendError, bounded};

use processors::Condition;

use crate::counters::{Counters, add};
use crate::{EventBatch, Failure, Output};

/// How long after the last batch an output is flushed.
const TICK: Duration = Duration::from_millis(200);
/// How long an output that is always busy goes without being flushed.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// Pauses between attempts grow from here to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a failing output is still tried when the program ends.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// What happens to a batch when an output's queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// The analyzer waits: it falls behind the feed and later fetches from the archive what it missed. Nothing is lost.
    #[default]
    Wait,
    /// The batch is dropped and its events are counted: this output must not hold up the others.
    Drop,
}

/// The queue of one output. Dropping it ends the output after what is queued.
pub struct Queue {
    name: &'static str,
    when_full: WhenFull,
    sender: Option<Sender<(u64, Arc<EventBatch>)>>,
    counters: Arc<Counters>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Queue {
    /// Starts the output's thread with a queue of at most `batches_max` batches; `when` chooses the events that the output gets.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        output: Box<dyn Output>,
        batches_max: usize,
        when_full: WhenFull,
        when: Option<Condition>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = bounded(batches_max.max(1));
        let counters = Arc::new(Counters::default());
        let name = output.name();
        let ending = Arc::new(AtomicBool::new(false));
        let mut worker = Worker {
            output,
            receiver,
            counters: Arc::clone(&counters),
            ending: Arc::clone(&ending),
            unflushed: VecDeque::new(),
            last_flush: Instant::now(),
            failing: false,
            when,
        };
        worker.output.start(&counters)?;
        let thread = std::thread::Builder::new().name(format!("output-{name}")).spawn(move || worker.run())?;
        Ok(Self { name, when_full, sender: Some(sender), counters, ending, thread: Some(thread) })
    }

    /// The output's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Hands over a batch; `number` grows from batch to batch. Gives false once the output has ended by itself.
    pub fn send(&self, number: u64, batch: &Arc<EventBatch>) -> bool {
        let Some(sender) = &self.sender else { return false };
        add(&self.counters.events_received, batch.len() as u64);
        add(&self.counters.batches_queued, 1);
        let item = (number, Arc::clone(batch));
        let sent = match self.when_full {
            WhenFull::Wait => self.wait(sender, item),
            WhenFull::Drop => match sender.try_send(item) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    add(&self.counters.events_dropped, batch.len() as u64);
                    self.counters.batches_queued.fetch_sub(1, Ordering::Relaxed);
                    return true;
                }
                Err(TrySendError::Disconnected(_)) => false,
            },
        };
        if !sent {
            add(&self.counters.events_dropped, batch.len() as u64);
        }
        sent
    }

    fn wait(&self, sender: &Sender<(u64, Arc<EventBatch>)>, mut item: (u64, Arc<EventBatch>)) -> bool {
        loop {
            item = match sender.send_timeout(item, TICK) {
                Ok(()) => return true,
                Err(SendTimeoutError::Timeout(item)) if !self.ending.load(Ordering::Relaxed) => item,
                Err(_) => return false,
            };
        }
    }

    /// Set it, from any thread, when the program ends: then a failing output is only tried for a short time more.
    pub fn ending(&self) -> &Arc<AtomicBool> {
        &self.ending
    }

    /// Number of the last batch that was written and flushed.
    pub fn flushed(&self) -> u64 {
        self.counters.flushed.load(Ordering::Acquire)
    }

    /// Writes what is queued and ends the output.
    pub fn end(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(output = self.name, "the output's thread panicked; please report this");
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.join();
    }
}

struct Worker {
    output: Box<dyn Output>,
    receiver: Receiver<(u64, Arc<EventBatch>)>,
    counters: Arc<Counters>,
    ending: Arc<AtomicBool>,
    /// Numbers of the batches that were written and are not yet known to be kept.
    unflushed: VecDeque<u64>,
    last_flush: Instant,
    /// Whether the last attempt failed.
    failing: bool,
    when: Option<Condition>,
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.receiver.recv_timeout(TICK) {
                Ok((number, batch)) => {
                    let taken = match &self.when {
                        None => self.deliver(&batch),
                        Some(when) => {
                            let chosen = batch.filtered(|event| when.matches(event));
                            add(&self.counters.events_filtered, (batch.len() - chosen.len()) as u64);
                            self.deliver(&chosen)
                        }
                    };
                    self.counters.batches_queued.fetch_sub(1, Ordering::Relaxed);
                    if !taken {
                        break;
                    }
                    self.unflushed.push_back(number);
                    if self.last_flush.elapsed() >= FLUSH_AFTER {
                        self.flush();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.flush();
                    self.output.idle();
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.flush();
        let lost = self.output.end();
        if lost > 0 {
            tracing::error!(output = self.output.name(), events = lost, "lost at the end: kept nowhere");
        }
    }

    fn flush(&mut self) {
        if self.unflushed.is_empty() {
            return;
        }
        self.last_flush = Instant::now();
        match self.output.flush() {
            Ok(unkept) => {
                let unkept = usize::try_from(unkept).unwrap_or(usize::MAX);
                let kept = self.unflushed.len().saturating_sub(unkept);
                if let Some(number) = self.unflushed.drain(..kept).next_back() {
                    self.counters.flushed.store(number, Ordering::Release);
                }
            }
            Err(failure) => self.failed(&failure, "flush"),
        }
    }

    fn failed(&mut self, failure: &Failure, what: &str) {
        add(&self.counters.failures, 1);
        self.counters.failing.store(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(output = self.output.name(), "cannot {what}: {failure}; trying again until it works");
        }
    }

    /// Offers the batch until it is taken. False if the output is gone, or fails while the program is ending.
    fn deliver(&mut self, batch: &EventBatch) -> bool {
        let mut pause = PAUSE_MIN;
        let mut ending_since: Option<Instant> = None;
        loop {
            match self.output.write(batch) {
                Ok(written) => {
                    add(&self.counters.events_written, written.events);
                    add(&self.counters.events_known, written.known);
                    add(&self.counters.bytes_written, written.bytes);
                    add(&self.counters.batches_written, 1);
                    if std::mem::take(&mut self.failing) {
                        self.counters.failing.store(0, Ordering::Relaxed);
                        tracing::info!(output = self.output.name(), "works again");
                    }
                    return true;
                }
                Err(failure @ Failure::Retry(_)) => self.failed(&failure, "write"),
                Err(Failure::Closed) => {
                    add(&self.counters.events_dropped, batch.len() as u64);
                    return false;
                }
            }
            if self.ending.load(Ordering::Relaxed) {
                let since = *ending_since.get_or_insert_with(Instant::now);
                if since.elapsed() > END_PATIENCE {
                    let rest: usize = self.receiver.try_iter().map(|(_, batch)| batch.len()).sum();
                    add(&self.counters.events_dropped, (batch.len() + rest) as u64);
                    tracing::error!(
                        output = self.output.name(),
                        events = batch.len() + rest,
                        "lost at the end: still cannot write"
                    );
                    return false;
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Written;
    use std::sync::Mutex;

    struct Flaky {
        fails: u32,
        taken: Arc<Mutex<Vec<usize>>>,
        closed_after: usize,
    }

    impl Output for Flaky {
        fn name(&self) -> &'static str {
            "flaky"
        }
        fn write(&mut self, batch: &EventBatch) -> Result<Written, Failure> {
            if self.fails > 0 {
                self.fails -= 1;
                return Err(Failure::Retry("the disk is full".to_owned()));
            }
            let mut taken = self.taken.lock().unwrap();
            if taken.len() >= self.closed_after {
                return Err(Failure::Closed);
            }
            taken.push(batch.len());
            Ok(Written { events: batch.len() as u64, ..Written::default() })
        }
        fn flush(&mut self) -> Result<u64, Failure> {
            Ok(0)
        }
    }

    fn batch() -> Arc<EventBatch> {
        let observer = Arc::new(event::Observer { name: "s".into(), epoch: "e".into(), is_file: false });
        let origin = event::Origin { observer, interface: "".into(), first_packet: 0, last_packet: 0 };
        let mut batch = EventBatch::new();
        batch.push_written(event::Event::new("dns", packet::Timestamp::from_nanos(1), origin), b"{}\n");
        Arc::new(batch)
    }

    fn start(fails: u32, closed_after: usize) -> (Queue, Arc<Mutex<Vec<usize>>>) {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let output = Flaky { fails, taken: Arc::clone(&taken), closed_after };
        (Queue::start(Box::new(output), 4, WhenFull::Wait, None).unwrap(), taken)
    }

    #[test]
    fn a_batch_is_tried_until_it_is_taken() {
        let (queue, taken) = start(2, usize::MAX);
        assert!(queue.send(1, &batch()) && queue.send(2, &batch()));
        let counters = Arc::clone(queue.counters());
        queue.end();
        assert_eq!(*taken.lock().unwrap(), [1, 1]);
        let counters = counters.snapshot();
        assert_eq!((counters.events_written, counters.failures, counters.failing), (2, 2, false));
        assert_eq!((counters.events_dropped, counters.batches_queued), (0, 0));
    }

    #[test]
    fn flushed_tells_the_last_batch_that_is_kept() {
        let (queue, _) = start(0, usize::MAX);
        queue.send(7, &batch());
        let counters = Arc::clone(queue.counters());
        queue.end();
        assert_eq!(counters.flushed.load(Ordering::Acquire), 7);
    }

    #[test]
    fn an_output_gets_the_events_that_its_condition_chooses() {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let output = Flaky { fails: 0, taken: Arc::clone(&taken), closed_after: usize::MAX };
        let when = serde_json::from_str(r#"{"equals": {"type": "http"}}"#).unwrap();
        let queue = Queue::start(Box::new(output), 4, WhenFull::Wait, Some(when)).unwrap();
        queue.send(1, &batch());
        let counters = Arc::clone(queue.counters());
        queue.end();
        assert_eq!(*taken.lock().unwrap(), [0]);
        assert_eq!((counters.snapshot().events_filtered, counters.flushed.load(Ordering::Acquire)), (1, 1));
    }

    #[test]
    fn a_reader_that_is_gone_ends_the_output() {
        let (queue, _) = start(0, 1);
        queue.send(1, &batch());
        queue.send(2, &batch());
        let gone = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            !queue.send(3, &batch())
        });
        assert!(gone);
    }
}
