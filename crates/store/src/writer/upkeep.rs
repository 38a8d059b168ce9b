//! What is done between batches: finished files get their indexes one by one, and files that are too old or too much are removed.
//! Touches no file that is damaged, foreign or newer, and never the open one.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use packet::Timestamp;
use rusqlite::Connection;

use super::{Options, STEP_REST, elapsed_since, file};
use crate::Error;
use crate::format::{self, FileName, INDEXES, Refused};

/// How often ages and sizes are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What is to be done.
pub(super) struct Upkeep {
    unsealed: VecDeque<FileName>,
    sealing: Option<Sealing>,
    /// Reported once; left alone from then on.
    refused: BTreeSet<FileName>,
    looked: Option<Instant>,
    looked_at: Timestamp,
    stepped: Option<Instant>,
}

struct Sealing {
    name: FileName,
    connection: Connection,
    next: usize,
}

impl Upkeep {
    pub(super) fn new() -> Self {
        Self {
            unsealed: VecDeque::new(),
            sealing: None,
            refused: BTreeSet::new(),
            looked: None,
            looked_at: Timestamp::ZERO,
            stepped: None,
        }
    }

    /// Finds what earlier runs left unfinished.
    pub(super) fn find(&mut self, options: &Options, current: Option<FileName>) -> Result<(), Error> {
        let wrong = |source| Error::Directory { path: options.directory.clone(), source };
        for name in format::files(&options.directory).map_err(wrong)? {
            if Some(name) == current {
                continue;
            }
            match is_sealed(&options.directory.join(name.to_string())) {
                Ok(true) => {}
                Ok(false) => self.unsealed.push_back(name),
                Err(refused) => self.refuse(name, &refused),
            }
        }
        Ok(())
    }

    pub(super) fn finished(&mut self, name: FileName) {
        self.unsealed.push_back(name);
    }

    /// A file is written again.
    pub(super) fn goes_on(&mut self, name: FileName) {
        self.unsealed.retain(|other| *other != name);
        self.sealing.take_if(|sealing| sealing.name == name);
    }

    fn refuse(&mut self, name: FileName, why: &Refused) {
        if self.refused.insert(name) {
            tracing::error!("{name} of the event store {why}");
        }
    }

    /// One step; gives whether there is more.
    pub(super) fn step(&mut self, options: &Options, current: Option<FileName>, now: Timestamp) -> bool {
        let by_clock = now.since(self.looked_at) >= LOOK_EVERY.as_nanos() as u64;
        if elapsed_since(self.looked) >= LOOK_EVERY || by_clock {
            self.looked = Some(Instant::now());
            self.looked_at = now;
            self.retain(options, current, now);
        }
        if (self.sealing.is_none() && self.unsealed.is_empty()) || elapsed_since(self.stepped) < STEP_REST {
            return self.sealing.is_some() || !self.unsealed.is_empty();
        }
        if let Err((name, refused)) = self.seal(options) {
            self.sealing = None;
            self.refuse(name, &refused);
        }
        self.stepped = Some(Instant::now());
        self.sealing.is_some() || !self.unsealed.is_empty()
    }

    fn seal(&mut self, options: &Options) -> Result<(), (FileName, Refused)> {
        if self.sealing.is_none() {
            let Some(name) = self.unsealed.pop_front() else { return Ok(()) };
            let path = options.directory.join(name.to_string());
            if !path.exists() {
                return Ok(());
            }
            let connection = file::connect_existing(&path).map_err(|refused| (name, refused))?;
            self.sealing = Some(Sealing { name, connection, next: 0 });
        }
        let Some(sealing) = &mut self.sealing else { return Ok(()) };
        let connection = &sealing.connection;
        let done = match INDEXES.get(sealing.next) {
            Some(index) => connection.execute_batch(index).map(|()| false),
            // What readers hold back stays in the log and comes into the file when the last of them closes it.
            None => connection
                .execute_batch("PRAGMA synchronous = FULL; UPDATE state SET sealed = 1;")
                .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
                .map(|()| true),
        };
        let done = done.map_err(|error| (sealing.name, Refused::Sqlite(error)))?;
        sealing.next += 1;
        if done {
            self.sealing = None;
        }
        Ok(())
    }

    fn retain(&mut self, options: &Options, current: Option<FileName>, now: Timestamp) {
        let Ok(names) = format::files(&options.directory) else { return };
        let mut bytes: u64 = names.iter().map(|name| format::bytes(&options.directory.join(name.to_string()))).sum();
        let age = options.retention_age.as_secs();
        for name in names {
            if Some(name) == current || self.refused.contains(&name) {
                continue;
            }
            let end = name.start.saturating_add(options.period.as_secs());
            let is_old = age > 0 && end.saturating_add(age) <= now.seconds();
            let is_much = options.retention_size > 0 && bytes > options.retention_size;
            if !is_old && !is_much {
                continue;
            }
            let path = options.directory.join(name.to_string());
            // A damaged file is somebody's to look at, not ours to remove.
            if let Err(refused) = is_sealed(&path) {
                self.refuse(name, &refused);
                continue;
            }
            let size = format::bytes(&path);
            self.goes_on(name);
            match remove(&path) {
                Ok(()) => {
                    bytes = bytes.saturating_sub(size);
                    tracing::info!(
                        "{name} of the event store removed: {}",
                        if is_old { "its age" } else { "the store's size" }
                    );
                }
                Err(error) => tracing::warn!("cannot remove {}: {error}", path.display()),
            }
        }
    }
}

/// The file first: without it, what stands beside it means nothing.
fn remove(path: &Path) -> std::io::Result<()> {
    std::fs::remove_file(path)?;
    for ending in ["-wal", "-shm"] {
        match std::fs::remove_file(format::beside(path, ending)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn is_sealed(path: &Path) -> Result<bool, Refused> {
    Ok(format::open_read(path)?.query_row("SELECT sealed FROM state", [], |row| row.get(0))?)
}
