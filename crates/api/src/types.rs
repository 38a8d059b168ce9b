//! Types of the answers under `/api/v1`. Fields are added, never renamed.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Answer to anything that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// `/api/v1/sources`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourcesAnswer {
    /// One row per source.
    pub sources: Vec<SourceRow>,
}

/// A source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceRow {
    /// Its name.
    pub name: String,
    /// Whether a probe is connected.
    pub connected: bool,
    /// From where; empty if none is.
    pub peer: String,
    /// `tapline` or `osmo-pcap`.
    pub protocol: String,
    /// The present or last epoch.
    pub epoch: String,
    /// Names of its interfaces.
    pub interfaces: Vec<String>,
    /// Packets received in this run of the collector.
    pub received_packets: u64,
    /// Their captured bytes.
    pub received_bytes: u64,
    /// When the last batch arrived, nanoseconds of Unix time; 0 for never.
    pub last_batch_nanos: u64,
    /// Time of the newest packet, nanoseconds.
    pub newest_packet_nanos: u64,
    /// The probe's clock minus the collector's in nanoseconds, as far as known.
    pub clock_offset_nanos: Option<i64>,
    /// Bytes in the probe's spool when it last said.
    pub spool_bytes: u64,
    /// Until when the certificate is good with which it last came, seconds of Unix time; none without TLS.
    #[serde(default)]
    pub certificate_expires_seconds: Option<i64>,
}

/// `/api/v1/balance`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BalanceAnswer {
    /// One row per source and epoch, the newest epoch of a source first.
    pub balance: Vec<BalanceRow>,
}

/// The account of one epoch. `captured = archived + not stored + dropped + in flight`, each counted where it happens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BalanceRow {
    /// The source.
    pub source: String,
    /// The epoch.
    pub epoch: String,
    /// `open`, `complete` (the probe said so) or `unclean` (its connection ended and another epoch began, or it never came back).
    pub state: String,
    /// When the probe took its counts, nanoseconds; 0 if it never said.
    pub counted_nanos: u64,
    /// Packets captured, counted by the probe.
    pub captured_packets: u64,
    /// Packets archived of what the probe had seen acknowledged, counted by the archive.
    pub archived_packets: u64,
    /// Packets kept from being stored by policy.
    pub not_stored_packets: u64,
    /// Packets the probe still holds, counted by the probe.
    pub in_flight_packets: u64,
    /// Captured packets dropped, by `place/reason`; from gap records and from the probe.
    pub dropped: BTreeMap<String, u64>,
    /// Their sum.
    pub dropped_packets: u64,
    /// Packets the kernel dropped before they were captured.
    pub kernel_dropped_packets: u64,
    /// Packets the interfaces dropped.
    pub interface_dropped_packets: u64,
    /// Packets published by this run of the collector.
    pub published_packets: u64,
    /// Everything archived by now, also what the probe has not yet seen acknowledged.
    pub archived_packets_now: u64,
    /// Everything before this sequence number is durable.
    pub durable_seq: u64,
    /// Whether the probe is connected.
    pub connected: bool,
    /// Whether the account closes at the moment the probe took its counts.
    pub closes: bool,
    /// Why it does not, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remark: String,
}

/// `/api/v1/segments`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SegmentsAnswer {
    /// One row per segment.
    pub segments: Vec<SegmentRow>,
}

/// A segment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SegmentRow {
    /// The source.
    pub source: String,
    /// Its path on the collector's machine.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Whether it is still being written.
    pub open: bool,
    /// When it was last written to, nanoseconds.
    pub modified_nanos: u64,
}

/// `/api/v1/status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// Version of the program.
    pub version: String,
    /// Since when it runs, nanoseconds.
    pub started_nanos: u64,
    /// Connections right now.
    pub connections: u64,
    /// Subscriptions of the v2 feed right now.
    pub subscribers: u64,
    /// Batches received.
    pub received_batches: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Packets made durable.
    pub archived_packets: u64,
    /// Whether the archive can be written; else what the disk says.
    pub archive_error: Option<String>,
    /// Directory of the archive: tells whether this is the collector of a data directory.
    #[serde(default)]
    pub archive: PathBuf,
}

/// `/api/v1/archive`: what is stored, by source and time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ArchiveAnswer {
    /// One row per source.
    pub sources: Vec<StoredSource>,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Seconds that each part in `days` covers.
    pub step: u64,
    /// What is removed.
    pub retention: ArchiveRetention,
    /// The segment that goes first; none without retention.
    pub next_removed: Option<ToRemove>,
}

/// What a source has in the archive. Times are RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredSource {
    /// Its name.
    pub name: String,
    /// Bytes of its segments.
    pub bytes: u64,
    /// How many there are.
    pub segments: u64,
    /// Time of its earliest packet.
    pub oldest: Option<String>,
    /// Time of its latest packet.
    pub newest: Option<String>,
    /// Its bytes over time; parts without any are left out.
    pub days: Vec<StoredPart>,
}

/// Bytes stored of one part of the time. A segment counts evenly over the time of its packets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredPart {
    /// When it begins.
    pub from: String,
    /// Bytes of segments.
    pub bytes: u64,
}

/// What retention allows; none is no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ArchiveRetention {
    /// Longest time since a segment's last packet arrived, such as `7d`.
    pub age: Option<String>,
    /// Most bytes of all segments.
    pub size: Option<u64>,
    /// Bytes that must stay free on the disk.
    pub free: Option<u64>,
}

/// A segment that retention removes next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToRemove {
    /// Whose it is.
    pub source: String,
    /// Its size.
    pub bytes: u64,
    /// Time of its earliest packet.
    pub oldest: Option<String>,
    /// Time of its latest packet.
    pub newest: Option<String>,
    /// When its age makes it go, if there is a limit of age.
    pub at: Option<String>,
}
