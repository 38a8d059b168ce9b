//! The settings of `[collector]`. Only values and their defaults.

use crate::policy::SourcePolicy;
use crate::tls::TlsSettings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// `[collector]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Data directory; `archive/`, `state/` and `run/` are below it.
    pub data: PathBuf,
    /// Where probes connect: `ADDRESS:PORT` or `unix:PATH`.
    pub listen: Vec<String>,
    /// Where the API answers: loopback `ADDRESS:PORT` or `unix:PATH`.
    pub api: Vec<String>,
    /// Where the feed is published: `tcp://ADDRESS:PORT` or `ipc://PATH`.
    pub feed: Vec<String>,
    /// Where the feed is published in osmo-pcap's form; none switches it off.
    pub feed_v1: Vec<String>,
    /// Form of its packets from native sources: `pcap` or `pcapng`.
    pub feed_v1_format: V1Format,
    /// Bytes that may wait for one subscriber of the feed.
    #[serde(with = "settings::size")]
    pub subscriber_queue: u64,
    /// Whether uplink and feed may use addresses beyond this machine without encryption.
    pub allow_plaintext: bool,
    /// Certificates for probes that connect by TCP; when set, TCP is spoken with TLS 1.3 only.
    pub tls: TlsSettings,
    /// Keys with which the feed (v2, all its endpoints) is encrypted.
    pub curve: Curve,
    /// User to change to when started as root; empty means `tapline` if it exists, else `nobody`.
    pub user: String,
    /// Whether segments are compressed: `zstd` or `none`.
    pub compression: Compression,
    /// Size from which a segment is closed.
    #[serde(with = "settings::size")]
    pub segment_size: u64,
    /// A segment is also closed at every multiple of this time of the day; `0s` for never.
    #[serde(with = "settings::duration")]
    pub segment_time: Duration,
    /// Whose day: `UTC`, or a time zone such as `Europe/Vienna`.
    pub segment_zone: String,
    /// Command that is told of each finished segment: program and arguments; the path is added as the last.
    pub hook: Vec<String>,
    /// When what was received is acknowledged: `durable`, once it is on the disk, or `written`, once the kernel has it.
    pub durability: Durability,
    /// How often what was received is made durable and acknowledged while something waits.
    #[serde(with = "settings::duration")]
    pub commit: Duration,
    /// How long a connected source may bring no packets before an event says so; `0s` for never.
    #[serde(with = "settings::duration")]
    pub silence: Duration,
    /// What is removed from the archive.
    pub retention: Retention,
    /// What of a source's packets is stored, by source; `*` is for those that are not named.
    pub sources: BTreeMap<String, SourcePolicy>,
    /// Clients of osmo-pcap.
    pub osmo_pcap: OsmoPcap,
    /// Most connections from probes at once.
    pub connections: usize,
    /// Bytes of batches that one probe may have on their way.
    #[serde(with = "settings::size")]
    pub credit: u64,
}

/// `[collector.curve]`: both, or none for a feed in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Curve {
    /// File with the publisher's keys.
    pub keys: PathBuf,
    /// File with the subscribers that are let in.
    pub allow: PathBuf,
}

/// `[collector.osmo_pcap]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OsmoPcap {
    /// Where clients of osmo-pcap connect: `ADDRESS:PORT`; none switches it off.
    pub listen: Vec<String>,
    /// Names of clients by their address; the others are named by it.
    pub sources: BTreeMap<String, String>,
}

/// Form of v1 packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum V1Format {
    /// pcap with microseconds.
    #[default]
    Pcap,
    /// pcapng blocks.
    Pcapng,
}

/// Whether segments are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As the batches arrive.
    #[default]
    Zstd,
    /// Not at all.
    None,
}

/// When what was received is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Once it is on the disk: a power cut loses nothing that was acknowledged.
    #[default]
    Durable,
    /// Once the kernel has it: the end of the program loses nothing, a power cut may.
    Written,
}

/// `[collector.retention]`; 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Longest time since a segment's last packet arrived.
    #[serde(with = "settings::duration")]
    pub age: Duration,
    /// Most bytes of all segments together.
    #[serde(with = "settings::size")]
    pub size: u64,
    /// Bytes that must stay free on the disk.
    #[serde(with = "settings::size")]
    pub free: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Duration::ZERO, size: 0, free: 0 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: PathBuf::from("/var/lib/tapline"),
            listen: vec!["127.0.0.1:7710".to_owned()],
            api: vec!["127.0.0.1:7713".to_owned()],
            feed: vec!["tcp://127.0.0.1:7711".to_owned()],
            feed_v1: Vec::new(),
            feed_v1_format: V1Format::default(),
            subscriber_queue: 64 << 20,
            allow_plaintext: false,
            tls: TlsSettings::default(),
            curve: Curve::default(),
            user: String::new(),
            compression: Compression::default(),
            segment_size: 256 << 20,
            segment_time: Duration::from_secs(3600),
            segment_zone: "UTC".to_owned(),
            hook: Vec::new(),
            durability: Durability::default(),
            commit: Duration::from_millis(200),
            silence: Duration::from_secs(60),
            retention: Retention::default(),
            sources: BTreeMap::new(),
            osmo_pcap: OsmoPcap::default(),
            connections: 2000,
            credit: 32 << 20,
        }
    }
}

impl Settings {
    /// Root of the archive.
    pub fn archive(&self) -> PathBuf {
        self.data.join("archive")
    }

    /// Where the balance is kept.
    pub fn state(&self) -> PathBuf {
        self.data.join("state")
    }
}
