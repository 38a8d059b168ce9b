//! The embedded event store: SQLite files below the data directory, which `tapline console` reads.
//! Stores an event once even if the analyzer decodes its packets again after a restart: it knows the ids it stored last.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use packet::Timestamp;
use processors::Condition;
use store::{Options, Writer};

use crate::known::{IDS_MAX, Known};
use crate::{EventBatch, Failure, OpenError, Output, Place, WhenFull, Written};

/// Settings of `[analyzer.output.store]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether events are stored for the console. `tapline up` sets it.
    pub enabled: bool,
    /// Which events go there; all unless said. The conditions are those of the processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// What its full queue means; `analyzer.when_full` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
    /// Folder of the files, below the data directory unless absolute.
    pub directory: PathBuf,
    /// A new file begins with each such period of the clock, and when one holds a million events.
    #[serde(with = "settings::duration")]
    pub period: Duration,
    /// What is removed.
    pub retention: Retention,
}

/// Settings of `[analyzer.output.store.retention]`. Whole files are removed, never the one being written.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Files whose period ended so long ago are removed; `0s` keeps them.
    #[serde(with = "settings::duration")]
    pub age: Duration,
    /// The oldest files are removed while all together are larger; 0 is no bound.
    #[serde(with = "settings::size")]
    pub size: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            when: None,
            when_full: None,
            directory: PathBuf::from("store"),
            period: Duration::from_secs(3600),
            retention: Retention::default(),
        }
    }
}

impl Settings {
    pub(crate) fn directories(&self, place: &Place) -> Vec<PathBuf> {
        vec![place.path(&self.directory)]
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        if self.period < Duration::from_secs(1) {
            let message = "period is less than a second: write for example 1h".to_owned();
            return Err(OpenError { output: "store", message });
        }
        Ok(())
    }

    pub(crate) fn open(&self, place: &Place) -> Result<Store, OpenError> {
        let wrong = |error: store::Error| OpenError { output: "store", message: error.to_string() };
        let options = Options {
            period: self.period,
            retention_age: self.retention.age,
            retention_size: self.retention.size,
            ..Options::new(place.path(&self.directory))
        };
        let writer = Writer::open(options, now()).map_err(wrong)?;
        let known = Known::new(writer.recent_ids(IDS_MAX).map_err(wrong)?);
        Ok(Store { writer, known })
    }
}

/// The output.
pub struct Store {
    writer: Writer,
    known: Known,
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

impl Output for Store {
    fn name(&self) -> &'static str {
        "store"
    }

    fn write(&mut self, batch: &EventBatch) -> Result<Written, Failure> {
        let mut known = 0;
        let is_new = |(event, _): &(&event::Event, &[u8])| {
            let is_known = self.known.contains(event.id());
            known += u64::from(is_known);
            !is_known
        };
        let stored = if self.known.is_empty() {
            self.writer.write(batch.iter(), now())
        } else {
            self.writer.write(batch.iter().filter(is_new), now())
        };
        let stored = stored.map_err(|error| Failure::Retry(error.to_string()))?;
        self.known.age();
        self.writer.step(now());
        Ok(Written { events: stored.events, known, bytes: stored.bytes })
    }

    fn flush(&mut self) -> Result<u64, Failure> {
        self.writer.flush().map(|()| 0).map_err(|error| Failure::Retry(error.to_string()))
    }

    fn idle(&mut self) {
        self.writer.step(now());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use event::{Event, JsonWriter, Observer, Origin, Schema};
    use store::{Ask, Filter, Range, Reader};

    fn batch(packets: std::ops::Range<u64>) -> EventBatch {
        let schema = Schema::new(&[]).unwrap();
        let mut writer = JsonWriter::new(&schema);
        let observer = Arc::new(Observer { name: "s".into(), epoch: "e".into(), is_file: false });
        let mut batch = EventBatch::new();
        for first_packet in packets {
            let observer = Arc::clone(&observer);
            let origin = Origin { observer, interface: "".into(), first_packet, last_packet: first_packet };
            batch.push(Event::new("dns", Timestamp::from_nanos(first_packet), origin), &mut writer);
        }
        batch
    }

    fn open(data: &Path) -> Store {
        Settings::default().open(&Place { data: data.to_owned(), fields: Vec::new() }).unwrap()
    }

    fn numbers(data: &Path) -> Vec<u64> {
        let reader = Reader::new(data.join("store"));
        let events = reader.events(&Ask::new(&Filter::default(), Range::ALL), 1000, None).unwrap().events;
        let number = |event: &store::Document| {
            let event: serde_json::Value = serde_json::from_str(event.get()).unwrap();
            event["tapline"]["packet"]["first"].as_u64().unwrap()
        };
        events.iter().rev().map(number).collect()
    }

    #[test]
    fn what_an_earlier_run_stored_is_left_out() {
        let data = tempfile::tempdir().unwrap();
        open(data.path()).write(&batch(0..10)).unwrap();
        let mut output = open(data.path());
        let written = output.write(&batch(5..12)).unwrap();
        assert_eq!((written.events, written.known), (2, 5));
        assert!(written.bytes > 0);
        assert_eq!(output.write(&batch(3..5)).unwrap(), Written { events: 0, known: 2, bytes: 0 });
        output.flush().unwrap();
        assert_eq!(numbers(data.path()), (0..12).collect::<Vec<_>>());
    }

    #[test]
    fn two_writers_of_one_directory_are_refused() {
        let data = tempfile::tempdir().unwrap();
        let _first = open(data.path());
        let second = Settings::default().open(&Place { data: data.path().to_owned(), fields: Vec::new() });
        assert!(second.err().unwrap().to_string().contains("another process"));
    }
}
