//! Files of JSON lines below the data directory, one event per line, a new file when one is full.
//! Writes an event once even if the analyzer decodes its packets again after a restart: it knows the ids it wrote last.

mod files;
mod ids;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use processors::Condition;

use crate::known::Known;
use crate::{EventBatch, Failure, OpenError, Output, Place, WhenFull, Written};
use files::Folder;

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
    /// A new file begins when one has reached this size.
    #[serde(with = "settings::size")]
    pub rotate: u64,
    /// How many files are kept, the one being written included; 0 keeps all.
    pub files_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            when: None,
            when_full: None,
            directory: PathBuf::from("events"),
            rotate: 100 << 20,
            files_max: 0,
        }
    }
}

impl Settings {
    pub(crate) fn directories(&self, place: &Place) -> Vec<PathBuf> {
        vec![place.path(&self.directory)]
    }

    pub(crate) fn open(&self, place: &Place) -> Result<Ndjson, OpenError> {
        Ndjson::open(self, place)
    }
}

/// The output.
pub struct Ndjson {
    folder: Folder,
    rotate: u64,
    files_max: u32,
    file: File,
    length: u64,
    known: Known,
    line_buffer: Vec<u8>,
}

impl Ndjson {
    fn open(settings: &Settings, place: &Place) -> Result<Self, OpenError> {
        let path = place.path(&settings.directory);
        let wrong = |what: &str, error: std::io::Error| OpenError {
            output: "ndjson",
            message: format!("cannot {what} {}: {error}; check output.ndjson.directory and its owner", path.display()),
        };
        std::fs::create_dir_all(&path).map_err(|e| wrong("create", e))?;
        let folder = Folder::new(path.clone());
        let known = ids::read(&folder).map_err(|e| wrong("read", e))?;
        let (file, length) = folder.open_last().map_err(|e| wrong("write to", e))?;
        Ok(Self {
            folder,
            rotate: settings.rotate.max(1),
            files_max: settings.files_max,
            file,
            length,
            known,
            line_buffer: Vec::new(),
        })
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.length >= self.rotate {
            (self.file, self.length) = self.folder.begin_next()?;
            self.folder.keep_last(self.files_max);
        }
        let result = self.file.write_all(bytes);
        if result.is_err() {
            // Half a batch may be there, for example on a full disk: take it back, the batch comes again.
            let _ = self.file.set_len(self.length);
            let _ = self.file.seek(SeekFrom::Start(self.length));
            return result;
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
}

impl Output for Ndjson {
    fn name(&self) -> &'static str {
        "ndjson"
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
            Err(error) => Err(Failure::Retry(format!("{}: {error}", self.folder.path().display()))),
        }
    }

    fn flush(&mut self) -> Result<u64, Failure> {
        let synced = self.file.sync_data().map(|()| 0);
        synced.map_err(|error| Failure::Retry(format!("{}: {error}", self.folder.path().display())))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use event::{Event, JsonWriter, Observer, Origin, Schema};

    fn batch(packets: std::ops::Range<u64>) -> EventBatch {
        let schema = Schema::new(&[]).unwrap();
        let mut writer = JsonWriter::new(&schema);
        let observer = Arc::new(Observer { name: "s".into(), epoch: "e".into(), is_file: false });
        let mut batch = EventBatch::new();
        for first_packet in packets {
            let origin = Origin {
                observer: Arc::clone(&observer),
                interface: "".into(),
                first_packet,
                last_packet: first_packet,
            };
            batch.push(Event::new("dns", packet::Timestamp::from_nanos(first_packet), origin), &mut writer);
        }
        batch
    }

    fn open(data: &Path, rotate: u64, files_max: u32) -> Ndjson {
        let settings = Settings { rotate, files_max, ..Settings::default() };
        settings.open(&Place { data: data.to_owned(), fields: Vec::new() }).unwrap()
    }

    fn numbers(data: &Path) -> Vec<u64> {
        let mut names: Vec<_> =
            std::fs::read_dir(data.join("events")).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let text: String = names.iter().map(|name| std::fs::read_to_string(name).unwrap()).collect();
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|event| event["tapline"]["packet"]["first"].as_u64().unwrap())
            .collect()
    }

    #[test]
    fn events_are_lines_in_order_over_several_files() {
        let data = tempfile::tempdir().unwrap();
        let mut output = open(data.path(), 1000, 0);
        for start in 0..20 {
            output.write(&batch(start * 3..start * 3 + 3)).unwrap();
        }
        assert_eq!(numbers(data.path()), (0..60).collect::<Vec<_>>());
        assert!(std::fs::read_dir(data.path().join("events")).unwrap().count() > 3);
    }

    #[test]
    fn what_an_earlier_run_wrote_is_left_out() {
        let data = tempfile::tempdir().unwrap();
        open(data.path(), 1000, 0).write(&batch(0..10)).unwrap();
        let mut output = open(data.path(), 1000, 0);
        let written = output.write(&batch(5..12)).unwrap();
        assert_eq!((written.events, written.known), (2, 5));
        assert_eq!(numbers(data.path()), (0..12).collect::<Vec<_>>());
    }

    #[test]
    fn half_a_line_left_by_a_crash_is_taken_away() {
        let data = tempfile::tempdir().unwrap();
        open(data.path(), 1 << 20, 0).write(&batch(0..2)).unwrap();
        let path = data.path().join("events/events-00000001.ndjson");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        open(data.path(), 1 << 20, 0).write(&batch(0..3)).unwrap();
        assert_eq!(numbers(data.path()), [0, 1, 2]);
    }

    #[test]
    fn only_the_last_files_are_kept() {
        let data = tempfile::tempdir().unwrap();
        let mut output = open(data.path(), 10, 3);
        for number in 0..10 {
            output.write(&batch(number..number + 1)).unwrap();
        }
        assert_eq!(numbers(data.path()), [7, 8, 9]);
    }
}
