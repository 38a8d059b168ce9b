//! Events that a service refuses for good, in files of JSON lines with the reason: `refused-YYYY-MM-DD.ndjson`.
//! Nothing reads them by itself: whoever has mended the cause sends them again with `tapline output retry FILE`.
//! The log says when it begins, and at most once a minute how many more there were: never a line for each event.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use packet::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Document;

/// So long the log says nothing more of refused events once it has.
const QUIET: Duration = Duration::from_secs(60);

/// One line of such a file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Letter {
    /// The output that sent it.
    pub output: String,
    /// When it was refused, RFC 3339.
    pub refused: String,
    /// The service's number for the reason.
    pub status: u16,
    /// Why, in the service's words.
    pub reason: String,
    /// The event's type, as it was when the event was decoded.
    pub kind: String,
    /// What keeps events of one flow together.
    pub key: String,
    /// The event's time in nanoseconds since 1970.
    pub time: u64,
    /// The whole event.
    pub event: Box<RawValue>,
}

impl Letter {
    /// The document it carries.
    pub fn document(&self) -> Document<'_> {
        Document { time: Timestamp::from_nanos(self.time), kind: &self.kind, key: &self.key, json: self.event.get() }
    }
}

/// The files of one output.
pub struct DeadLetters {
    directory: PathBuf,
    limit: u64,
    used: u64,
    file: Option<(String, File)>,
    refusals: Arc<Refusals>,
}

impl DeadLetters {
    /// Opens the directory.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn open(directory: PathBuf, limit: u64) -> io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let used = length(&directory)?;
        Ok(Self { directory, limit, used, file: None, refusals: Arc::default() })
    }

    /// What the log is still to say of the refused events.
    pub(super) fn refusals(&self) -> Arc<Refusals> {
        Arc::clone(&self.refusals)
    }

    /// Puts a document aside, and says so if it is the first; gives false if there is no room.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, output: &str, document: &Document<'_>, status: u16, reason: &str) -> io::Result<bool> {
        let now = jiff::Timestamp::now();
        let letter = Letter {
            output: output.to_owned(),
            refused: now.to_string(),
            status,
            reason: reason.to_owned(),
            kind: document.kind.to_owned(),
            key: document.key.to_owned(),
            time: document.time.nanos(),
            event: RawValue::from_string(document.json.to_owned())?,
        };
        let mut line = serde_json::to_vec(&letter)?;
        line.push(b'\n');
        if self.used + line.len() as u64 > self.limit {
            // Somebody may have taken files away meanwhile.
            self.used = length(&self.directory)?;
            if self.used + line.len() as u64 > self.limit {
                return Ok(false);
            }
        }
        let name = format!("refused-{}.ndjson", now.strftime("%Y-%m-%d"));
        let path = self.directory.join(&name);
        // The file may have been taken away, too.
        if self.file.as_ref().is_none_or(|(open, _)| *open != name || !path.exists()) {
            let file = OpenOptions::new().append(true).create(true).open(&path)?;
            self.file = Some((name, file));
        }
        if let Some((_, file)) = &mut self.file {
            file.write_all(&line)?;
        }
        self.used += line.len() as u64;
        if self.refusals.begins(Instant::now()) {
            // The whole reason stands in the file.
            let reason = format!("{reason:.300}");
            tracing::warn!(
                output,
                status,
                reason,
                "events are refused for good and put aside; once the cause is mended, `tapline output retry {}` sends them again",
                path.display()
            );
        }
        Ok(true)
    }

    /// Makes what was added durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |(_, file)| file.sync_data())
    }
}

/// Counts refused events for the log, between the thread that sends and the one that has time to say how many.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Said>);

#[derive(Default)]
struct Said {
    /// When the log last said something.
    last: Option<Instant>,
    /// Events since.
    more: u64,
}

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an event, unless it is the first, or the first after a quiet time: that is to be said in full.
    fn begins(&self, now: Instant) -> bool {
        let mut said = self.lock();
        let begins = said.more == 0 && said.is_old(now);
        if begins {
            said.last = Some(now);
        } else {
            said.more += 1;
        }
        begins
    }

    /// How many more there were, if it is time to say so; the end waits for no time.
    pub(super) fn more(&self, now: Instant, is_end: bool) -> Option<u64> {
        let mut said = self.lock();
        if said.more == 0 || !is_end && !said.is_old(now) {
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.more))
    }
}

impl Said {
    fn is_old(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= QUIET)
    }
}

fn length(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        bytes += entry?.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_event_stands_in_the_file_with_its_reason_until_it_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let mut letters = DeadLetters::open(folder.path().to_owned(), 600).unwrap();
        let json = r#"{"_id":"0123456789abcdef0123456789abcdef","type":"dns"}"#;
        let document = Document { time: Timestamp::from_nanos(7), kind: "dns", key: "k", json };
        assert!(letters.add("elasticsearch", &document, 400, "not \"a\" number").unwrap());
        assert!((0..9).any(|_| !letters.add("elasticsearch", &document, 400, "again").unwrap()), "bounded");
        letters.flush().unwrap();
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(path).unwrap();
        let letter: Letter = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((letter.document(), letter.status, letter.reason.as_str()), (document, 400, "not \"a\" number"));
    }

    #[test]
    fn the_first_refusal_is_said_at_once_and_the_others_once_a_minute() {
        let refusals = Refusals::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(refusals.more(at(0), true), None);
        assert!(refusals.begins(at(0)));
        assert!(!refusals.begins(at(1)) && !refusals.begins(at(59)));
        assert_eq!(refusals.more(at(59), false), None);
        assert!(!refusals.begins(at(61)), "it goes on");
        assert_eq!(refusals.more(at(61), false), Some(3));
        assert!(!refusals.begins(at(62)));
        assert_eq!(refusals.more(at(120), false), None);
        assert_eq!(refusals.more(at(121), false), Some(1));
        assert_eq!(refusals.more(at(500), false), None);
        assert!(refusals.begins(at(500)), "after a quiet time it begins anew");
        assert!(!refusals.begins(at(501)));
        assert_eq!(refusals.more(at(501), true), Some(1), "the end says what is left to say");
    }
}
