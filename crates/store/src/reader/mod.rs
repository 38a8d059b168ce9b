//! The read side: questions to all files of a directory, each with a deadline.
//! Never writes; finds new files by itself and skips what it cannot read.

mod counts;
mod events;
mod pool;
mod row;
mod tally;
mod voice;
mod walk;

use std::path::PathBuf;
use std::time::Duration;

use event::EventId;
use packet::Timestamp;

use crate::answer::{
    Calls, Events, Facets, FileFacts, Found, Histogram, Related, Retention, StoreFacts, Streams, Tail, Talkers,
};
use crate::{Error, Filter, Range, Time};

/// How long a question may take unless it says otherwise.
pub const DEADLINE: Duration = Duration::from_millis(250);
/// A page of events ends when its documents have come to so many bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What is asked of: which events, of which time, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Which events.
    pub filter: &'a Filter,
    /// Of which time.
    pub range: Range,
    /// After this time the answer is what there is by then. [`DEADLINE`] is the default.
    pub deadline: Duration,
}

impl<'a> Ask<'a> {
    /// A question with the default deadline.
    pub fn new(filter: &'a Filter, range: Range) -> Self {
        Self { filter, range, deadline: DEADLINE }
    }
}

/// What the series of a histogram are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// `type`.
    #[default]
    Type,
    /// `source`.
    Source,
    /// `status`.
    Status,
}

impl std::str::FromStr for By {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "type" => Ok(Self::Type),
            "source" => Ok(Self::Source),
            "status" => Ok(Self::Status),
            other => Err(Error::Question(format!("by={other}: write type, source or status"))),
        }
    }
}

/// A place in the order in which events were stored; from [`Reader::mark`] and [`Tail`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mark {
    pub(crate) file: String,
    pub(crate) row: i64,
}

/// Asks the store in one directory. Cheap to share between threads; keeps files open between questions.
pub struct Reader {
    pool: pool::Pool,
}

impl Reader {
    /// A reader of a directory, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { pool: pool::Pool::new(directory.into()) }
    }

    /// Events, newest first, those of equal time in a fixed order. `after` is the `next` of the answer before; `limit` is brought into
    /// 1 to 1000.
    ///
    /// # Errors
    /// A wrong `after`, or a directory that cannot be read.
    pub fn events(&self, ask: &Ask<'_>, limit: usize, after: Option<&str>) -> Result<Events, Error> {
        events::page(&self.pool, ask, limit, after, None)
    }

    /// One event. Its time makes finding it quicker and is never necessary.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn event(&self, id: EventId, time: Option<Timestamp>) -> Result<Option<Found>, Error> {
        events::one(&self.pool, id, time)
    }

    /// The other events of the event's call, else of its flow, that fit the question, as [`Reader::events`] gives them.
    ///
    /// # Errors
    /// As [`Reader::events`].
    pub fn related(&self, found: &Found, ask: &Ask<'_>, limit: usize, after: Option<&str>) -> Result<Related, Error> {
        events::related(&self.pool, found, ask, limit, after)
    }

    /// Events over time, in at most `buckets` (1 to 500) parts of round length.
    ///
    /// # Errors
    /// An empty range, or a directory that cannot be read.
    pub fn histogram(&self, ask: &Ask<'_>, buckets: usize, by: By) -> Result<Histogram, Error> {
        counts::histogram(&self.pool, ask, buckets, by)
    }

    /// The most frequent values of `type`, `source`, `status`, `ip`, `port` or any field, that begin with `prefix`; `limit` is brought
    /// into 1 to 100.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn facets(&self, ask: &Ask<'_>, field: &str, prefix: &str, limit: usize) -> Result<Facets, Error> {
        counts::facets(&self.pool, ask, field, prefix, limit)
    }

    /// RTP streams, newest first; `limit` is brought into 1 to 1000.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn streams(&self, ask: &Ask<'_>, limit: usize) -> Result<Streams, Error> {
        voice::streams(&self.pool, ask, limit)
    }

    /// Calls, newest first; `limit` is brought into 1 to 1000.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn calls(&self, ask: &Ask<'_>, limit: usize) -> Result<Calls, Error> {
        voice::calls(&self.pool, ask, limit)
    }

    /// The busiest addresses of a time, from the roll-ups: whole minutes.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn talkers(&self, range: Range, limit: usize) -> Result<Talkers, Error> {
        counts::talkers(&self.pool, range, limit, DEADLINE)
    }

    /// The files and what is in them.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn facts(&self) -> Result<StoreFacts, Error> {
        let mut facts = StoreFacts {
            files: Vec::new(),
            events: 0,
            bytes: 0,
            oldest: None,
            newest: None,
            retention: Retention::default(),
            problems: Vec::new(),
        };
        for name in self.pool.names()? {
            let bytes = crate::format::bytes(&self.pool.path(name));
            facts.bytes += bytes;
            let Some(state) = self.pool.state(name) else { continue };
            facts.events += state.events;
            let (from, to) = (state.times.map(|times| Time::of(times.0)), state.times.map(|times| Time::of(times.1)));
            facts.oldest = facts.oldest.into_iter().chain(from).min();
            facts.newest = facts.newest.max(to);
            let (age, size) = (u64::try_from(state.retention.0), u64::try_from(state.retention.1));
            facts.retention = Retention {
                age: age.ok().filter(|age| *age > 0).map(readable),
                size: size.ok().filter(|size| *size > 0),
            };
            let name = name.to_string();
            facts.files.push(FileFacts { name, events: state.events, bytes, from, to, sealed: state.sealed });
        }
        facts.problems = self.pool.problems();
        Ok(facts)
    }

    /// The place after what is stored now.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn mark(&self) -> Result<Mark, Error> {
        events::mark(&self.pool)
    }

    /// What was stored since a mark and fits the filter: at most `limit` events, the newest ones.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn tail(&self, mark: &Mark, filter: &Filter, limit: usize) -> Result<Tail, Error> {
        events::tail(&self.pool, mark, filter, limit)
    }
}

/// Seconds as people write them, with the largest unit that loses nothing.
fn readable(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    match units.into_iter().find(|(unit, _)| seconds % unit == 0) {
        Some((unit, letter)) => format!("{}{letter}", seconds / unit),
        None => format!("{seconds}s"),
    }
}
