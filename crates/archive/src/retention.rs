//! Which closed segments are removed, and when: by age of arrival, total size, and free space on the disk.
//! Open segments and the account of their epochs stay.

use crate::layout::{Archive, SegmentFile};
use crate::pins::Pins;
use packet::{SourceName, Timestamp};
use std::collections::BTreeMap;
use std::fs;
use std::io;

/// Bounds of what one source, or all together, may have; 0 for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Longest time since the last packet of a segment arrived, in seconds.
    pub age_seconds: u64,
    /// Most bytes of all segments together.
    pub total_bytes: u64,
}

/// What may stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retention {
    /// Of all sources together.
    pub all: Limits,
    /// Bytes that must stay free on the disk; 0 for no limit.
    pub free_bytes: u64,
    /// Of single sources, by name; `*` for each that is not named.
    pub sources: BTreeMap<String, Limits>,
}

/// A segment that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Which.
    pub segment: SegmentFile,
    /// Why, in words: `age`, `size` or `free space`.
    pub reason: &'static str,
}

impl Retention {
    /// Whether anything is ever removed.
    pub fn is_limited(&self) -> bool {
        *self != Self::default()
    }

    /// Leaves those that may be removed, in the order in which they would be: closed, not pinned, the oldest arrivals first. Without
    /// limits, none.
    pub fn order(&self, archive: &Archive, pins: &Pins, segments: &mut Vec<SegmentFile>) {
        segments.retain(|segment| !segment.open && self.is_limited() && !pins.hold(archive, segment));
        segments.sort_by_key(|segment| segment.modified);
    }

    fn of(&self, source: &SourceName) -> Limits {
        self.sources.get(source.as_str()).or_else(|| self.sources.get("*")).copied().unwrap_or_default()
    }

    /// Removes what may not stay and is not pinned, the oldest first. A file that cannot be removed is logged and left.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn apply(&self, archive: &Archive, pins: &Pins, now: Timestamp) -> io::Result<Vec<Removed>> {
        if !self.is_limited() {
            return Ok(Vec::new());
        }
        let mut segments = Vec::new();
        for source in archive.sources()? {
            segments.extend(archive.segments(&source)?);
        }
        let mut total: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let mut totals: BTreeMap<SourceName, u64> = BTreeMap::new();
        for segment in &segments {
            *totals.entry(segment.source.clone()).or_default() += segment.bytes;
        }
        self.order(archive, pins, &mut segments);
        let mut removed = Vec::new();
        for segment in segments {
            let age = now.since(segment.modified) / 1_000_000_000;
            let (own, own_total) = (self.of(&segment.source), totals.entry(segment.source.clone()).or_default());
            let is_over = |limit: u64, value: u64| limit > 0 && value > limit;
            let reason = if is_over(self.all.age_seconds, age) || is_over(own.age_seconds, age) {
                "age"
            } else if is_over(self.all.total_bytes, total) || is_over(own.total_bytes, *own_total) {
                "size"
            } else if self.free_bytes > 0 && free_bytes(archive)? < self.free_bytes {
                "free space"
            } else {
                // Another source's own limits may still reach a younger segment.
                continue;
            };
            if let Err(error) = fs::remove_file(&segment.path) {
                tracing::warn!("retention: {} cannot be removed: {error}", segment.path.display());
                continue;
            }
            let _ = fs::remove_file(segment.index_path());
            if let Some(day) = segment.path.parent() {
                // Fails while other segments are in it.
                let _ = fs::remove_dir(day);
            }
            total = total.saturating_sub(segment.bytes);
            *own_total = own_total.saturating_sub(segment.bytes);
            removed.push(Removed { segment, reason });
        }
        Ok(removed)
    }
}

/// Bytes that an unprivileged writer may still use on the archive's disk.
fn free_bytes(archive: &Archive) -> io::Result<u64> {
    let status = rustix::fs::statvfs(archive.root())?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_arrivals_go_first_and_open_segments_stay() {
        let root = tempfile::tempdir().unwrap();
        let now = Timestamp::from_system(std::time::SystemTime::now());
        for (n, name) in ["a/2020-01-01/a_3_0", "a/2020-01-01/a_1_0", "b/2020-01-02/b_2_0", "b/2020-01-02/b_3_0"]
            .into_iter()
            .enumerate()
        {
            let path = root.path().join(format!("{name}.pcapng.zst"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, [0; 100]).unwrap();
            fs::write(
                path.with_file_name(path.file_name().unwrap().to_str().unwrap().replace(".pcapng.zst", ".idx")),
                "",
            )
            .unwrap();
            let age = std::time::Duration::from_secs(1_000 - 100 * n as u64);
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(std::time::SystemTime::now() - age)
                .unwrap();
        }
        fs::write(root.path().join("b/2020-01-02/b_1_0.pcapng.zst.part"), [0; 100]).unwrap();
        let archive = Archive::new(root.path());
        let names = |removed: Vec<Removed>| -> Vec<_> {
            removed
                .iter()
                .map(|r| (r.segment.path.file_stem().unwrap().to_str().unwrap().to_owned(), r.reason))
                .collect()
        };
        let none = Pins::default();
        assert!(Retention::default().apply(&archive, &none, now).unwrap().is_empty());
        let limits = |age_seconds, total_bytes| Limits { age_seconds, total_bytes };
        let all = |all| Retention { all, ..Retention::default() };
        let mut pins = Pins::default();
        pins.add("a".to_owned(), Timestamp::ZERO, Timestamp::MAX, String::new(), now);
        assert!(all(limits(950, 0)).apply(&archive, &pins, now).unwrap().is_empty(), "it is pinned");
        assert_eq!(
            names(all(limits(950, 0)).apply(&archive, &none, now).unwrap()),
            [("a_3_0.pcapng".to_owned(), "age")]
        );
        let own = Retention { sources: [("a".to_owned(), limits(0, 50))].into(), ..Retention::default() };
        assert_eq!(names(own.apply(&archive, &none, now).unwrap()), [("a_1_0.pcapng".to_owned(), "size")]);
        assert!(!root.path().join("a/2020-01-01").exists(), "the empty folder went too");
        assert_eq!(
            names(all(limits(0, 250)).apply(&archive, &none, now).unwrap()),
            [("b_2_0.pcapng".to_owned(), "size")]
        );
        let free = Retention { free_bytes: u64::MAX, ..Retention::default() };
        assert_eq!(names(free.apply(&archive, &none, now).unwrap()), [("b_3_0.pcapng".to_owned(), "free space")]);
        assert_eq!(archive.segments(&"b".parse().unwrap()).unwrap().len(), 1);
    }
}
