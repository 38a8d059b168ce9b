//! Which closed segments are removed, and when: by age of arrival, total size, and free space on the disk.
//! Open segments and the account of their epochs stay.

use crate::layout::{Archive, SegmentFile};
use packet::Timestamp;
use std::fs;
use std::io;

/// What may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Longest time since the last packet of a segment arrived, in seconds; 0 for no limit.
    pub age_seconds: u64,
    /// Most bytes of all segments together; 0 for no limit.
    pub total_bytes: u64,
    /// Bytes that must stay free on the disk; 0 for no limit.
    pub free_bytes: u64,
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
    /// Leaves those that may be removed, in the order in which they would be. Without limits, none.
    pub fn order(&self, segments: &mut Vec<SegmentFile>) {
        segments.retain(|segment| !segment.open && *self != Self::default());
        segments.sort_by_key(|segment| segment.modified);
    }

    /// Removes what may not stay, the oldest first. A file that cannot be removed is logged and left.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn apply(&self, archive: &Archive, now: Timestamp) -> io::Result<Vec<Removed>> {
        if *self == Self::default() {
            return Ok(Vec::new());
        }
        let mut segments = Vec::new();
        for source in archive.sources()? {
            segments.extend(archive.segments(&source)?);
        }
        let mut total: u64 = segments.iter().map(|segment| segment.bytes).sum();
        self.order(&mut segments);
        let mut removed = Vec::new();
        for segment in segments {
            let age = now.since(segment.modified) / 1_000_000_000;
            let reason = if self.age_seconds > 0 && age > self.age_seconds {
                "age"
            } else if self.total_bytes > 0 && total > self.total_bytes {
                "size"
            } else if self.free_bytes > 0 && free_bytes(archive)? < self.free_bytes {
                "free space"
            } else {
                break;
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
        for (n, name) in ["a/2020-01-01/a_3_0", "a/2020-01-01/a_1_0", "b/2020-01-02/b_2_0"].into_iter().enumerate() {
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
        assert!(Retention::default().apply(&archive, now).unwrap().is_empty());
        let age = Retention { age_seconds: 950, ..Retention::default() };
        assert_eq!(names(age.apply(&archive, now).unwrap()), [("a_3_0.pcapng".to_owned(), "age")]);
        let size = Retention { total_bytes: 250, ..Retention::default() };
        assert_eq!(names(size.apply(&archive, now).unwrap()), [("a_1_0.pcapng".to_owned(), "size")]);
        assert!(!root.path().join("a/2020-01-01").exists(), "the empty folder went too");
        let free = Retention { free_bytes: u64::MAX, ..Retention::default() };
        assert_eq!(names(free.apply(&archive, now).unwrap()), [("b_2_0.pcapng".to_owned(), "free space")]);
        assert_eq!(archive.segments(&"b".parse().unwrap()).unwrap().len(), 1);
    }
}
