//! The settings of `[analyzer]`: inputs, workers, outputs, sandbox. Those of the decoders carry Packetbeat's names and are `decode`'s own.
//! Only values and their defaults; what is made of them stands in `run.rs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use decode::config::{Config, Flows, Limits, Profile};
use event::Field;
use processors::Processors;

use crate::follow::Start;
use crate::protocol_options::ProtocolOptions;

/// `[analyzer]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Data directory; `state/`, `events/` and `run/` are below it.
    pub data: PathBuf,
    /// Feed endpoints to subscribe to, such as `tcp://127.0.0.1:7711`; empty means the one in the data directory, else that one.
    pub feed: Vec<String>,
    /// Keys, if the feed is encrypted.
    pub curve: Curve,
    /// The collector's API, from which missed batches are fetched: `http://HOST:PORT` or `unix:PATH`; empty means the one in the data
    /// directory, else `http://127.0.0.1:7713`; `none` decodes only what the feed brings.
    pub collector: String,
    /// Sources to decode; empty means all.
    pub sources: Vec<String>,
    /// Where decoding begins in an epoch without a position: `now`, or `oldest` for all that the archive has.
    pub start: Start,
    /// Worker threads; 0 means one per core (`tapline analyze`: one).
    pub workers: usize,
    /// How far back decoding goes at most after a restart for the sake of flows that were open.
    #[serde(with = "settings::duration")]
    pub rewind_max: Duration,
    /// Where status and metrics are served: `unix:PATH` or a loopback `ADDRESS:PORT`; empty serves nothing.
    pub status: String,
    /// User to change to when started as root; empty means `tapline` if it exists, else `nobody`.
    pub user: String,
    /// Whether files and system calls are restricted before the first packet is read.
    pub sandbox: Sandbox,
    /// What an output's full queue means: `wait` (fall behind and catch up later) or `drop` (count and go on).
    pub when_full: output::WhenFull,
    /// Batches of events that may wait for an output.
    pub queue: usize,
    /// Where events go.
    pub output: output::Settings,
    /// Which set of documents is made: `full`, or `packetbeat` for Packetbeat's.
    pub profile: Profile,
    /// Flow events.
    pub flows: Flows,
    /// Options of the protocols, by name; they carry Packetbeat's names.
    pub protocols: ProtocolOptions,
    /// Bounds of memory.
    pub limits: Limits,
    /// Networks that count as internal, besides private addresses.
    pub internal_networks: Vec<String>,
    /// Labels for every event.
    pub tags: Vec<String>,
    /// What is done to every event, in Packetbeat's words.
    #[serde(deserialize_with = "processors_of_events")]
    pub processors: Processors,
}

/// `[analyzer.curve]`: both, or none for a feed in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Curve {
    /// The publisher's public key, Z85.
    pub server: String,
    /// File with the analyzer's own keys.
    pub keys: PathBuf,
}

/// Whether the sandbox is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    /// Yes; the analyzer does not start without it.
    #[default]
    On,
    /// No: packets from anybody are then decoded with all rights of the user.
    Off,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: PathBuf::from("/var/lib/tapline"),
            feed: Vec::new(),
            curve: Curve::default(),
            collector: String::new(),
            sources: Vec::new(),
            start: Start::Now,
            workers: 0,
            rewind_max: Duration::from_secs(600),
            status: "unix:run/analyzer.sock".to_owned(),
            user: String::new(),
            sandbox: Sandbox::On,
            when_full: output::WhenFull::Wait,
            queue: 64,
            output: output::Settings::default(),
            profile: Profile::default(),
            flows: Flows::default(),
            protocols: ProtocolOptions::default(),
            limits: Limits::default(),
            internal_networks: Vec::new(),
            tags: Vec::new(),
            processors: Processors::default(),
        }
    }
}

impl Settings {
    /// Whether events are to be Packetbeat's own, with nothing added.
    pub fn is_packetbeat(&self) -> bool {
        self.profile == Profile::Packetbeat
    }

    /// Whether there are call events: Packetbeat has none.
    pub fn has_calls(&self) -> bool {
        !self.is_packetbeat()
    }

    /// What the decoders are told.
    pub fn decoding(&self) -> Config {
        Config {
            profile: self.profile,
            flows: self.flows.clone(),
            protocols: self.protocols.0.clone(),
            limits: self.limits.clone(),
            internal_networks: self.internal_networks.clone(),
        }
    }

    /// All fields that an event may have: those of the tables, and those that the processors make.
    pub fn fields(&self) -> Vec<&'static Field> {
        crate::schema().fields().iter().chain(self.processors.fields()).copied().collect()
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.data.join("state")
    }

    /// The feed endpoints, with the default filled in.
    pub fn feed_endpoints(&self) -> Vec<String> {
        if !self.feed.is_empty() {
            return self.feed.clone();
        }
        let local = self.data.join("run/feed");
        vec![if local.exists() { format!("ipc://{}", local.display()) } else { "tcp://127.0.0.1:7711".to_owned() }]
    }

    /// The collector's API, with the default filled in; `None` if none is wanted.
    pub fn collector_url(&self) -> Option<String> {
        match self.collector.as_str() {
            "none" => None,
            "" => {
                let local = self.data.join("run/collector.sock");
                let url = if local.exists() { unix(&local) } else { "http://127.0.0.1:7713".to_owned() };
                Some(url)
            }
            given => Some(given.to_owned()),
        }
    }
}

/// Checked against the fields there are while they are read, so that a mistake is named with its line.
fn processors_of_events<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Processors, D::Error> {
    Processors::deserialize(crate::schema().fields(), deserializer)
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}
