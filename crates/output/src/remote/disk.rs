//! What of an output waits on disk: its backlog, and apart from it what is held for single places. Here is how the two share the room; what either
//! keeps, and how, is its own.

use std::io;
use std::path::Path;

use super::held::Held;
use super::spill::Spill;

/// Segments are a part of so many of the room, so that what was delivered makes room soon; but no longer than [`SEGMENT_MAX`].
const SEGMENTS: u64 = 32;
const SEGMENT_MAX: u64 = 16 << 20;

pub(super) struct Disk {
    limit: u64,
    pub(super) spill: Spill,
    pub(super) held: Held,
    /// Events of which a damaged record has nothing left.
    pub(super) lost: u64,
}

impl Disk {
    /// Opens both below the output's directory, with what an earlier run left there.
    pub(super) fn open(output: &'static str, directory: &Path, limit: u64) -> io::Result<Self> {
        let segment_bytes = (limit / SEGMENTS).min(SEGMENT_MAX);
        let spill = Spill::open(directory.join("backlog"), segment_bytes)?;
        let held = Held::open(output, directory.join("held"), segment_bytes)?;
        Ok(Self { limit, spill, held, lost: 0 })
    }

    /// Bytes that the backlog may still take. An eighth is never its: were it full, a place that takes nothing would hold up all of it.
    pub(super) fn spill_room(&self) -> u64 {
        let others = self.held.used().max(self.limit / 8);
        self.limit.saturating_sub(others + self.spill.used())
    }

    /// Bytes that may still be held: at most half, so that places that take nothing do not use up what all need when the service is away.
    pub(super) fn held_room(&self) -> u64 {
        (self.limit / 2).min(self.limit.saturating_sub(self.spill.used())).saturating_sub(self.held.used())
    }
}
