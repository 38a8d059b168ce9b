//! The ids that earlier runs wrote last, so that an event decoded again is not written again.
//! Bounded in number and time: it covers what the analyzer decodes again after a restart, nothing more. Where the ids come from is each
//! output's own.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use event::EventId;

/// Ids kept at most (16 MiB).
pub(crate) const IDS_MAX: usize = 500_000;
/// After this time in a run nothing is decoded a second time any more.
const AGE_MAX: Duration = Duration::from_secs(20 * 60);

/// The ids.
pub(crate) struct Known {
    ids: HashSet<u128>,
    since: Instant,
}

impl Known {
    /// At most [`IDS_MAX`] of these ids; the newest should come first.
    pub(crate) fn new(ids: impl IntoIterator<Item = u128>) -> Self {
        let mut known = Self { ids: HashSet::new(), since: Instant::now() };
        known.extend(ids);
        known
    }

    /// Adds ids as far as there is room.
    pub(crate) fn extend(&mut self, ids: impl IntoIterator<Item = u128>) {
        for id in ids {
            if self.is_full() {
                return;
            }
            self.ids.insert(id);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.ids.len() >= IDS_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn contains(&self, id: EventId) -> bool {
        self.ids.contains(&id.0)
    }

    /// Forgets all ids once they cannot come again.
    pub(crate) fn age(&mut self) {
        if !self.ids.is_empty() && self.since.elapsed() > AGE_MAX {
            self.ids = HashSet::new();
        }
    }
}
