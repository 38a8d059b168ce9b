//! What becomes of files that are finished: compressed one after the other, removed when there are too many, too much or too old.
//! A thread of its own, so that the writer waits for none of it, and without a queue: what is to be done stands in the folder, also after a
//! crash. Never touches the file with the highest number, which is being written.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::compress::{GoOn, compress, holds_the_same};
use super::files::{Files, Folder};
use super::{Compression, Retention};
use crate::counters::{Counters, add};

/// How often the folder is looked at while no file is finished: for what has become too old.
const EVERY: Duration = Duration::from_secs(60);
/// Pauses after a failure grow from here to [`EVERY`]. Short, because on a full disk a compressed file is what the writer waits for.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// How long compressing may go on when the program ends; what is left is done by the next run.
const END_PATIENCE: Duration = Duration::from_secs(3);
/// What decodes and writes comes first.
const NICE: i32 = 10;

/// What is done to finished files.
pub(super) struct Finish {
    pub(super) folder: Folder,
    pub(super) compression: Compression,
    /// Files kept at most, the one being written included; 0 keeps all.
    pub(super) files_max: u32,
    pub(super) retention: Retention,
    /// Numbers whose problem was said already.
    pub(super) failed: BTreeSet<u64>,
}

impl Finish {
    /// Does all that is to be done now, as long as `go_on` says so. Gives how many attempts failed; they are made again next time.
    pub(super) fn round(&mut self, now: SystemTime, go_on: GoOn<'_>) -> u64 {
        let mut failures = 0;
        let mut tried = BTreeSet::new();
        loop {
            // Anew after each file: meanwhile others were finished.
            self.remove_surplus(now);
            let Ok(mut files) = self.folder.files() else { return failures + 1 };
            files.pop_last();
            self.failed.retain(|number| files.contains_key(number));
            let next = files.iter().find(|(number, forms)| self.is_left(forms) && !tried.contains(*number));
            let Some((number, forms)) = next else { return failures };
            tried.insert(*number);
            match self.finish(*number, forms, go_on) {
                Ok(()) => {
                    self.failed.remove(number);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => return failures,
                Err(error) => {
                    failures += 1;
                    if self.failed.insert(*number) {
                        let path = self.folder.file(*number, Compression::None);
                        tracing::warn!("cannot compress {}: {error}; it stays and is tried again", path.display());
                    }
                    if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
                        return failures;
                    }
                }
            }
        }
    }

    fn is_left(&self, forms: &[Compression]) -> bool {
        forms.contains(&Compression::None) && (self.compression != Compression::None || forms.len() > 1)
    }

    fn finish(&self, number: u64, forms: &[Compression], go_on: GoOn<'_>) -> io::Result<()> {
        // Both are there when a crash came before the plain one was removed, or because somebody made a copy. Only the first is finished
        // here; a copy that is not the same is left to whoever made it.
        let mut has_copy = false;
        for form in forms.iter().filter(|form| **form != Compression::None) {
            has_copy = true;
            if holds_the_same(&self.folder, number, *form, go_on)? {
                std::fs::File::open(self.folder.file(number, *form))?.sync_all()?;
                self.folder.sync()?;
                return std::fs::remove_file(self.folder.file(number, Compression::None));
            }
        }
        if has_copy {
            return Err(io::Error::other(
                "there is a compressed file that does not hold the same; remove one of the two",
            ));
        }
        let result = compress(&self.folder, number, self.compression, go_on);
        if result.is_err() {
            // The place it takes may be what is missing.
            let _ = std::fs::remove_file(self.folder.part(number, self.compression));
        }
        result
    }

    /// Removes the oldest files until the bounds hold; never the one being written.
    fn remove_surplus(&self, now: SystemTime) {
        let Ok(files) = self.folder.files() else { return };
        let (mut count, mut bytes) = (files.len(), self.bytes(&files));
        let finished = files.len().saturating_sub(1);
        for (number, forms) in files.iter().take(finished) {
            let facts: Vec<_> =
                forms.iter().filter_map(|form| self.folder.file(*number, *form).metadata().ok()).collect();
            let age = facts.iter().filter_map(|facts| now.duration_since(facts.modified().ok()?).ok()).min();
            let is_old = !self.retention.age.is_zero() && age.is_some_and(|age| age > self.retention.age);
            let is_surplus = self.files_max > 0 && count > self.files_max as usize;
            let is_much = self.retention.size > 0 && bytes > self.retention.size;
            if !(is_old || is_surplus || is_much) {
                return;
            }
            for form in forms {
                let path = self.folder.file(*number, *form);
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        tracing::warn!("cannot remove {}: {error}", path.display());
                    }
                    _ => {}
                }
            }
            count -= 1;
            bytes = bytes.saturating_sub(facts.iter().map(std::fs::Metadata::len).sum());
        }
    }

    fn bytes(&self, files: &Files) -> u64 {
        let paths = files.iter().flat_map(|(number, forms)| forms.iter().map(|form| self.folder.file(*number, *form)));
        paths.filter_map(|path| path.metadata().ok()).map(|facts| facts.len()).sum()
    }
}

/// The thread that does it.
pub(super) struct Finisher {
    wake: Option<Sender<()>>,
    ended: Receiver<()>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Finisher {
    /// Starts it; the first round begins at once, with what earlier runs left.
    pub(super) fn start(mut finish: Finish, counters: Arc<Counters>) -> io::Result<Self> {
        let (wake, woken) = bounded(1);
        let (end, ended) = bounded(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            // Of this thread only, on Linux. Without it everything works, too.
            let _ = rustix::process::nice(NICE);
            let mut pause = PAUSE_MIN;
            loop {
                let failures = finish.round(SystemTime::now(), &mut || !stopped.load(Ordering::Relaxed));
                add(&counters.failures, failures);
                let wait = if failures > 0 { pause } else { EVERY };
                pause = if failures > 0 { (pause * 2).min(EVERY) } else { PAUSE_MIN };
                if woken.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                    break;
                }
            }
            let _ = end.send(());
        };
        let thread = std::thread::Builder::new().name("output-ndjson-finish".to_owned()).spawn(work)?;
        Ok(Self { wake: Some(wake), ended, stop, thread: Some(thread) })
    }

    /// Says that a file is finished.
    pub(super) fn wake(&self) {
        if let Some(wake) = &self.wake {
            // Full means that a round is about to begin anyway.
            let _ = wake.try_send(());
        }
    }

    /// Lets it do what is left, for a short time.
    pub(super) fn end(mut self) {
        self.wake();
        self.wake = None;
        let _ = self.ended.recv_timeout(END_PATIENCE);
    }
}

impl Drop for Finisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that compresses events panicked; please report this");
        }
    }
}
