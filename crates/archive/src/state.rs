//! What a source's archive remembers of each epoch beyond its segments: how far the log is durable, and the archive's side
//! of the balance. Retention removes segments; this stays. Made again from the segments where it is missing.

use crate::index::BatchEntry;
use packet::batch::{BatchHeader, DropPlace, DropReason};
use packet::{Epoch, SourceName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Epochs that are remembered per source.
const EPOCHS_MAX: usize = 4096;

/// The archive's account of one epoch, for everything before `next_seq`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochState {
    /// Everything before this sequence number is durable (or was not to be stored).
    pub next_seq: u64,
    /// Packets in stored batches.
    pub archived_packets: u64,
    /// Their captured bytes.
    pub archived_bytes: u64,
    /// Packets that the policy kept from being stored.
    pub not_stored_packets: u64,
    /// Packets in gap records, by `place/reason`.
    pub gap_packets: BTreeMap<String, u64>,
    /// Earliest packet time, nanoseconds.
    pub first_nanos: u64,
    /// Latest packet time, nanoseconds.
    pub last_nanos: u64,
    /// When its first entry arrived here, nanoseconds.
    #[serde(default)]
    pub arrived_nanos: u64,
    /// Whether the probe said that it is complete.
    #[serde(default)]
    pub complete: bool,
    /// What a crash left in segments behind an entry that is missing: stored, not yet counted. It is counted when the log has
    /// come again up to there, and not stored a second time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ahead: Vec<Ahead>,
}

/// A stored entry behind a hole in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    /// Its (first) sequence number.
    pub seq: u64,
    /// Its last sequence number.
    pub last_seq: u64,
    /// Packets it holds, or that were lost.
    pub packets: u64,
    /// Their captured bytes.
    pub captured_bytes: u64,
    /// Earliest packet time, nanoseconds.
    pub first_nanos: u64,
    /// Latest packet time, nanoseconds.
    pub last_nanos: u64,
    /// As [`BatchEntry::gap`].
    pub gap: u32,
}

impl Ahead {
    fn of(entry: &BatchEntry) -> Self {
        Self {
            seq: entry.seq,
            last_seq: entry.last_seq,
            packets: entry.packets,
            captured_bytes: entry.captured_bytes,
            first_nanos: entry.time_min.nanos(),
            last_nanos: entry.time_max.nanos(),
            gap: entry.gap,
        }
    }

    /// What the account needs of the entry; where it stands in its segment is not known any more.
    pub(crate) fn entry(&self) -> BatchEntry {
        BatchEntry {
            seq: self.seq,
            last_seq: self.last_seq,
            packets: self.packets,
            captured_bytes: self.captured_bytes,
            time_min: Timestamp::from_nanos(self.first_nanos),
            time_max: Timestamp::from_nanos(self.last_nanos),
            gap: self.gap,
            ..BatchEntry::default()
        }
    }
}

impl EpochState {
    /// The name under which a loss stands in [`EpochState::gap_packets`].
    pub fn gap_name(place: DropPlace, reason: DropReason) -> String {
        format!("{}/{}", place.as_str(), reason.as_str())
    }

    /// Counts a stored entry, unless it was counted before.
    pub(crate) fn count(&mut self, entry: &BatchEntry, arrived: Timestamp) {
        if entry.last_seq < self.next_seq {
            return;
        }
        if entry.is_gap() {
            let place = DropPlace::from_code(entry.gap as u16).unwrap_or(DropPlace::Archive);
            let reason = DropReason::from_code((entry.gap >> 16) as u16).unwrap_or(DropReason::Corrupt);
            let lost = self.gap_packets.entry(Self::gap_name(place, reason)).or_default();
            *lost = lost.saturating_add(entry.packets);
        } else {
            self.archived_packets = self.archived_packets.saturating_add(entry.packets);
            self.archived_bytes = self.archived_bytes.saturating_add(entry.captured_bytes);
        }
        self.count_times(entry.time_min, entry.time_max, arrived);
        self.advance(entry.last_seq);
    }

    /// Notes an entry behind a hole.
    pub(crate) fn put_ahead(&mut self, entry: &BatchEntry) {
        if !self.ahead.iter().any(|known| known.seq == entry.seq) {
            self.ahead.push(Ahead::of(entry));
        }
    }

    /// Counts what was behind a hole that is closed now. At a start only: while a probe sends, it is told of each in its turn.
    pub(crate) fn absorb(&mut self) {
        while let Some(next) = self.ahead.iter().find(|ahead| ahead.seq == self.next_seq).map(Ahead::entry) {
            self.count(&next, Timestamp::from_nanos(self.arrived_nanos));
        }
    }

    fn advance(&mut self, last_seq: u64) {
        self.next_seq = last_seq.saturating_add(1);
        let next_seq = self.next_seq;
        self.ahead.retain(|ahead| ahead.seq >= next_seq);
    }

    /// Counts a batch that is not stored.
    pub(crate) fn count_not_stored(&mut self, header: &BatchHeader, arrived: Timestamp) {
        self.not_stored_packets += u64::from(header.packets);
        self.count_times(header.time_min, header.time_max, arrived);
        self.advance(header.name.seq);
    }

    fn count_times(&mut self, time_min: Timestamp, time_max: Timestamp, arrived: Timestamp) {
        if time_min != Timestamp::ZERO && (self.first_nanos == 0 || time_min.nanos() < self.first_nanos) {
            self.first_nanos = time_min.nanos();
        }
        self.last_nanos = self.last_nanos.max(time_max.nanos());
        if self.arrived_nanos == 0 {
            self.arrived_nanos = arrived.nanos();
        }
    }

    /// Packets lost in all gap records.
    pub fn gaps(&self) -> u64 {
        self.gap_packets.values().fold(0, |sum, packets| sum.saturating_add(*packets))
    }
}

/// All epochs of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// By epoch, as text.
    pub epochs: BTreeMap<String, EpochState>,
}

impl SourceState {
    fn path(root: &Path, source: &SourceName) -> PathBuf {
        root.join(source.as_str()).join("state.json")
    }

    /// Reads the file of a source; none if there is none or it is damaged.
    pub fn load(root: &Path, source: &SourceName) -> Option<Self> {
        let bytes = fs::read(Self::path(root, source)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Writes the file of a source so that a crash leaves the old or the new one.
    pub(crate) fn save(&self, root: &Path, source: &SourceName) -> io::Result<()> {
        let path = Self::path(root, source);
        let new = path.with_extension("json.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&new)?;
        file.write_all(&serde_json::to_vec(self).map_err(io::Error::other)?)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    /// The account of an epoch.
    pub fn epoch(&self, epoch: Epoch) -> Option<&EpochState> {
        self.epochs.get(&epoch.to_string())
    }

    /// Begins the account of an epoch with its first sequence number. Of very many epochs the oldest are forgotten.
    pub(crate) fn begin(&mut self, epoch: Epoch, first_seq: u64, arrived: Timestamp) {
        while self.epochs.len() >= EPOCHS_MAX {
            let oldest =
                self.epochs.iter().min_by_key(|(_, state)| state.arrived_nanos).map(|(epoch, _)| epoch.clone());
            let Some(oldest) = oldest else { break };
            self.epochs.remove(&oldest);
        }
        let state = EpochState { next_seq: first_seq, arrived_nanos: arrived.nanos(), ..EpochState::default() };
        self.epochs.insert(epoch.to_string(), state);
    }

    pub(crate) fn epoch_mut(&mut self, epoch: Epoch) -> &mut EpochState {
        self.epochs.entry(epoch.to_string()).or_default()
    }
}
