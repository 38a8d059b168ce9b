//! Follows the log: decodes what the feed brings, fetches from the archive what it did not bring, and keeps the position.
//! Waits for nobody but its outputs: while they stand still it falls behind the feed, and later fetches what it missed.

use std::collections::HashMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use event::{Event, Observer};
use output::{EventBatch, Queue};
use packet::batch::Item;
use packet::{Epoch, SourceName, Timestamp};

use crate::correlation::Stage;
use crate::decoder::Stream;
use crate::follow::{Follow, Start, Step};
use crate::log::{Content, Log, LogEntry, LogError, Received, items};
use crate::pool::{Pool, Sink};
use crate::position::{self, Position, Positions};
use crate::status::Shared;
use crate::worker::Render;

/// How long the feed is waited for before other things are seen to.
const WAIT: Duration = Duration::from_millis(100);
/// How often the position is taken and, once the outputs have everything, stored.
const POSITION_EVERY: Duration = Duration::from_secs(1);
/// How often the collector is asked how far it is, in case the feed lost the newest batches.
const RECONCILE_EVERY: Duration = Duration::from_secs(2);
/// What the collector had this long ago and the feed has not brought is fetched.
const STAYS_AWAY: Duration = Duration::from_secs(1);
/// After this long without a packet a source's time moves on by the clock.
const QUIET_AFTER: Duration = Duration::from_secs(2);
/// How often it does.
const MOVE_EVERY: Duration = Duration::from_secs(1);
/// Events per batch for the outputs.
const BATCH_EVENTS: usize = 512;
/// Bytes per batch for the outputs.
const BATCH_BYTES: usize = 256 * 1024;
/// At the end the outputs get this long to take what is left.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// What the feed brought before it was durable is waited for, so long, and looked for so often.
const DURABLE_PATIENCE: Duration = Duration::from_secs(3);
const DURABLE_POLL: Duration = Duration::from_millis(20);
/// Entries fetched from the archive in one request.
const FETCH_ENTRIES: u64 = 32;

/// What following needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where positions are kept.
    pub state: PathBuf,
    /// Where decoding begins in an epoch without a position.
    pub start: Start,
    /// How far back decoding goes at most after a restart.
    pub rewind_max: Duration,
}

/// What adds events of its own to those of the workers.
pub struct Added {
    /// What spans flows.
    pub stage: Stage,
    /// Renders what it adds.
    pub renderer: Box<dyn Render>,
}

/// Why following ended.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The feed or the collector.
    #[error(transparent)]
    Log(LogError),
    /// The state directory.
    #[error("{path}: {source}; the analyzer's user must be able to write there")]
    State {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The outputs.
    #[error("{0}")]
    Output(io::Error),
}

/// Follows `log` until `stop` is set.
///
/// # Errors
/// When the feed breaks for good or the state directory cannot be used.
pub fn follow<L: Log>(
    log: L,
    pool: Pool,
    queues: Vec<Queue>,
    added: Added,
    shared: Arc<Shared>,
    options: &Options,
    stop: &AtomicBool,
) -> Result<(), LiveError> {
    let stored =
        position::load(&options.state).map_err(|source| LiveError::State { path: options.state.clone(), source })?;
    let mut follow = Follow::new(options.start);
    let mut repeats = HashMap::new();
    for position in &stored {
        let (Ok(source), Ok(epoch)) = (position.source.parse::<SourceName>(), position.epoch.parse::<Epoch>()) else {
            continue;
        };
        follow.resume(&source, epoch, position.resume_seq);
        if position.resume_seq < position.next_seq {
            repeats.insert((source, epoch), position.next_packet);
        }
    }
    let mut live = Live {
        log,
        pool,
        follow,
        positions: Positions::new(options.rewind_max),
        stored,
        streams: HashMap::new(),
        stream_count: 0,
        repeats,
        delivery: Delivery::new(queues, added, Arc::clone(&shared)),
        shared,
        pending: None,
        reachable: true,
        announced: HashMap::new(),
        options: options.clone(),
        last_position: Instant::now(),
        last_moved: Instant::now(),
    };
    live.run(stop)
}

struct StreamState {
    stream: Arc<Stream>,
    last_packet: Instant,
    clock: Timestamp,
    /// Drops per interface as last stated.
    dropped: HashMap<u32, u64>,
    /// Number of the packet that comes next, once one has come.
    next_packet: Option<u64>,
    repeating: bool,
}

type Key = (SourceName, Epoch);

struct Live<L> {
    log: L,
    pool: Pool,
    follow: Follow,
    positions: Positions,
    /// What the state file said at the start; epochs that are not followed yet keep their entry.
    stored: Vec<Position>,
    streams: HashMap<Key, StreamState>,
    stream_count: u32,
    /// Packets below this number were decoded, and their events written, by an earlier run.
    repeats: HashMap<Key, u64>,
    delivery: Delivery,
    shared: Arc<Shared>,
    /// Positions that are stored as soon as the outputs have flushed this batch.
    pending: Option<(u64, Vec<Position>)>,
    reachable: bool,
    /// Per epoch: how far the collector said it was, and when.
    announced: HashMap<Key, (u64, Instant)>,
    options: Options,
    last_position: Instant,
    last_moved: Instant,
}

impl<L: Log> Live<L> {
    fn run(&mut self, stop: &AtomicBool) -> Result<(), LiveError> {
        let mut last_reconcile: Option<Instant> = None;
        while !stop.load(Ordering::Relaxed) {
            match self.log.receive(WAIT).map_err(LiveError::Log)? {
                Received::Entry(entry) => self.offer(entry, stop)?,
                Received::Change => last_reconcile = None,
                Received::Bad(problem) => {
                    Shared::add(&self.shared.messages_bad, 1);
                    tracing::warn!("a message of the feed makes no sense: {problem}");
                }
                Received::Nothing => {
                    self.pool.flush(&mut self.delivery).map_err(LiveError::Output)?;
                    self.delivery.send();
                    self.move_time_on()?;
                }
            }
            self.keep_position()?;
            if last_reconcile.is_none_or(|last| last.elapsed() >= RECONCILE_EVERY) {
                self.reconcile(stop)?;
                last_reconcile = Some(Instant::now());
            }
        }
        self.pending = None;
        self.take_position()?;
        let patience = Instant::now() + END_PATIENCE;
        while self.pending.is_some() && Instant::now() < patience && !self.delivery.closed {
            self.store_position()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        self.delivery.end();
        Ok(())
    }

    fn stream(&mut self, key: &Key) -> &mut StreamState {
        let (count, delivery, repeats) = (&mut self.stream_count, &mut self.delivery, &self.repeats);
        self.streams.entry(key.clone()).or_insert_with(|| {
            let observer =
                Arc::new(Observer { name: key.0.as_str().to_owned(), epoch: key.1.to_string(), is_file: false });
            let stream = Arc::new(Stream::new(*count, observer));
            *count += 1;
            let until = repeats.get(key).copied();
            if let Some(until) = until {
                delivery.repeats.insert(Arc::as_ptr(&stream.observer) as usize, until);
            }
            StreamState {
                stream,
                last_packet: Instant::now(),
                clock: Timestamp::ZERO,
                dropped: HashMap::new(),
                next_packet: None,
                repeating: until.is_some(),
            }
        })
    }

    /// Takes an entry of the feed, after what is missing before it.
    fn offer(&mut self, entry: LogEntry, stop: &AtomicBool) -> Result<(), LiveError> {
        if let Step::Missing(seqs) = self.follow.offer(&entry.source, entry.epoch, entry.seqs.clone()) {
            self.fetch(&entry.source.clone(), entry.epoch, seqs, stop)?;
        }
        match self.follow.offer(&entry.source, entry.epoch, entry.seqs.clone()) {
            Step::Decode => self.decode(&entry).map_err(LiveError::Output),
            Step::Known => {
                Shared::add(&self.shared.batches_known, 1);
                Ok(())
            }
            // Ended, or the collector does not answer: this entry comes from the archive later.
            Step::Missing(_) => Ok(()),
        }
    }

    /// The collector does not answer: said once, until it does again.
    fn is_away(&mut self, what: String) {
        if self.reachable {
            tracing::warn!(
                "{what}; start the collector, or set analyzer.collector to the address of its API (collector.api)"
            );
        }
        self.reachable = false;
    }

    fn is_back(&mut self) {
        if !self.reachable {
            tracing::info!("the collector answers again");
        }
        self.reachable = true;
    }

    /// Fetches a range; what the archive does not have is counted and passed over.
    fn fetch(
        &mut self,
        source: &SourceName,
        epoch: Epoch,
        seqs: RangeInclusive<u64>,
        stop: &AtomicBool,
    ) -> Result<(), LiveError> {
        let mut from = *seqs.start();
        let begun = Instant::now();
        let mut was_archived = false;
        while from <= *seqs.end() && !stop.load(Ordering::Relaxed) {
            let to = (*seqs.end()).min(from.saturating_add(FETCH_ENTRIES - 1));
            let mut fetched = Vec::new();
            let result = self.log.fetch(source, epoch, from..=to, &mut |entry| {
                fetched.push(entry);
                Ok(())
            });
            if let Err(error) = result {
                self.is_away(format!("batches {from} to {to} of {source} are needed from the archive, but {error}"));
                return Ok(());
            }
            self.is_back();
            for entry in fetched {
                match self.follow.offer(source, epoch, entry.seqs.clone()) {
                    Step::Known => continue,
                    Step::Missing(missing) => self.missing(source, epoch, &missing),
                    Step::Decode => {}
                }
                Shared::add(&self.shared.batches_fetched, 1);
                self.decode(&entry).map_err(LiveError::Output)?;
            }
            if let Some(next) = self.follow.next_seq(source, epoch).filter(|next| *next <= to) {
                // The feed is ahead of the archive: what was published a moment ago may not be durable yet, and is not missing. What is durable now
                // may have become so after it was asked for: it is asked for once more.
                if !was_archived {
                    was_archived = self.is_archived(source, epoch, to);
                    if !was_archived && begun.elapsed() > DURABLE_PATIENCE {
                        return Ok(());
                    }
                    if !was_archived {
                        std::thread::sleep(DURABLE_POLL);
                    }
                    from = next;
                    continue;
                }
                self.missing(source, epoch, &(next..=to));
                self.follow.done(source, epoch, to);
            }
            from = to.saturating_add(1);
            was_archived = false;
            self.keep_position()?;
        }
        Ok(())
    }

    /// Whether the collector has made everything durable up to `seq`, so that what the archive does not have will not come.
    fn is_archived(&mut self, source: &SourceName, epoch: Epoch, seq: u64) -> bool {
        let epochs = self.log.epochs().unwrap_or_default();
        epochs.iter().any(|state| state.source == *source && state.epoch == epoch && state.next_seq > seq)
    }

    /// What is due between entries: events go out, the position is taken and stored.
    fn keep_position(&mut self) -> Result<(), LiveError> {
        self.delivery.send_if_old();
        if self.last_position.elapsed() >= POSITION_EVERY {
            self.last_position = Instant::now();
            self.take_position()?;
        }
        self.store_position()
    }

    fn missing(&mut self, source: &SourceName, epoch: Epoch, seqs: &RangeInclusive<u64>) {
        let count = seqs.end().saturating_sub(*seqs.start()).saturating_add(1);
        Shared::add(&self.shared.batches_missing, count);
        tracing::warn!(
            "batches {} to {} of {source} (epoch {epoch}) are neither in the feed nor in the archive: retention or policy took them",
            seqs.start(),
            seqs.end()
        );
    }

    fn decode(&mut self, entry: &LogEntry) -> io::Result<()> {
        let key = (entry.source.clone(), entry.epoch);
        let content = match items(&entry.raw) {
            Ok(content) => content,
            Err(error) => {
                Shared::add(&self.shared.messages_bad, 1);
                tracing::warn!("batch {} of {}: {error}", entry.seqs.start(), entry.source);
                self.follow.done(&entry.source, entry.epoch, *entry.seqs.end());
                return Ok(());
            }
        };
        let until = self.repeats.get(&key).copied();
        let state = self.stream(&key);
        let stream = Arc::clone(&state.stream);
        let (Content::Gap { first_packet, .. } | Content::Batch { first_packet, .. }) = &content;
        // What neither feed nor archive has, or is stored in part only, no decoder may take for a loss of the network.
        let nowhere = state.next_packet.map_or(0, |next| first_packet.saturating_sub(next));
        if nowhere > 0 {
            self.pool.lost(&stream, nowhere, &mut self.delivery)?;
            Shared::add(&self.shared.packets_lost, nowhere);
        }
        let state = self.stream(&key);
        let (first_packet, packets, mut time_max) = match content {
            Content::Gap { first_packet, packets } => {
                let time = state.clock;
                self.pool.lost(&stream, packets, &mut self.delivery)?;
                Shared::add(&self.shared.packets_lost, packets);
                (first_packet, packets, time)
            }
            Content::Batch { first_packet, packets, items } => {
                state.last_packet = Instant::now();
                let mut clock = state.clock;
                let mut repeating = state.repeating;
                let mut number = first_packet;
                let (mut bytes, mut lost) = (0, 0u64);
                for item in items {
                    match item {
                        Item::Packet(packet) => {
                            if repeating && until.is_some_and(|until| number >= until) {
                                repeating = false;
                                self.pool.mark(&stream, u64::MAX, &mut self.delivery)?;
                                self.pool.flush(&mut self.delivery)?;
                                self.delivery.repeats.remove(&(Arc::as_ptr(&stream.observer) as usize));
                            }
                            clock = clock.max(packet.time);
                            bytes += packet.data.len() as u64;
                            self.pool.packet(&stream, &entry.interfaces, number, &packet, &mut self.delivery)?;
                            number = number.saturating_add(1);
                        }
                        Item::Statistics(statistics) => {
                            let dropped = statistics.dropped_by_interface.saturating_add(statistics.dropped_by_kernel);
                            let state = self.stream(&key);
                            let before = state.dropped.insert(statistics.interface, dropped).unwrap_or(0);
                            let new = dropped.saturating_sub(before);
                            if new > 0 {
                                lost = lost.saturating_add(new);
                                self.pool.lost(&stream, new, &mut self.delivery)?;
                            }
                        }
                    }
                }
                let state = self.stream(&key);
                state.clock = clock;
                state.repeating = repeating;
                Shared::add(&self.shared.packets, packets);
                Shared::add(&self.shared.bytes, bytes);
                Shared::add(&self.shared.packets_lost, lost);
                (first_packet, packets, clock)
            }
        };
        Shared::add(&self.shared.batches, 1);
        let state = self.stream(&key);
        state.next_packet = state.next_packet.max(Some(first_packet.saturating_add(packets)));
        if time_max == Timestamp::ZERO {
            time_max = state.clock;
        }
        self.positions.decoded((&entry.source, entry.epoch), entry.seqs.clone(), first_packet, packets, time_max);
        self.follow.done(&entry.source, entry.epoch, *entry.seqs.end());
        Ok(())
    }

    /// Where traffic has stopped, lets time-outs run by the clock. Only then: with packets, their times count.
    fn move_time_on(&mut self) -> Result<(), LiveError> {
        if self.last_moved.elapsed() < MOVE_EVERY {
            return Ok(());
        }
        self.last_moved = Instant::now();
        let now = Timestamp::from_system(SystemTime::now());
        let quiet: Vec<(Arc<Stream>, Timestamp)> = self
            .streams
            .values()
            .filter(|state| state.last_packet.elapsed() >= QUIET_AFTER && state.clock > Timestamp::ZERO)
            .map(|state| {
                let quiet = u64::try_from(state.last_packet.elapsed().as_nanos()).unwrap_or(u64::MAX);
                // Never beyond the clock: a packet may still be on its way from the probe.
                (Arc::clone(&state.stream), state.clock.plus_nanos(quiet).min(now.max(state.clock)))
            })
            .collect();
        if let Some(latest) = quiet.iter().map(|(_, time)| *time).max().filter(|_| quiet.len() == self.streams.len()) {
            self.delivery.added.stage.advance(latest);
            self.delivery.take_added();
        }
        for (stream, time) in quiet {
            self.pool.advance(&stream, time, &mut self.delivery).map_err(LiveError::Output)?;
        }
        Ok(())
    }

    /// Asks how far the collector is: fetches what the feed did not bring, and ends epochs of which nothing more will come.
    fn reconcile(&mut self, stop: &AtomicBool) -> Result<(), LiveError> {
        let epochs = match self.log.epochs() {
            Ok(epochs) => epochs,
            Err(error) => {
                self.is_away(format!("{error}; decoding goes on with what the feed brings"));
                return Ok(());
            }
        };
        self.is_back();
        let is_first = !self.shared.ready.load(Ordering::Relaxed);
        self.announced
            .retain(|(source, epoch), _| epochs.iter().any(|state| state.source == *source && state.epoch == *epoch));
        for state in epochs {
            let followed = self.follow.next_seq(&state.source, state.epoch);
            let next = match (followed, self.follow.begin_at(&state.source)) {
                (Some(next), _) | (None, Some(next)) => next,
                (None, None) => continue,
            };
            if followed.is_none() {
                self.follow.resume(&state.source, state.epoch, next);
            }
            // What is on the way in the feed is taken from there, for it may be stored nowhere; only what stays away is fetched.
            let key = (state.source.clone(), state.epoch);
            let stayed_away = match self.announced.get(&key) {
                Some((seq, since)) if since.elapsed() >= STAYS_AWAY => *seq,
                Some(_) => 0,
                None if is_first => state.next_seq,
                None => 0,
            };
            while self.follow.next_seq(&state.source, state.epoch).is_some_and(|next| next < state.next_seq) {
                match self.log.receive(Duration::ZERO).map_err(LiveError::Log)? {
                    Received::Entry(entry) => self.offer(entry, stop)?,
                    Received::Bad(_) => Shared::add(&self.shared.messages_bad, 1),
                    Received::Change => {}
                    Received::Nothing => {
                        let next = self.follow.next_seq(&state.source, state.epoch).unwrap_or(state.next_seq);
                        if next < stayed_away {
                            self.fetch(&state.source, state.epoch, next..=stayed_away - 1, stop)?;
                        }
                        break;
                    }
                }
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            match self.announced.get_mut(&key) {
                Some((_, since)) if since.elapsed() < STAYS_AWAY => {}
                _ => {
                    self.announced.insert(key, (state.next_seq, Instant::now()));
                }
            }
            let next = self.follow.next_seq(&state.source, state.epoch).unwrap_or(0);
            if state.ended && next >= state.next_seq {
                self.end_epoch(&(state.source, state.epoch))?;
            }
        }
        self.shared.ready.store(true, Ordering::Relaxed);
        self.shared.decoder_panics.store(self.pool.panics(), Ordering::Relaxed);
        Ok(())
    }

    fn end_epoch(&mut self, key: &Key) -> Result<(), LiveError> {
        let Some(state) = self.streams.remove(key) else { return Ok(()) };
        self.pool
            .finish(&state.stream, &mut self.delivery)
            .and_then(|()| self.pool.flush(&mut self.delivery))
            .map_err(LiveError::Output)?;
        self.delivery.added.stage.finish_observer(&state.stream.observer);
        self.delivery.take_added();
        self.delivery.repeats.remove(&(Arc::as_ptr(&state.stream.observer) as usize));
        self.repeats.remove(key);
        tracing::info!(source = key.0.as_str(), epoch = %key.1, "decoded to its end");
        Ok(())
    }

    /// Takes the position: everything decoded so far is on its way to the outputs.
    fn take_position(&mut self) -> Result<(), LiveError> {
        let mut by_mark: Vec<Key> = Vec::with_capacity(self.streams.len());
        self.delivery.needed.clear();
        for (key, state) in &self.streams {
            let mark = by_mark.len() as u64;
            by_mark.push(key.clone());
            self.pool.mark(&state.stream, mark, &mut self.delivery).map_err(LiveError::Output)?;
        }
        self.pool.flush(&mut self.delivery).map_err(LiveError::Output)?;
        self.delivery.send();
        let mut needed: HashMap<&Key, u64> = HashMap::new();
        for (mark, packet) in &self.delivery.needed {
            if let Some(key) = by_mark.get(*mark as usize) {
                needed.insert(key, *packet);
            }
        }
        for (key, state) in &self.streams {
            if let Some(oldest) = self.delivery.added.stage.oldest_needed(&state.stream.observer) {
                needed.entry(key).and_modify(|packet| *packet = oldest.min(*packet)).or_insert(oldest);
            }
        }
        let mut positions = self.positions.snapshot(|source, epoch| needed.get(&(source.clone(), epoch)).copied());
        for old in &self.stored {
            if !positions.iter().any(|new| new.source == old.source && new.epoch == old.epoch) {
                positions.push(old.clone());
            }
        }
        // A position that is waiting for the outputs is not pushed away for ever by newer ones.
        if self.pending.is_none() {
            self.pending = Some((self.delivery.number, positions));
        }
        Ok(())
    }

    /// Stores the position once the outputs have everything before it.
    fn store_position(&mut self) -> Result<(), LiveError> {
        let state = &self.options.state;
        let Some((number, _)) = &self.pending else { return Ok(()) };
        if !self.delivery.flushed(*number) {
            return Ok(());
        }
        if let Some((_, positions)) = self.pending.take() {
            if positions != self.stored {
                position::store(state, &positions)
                    .map_err(|source| LiveError::State { path: state.clone(), source })?;
                self.stored.clone_from(&positions);
            }
            self.shared.set_positions(positions);
        }
        Ok(())
    }
}

/// Gathers events into batches and hands them to the outputs.
struct Delivery {
    queues: Vec<Queue>,
    shared: Arc<Shared>,
    batch: EventBatch,
    since: Instant,
    /// Number of the last batch handed over.
    number: u64,
    needed: Vec<(u64, u64)>,
    /// Per observer (by address): events that packets below this number completed were given out by an earlier run.
    repeats: HashMap<usize, u64>,
    closed: bool,
    added: Added,
}

impl Delivery {
    fn new(queues: Vec<Queue>, added: Added, shared: Arc<Shared>) -> Self {
        for queue in &queues {
            shared.add_output(queue.name(), Arc::clone(queue.counters()));
        }
        Self {
            queues,
            shared,
            batch: EventBatch::new(),
            since: Instant::now(),
            number: 0,
            needed: Vec::new(),
            repeats: HashMap::new(),
            closed: false,
            added,
        }
    }

    /// Passes on what the stage has added.
    fn take_added(&mut self) {
        for mut event in std::mem::take(&mut self.added.stage.out) {
            if self.added.renderer.process(&mut event) {
                let line = self.added.renderer.render(&event);
                self.batch.push_written(event, line);
            }
        }
    }

    fn send(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.number += 1;
        self.shared.count_events(self.batch.events());
        let batch = Arc::new(std::mem::take(&mut self.batch));
        let number = self.number;
        self.queues.retain(|queue| {
            let open = queue.send(number, &batch);
            if !open {
                tracing::error!(output = queue.name(), "the output has ended; events no longer go there");
            }
            open
        });
        self.closed = self.queues.is_empty();
    }

    fn send_if_old(&mut self) {
        if self.since.elapsed() >= WAIT {
            self.send();
        }
    }

    fn flushed(&self, number: u64) -> bool {
        self.queues.iter().all(|queue| queue.flushed() >= number)
    }

    fn end(&mut self) {
        self.send();
        for queue in self.queues.drain(..) {
            queue.end();
        }
    }
}

impl Sink for Delivery {
    fn event(&mut self, event: Event, by_packet: Option<u64>, text: &[u8]) -> io::Result<()> {
        if !self.repeats.is_empty()
            && let Some(until) = self.repeats.get(&(Arc::as_ptr(&event.origin.observer) as usize))
            && by_packet.is_none_or(|packet| packet < *until)
        {
            Shared::add(&self.shared.events_repeated, 1);
            return Ok(());
        }
        if self.batch.is_empty() {
            self.since = Instant::now();
        }
        let concerns = self.added.stage.concerns(&event);
        if concerns {
            self.added.stage.observe(&event);
        }
        self.batch.push_written(event, text);
        if concerns && !self.added.stage.out.is_empty() {
            self.take_added();
        }
        if self.batch.len() >= BATCH_EVENTS || self.batch.json_bytes() >= BATCH_BYTES {
            self.send();
        }
        if self.closed { Err(io::Error::other("no output is left")) } else { Ok(()) }
    }

    fn reached(&mut self, mark: u64, oldest_needed: Option<u64>) -> io::Result<()> {
        if let Some(oldest) = oldest_needed.filter(|_| mark != u64::MAX) {
            self.needed.push((mark, oldest));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
