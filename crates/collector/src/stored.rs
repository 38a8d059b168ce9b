//! What the archive holds, by source and time, and what retention takes next: the answer to `/api/v1/archive`.
//! Reads the heads of indexes, and remembers them.

use api::{ArchiveAnswer, ArchiveRetention, StoredPart, StoredSource, ToRemove};
use archive::{Archive, Limits, Pins, Retention, SegmentFile};
use packet::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Parts that the default length gives at most.
const PARTS: u64 = 200;
/// Parts that an answer has at most for one source.
const PARTS_MAX: u64 = 10_000;
/// Lengths of parts, in seconds.
const STEPS: [u64; 15] =
    [1, 5, 10, 30, 60, 300, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400, 7 * 86_400, 28 * 86_400];
const SECOND: u64 = 1_000_000_000;

/// Times of a segment's packets; none if it has none.
type Times = Option<(Timestamp, Timestamp)>;

/// What was found out before.
#[derive(Debug)]
pub(crate) struct Stored {
    retention: Retention,
    /// By path: the size then, and the times.
    known: Mutex<HashMap<PathBuf, (u64, Times)>>,
}

impl Stored {
    pub(crate) fn new(retention: Retention) -> Self {
        Self { retention, known: Mutex::default() }
    }

    /// What is there now, in parts of `step` seconds.
    pub(crate) fn look(&self, archive: &Archive, pins: &Pins, step: Option<u64>) -> io::Result<ArchiveAnswer> {
        let mut segments = Vec::new();
        for source in archive.sources()? {
            segments.extend(archive.segments(&source)?);
        }
        let times = self.times(archive, &segments);
        let earliest = times.iter().flatten().map(|(from, _)| *from).min().unwrap_or(Timestamp::ZERO);
        let latest = times.iter().flatten().map(|(_, to)| *to).max().unwrap_or(Timestamp::ZERO);
        let span = latest.since(earliest) / SECOND + 1;
        let rough = span.div_ceil(PARTS);
        let step = match step {
            Some(step) => step.max(span.div_ceil(PARTS_MAX)),
            None => STEPS.into_iter().find(|step| *step >= rough).unwrap_or(rough),
        };
        let mut by_source: BTreeMap<&str, (StoredSource, BTreeMap<u64, u64>, Times)> = BTreeMap::new();
        for (segment, times) in segments.iter().zip(&times) {
            let (row, parts, all) = by_source.entry(segment.source.as_str()).or_default();
            row.bytes += segment.bytes;
            row.segments += 1;
            if let Some((from, to)) = *times {
                spread(parts, segment.bytes, from, to, step);
                *all = Some(all.map_or((from, to), |(first, last)| (first.min(from), last.max(to))));
            }
        }
        let text = |time: Timestamp| time.to_string();
        let sources = by_source.into_iter().map(|(name, (row, parts, all))| StoredSource {
            name: name.to_owned(),
            oldest: all.map(|(from, _)| text(from)),
            newest: all.map(|(_, to)| text(to)),
            days: parts
                .into_iter()
                .map(|(number, bytes)| StoredPart { from: text(Timestamp::from_parts(number * step, 0)), bytes })
                .collect(),
            ..row
        });
        let (sources, bytes) = (sources.collect(), segments.iter().map(|segment| segment.bytes).sum());
        let (Limits { age_seconds, total_bytes }, free_bytes) = (self.retention.all, self.retention.free_bytes);
        let retention = ArchiveRetention {
            age: (age_seconds > 0).then(|| settings::duration::format(std::time::Duration::from_secs(age_seconds))),
            size: Some(total_bytes).filter(|bytes| *bytes > 0),
            free: Some(free_bytes).filter(|bytes| *bytes > 0),
        };
        self.retention.order(archive, pins, &mut segments);
        let next_removed = segments.first().map(|segment| {
            let times = self.times(archive, std::slice::from_ref(segment)).first().copied().flatten();
            let at = Timestamp::from_nanos(segment.modified.nanos().saturating_add(age_seconds.saturating_mul(SECOND)));
            ToRemove {
                source: segment.source.to_string(),
                bytes: segment.bytes,
                oldest: times.map(|(from, _)| text(from)),
                newest: times.map(|(_, to)| text(to)),
                at: (age_seconds > 0).then(|| text(at)),
            }
        });
        Ok(ArchiveAnswer { sources, bytes, step, retention, next_removed })
    }

    /// The times of each. One that cannot be read has none.
    fn times(&self, archive: &Archive, segments: &[SegmentFile]) -> Vec<Times> {
        let mut before = std::mem::take(&mut *self.known.lock().unwrap_or_else(PoisonError::into_inner));
        let mut times = Vec::with_capacity(segments.len());
        for segment in segments {
            let known = before.get(&segment.path).filter(|(bytes, _)| *bytes == segment.bytes);
            let found = known.map_or_else(|| of(archive, segment), |(_, times)| *times);
            before.insert(segment.path.clone(), (segment.bytes, found));
            times.push(found);
        }
        if segments.len() > 1 {
            let there: std::collections::HashSet<&PathBuf> = segments.iter().map(|segment| &segment.path).collect();
            before.retain(|path, _| there.contains(path));
        }
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = before;
        times
    }
}

fn of(archive: &Archive, segment: &SegmentFile) -> Times {
    let summary = archive.summary(segment).ok()?;
    (summary.packets > 0).then_some((summary.time_min, summary.time_max))
}

/// Adds bytes evenly over a time.
fn spread(parts: &mut BTreeMap<u64, u64>, bytes: u64, from: Timestamp, to: Timestamp, step: u64) {
    let step_nanos = step.saturating_mul(SECOND);
    let span = to.since(from).max(1);
    let (first, last) = (from.nanos() / step_nanos, to.nanos() / step_nanos);
    // A clock that was wrong for a while must not fill the memory.
    if last - first >= PARTS_MAX {
        *parts.entry(first).or_default() += bytes;
        return;
    }
    let mut given = 0;
    for number in first..=last {
        let end = (number + 1).saturating_mul(step_nanos).min(to.nanos().saturating_add(1));
        let until = u128::from(bytes) * u128::from(end.saturating_sub(from.nanos()).min(span)) / u128::from(span);
        let share = match number == last {
            true => bytes - given,
            false => (until as u64).saturating_sub(given),
        };
        *parts.entry(number).or_default() += share;
        given += share;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spread_over_the_time_and_none_is_lost() {
        let time = |seconds: u64| Timestamp::from_parts(seconds, 0);
        let mut parts = BTreeMap::new();
        spread(&mut parts, 1000, time(95), time(125), 10);
        assert_eq!(parts.keys().copied().collect::<Vec<_>>(), [9, 10, 11, 12]);
        assert_eq!(parts.values().sum::<u64>(), 1000);
        assert!((330..=336).contains(&parts[&10]), "{parts:?}");
        assert!((160..=170).contains(&parts[&9]), "{parts:?}");
        let mut one = BTreeMap::new();
        spread(&mut one, 7, time(5), time(5), 10);
        assert_eq!(one, [(0, 7)].into());
        let mut wrong = BTreeMap::new();
        spread(&mut wrong, 7, time(0), time(4_000_000_000), 1);
        assert_eq!(wrong, [(0, 7)].into());
    }

    #[test]
    fn an_empty_archive_has_nothing_and_says_so() {
        let root = tempfile::tempdir().unwrap();
        let answer =
            Stored::new(Retention::default()).look(&Archive::new(root.path()), &Pins::default(), None).unwrap();
        assert_eq!((answer.sources.len(), answer.bytes, answer.next_removed), (0, 0, None));
    }
}
