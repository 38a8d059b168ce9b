//! `[analyzer.output.kafka]`: values, defaults, and what is wrong with them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use processors::Condition;

use crate::remote::{BacklogSettings, BulkSettings};
use crate::secrets::{Tls, secret};
use crate::{OpenError, WhenFull, address};

/// The port of a host that is named without one.
const PORT: u16 = 9092;
/// Placeholder in the topic.
pub(super) const TYPE: &str = "{type}";
/// Properties of librdkafka that have keys of their own here, or on which it depends that nothing is lost.
const OURS: [&str; 23] = [
    "acks",
    "bootstrap.servers",
    "compression.codec",
    "compression.type",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "enable.idempotence",
    "message.timeout.ms",
    "metadata.broker.list",
    "request.required.acks",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.pem",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Settings of `[analyzer.output.kafka]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether events are sent there.
    pub enabled: bool,
    /// Which events go there; all unless said. The conditions are those of the processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// What its full queue means; `analyzer.when_full` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
    /// Some of the brokers, `HOST` or `HOST:PORT`; they tell of the others.
    pub hosts: Vec<String>,
    /// Ports of other brokers, if they are not the same: the sandbox lets connections to no others.
    pub ports: Vec<u16>,
    /// The topic; `{type}` in it stands for the event's type.
    pub topic: String,
    /// How batches of messages are compressed.
    pub compression: Compression,
    /// How long confirmations are waited for before events go to the backlog on disk; what is on its way stays on its way.
    #[serde(with = "settings::duration")]
    pub timeout: Duration,
    /// User, for SASL; empty is none.
    pub user: String,
    /// Its password.
    pub password: String,
    /// File whose first line is the password.
    pub password_file: PathBuf,
    /// How user and password are shown to the brokers.
    pub sasl: Sasl,
    /// Encryption.
    pub tls: Tls,
    /// More properties of librdkafka, as its documentation names them, such as `"linger.ms" = "50"`.
    pub properties: BTreeMap<String, String>,
    /// How much is sent at once.
    pub bulk: BulkSettings,
    /// What may wait while the brokers are away.
    pub backlog: BacklogSettings,
}

/// Settings of `[analyzer.output.kafka.sasl]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sasl {
    /// The mechanism.
    pub mechanism: Mechanism,
}

/// How user and password are shown to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
pub enum Mechanism {
    /// As they are: whoever can listen has them, unless there is TLS.
    #[default]
    #[serde(rename = "PLAIN")]
    Plain,
    /// Not the password but a proof that it is known; with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    /// Its name in SASL.
    #[cfg(feature = "kafka")]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How batches of messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// LZ4.
    #[default]
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// Its name in librdkafka.
    #[cfg(feature = "kafka")]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            when: None,
            when_full: None,
            hosts: vec!["127.0.0.1:9092".to_owned()],
            ports: Vec::new(),
            topic: "tapline".to_owned(),
            compression: Compression::Lz4,
            timeout: Duration::from_secs(10),
            user: String::new(),
            password: String::new(),
            password_file: PathBuf::new(),
            sasl: Sasl::default(),
            tls: Tls::default(),
            properties: BTreeMap::new(),
            bulk: BulkSettings::default(),
            backlog: BacklogSettings::default(),
        }
    }
}

pub(super) fn wrong(message: impl std::fmt::Display) -> OpenError {
    OpenError { output: "kafka", message: message.to_string() }
}

impl Settings {
    /// Host and port of each broker that is named.
    pub(super) fn brokers(&self) -> Result<Vec<(String, u16)>, OpenError> {
        if self.hosts.is_empty() {
            return Err(wrong("hosts is empty: name at least one broker, such as 127.0.0.1:9092"));
        }
        self.hosts.iter().map(|host| address::parse(host, PORT).map_err(wrong)).collect()
    }

    pub(super) fn check(&self) -> Result<(), OpenError> {
        self.brokers()?;
        let topic = self.topic.replace(TYPE, "");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.topic.is_empty() || self.topic.len() > 200 || !topic.bytes().all(allowed) {
            return Err(wrong(format!(
                "topic = \"{}\" is no topic: write letters, digits, `-`, `_`, `.` and `{TYPE}`",
                self.topic
            )));
        }
        if self.timeout.is_zero() {
            return Err(wrong("timeout = 0 would never wait for a confirmation: write for example 10s"));
        }
        self.tls.check().map_err(wrong)?;
        self.secret()?;
        if self.user.is_empty() && self.sasl.mechanism != Mechanism::Plain {
            return Err(wrong("sasl.mechanism is set but no user: give user and password, or leave it out"));
        }
        match self.properties.keys().find(|name| OURS.contains(&name.as_str())) {
            Some(name) => Err(wrong(format!(
                "properties: `{name}` cannot be set here: it has a key of its own, or what is promised depends on it: leave it out"
            ))),
            None => Ok(()),
        }
    }

    /// The password; empty is none.
    pub(super) fn secret(&self) -> Result<String, OpenError> {
        let secret = secret(&self.password, &self.password_file, "password").map_err(wrong)?;
        if secret.is_empty() != self.user.is_empty() {
            return Err(wrong("user and password belong together: give both or none"));
        }
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused() {
        let check = |change: &dyn Fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().is_ok()
        };
        assert!(check(&|_| {}));
        assert!(check(&|settings| settings.topic = "tapline.{type}-v1".to_owned()));
        assert!(check(&|settings| settings.topic = TYPE.to_owned()));
        assert!(!check(&|settings| settings.topic.clear()));
        assert!(!check(&|settings| settings.topic = "a/b".to_owned()));
        assert!(!check(&|settings| settings.topic = "{kind}".to_owned()));
        assert!(!check(&|settings| settings.hosts.clear()));
        assert!(!check(&|settings| settings.hosts = vec!["a:1,b:2".to_owned()]));
        assert!(!check(&|settings| settings.timeout = Duration::ZERO));
        let property = |name: &str| BTreeMap::from([(name.to_owned(), "1".to_owned())]);
        assert!(check(&|settings| settings.properties = property("linger.ms")));
        assert!(!check(&|settings| settings.properties = property("enable.idempotence")));
        assert!(!check(&|settings| settings.properties = property("sasl.password")));
        assert!(!check(&|settings| settings.sasl.mechanism = Mechanism::ScramSha512));
        assert!(!check(&|settings| settings.tls.key = "/key".into()));
        let secret = |user: &str, password: &str| {
            Settings { user: user.to_owned(), password: password.to_owned(), ..Settings::default() }.secret().is_ok()
        };
        assert!(secret("", "") && secret("u", "p") && !secret("u", "") && !secret("", "p"));
    }

    #[test]
    fn the_ports_are_those_of_the_hosts_the_others_and_that_of_names() {
        let hosts = vec!["a".to_owned(), "b:1234".to_owned()];
        let settings = Settings { hosts, ports: vec![9093], ..Settings::default() };
        assert_eq!(settings.tcp_ports(), [9092, 1234, 9093, 53]);
    }
}
