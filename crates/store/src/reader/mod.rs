//! The read side: questions to all files of a directory, each with a deadline.
//! Never writes; finds new files by itself and skips what it cannot read.

use std::path::PathBuf;
use std::time::Duration;

use event::EventId;
use packet::Timestamp;

use crate::answer::{Calls, Events, Facets, Found, Histogram, Related, StoreFacts, Streams, Tail, Talkers};
use crate::{Error, Filter, Range};

/// How long a question may take unless it says otherwise.
pub const DEADLINE: Duration = Duration::from_millis(250);

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
    directory: PathBuf,
}

impl Reader {
    /// A reader of a directory, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Events, newest first, those of equal time in a fixed order. `after` is the `next` of the answer before; `limit` is brought into
    /// 1 to 1000.
    ///
    /// # Errors
    /// A wrong `after`, or a directory that cannot be read.
    pub fn events(&self, ask: &Ask<'_>, limit: usize, after: Option<&str>) -> Result<Events, Error> {
        let _ = (ask, limit, after, &self.directory);
        Err(Error::Question("not built yet".to_owned()))
    }

    /// One event. Its time makes finding it quicker and is never necessary.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn event(&self, id: EventId, time: Option<Timestamp>) -> Result<Option<Found>, Error> {
        let _ = (id, time);
        Ok(None)
    }

    /// The other events of the event's call, else of its flow, that fit the question, as [`Reader::events`] gives them.
    ///
    /// # Errors
    /// As [`Reader::events`].
    pub fn related(&self, found: &Found, ask: &Ask<'_>, limit: usize, after: Option<&str>) -> Result<Related, Error> {
        let _ = (found, ask, limit, after);
        Err(Error::Question("not built yet".to_owned()))
    }

    /// Events over time, in at most `buckets` (1 to 500) parts of round length.
    ///
    /// # Errors
    /// An empty range, or a directory that cannot be read.
    pub fn histogram(&self, ask: &Ask<'_>, buckets: usize, by: By) -> Result<Histogram, Error> {
        let _ = (ask, buckets, by);
        Err(Error::Question("not built yet".to_owned()))
    }

    /// The most frequent values of `type`, `source`, `status`, `ip`, `port` or any field, that begin with `prefix`; `limit` is brought
    /// into 1 to 100.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn facets(&self, ask: &Ask<'_>, field: &str, prefix: &str, limit: usize) -> Result<Facets, Error> {
        let _ = (ask, field, prefix, limit);
        Err(Error::Question("not built yet".to_owned()))
    }

    /// RTP streams, newest first; `limit` is brought into 1 to 1000.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn streams(&self, ask: &Ask<'_>, limit: usize) -> Result<Streams, Error> {
        let _ = (ask, limit);
        Err(Error::Question("not built yet".to_owned()))
    }

    /// Calls, newest first; `limit` is brought into 1 to 1000.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn calls(&self, ask: &Ask<'_>, limit: usize) -> Result<Calls, Error> {
        let _ = (ask, limit);
        Err(Error::Question("not built yet".to_owned()))
    }

    /// The busiest addresses of a time, from the roll-ups: whole minutes.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn talkers(&self, range: Range, limit: usize) -> Result<Talkers, Error> {
        let _ = (range, limit);
        Err(Error::Question("not built yet".to_owned()))
    }

    /// The files and what is in them.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn facts(&self) -> Result<StoreFacts, Error> {
        Err(Error::Question("not built yet".to_owned()))
    }

    /// The place after what is stored now.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn mark(&self) -> Result<Mark, Error> {
        Ok(Mark::default())
    }

    /// What was stored since a mark and fits the filter: at most `limit` events, the newest ones.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn tail(&self, mark: &Mark, filter: &Filter, limit: usize) -> Result<Tail, Error> {
        let _ = (filter, limit);
        Ok(Tail { events: Vec::new(), skipped: 0, mark: mark.clone() })
    }
}
