//! Pins: ranges of time that retention leaves alone, such as those of an incident that is being looked into.

use crate::layout::{Archive, SegmentFile};
use packet::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// A range of time of a source that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its number.
    pub id: u64,
    /// The source; `*` for all.
    pub source: String,
    /// The first packet time that is kept, nanoseconds of Unix time.
    pub since_nanos: u64,
    /// The first that is not.
    pub until_nanos: u64,
    /// Why.
    #[serde(default)]
    pub note: String,
    /// When it was made, nanoseconds of Unix time.
    pub made_nanos: u64,
}

/// All pins of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins {
    /// The oldest first.
    pub pins: Vec<Pin>,
}

impl Pins {
    /// Reads them; none if the file is not there.
    ///
    /// # Errors
    /// When it cannot be read or makes no sense.
    pub fn load(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Keeps everything: for when nobody knows what is to be kept.
    pub fn of_everything() -> Self {
        let mut pins = Self::default();
        let note = "the list of pins could not be read".to_owned();
        pins.add("*".to_owned(), Timestamp::ZERO, Timestamp::MAX, note, Timestamp::ZERO);
        pins
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// The disk.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file = std::fs::File::create(&temporary)?;
        io::Write::write_all(&mut file, &serde_json::to_vec_pretty(self).map_err(io::Error::other)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    }

    /// Adds one and gives its number.
    pub fn add(&mut self, source: String, since: Timestamp, until: Timestamp, note: String, made: Timestamp) -> u64 {
        let id = self.pins.iter().map(|pin| pin.id).max().unwrap_or(0) + 1;
        let (since_nanos, until_nanos, made_nanos) = (since.nanos(), until.nanos(), made.nanos());
        self.pins.push(Pin { id, source, since_nanos, until_nanos, note, made_nanos });
        id
    }

    /// Removes one; false if there is none of that number.
    pub fn remove(&mut self, id: u64) -> bool {
        let before = self.pins.len();
        self.pins.retain(|pin| pin.id != id);
        self.pins.len() < before
    }

    /// Whether a segment holds anything that is kept. One that cannot be read is kept if its source has any pin.
    pub(crate) fn hold(&self, archive: &Archive, segment: &SegmentFile) -> bool {
        let mut mine =
            self.pins.iter().filter(|pin| pin.source == "*" || pin.source == segment.source.as_str()).peekable();
        if mine.peek().is_none() {
            return false;
        }
        match archive.summary(segment) {
            Ok(summary) => {
                let (from, to) = (summary.time_min.nanos(), summary.time_max.nanos());
                mine.any(|pin| to >= pin.since_nanos && from < pin.until_nanos)
            }
            Err(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_survive_in_their_file_and_numbers_are_not_reused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins.json");
        let mut pins = Pins::load(&path).unwrap();
        let time = |seconds| Timestamp::from_parts(seconds, 0);
        assert_eq!(pins.add("a".to_owned(), time(1), time(2), "why".to_owned(), time(9)), 1);
        assert_eq!(pins.add("*".to_owned(), time(3), time(4), String::new(), time(9)), 2);
        assert!(pins.remove(1) && !pins.remove(1));
        assert_eq!(pins.add("b".to_owned(), time(1), time(2), String::new(), time(9)), 3);
        pins.save(&path).unwrap();
        assert_eq!(Pins::load(&path).unwrap(), pins);
        std::fs::write(&path, "{").unwrap();
        assert!(Pins::load(&path).is_err());
    }
}
