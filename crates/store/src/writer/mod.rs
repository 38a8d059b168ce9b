//! The write side: one file per period of arrival, a transaction per batch, everything else (indexes, retention) in steps between batches.
//! One writer per directory; several processes may read meanwhile.

mod file;
mod upkeep;

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use event::Event;
use packet::Timestamp;

use crate::Error;
use crate::columns::Extractor;
use crate::documents::Packer;
use crate::format::{self, FileName};
use crate::rollup::Gathered;
use file::Open;
use upkeep::Upkeep;

/// A clock that was this far ahead of now when it named a file was wrong: the file is not gone on with.
const AHEAD_MAX_S: u64 = 86_400;

/// Settings of the writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the files are; made if it is not there.
    pub directory: PathBuf,
    /// A new file begins with each such period of the clock.
    pub period: Duration,
    /// Files whose period ended so long ago are removed; zero keeps them.
    pub retention_age: Duration,
    /// The oldest files are removed while all together are larger, in bytes; 0 is no bound. The file being written stays.
    pub retention_size: u64,
    /// A new file begins when one holds so many events: bounds what has to be searched without indexes, and the steps that make them.
    pub events_max: u64,
}

impl Options {
    /// Files of an hour and a million events at most, kept for ever.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            period: Duration::from_secs(3600),
            retention_age: Duration::ZERO,
            retention_size: 0,
            events_max: 1_000_000,
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stored {
    /// Events stored.
    pub events: u64,
    /// Bytes of their JSON.
    pub bytes: u64,
}

/// Writes events. After [`Writer::write`] they survive the end of the process, after [`Writer::flush`] that of the machine.
pub struct Writer {
    options: Options,
    open: Option<Open>,
    upkeep: Upkeep,
    work: Work,
    unsynced: bool,
    _lock: File,
}

/// Memory that is kept from batch to batch.
struct Work {
    extractor: Extractor,
    gathered: Gathered,
    packer: Packer,
}

impl Writer {
    /// Opens a directory for writing. `now` is the clock; it names files and decides about their age.
    ///
    /// # Errors
    /// If the directory cannot be made or written, or another process writes into it.
    pub fn open(options: Options, now: Timestamp) -> Result<Self, Error> {
        let path = options.directory.clone();
        let wrong = |source| Error::Directory { path: path.clone(), source };
        std::fs::create_dir_all(&options.directory).map_err(wrong)?;
        let lock = File::create(options.directory.join("lock")).map_err(wrong)?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Busy(path)),
            Err(error) => return Err(wrong(error.into())),
        }
        let work = Work {
            extractor: Extractor::default(),
            gathered: Gathered::default(),
            packer: Packer::new().map_err(Error::Compression)?,
        };
        let upkeep = Upkeep::new();
        let mut writer = Self { options, open: None, upkeep, work, unsynced: false, _lock: lock };
        writer.open_file(now)?;
        writer.upkeep.find(&writer.options, writer.open.as_ref().map(|open| open.name))?;
        Ok(writer)
    }

    /// Stores all of these events, each with its JSON line, or none.
    ///
    /// # Errors
    /// Why none was stored; the same batch may be given again.
    pub fn write<'e>(
        &mut self,
        events: impl Iterator<Item = (&'e Event, &'e [u8])>,
        now: Timestamp,
    ) -> Result<Stored, Error> {
        self.open_file(now)?;
        let Some(open) = &mut self.open else { return Ok(Stored::default()) };
        let result = open.write(events, &mut self.work);
        match &result {
            Ok(stored) => self.unsynced |= stored.events > 0,
            // What the transaction had noted in memory is not in the file.
            Err(_) => self.open = None,
        }
        result
    }

    /// Makes what was written durable beyond a loss of power.
    ///
    /// # Errors
    /// What the system says; try again.
    pub fn flush(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.unsynced)
            && let Some(open) = &mut self.open
            && let Err(error) = open.sync()
        {
            self.unsynced = true;
            return Err(error);
        }
        Ok(())
    }

    /// One step of what is to be done beside writing: an index of a finished file, removal of what is too old or too much. Gives whether
    /// there is more to do at once. Call it between batches and when there are none.
    pub fn step(&mut self, now: Timestamp) -> bool {
        // A period ends without an event, too.
        if self.open.as_ref().is_some_and(|open| self.is_over(open, now)) && self.flush().is_ok() {
            self.close();
        }
        let current = self.open.as_ref().map(|open| open.name);
        self.upkeep.step(&self.options, current, now)
    }

    /// The ids stored last, newest first, at most so many.
    ///
    /// # Errors
    /// If the directory cannot be read. Files that cannot be read give none.
    pub fn recent_ids(&self, most: usize) -> Result<Vec<u128>, Error> {
        let names = self.files()?;
        let mut ids = Vec::new();
        for name in names.iter().rev() {
            if ids.len() >= most {
                break;
            }
            if let Err(error) = file::read_ids(&self.options.directory.join(name.to_string()), most, &mut ids) {
                tracing::warn!("{name}: {error}");
            }
        }
        Ok(ids)
    }

    fn files(&self) -> Result<Vec<FileName>, Error> {
        format::files(&self.options.directory)
            .map_err(|source| Error::Directory { path: self.options.directory.clone(), source })
    }

    fn period_s(&self) -> u64 {
        self.options.period.as_secs().max(1)
    }

    fn is_over(&self, open: &Open, now: Timestamp) -> bool {
        now.seconds() >= open.name.start.saturating_add(self.period_s())
            || open.events >= self.options.events_max.max(1)
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.upkeep.finished(open.name);
        }
    }

    /// Sees to it that the file of this time is open.
    fn open_file(&mut self, now: Timestamp) -> Result<(), Error> {
        match &self.open {
            Some(open) if !self.is_over(open, now) => return Ok(()),
            Some(_) => {
                self.flush()?;
                self.close();
            }
            None => {}
        }
        let period = self.period_s();
        let files = self.files()?;
        let mut start = now.seconds() - now.seconds() % period;
        let newest = files.last().filter(|newest| newest.start <= start.saturating_add(AHEAD_MAX_S));
        start = start.max(newest.map_or(0, |newest| newest.start));
        let last = files.iter().rev().find(|name| name.start == start).map_or(0, |name| name.number);
        if last > 0 {
            let name = FileName { start, number: last };
            match Open::existing(&self.options, name) {
                Ok(Some(open)) if open.events < self.options.events_max.max(1) => {
                    self.upkeep.goes_on(name);
                    self.open = Some(open);
                    return Ok(());
                }
                Ok(_) => {}
                Err(refused) => tracing::error!("{name}: {refused}"),
            }
        }
        self.open = Some(Open::create(&self.options, FileName { start, number: last + 1 })?);
        Ok(())
    }
}

/// Rests for a moment after this long a step, so that batches are not held up.
pub(crate) const STEP_REST: Duration = Duration::from_millis(100);

pub(crate) fn elapsed_since(since: Option<Instant>) -> Duration {
    since.map_or(Duration::MAX, |since| since.elapsed())
}
