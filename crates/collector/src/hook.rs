//! The hook: a command of the user's that is told of each finished segment. One at a time, on a thread of its own; a slow or failing one
//! delays nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Finished segments that may wait for it.
const WAITING: usize = 1024;
/// How long one run may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it has ended.
const POLL: Duration = Duration::from_millis(20);

/// What became of the runs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) good: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) skipped: AtomicU64,
}

/// Hands segments to the command.
#[derive(Debug)]
pub(crate) struct Hook {
    paths: SyncSender<PathBuf>,
    pub(crate) counters: Arc<Counters>,
    /// Whether it was said that segments are skipped.
    said: Mutex<bool>,
}

impl Hook {
    /// Starts the thread. `command` is the program and its arguments; the path is added as the last.
    pub(crate) fn start(command: Vec<String>) -> std::io::Result<Self> {
        let (paths, receiver) = sync_channel(WAITING);
        let counters = Arc::new(Counters::default());
        let counted = Arc::clone(&counters);
        std::thread::Builder::new().name("hook".to_owned()).spawn(move || work(&command, &receiver, &counted))?;
        Ok(Self { paths, counters, said: Mutex::new(false) })
    }

    /// A segment is finished.
    pub(crate) fn finished(&self, path: &Path) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match self.paths.try_send(path.to_owned()) {
            Ok(()) => *said = false,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counters.skipped.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut *said, true) {
                    tracing::error!(
                        "the hook is too slow: {WAITING} segments wait for it, the next are not told to it"
                    );
                }
            }
        }
    }
}

fn work(command: &[String], paths: &Receiver<PathBuf>, counters: &Counters) {
    while let Ok(path) = paths.recv() {
        match run(command, &path) {
            Ok(()) => counters.good.fetch_add(1, Ordering::Relaxed),
            Err(problem) => {
                tracing::error!("hook {} {}: {problem}", command.join(" "), path.display());
                counters.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

fn run(command: &[String], path: &Path) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let since = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("ended with {status}")),
            Ok(None) if since.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("did not end within {} s and was killed", PATIENCE.as_secs()));
            }
            Ok(None) => std::thread::sleep(POLL),
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_segment_is_told_once_and_failures_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        let script = format!("echo \"$0\" >> {}; case \"$0\" in *bad) exit 3;; esac", list.display());
        let hook = Hook::start(vec!["sh".to_owned(), "-c".to_owned(), script]).unwrap();
        for name in ["/a", "/bad", "/c d"] {
            hook.finished(Path::new(name));
        }
        let since = Instant::now();
        while hook.counters.good.load(Ordering::Relaxed) < 2 && since.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(POLL);
        }
        assert_eq!(std::fs::read_to_string(&list).unwrap(), "/a\n/bad\n/c d\n");
        assert_eq!(hook.counters.failed.load(Ordering::Relaxed), 1);
        assert!(run(&["/no/such/program".to_owned()], Path::new("/x")).is_err());
    }
}
