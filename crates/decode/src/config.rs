//! What a user can set about decoding: the part of `[analyzer]` that carries Packetbeat's names. Each protocol's own options are
//! read by the protocol.

use crate::options::{Flag, Ports, Span};
use crate::protocols;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which set of documents is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Everything Tapline knows.
    #[default]
    Full,
    /// Packetbeat's: its protocols on its ports, no recognition by content, no event types and fields of ours, its redaction.
    Packetbeat,
}

/// `[analyzer]`, the part about decoding.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which set of documents is made.
    pub profile: Profile,
    /// Flow events.
    pub flows: Flows,
    /// Options of the protocols, by name.
    pub protocols: BTreeMap<String, toml::Table>,
    /// Bounds of memory.
    pub limits: Limits,
    /// Networks that count as internal for `network.direction`, besides private addresses: `10.0.0.0/8`.
    pub internal_networks: Vec<String>,
}

/// `[analyzer.flows]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flows {
    /// Whether there are flow events.
    pub enabled: Flag,
    /// How often a flow that goes on is reported; 0 or negative: only at its end.
    pub period: Span,
    /// How long a flow may be silent before it ends.
    pub timeout: Span,
}

impl Default for Flows {
    fn default() -> Self {
        Self { enabled: Flag(true), period: Span::seconds(10), timeout: Span::seconds(30) }
    }
}

/// `[analyzer.limits]`: what is cut off by them is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Flows at once, per worker.
    pub flows: usize,
    /// Bytes of TCP segments that wait for what comes before them, per flow.
    pub stream_bytes: usize,
    /// The same for all flows of a worker.
    pub stream_bytes_total: usize,
    /// Bytes of IP fragments that wait for the others, per worker.
    pub fragment_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { flows: 200_000, stream_bytes: 1 << 20, stream_bytes_total: 32 << 20, fragment_bytes: 8 << 20 }
    }
}

/// A configuration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no such protocol.
    #[error("analyzer.protocols.{name}: there is no such protocol; known are {known}")]
    UnknownProtocol {
        /// What was written.
        name: String,
        /// Those that exist.
        known: String,
    },
    /// An option of a protocol.
    #[error("analyzer.protocols.{protocol}: {problem}")]
    Option {
        /// Whose.
        protocol: String,
        /// What is wrong.
        problem: String,
    },
    /// Another value.
    #[error("analyzer.{key}: {problem}")]
    Value {
        /// Which.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// Options that the engine itself reads of every protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// Whether it is decoded.
    pub enabled: bool,
    /// Ports that stand for it, beside those recognised by content.
    pub ports: Ports,
}

impl Config {
    /// Takes what the engine reads out of a protocol's options and gives both.
    pub(crate) fn split(&self, protocol: &protocols::Protocol) -> Result<(Shared, toml::Table), ConfigError> {
        let mut table = self.protocols.get(protocol.name).cloned().unwrap_or_default();
        let wrong = |error: toml::de::Error| ConfigError::Option {
            protocol: protocol.name.into(),
            problem: error.message().into(),
        };
        let enabled = match table.remove("enabled") {
            Some(value) => value.try_into::<Flag>().map_err(wrong)?.0,
            None => true,
        };
        let ports = match table.remove("ports") {
            Some(value) => value.try_into().map_err(wrong)?,
            None => Ports::of(protocol.ports),
        };
        Ok((Shared { enabled, ports }, table))
    }

    /// Finds protocols that do not exist and options that are wrong.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), ConfigError> {
        for name in self.protocols.keys() {
            if !protocols::ALL.iter().any(|protocol| protocol.name == name) {
                let known: Vec<_> = protocols::ALL.iter().map(|protocol| protocol.name).collect();
                return Err(ConfigError::UnknownProtocol { name: name.clone(), known: known.join(", ") });
            }
        }
        for protocol in protocols::ALL {
            let (_, options) = self.split(protocol)?;
            (protocol.configure)(options, self.profile)
                .map_err(|problem| ConfigError::Option { protocol: protocol.name.into(), problem })?;
        }
        Ok(())
    }
}

/// Reads a protocol's options; unknown ones are errors. For use in [`protocols::Protocol::configure`].
///
/// # Errors
/// What is wrong, in words.
pub fn options<T: serde::de::DeserializeOwned>(table: toml::Table) -> Result<T, String> {
    table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}
