//! What waits for a service, in order: in memory while the service keeps up, on disk as soon as it does not. Bounded in both.
//!
//! Either everything is in memory or everything is on disk, so that order needs no thought. The thread that fills it and the one that empties it
//! meet here and nowhere else.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::document::Documents;
use super::spill::Spill;

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
    spill: Option<Spill>,
    failing_since: Option<Instant>,
    ending: bool,
    stopped: bool,
    /// Events of which a damaged record on disk has nothing left.
    lost: u64,
}

struct Chunk {
    seq: u64,
    since: Instant,
    documents: Arc<Documents>,
}

impl Backlog {
    pub(super) fn new(bounds: Bounds, spill: Option<Spill>) -> Self {
        let next_seq = spill.as_ref().and_then(Spill::last_seq).unwrap_or(0) + 1;
        let state = State {
            waiting: VecDeque::new(),
            bytes: 0,
            next_seq,
            spill,
            failing_since: None,
            ending: false,
            stopped: false,
            lost: 0,
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
            let Some(spill) = &mut state.spill else { return Ok(false) };
            if documents.len() > 0 && !spill.append(seq, documents)? {
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
        if let Some(spill) = &mut state.spill {
            spill.sync()?;
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
            if let Some(work) = state.disk_work(self.bounds.bulk_bytes) {
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
        if let Some(spill) = &mut state.spill {
            spill.confirm(seq);
        }
        state.failing_since = None;
        drop(state);
        self.changed.notify_all();
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
            let may_spill = state.spill.is_some();
            let hopeless = may_spill && state.failing_since.is_some();
            if state.is_empty() || left.is_zero() || hopeless {
                break;
            }
            let turn = left.min(Duration::from_millis(50));
            state = self.changed.wait_timeout(state, turn).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.stopped = true;
        let moved = state.move_to_disk();
        if let Some(spill) = &mut state.spill {
            spill.sync()?;
        }
        let left = state.waiting.iter().map(|chunk| chunk.documents.len() as u64).sum();
        drop(state);
        self.changed.notify_all();
        moved.map(|()| left)
    }

    /// Events and bytes on disk, and events lost to damage there.
    pub(super) fn on_disk(&self) -> (u64, u64, u64) {
        let state = self.lock();
        let spill = state.spill.as_ref();
        (spill.map_or(0, Spill::events), spill.map_or(0, Spill::used), state.lost)
    }
}

impl State {
    fn is_on_disk(&self) -> bool {
        self.spill.as_ref().is_some_and(|spill| !spill.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.is_on_disk()
    }

    /// Writes what is in memory to disk, as far as there is room; without a disk it stays where it is.
    fn move_to_disk(&mut self) -> io::Result<()> {
        let Some(spill) = &mut self.spill else { return Ok(()) };
        while let Some(chunk) = self.waiting.front() {
            if chunk.documents.len() > 0 && !spill.append(chunk.seq, &chunk.documents)? {
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
        Work { documents, last_seq }
    }

    fn disk_work(&mut self, bytes_max: usize) -> Option<Work> {
        let spill = self.spill.as_mut()?;
        while !spill.is_empty() {
            match spill.read(bytes_max) {
                Ok((documents, last_seq)) => {
                    return Some(Work { documents: documents.into_iter().map(Arc::new).collect(), last_seq });
                }
                Err(error) => {
                    tracing::error!("a spilled batch cannot be read and is lost: {error}");
                    self.lost += spill.skip();
                }
            }
        }
        None
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
        Backlog::new(bounds(memory), Some(Spill::open(path.to_owned(), 1 << 20).unwrap()))
    }

    #[test]
    fn order_is_kept_over_memory_and_disk() {
        let folder = tempfile::tempdir().unwrap();
        let backlog = spilling(folder.path(), 300);
        for number in 1..=50 {
            assert!(backlog.push(&documents(number)).unwrap());
        }
        assert!(backlog.on_disk().0 > 40);
        backlog.lock().ending = true;
        assert_eq!(drain(&backlog), (1..=50).collect::<Vec<_>>());
        assert_eq!(backlog.on_disk(), (0, 0, 0));
        assert!(backlog.push(&documents(51)).unwrap());
        assert_eq!((backlog.on_disk().0, backlog.unkept().unwrap()), (0, 1));
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
