//! Events whose own place (an index, a topic, a key) takes nothing for now: on disk, by place and apart from the backlog, so that they hold up no
//! others. Decides when a place is tried again; sends nothing, and owns no thread.
//!
//! Each place has a directory with a [`Spill`] of its own. It is tried with a little of what is held; once that is taken, the rest follows, and the
//! directory goes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::document::{Document, Documents};
use super::spill::Spill;

/// So many places are held at most.
const PLACES_MAX: usize = 64;
/// A record is about so long at most: what a place is tried with.
const RECORD_BYTES: usize = 256 << 10;
/// A place is tried again after this time; after twice as long each further time, up to [`PAUSE_MAX`]. A service that is only too busy is tried
/// again sooner.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_BUSY: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Trying places that keep us waiting takes the others at most one part of so many of the time.
const SHARE: u32 = 10;

pub(super) struct Held {
    output: &'static str,
    directory: PathBuf,
    segment_bytes: u64,
    places: BTreeMap<String, Place>,
}

struct Place {
    spill: Spill,
    next: Instant,
    pause: Duration,
}

/// What a place is tried with.
pub(super) struct Trial {
    pub(super) place: String,
    pub(super) documents: Vec<Documents>,
    pub(super) last_seq: u64,
}

/// What came of a trial.
pub(super) struct Tried<'a> {
    /// How many documents were sent.
    pub(super) sent: usize,
    /// Those that were not taken.
    pub(super) rest: &'a [Document<'a>],
    /// Whether that is because of this place.
    pub(super) is_blocked: bool,
    /// How long it took.
    pub(super) took: Duration,
}

impl Held {
    /// Opens the directory and reads what an earlier run left there, which is tried at once.
    pub(super) fn open(output: &'static str, directory: PathBuf, segment_bytes: u64) -> io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let mut held = Self { output, directory, segment_bytes, places: BTreeMap::new() };
        for entry in std::fs::read_dir(&held.directory)? {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_dir(), entry.file_name().into_string()) {
                let spill = Spill::open(entry.path(), segment_bytes)?;
                held.places.insert(name, Place { spill, next: Instant::now(), pause: PAUSE_MIN });
            }
        }
        let names: Vec<String> = held.places.keys().cloned().collect();
        names.iter().for_each(|name| held.remove_if_empty(name));
        Ok(held)
    }

    /// Whether something of this place is held.
    pub(super) fn holds(&self, place: &str) -> bool {
        self.places.contains_key(&file_name(place))
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Events on disk.
    pub(super) fn events(&self) -> u64 {
        self.places.values().map(|place| place.spill.events()).sum()
    }

    /// Bytes on disk.
    pub(super) fn used(&self) -> u64 {
        self.places.values().map(|place| place.spill.used()).sum()
    }

    /// Puts documents of a place on disk, as far as they take no more than `room` bytes there, and makes them durable. Gives how many of them.
    pub(super) fn put(&mut self, place: &str, documents: &[Document<'_>], reason: &str, room: u64) -> usize {
        let name = file_name(place);
        let is_new = !self.places.contains_key(&name);
        if is_new && self.places.len() >= PLACES_MAX {
            return 0;
        }
        let kept = self.append(&name, documents, room).unwrap_or_else(|error| {
            tracing::error!(output = self.output, place, "events cannot be put aside on disk: {error}");
            0
        });
        self.remove_if_empty(&name);
        if is_new && kept > 0 {
            tracing::warn!(
                output = self.output,
                place,
                "it takes no events for now: {reason}. They wait on disk while all others go on, and are sent by themselves within {} s once this is mended",
                PAUSE_MAX.as_secs()
            );
        }
        kept
    }

    fn append(&mut self, name: &str, documents: &[Document<'_>], room: u64) -> io::Result<usize> {
        if !self.places.contains_key(name) {
            let spill = Spill::open(self.directory.join(name), self.segment_bytes)?;
            File::open(&self.directory)?.sync_all()?;
            let place = Place { spill, next: Instant::now() + PAUSE_MIN, pause: PAUSE_MIN };
            self.places.insert(name.to_owned(), place);
        }
        let Some(place) = self.places.get_mut(name) else { return Ok(0) };
        let before = place.spill.used();
        let mut kept = 0;
        while let Some(rest) = documents.get(kept..).filter(|rest| !rest.is_empty()) {
            let mut record = Documents::default();
            for document in rest {
                record.push(document);
                if record.bytes().len() >= RECORD_BYTES {
                    break;
                }
            }
            let seq = place.spill.last_seq().unwrap_or(0) + 1;
            let left = room.saturating_sub(place.spill.used() - before);
            if !place.spill.append(seq, &record, left)? {
                break;
            }
            kept += record.len();
        }
        place.spill.sync()?;
        Ok(kept)
    }

    /// How long until a place is to be tried again; `None` if nothing is held.
    pub(super) fn due(&self) -> Option<Duration> {
        let next = self.places.values().map(|place| place.next).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// The first events of the place that has been due longest: a little, or up to `bytes_max` if it took the last ones. Records that cannot be read
    /// are left out, and their events added to `lost`.
    pub(super) fn trial(&mut self, bytes_max: usize, lost: &mut u64) -> Option<Trial> {
        loop {
            let (name, place) = self.places.iter_mut().min_by_key(|(_, place)| place.next)?;
            if place.next > Instant::now() {
                return None;
            }
            match place.spill.read(if place.pause.is_zero() { bytes_max } else { 0 }) {
                Ok((documents, last_seq)) => return Some(Trial { place: name.clone(), documents, last_seq }),
                Err(error) => {
                    tracing::error!("a held batch cannot be read and is lost: {error}");
                    *lost += place.spill.skip();
                    let name = name.clone();
                    self.remove_if_empty(&name);
                }
            }
        }
    }

    /// Notes what came of a trial.
    pub(super) fn tried(&mut self, place: &str, last_seq: u64, tried: &Tried<'_>) {
        let name = file_name(place);
        let is_taken = tried.rest.len() < tried.sent;
        // What is left of a trial goes behind the others and for a moment takes more room: its former place is freed next.
        let is_moved = is_taken && self.append(&name, tried.rest, u64::MAX).is_ok_and(|kept| kept == tried.rest.len());
        let Some(place) = self.places.get_mut(&name) else { return };
        if is_moved {
            place.spill.confirm(last_seq);
        }
        let least = if tried.is_blocked { PAUSE_MIN } else { PAUSE_BUSY };
        place.pause = if is_taken { Duration::ZERO } else { (place.pause * 2).clamp(least, PAUSE_MAX) };
        let pause = if is_moved && tried.rest.is_empty() { Duration::ZERO } else { place.pause.max(least) };
        let kept_waiting = if tried.is_blocked { tried.took * SHARE } else { Duration::ZERO };
        place.next = Instant::now() + pause.max(kept_waiting);
        self.remove_if_empty(&name);
    }

    fn remove_if_empty(&mut self, name: &str) {
        if self.places.get(name).is_some_and(|place| place.spill.is_empty())
            && let Some(place) = self.places.remove(name)
        {
            if place.pause.is_zero() {
                tracing::info!(output = self.output, place = name, "it takes events again; all that was held is sent");
            }
            if let Err(error) = place.spill.remove() {
                tracing::warn!("cannot remove {}: {error}", self.directory.join(name).display());
            }
        }
    }

    /// Makes every place due.
    #[cfg(test)]
    pub(super) fn hurry(&mut self) {
        self.places.values_mut().for_each(|place| place.next = Instant::now());
    }
}

/// A place's name as a file's; names that differ elsewhere only share their fate.
fn file_name(place: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = place.chars().take(200).map(plain).collect();
    if name.is_empty() || name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Timestamp;
    use std::path::Path;

    const ROOM: u64 = 1 << 20;

    fn open(folder: &Path) -> Held {
        Held::open("test", folder.join("held"), ROOM).unwrap()
    }

    /// Puts documents there whose times are the numbers; gives how many were taken.
    fn put(held: &mut Held, place: &str, numbers: std::ops::Range<u64>, room: u64) -> usize {
        let jsons: Vec<String> = numbers.clone().map(|number| format!("{{\"_id\":\"{number:032x}\"}}")).collect();
        let documents: Vec<_> = numbers
            .zip(&jsons)
            .map(|(number, json)| Document { time: Timestamp::from_nanos(number), kind: "dns", key: "", json })
            .collect();
        held.put(place, &documents, "blocked", room)
    }

    fn tried<'a>(sent: usize, rest: &'a [Document<'a>], seconds: u64) -> Tried<'a> {
        Tried { sent, rest, is_blocked: true, took: Duration::from_secs(seconds) }
    }

    fn times(trial: &Trial) -> Vec<u64> {
        trial
            .documents
            .iter()
            .flat_map(|documents| documents.iter().map(|d| d.time.nanos()).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn a_place_is_tried_with_a_little_and_after_longer_and_longer_pauses() {
        let folder = tempfile::tempdir().unwrap();
        let mut held = open(folder.path());
        assert_eq!((put(&mut held, "a", 0..2, ROOM), put(&mut held, "a", 2..4, ROOM)), (2, 2));
        assert!(held.holds("a") && !held.holds("b"));
        let mut lost = 0;
        assert!(held.trial(1000, &mut lost).is_none(), "not at once");
        for pause in [2, 4, 8, 16, 30, 30] {
            held.hurry();
            let trial = held.trial(1000, &mut lost).unwrap();
            assert_eq!(times(&trial), [0, 1], "the first record only");
            let rest: Vec<_> = trial.documents[0].iter().collect();
            held.tried("a", trial.last_seq, &tried(2, &rest, 0));
            let due = held.due().unwrap().as_secs_f64().round() as u64;
            assert_eq!(due, pause);
        }
        assert!(held.trial(1000, &mut lost).is_none());
        held.hurry();
        let trial = held.trial(1000, &mut lost).unwrap();
        let rest: Vec<_> = trial.documents[0].iter().collect();
        held.places.get_mut("a").unwrap().pause = Duration::ZERO;
        held.tried("a", trial.last_seq, &Tried { is_blocked: false, ..tried(2, &rest, 20) });
        assert!(held.due().unwrap() <= PAUSE_BUSY, "a service that is busy says nothing of the place");
        held.hurry();
        let trial = held.trial(1000, &mut lost).unwrap();
        // One of them is taken: the other goes behind the rest.
        let rest: Vec<_> = trial.documents[0].iter().skip(1).collect();
        held.tried("a", trial.last_seq, &tried(2, &rest, 20));
        assert_eq!((held.events(), held.due().unwrap().as_secs()), (3, 199), "what is slow is tried seldom");
        held.hurry();
        let trial = held.trial(1000, &mut lost).unwrap();
        assert_eq!((times(&trial), lost), (vec![2, 3, 1], 0), "and once it takes something, with more");
        held.tried("a", trial.last_seq, &tried(3, &[], 0));
        assert!(held.is_empty() && held.used() == 0 && held.due().is_none());
    }

    #[test]
    fn room_and_places_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut held = open(folder.path());
        assert_eq!(put(&mut held, "a", 0..100, 60), 0);
        assert!(!held.holds("a"), "an empty place is none");
        let long = RECORD_BYTES as u64 / 50 * 3;
        let taken = put(&mut held, "a", 0..long, ROOM) as u64;
        assert!(taken == long && held.used() < ROOM);
        let room = RECORD_BYTES as u64 * 3 / 2;
        let taken = put(&mut held, "b", 0..long, room) as u64;
        assert!(taken > 0 && taken < long, "as far as there is room");
        for number in 2..PLACES_MAX {
            assert_eq!(put(&mut held, &format!("place {number}"), 0..1, ROOM), 1);
        }
        assert_eq!(put(&mut held, "one more", 0..1, ROOM), 0);
        drop(held);
        assert_eq!(open(folder.path()).places.len(), PLACES_MAX);
    }

    #[test]
    fn places_are_plain_file_names() {
        assert_eq!(file_name("tapline-dns-2026.12.31"), "tapline-dns-2026.12.31");
        for (place, name) in [("", "_"), ("..", "_.."), ("a/b:c", "a_b_c"), ("é", "_")] {
            assert_eq!(file_name(place), name);
            assert_eq!(file_name(name), name);
        }
    }
}
