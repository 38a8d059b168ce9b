//! Files of JSON lines below the data directory, one event per line; a new file when one is full or its time is over; finished ones compressed.
//! Writes an event once even if the analyzer decodes its packets again after a restart: it knows the ids it wrote last. The file being written
//! is never compressed, so it can be followed, and what a flush makes durable does not hang on a compressor
//! (`docs/decisions/0010-files-of-events.md`).

mod compress;
mod files;
mod finish;
mod ids;
#[cfg(test)]
mod tests;

use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use packet::Timestamp;
use processors::Condition;
use rotation::{Rotation, Slot};

use crate::known::Known;
use crate::{Counters, EventBatch, Failure, OpenError, Output, Place, WhenFull, Written};
use files::{Folder, Open};
use finish::{Finish, Finisher};

/// Settings of `[analyzer.output.ndjson]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether events are written to files.
    pub enabled: bool,
    /// Which events go there; all unless said. The conditions are those of the processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// What its full queue means; `analyzer.when_full` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
    /// Folder of the files, below the data directory unless absolute.
    pub directory: PathBuf,
    /// A new file begins when one has reached this size, before compression.
    #[serde(with = "settings::size")]
    pub rotate: u64,
    /// A new file also begins at every multiple of this time of the day, if the last one has events; `0s` for never.
    #[serde(with = "settings::duration")]
    pub rotate_time: Duration,
    /// Whose day: `UTC`, or the name of a time zone.
    pub rotate_zone: String,
    /// How finished files are compressed.
    pub compression: Compression,
    /// How many files are kept, the one being written included; 0 keeps all.
    pub files_max: u32,
    /// What else is removed.
    pub retention: Retention,
}

/// How finished files are compressed, and so how a file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// They stay as they are.
    #[default]
    None,
    /// `.ndjson.gz`.
    Gzip,
    /// `.ndjson.zst`.
    Zstd,
}

impl Compression {
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Gzip, Self::Zstd];

    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// Settings of `[analyzer.output.ndjson.retention]`. Whole files are removed, never the one being written.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Files whose last event was written longer ago are removed; `0s` keeps them.
    #[serde(with = "settings::duration")]
    pub age: Duration,
    /// The oldest files are removed while all together are larger; 0 is no bound.
    #[serde(with = "settings::size")]
    pub size: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            when: None,
            when_full: None,
            directory: PathBuf::from("events"),
            rotate: 100 << 20,
            rotate_time: Duration::ZERO,
            rotate_zone: "UTC".to_owned(),
            compression: Compression::None,
            files_max: 0,
            retention: Retention::default(),
        }
    }
}

impl Settings {
    pub(crate) fn directories(&self, place: &Place) -> Vec<PathBuf> {
        vec![place.path(&self.directory)]
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        self.rotation().map(|_| ())
    }

    fn rotation(&self) -> Result<Rotation, OpenError> {
        let zone = jiff::tz::TimeZone::get(&self.rotate_zone).map_err(|error| OpenError {
            output: "ndjson",
            message: format!(
                "rotate_zone = {:?}: {error}; write UTC, or a name such as Europe/Vienna (package tzdata)",
                self.rotate_zone
            ),
        })?;
        Ok(Rotation { seconds: self.rotate_time.as_secs(), zone })
    }

    pub(crate) fn open(&self, place: &Place) -> Result<Ndjson, OpenError> {
        Ndjson::open(self, place, || Timestamp::from_system(SystemTime::now()))
    }
}

/// The output.
pub struct Ndjson {
    folder: Folder,
    rotate: u64,
    rotation: Rotation,
    now: Box<dyn Fn() -> Timestamp + Send>,
    open: Open,
    /// The stretch of time that the file's events are of.
    slot: Slot,
    /// Whether the file's name is durable.
    is_name_synced: bool,
    /// Whether it was said that no new file can be begun.
    is_stuck: bool,
    known: Known,
    line_buffer: Vec<u8>,
    /// What the thread is to do, until it is started.
    finish: Option<Finish>,
    finisher: Option<Finisher>,
}

impl Ndjson {
    fn open(
        settings: &Settings,
        place: &Place,
        now: impl Fn() -> Timestamp + Send + 'static,
    ) -> Result<Self, OpenError> {
        let path = place.path(&settings.directory);
        let wrong = |what: &str, error: io::Error| OpenError {
            output: "ndjson",
            message: format!("cannot {what} {}: {error}; check directory and its owner", path.display()),
        };
        let rotation = settings.rotation()?;
        std::fs::create_dir_all(&path).map_err(|e| wrong("create", e))?;
        let folder = Folder::new(path.clone());
        folder.remove_parts().map_err(|e| wrong("clean up", e))?;
        let known = ids::read(&folder).map_err(|e| wrong("read", e))?;
        let open = folder.open_last().map_err(|e| wrong("write to", e))?;
        let finish = Finish {
            folder: folder.clone(),
            compression: settings.compression,
            files_max: settings.files_max,
            retention: settings.retention.clone(),
            failed: Default::default(),
        };
        Ok(Self {
            folder,
            rotate: settings.rotate.max(1),
            slot: rotation.slot(Timestamp::from_system(open.written)),
            rotation,
            now: Box::new(now),
            open,
            is_name_synced: false,
            is_stuck: false,
            known,
            line_buffer: Vec::new(),
            finish: Some(finish),
            finisher: None,
        })
    }

    /// Begins a new file if the one there is full, or of a time that is over. What is in it is made durable, because from then on it is
    /// finished: compressed, and no flush comes back to it.
    fn rotate_if_due(&mut self, slot: Slot) -> io::Result<()> {
        let is_over = self.open.length > 0 && slot != self.slot;
        if self.open.length < self.rotate && !is_over {
            return Ok(());
        }
        self.open.file.sync_data()?;
        self.open = self.folder.begin_next()?;
        self.is_name_synced = false;
        if let Some(finisher) = &self.finisher {
            finisher.wake();
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let slot = self.rotation.slot((self.now)());
        self.rotate_if_due(slot)?;
        let open = &mut self.open;
        let result = open.file.write_all(bytes);
        if result.is_err() {
            // Half a batch may be there, for example on a full disk: take it back, the batch comes again.
            let _ = open.file.set_len(open.length);
            let _ = open.file.seek(SeekFrom::Start(open.length));
            return result;
        }
        open.length += bytes.len() as u64;
        self.slot = slot;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.open.file.sync_data()?;
        if !self.is_name_synced {
            self.folder.sync()?;
            self.is_name_synced = true;
        }
        Ok(())
    }

    fn retry(&self, error: &io::Error) -> Failure {
        Failure::Retry(format!("{}: {error}", self.folder.path().display()))
    }
}

impl Output for Ndjson {
    fn name(&self) -> &'static str {
        "ndjson"
    }

    fn start(&mut self, counters: &Arc<Counters>) -> io::Result<()> {
        if let Some(finish) = self.finish.take() {
            self.finisher = Some(Finisher::start(finish, Arc::clone(counters))?);
        }
        Ok(())
    }

    fn write(&mut self, batch: &EventBatch) -> Result<Written, Failure> {
        let mut written = Written { events: batch.len() as u64, known: 0, bytes: batch.json_bytes() as u64 };
        let result = if self.known.is_empty() {
            self.append(batch.json())
        } else {
            let mut lines = std::mem::take(&mut self.line_buffer);
            lines.clear();
            for (event, line) in batch.iter() {
                if self.known.contains(event.id()) {
                    written.known += 1;
                } else {
                    lines.extend_from_slice(line);
                }
            }
            written.events -= written.known;
            written.bytes = lines.len() as u64;
            let result = self.append(&lines);
            self.line_buffer = lines;
            result
        };
        match result {
            Ok(()) => {
                self.known.age();
                Ok(written)
            }
            Err(error) => Err(self.retry(&error)),
        }
    }

    fn flush(&mut self) -> Result<u64, Failure> {
        self.sync().map(|()| 0).map_err(|error| self.retry(&error))
    }

    /// Nothing comes: the file must be finished in time all the same.
    fn idle(&mut self) {
        let slot = self.rotation.slot((self.now)());
        let result = self.rotate_if_due(slot);
        if let Err(error) = &result
            && !self.is_stuck
        {
            tracing::warn!("cannot begin a new file in {}: {error}; trying again", self.folder.path().display());
        }
        self.is_stuck = result.is_err();
    }

    fn end(&mut self) -> u64 {
        if let Some(finisher) = self.finisher.take() {
            finisher.end();
        }
        0
    }
}
