//! What waits for a service, in order: in memory while the service keeps up, on disk as soon as it does not. Bounded in both.
//!
//! Either everything is in memory or everything is on disk, so that order needs no thought; but for what is held on disk because its own place takes
//! nothing. The thread that fills it and the one that empties it meet here and nowhere else.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::disk::Disk;
use super::document::{Document, Documents};
use super::held::Tried;

/// A service that fails for longer has its backlog written to disk.
const SPILL_AFTER: Duration = Duration::from_secs(1);

/// How much may wait, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes in memory.
    pub(super) memory: usize,
    /// Bytes that are handed out at once.
    pub(super) bulk_bytes: usize,
    /// How long fewer bytes wait for more.
    pub(super) bulk_time: Duration,
}

/// What is to be sent next.
pub(super) struct Work {
    pub(super) documents: Vec<Arc<Documents>>,
    pub(super) last_seq: u64,
    /// Whether these were held, and for which place.
    pub(super) place: Option<String>,
}

/// Events and bytes on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OnDisk {
    pub(super) spilled_events: u64,
    pub(super) spilled_bytes: u64,
    pub(super) held_events: u64,
    pub(super) held_bytes: u64,
    /// Events lost to damage there.
    pub(super) lost: u64,
}

pub(super) struct Backlog {
    state: Mutex<State>,
    changed: Condvar,
    bounds: Bounds,
}

struct State {
    waiting: VecDeque<Chunk>,
    bytes: usize,
    next_seq: u64,
    disk: Option<Disk>,
    /// Whether what was handed out last was held: then it is the others' turn.
    was_held: bool,
    failing_since: Option<Instant>,
    ending: bool,
    stopped: bool,
}

struct Chunk {
    seq: u64,
    since: Instant,
    documents: Arc<Documents>,
}

impl Backlog {
    pub(super) fn new(bounds: Bounds, disk: Option<Disk>) -> Self {
        let next_seq = disk.as_ref().and_then(|disk| disk.spill.last_seq()).unwrap_or(0) + 1;
        let state = State {
            waiting: VecDeque::new(),
            bytes: 0,
            next_seq,
            disk,
            was_held: false,
            failing_since: None,
            ending: false,
            stopped: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), bounds }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds documents; gives false, and takes nothing, if there is no room.
    pub(super) fn push(&self, documents: &Arc<Documents>) -> io::Result<bool> {
        let mut state = self.lock();
        let seq = state.next_seq;
        if !state.is_on_disk() && state.bytes > 0 && state.bytes + documents.bytes().len() > self.bounds.memory {
            state.move_to_disk()?;
        }
        if state.is_on_disk() {
            let Some(disk) = &mut state.disk else { return Ok(false) };
            let room = disk.spill_room();
            if documents.len() > 0 && !disk.spill.append(seq, documents, room)? {
                return Ok(false);
            }
        } else if state.bytes > 0 && state.bytes + documents.bytes().len() > self.bounds.memory {
            return Ok(false);
        } else {
            state.bytes += documents.bytes().len();
            state.waiting.push_back(Chunk { seq, since: Instant::now(), documents: Arc::clone(documents) });
        }
        state.next_seq += 1;
        drop(state);
        self.changed.notify_all();
        Ok(true)
    }

    /// How many of the batches pushed last are kept nowhere yet: neither by the service nor by the disk.
    pub(super) fn unkept(&self) -> io::Result<u64> {
        let mut state = self.lock();
        if !state.waiting.is_empty() && state.failing_since.is_some_and(|since| since.elapsed() >= SPILL_AFTER) {
            state.move_to_disk()?;
        }
        if let Some(disk) = &mut state.disk {
            disk.spill.sync()?;
        }
        Ok(state.waiting.len() as u64)
    }

    /// Waits for something to send: a whole bulk, or what has waited long enough. `None` once nothing more will come, or sending is over.
    pub(super) fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(work) =
                state.held_work(self.bounds.bulk_bytes).or_else(|| state.disk_work(self.bounds.bulk_bytes))
            {
                return Some(work);
            }
            let oldest = state.waiting.front().map(|chunk| chunk.since);
            let due = oldest.map(|since| self.bounds.bulk_time.saturating_sub(since.elapsed()));
            match due {
                Some(due) if due.is_zero() || state.bytes >= self.bounds.bulk_bytes || state.ending => {
                    return Some(state.memory_work(self.bounds.bulk_bytes));
                }
                None if state.ending => return None,
                _ => {}
            }
            let patience = due.unwrap_or(Duration::from_secs(1));
            let held_due = state.disk.as_ref().and_then(|disk| disk.held.due());
            let patience = held_due.map_or(patience, |due| due.min(patience));
            state = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What was handed out up to this number is kept by the service.
    pub(super) fn confirm(&self, seq: u64) {
        let mut state = self.lock();
        while let Some(chunk) = state.waiting.front().filter(|chunk| chunk.seq <= seq) {
            state.bytes -= chunk.documents.bytes().len();
            state.waiting.pop_front();
        }
        if let Some(disk) = &mut state.disk {
            disk.spill.confirm(seq);
        }
        state.failing_since = None;
        drop(state);
        self.changed.notify_all();
    }

    /// Puts documents whose place takes nothing on disk, as far as there is room: then they are kept. Gives how many.
    pub(super) fn hold(&self, place: &str, documents: &[Document<'_>], reason: &str) -> usize {
        let mut state = self.lock();
        let Some(disk) = &mut state.disk else { return 0 };
        let room = disk.held_room();
        disk.held.put(place, documents, reason, room)
    }

    /// Whether anything is held.
    pub(super) fn holds_any(&self) -> bool {
        self.lock().disk.as_ref().is_some_and(|disk| !disk.held.is_empty())
    }

    /// Whether something of this place is held.
    pub(super) fn holds(&self, place: &str) -> bool {
        self.lock().disk.as_ref().is_some_and(|disk| disk.held.holds(place))
    }

    /// What was held and due, if it is its turn; for whoever waits for something else.
    pub(super) fn held_work(&self) -> Option<Work> {
        self.lock().held_work(self.bounds.bulk_bytes)
    }

    /// Notes what came of documents that were held for a place.
    pub(super) fn tried(&self, place: &str, last_seq: u64, tried: &Tried<'_>) {
        if let Some(disk) = &mut self.lock().disk {
            disk.held.tried(place, last_seq, tried);
        }
    }

    /// The service does not take anything.
    pub(super) fn failing(&self) {
        self.lock().failing_since.get_or_insert_with(Instant::now);
    }

    /// Waits before the next attempt; gives false when sending is over.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.stopped {
                return !state.stopped;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The program ends: waits so long for everything to be delivered as long as that goes well, and writes the rest to disk. Gives the number
    /// of events that are kept nowhere.
    pub(super) fn end(&self, patience: Duration) -> io::Result<u64> {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        state.ending = true;
        self.changed.notify_all();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let may_spill = state.disk.is_some();
            let hopeless = may_spill && state.failing_since.is_some();
            if state.is_empty() || left.is_zero() || hopeless {
                break;
            }
            let turn = left.min(Duration::from_millis(50));
            state = self.changed.wait_timeout(state, turn).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.stopped = true;
        let moved = state.move_to_disk();
        if let Some(disk) = &mut state.disk {
            disk.spill.sync()?;
        }
        let left = state.waiting.iter().map(|chunk| chunk.documents.len() as u64).sum();
        drop(state);
        self.changed.notify_all();
        moved.map(|()| left)
    }

    /// What lies on disk.
    pub(super) fn on_disk(&self) -> OnDisk {
        let state = self.lock();
        state.disk.as_ref().map_or_else(OnDisk::default, |disk| OnDisk {
            spilled_events: disk.spill.events(),
            spilled_bytes: disk.spill.used(),
            held_events: disk.held.events(),
            held_bytes: disk.held.used(),
            lost: disk.lost,
        })
    }
}

impl State {
    fn is_on_disk(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| !disk.spill.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.is_on_disk()
    }

    /// Writes what is in memory to disk, as far as there is room; without a disk it stays where it is.
    fn move_to_disk(&mut self) -> io::Result<()> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        while let Some(chunk) = self.waiting.front() {
            let room = disk.spill_room();
            if chunk.documents.len() > 0 && !disk.spill.append(chunk.seq, &chunk.documents, room)? {
                break;
            }
            self.bytes -= chunk.documents.bytes().len();
            self.waiting.pop_front();
        }
        Ok(())
    }

    fn memory_work(&self, bytes_max: usize) -> Work {
        let (mut documents, mut bytes, mut last_seq) = (Vec::new(), 0, 0);
        for chunk in &self.waiting {
            if !documents.is_empty() && bytes + chunk.documents.bytes().len() > bytes_max {
                break;
            }
            bytes += chunk.documents.bytes().len();
            last_seq = chunk.seq;
            documents.push(Arc::clone(&chunk.documents));
        }
        Work { documents, last_seq, place: None }
    }

    fn disk_work(&mut self, bytes_max: usize) -> Option<Work> {
        let disk = self.disk.as_mut()?;
        while !disk.spill.is_empty() {
            match disk.spill.read(bytes_max) {
                Ok((documents, last_seq)) => {
                    let documents = documents.into_iter().map(Arc::new).collect();
                    return Some(Work { documents, last_seq, place: None });
                }
                Err(error) => {
                    tracing::error!("a spilled batch cannot be read and is lost: {error}");
                    disk.lost += disk.spill.skip();
                }
            }
        }
        None
    }

    /// Every second turn, so that neither what is held nor what is not waits for all of the other. At the end it stays where it is.
    fn held_work(&mut self, bytes_max: usize) -> Option<Work> {
        if std::mem::take(&mut self.was_held) || self.ending {
            return None;
        }
        let disk = self.disk.as_mut()?;
        let trial = disk.held.trial(bytes_max, &mut disk.lost)?;
        self.was_held = true;
        let documents = trial.documents.into_iter().map(Arc::new).collect();
        Some(Work { documents, last_seq: trial.last_seq, place: Some(trial.place) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::document::Document;
    use packet::Timestamp;
    use std::path::Path;

    fn documents(number: u64) -> Arc<Documents> {
        let json = format!("{{\"_id\":\"{number:032x}\",\"type\":\"dns\"}}");
        let mut documents = Documents::default();
        documents.push(&Document { time: Timestamp::from_nanos(number), kind: "dns", key: "", json: &json });
        Arc::new(documents)
    }

    fn bounds(memory: usize) -> Bounds {
        Bounds { memory, bulk_bytes: 200, bulk_time: Duration::ZERO }
    }

    fn drain(backlog: &Backlog) -> Vec<u64> {
        let mut found = Vec::new();
        while let Some(work) = backlog.next() {
            for documents in &work.documents {
                found.extend(documents.iter().map(|document| document.time.nanos()));
            }
            backlog.confirm(work.last_seq);
        }
        found
    }

    fn spilling(path: &Path, memory: usize) -> Backlog {
        Backlog::new(bounds(memory), Some(Disk::open("test", path, 1 << 20).unwrap()))
    }

    #[test]
    fn order_is_kept_over_memory_and_disk() {
        let folder = tempfile::tempdir().unwrap();
        let backlog = spilling(folder.path(), 300);
        for number in 1..=50 {
            assert!(backlog.push(&documents(number)).unwrap());
        }
        assert!(backlog.on_disk().spilled_events > 40);
        backlog.lock().ending = true;
        assert_eq!(drain(&backlog), (1..=50).collect::<Vec<_>>());
        assert_eq!(backlog.on_disk(), OnDisk::default());
        assert!(backlog.push(&documents(51)).unwrap());
        assert_eq!((backlog.on_disk().spilled_events, backlog.unkept().unwrap()), (0, 1));
    }

    #[test]
    fn without_a_disk_memory_is_the_bound() {
        let backlog = Backlog::new(bounds(300), None);
        let taken = (1..=50).take_while(|number| backlog.push(&documents(*number)).unwrap()).count();
        assert!((2..10).contains(&taken), "{taken}");
        assert_eq!(backlog.unkept().unwrap(), taken as u64);
        backlog.failing();
        assert_eq!(backlog.end(Duration::ZERO).unwrap(), taken as u64);
        assert!(backlog.next().is_none());
    }

    #[test]
    fn a_failing_service_has_its_backlog_kept_on_disk_and_delivered_by_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let backlog = spilling(folder.path(), 1 << 20);
        for number in 1..=5 {
            backlog.push(&documents(number)).unwrap();
        }
        assert_eq!(backlog.unkept().unwrap(), 5);
        let work = backlog.next().unwrap();
        backlog.failing();
        backlog.lock().failing_since = Instant::now().checked_sub(SPILL_AFTER);
        assert_eq!(backlog.unkept().unwrap(), 0, "on disk");
        // What was handed out from memory counts as delivered on disk too.
        backlog.confirm(work.last_seq);
        let delivered = work.documents.len() as u64;
        backlog.push(&documents(6)).unwrap();
        assert_eq!(backlog.end(Duration::ZERO).unwrap(), 0);
        drop(backlog);
        let backlog = spilling(folder.path(), 1 << 20);
        assert!(backlog.push(&documents(7)).unwrap());
        backlog.lock().ending = true;
        assert_eq!(drain(&backlog), (delivered + 1..=7).collect::<Vec<_>>());
    }
}
