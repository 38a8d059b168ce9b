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
    /// Removes what may not stay, the oldest first.
    ///
    /// # Errors
    /// When the archive cannot be read or a file not be removed.
    pub fn apply(&self, archive: &Archive, now: Timestamp) -> io::Result<Vec<Removed>> {
        if *self == Self::default() {
            return Ok(Vec::new());
        }
        let mut segments = Vec::new();
        for source in archive.sources()? {
            segments.extend(archive.segments(&source)?);
        }
        let mut total: u64 = segments.iter().map(|segment| segment.bytes).sum();
        segments.retain(|segment| !segment.open);
        segments.sort_by_key(|segment| segment.modified);
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
            fs::remove_file(&segment.path)?;
            let _ = fs::remove_file(segment.index_path());
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
