//! How far the analyzer has come per source and epoch, kept in its state directory over a restart.
//! Keeps no packets: what must be decoded again is fetched from the archive.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use packet::{Epoch, SourceName, Timestamp};

/// Name of the file in the state directory.
const FILE: &str = "analyzer-positions.json";
/// Epochs kept per source, the newest; older ones end long before.
const EPOCHS_MAX: usize = 256;
/// Batches remembered per epoch to find the one that holds a packet.
const BATCHES_MAX: usize = 100_000;

/// Where decoding goes on after a restart.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// The source.
    pub source: String,
    /// The epoch, in hexadecimal digits.
    pub epoch: String,
    /// The first batch that has not been decoded yet.
    pub next_seq: u64,
    /// The first packet that has not been decoded yet: events completed by earlier ones were written.
    pub next_packet: u64,
    /// The oldest batch that an open flow still needs; decoding starts here.
    pub resume_seq: u64,
    /// Time of the newest packet decoded, in nanoseconds: shows how far behind the analyzer is.
    pub time_max: u64,
}

/// Reads the positions; a missing file means that there are none.
///
/// # Errors
/// When the file is there but cannot be read or understood.
pub fn load(state: &Path) -> io::Result<Vec<Position>> {
    match std::fs::read(state.join(FILE)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Replaces the stored positions in one step.
///
/// # Errors
/// When the state directory cannot be written.
pub fn store(state: &Path, positions: &[Position]) -> io::Result<()> {
    let new: PathBuf = state.join(format!("{FILE}.new"));
    let mut file = std::fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(positions).map_err(io::Error::other)?)?;
    file.sync_data()?;
    std::fs::rename(new, state.join(FILE))
}

/// The batches of one epoch that were decoded last.
#[derive(Debug, Default)]
struct Track {
    order: u64,
    next_seq: u64,
    next_packet: u64,
    time_max: Timestamp,
    /// (seq, first packet, latest time) of past batches, oldest first.
    batches: VecDeque<(u64, u64, Timestamp)>,
}

/// Follows the positions of all epochs.
#[derive(Debug, Default)]
pub struct Positions {
    tracks: BTreeMap<(SourceName, Epoch), Track>,
    order: u64,
    rewind_nanos: u64,
}

impl Positions {
    /// None yet; at most `rewind_max` is decoded again after a restart.
    pub fn new(rewind_max: std::time::Duration) -> Self {
        Self { rewind_nanos: u64::try_from(rewind_max.as_nanos()).unwrap_or(u64::MAX), ..Self::default() }
    }

    /// Notes an entry that was decoded: its range of sequence numbers, its packets and the latest time in it.
    pub fn decoded(
        &mut self,
        name: (&SourceName, Epoch),
        seqs: std::ops::RangeInclusive<u64>,
        first_packet: u64,
        packets: u64,
        time_max: Timestamp,
    ) {
        self.order += 1;
        let key = (name.0.clone(), name.1);
        let is_new = !self.tracks.contains_key(&key);
        let track = self.tracks.entry(key).or_default();
        track.order = self.order;
        track.next_seq = seqs.end().saturating_add(1);
        track.next_packet = first_packet.saturating_add(packets);
        track.time_max = track.time_max.max(time_max);
        track.batches.push_back((*seqs.start(), first_packet, time_max));
        let oldest = track.time_max.minus_nanos(self.rewind_nanos);
        while track.batches.len() > BATCHES_MAX || track.batches.front().is_some_and(|batch| batch.2 < oldest) {
            track.batches.pop_front();
        }
        if is_new {
            self.forget_old_epochs(name.0);
        }
    }

    fn forget_old_epochs(&mut self, source: &SourceName) {
        let mut epochs: Vec<(u64, Epoch)> =
            self.tracks.iter().filter(|(key, _)| key.0 == *source).map(|(key, track)| (track.order, key.1)).collect();
        epochs.sort_unstable_by_key(|(order, _)| *order);
        let surplus = epochs.len().saturating_sub(EPOCHS_MAX);
        for (_, epoch) in epochs.into_iter().take(surplus) {
            self.tracks.remove(&(source.clone(), epoch));
        }
    }

    /// The positions now; `oldest_needed` gives the number of the oldest packet that an open flow of the epoch still needs.
    pub fn snapshot(&self, oldest_needed: impl Fn(&SourceName, Epoch) -> Option<u64>) -> Vec<Position> {
        let mut positions = Vec::with_capacity(self.tracks.len());
        for ((source, epoch), track) in &self.tracks {
            let needed = oldest_needed(source, *epoch).unwrap_or(track.next_packet);
            let resume_seq = if needed >= track.next_packet {
                track.next_seq
            } else {
                // The last remembered batch that begins at or before the packet; else the oldest remembered.
                let after = track.batches.partition_point(|batch| batch.1 <= needed);
                let batch = track.batches.get(after.saturating_sub(1));
                batch.map_or(track.next_seq, |batch| batch.0)
            };
            positions.push(Position {
                source: source.as_str().to_owned(),
                epoch: epoch.to_string(),
                next_seq: track.next_seq,
                next_packet: track.next_packet,
                resume_seq,
                time_max: track.time_max.nanos(),
            });
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn name() -> (SourceName, Epoch) {
        (SourceName::from_arbitrary("web1"), Epoch([7; 16]))
    }

    fn decoded(positions: &mut Positions, seq: u64, seconds: u64) {
        let (source, epoch) = name();
        positions.decoded((&source, epoch), seq..=seq, seq * 10, 10, Timestamp::from_parts(seconds, 0));
    }

    #[test]
    fn decoding_resumes_at_the_batch_with_the_oldest_needed_packet() {
        let mut positions = Positions::new(Duration::from_secs(600));
        for seq in 0..10 {
            decoded(&mut positions, seq, 100 + seq);
        }
        let resume = |needed| positions.snapshot(|_, _| needed)[0].resume_seq;
        assert_eq!(resume(None), 10);
        assert_eq!(resume(Some(45)), 4);
        assert_eq!(resume(Some(40)), 4);
        assert_eq!(resume(Some(0)), 0);
        assert_eq!(positions.snapshot(|_, _| None)[0].next_packet, 100);
    }

    #[test]
    fn no_more_than_the_rewind_is_decoded_again() {
        let mut positions = Positions::new(Duration::from_secs(600));
        for seq in 0..10 {
            decoded(&mut positions, seq, seq * 100);
        }
        assert_eq!(positions.snapshot(|_, _| Some(0))[0].resume_seq, 3);
    }

    #[test]
    fn stored_positions_read_back_equal() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(load(state.path()).unwrap(), []);
        let mut positions = Positions::new(Duration::from_secs(600));
        decoded(&mut positions, 3, 5);
        let snapshot = positions.snapshot(|_, _| None);
        store(state.path(), &snapshot).unwrap();
        assert_eq!(load(state.path()).unwrap(), snapshot);
    }
}
