//! Times in answers and ranges of time in questions.

use packet::Timestamp;

/// A time in an answer: written as RFC 3339 in UTC with the fewest of 3, 6 or 9 decimals that lose nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Timestamp);

impl Time {
    pub(crate) fn of(nanos: i64) -> Self {
        Self(Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(0)))
    }
}

impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A range of time, `since <= t < until`, by the events' `@timestamp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first moment in it.
    pub since: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
}

impl Range {
    /// All of time.
    pub const ALL: Self = Self { since: Timestamp::ZERO, until: Timestamp::MAX };

    /// As SQLite has it: nanoseconds, signed.
    pub(crate) fn nanos(self) -> (i64, i64) {
        (signed(self.since), signed(self.until))
    }
}

/// Nanoseconds as SQLite keeps them; times after the year 2262 stand at its end.
pub(crate) fn signed(time: Timestamp) -> i64 {
    i64::try_from(time.nanos()).unwrap_or(i64::MAX)
}
