//! `[analyzer.output.redis]`: values, defaults, and what is wrong with them.

use std::path::PathBuf;
use std::time::Duration;

use processors::Condition;

use crate::remote::{BacklogSettings, BulkSettings};
use crate::secrets::{Tls, secret};
use crate::{OpenError, WhenFull, address};

/// The port of a host that is named without one.
const PORT: u16 = 6379;

/// Settings of `[analyzer.output.redis]`.
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
    /// The servers, `HOST` or `HOST:PORT`: the first that takes what is written is used, the next one when it does not any more.
    pub hosts: Vec<String>,
    /// What becomes of an event there.
    pub mode: Mode,
    /// Name of the list, channel or stream; `{type}` in it stands for the event's type.
    pub key: String,
    /// About so many entries a stream keeps at most; 0 keeps all.
    pub maxlen: u64,
    /// Number of the database.
    pub db: u32,
    /// User (Redis 6 and newer); empty is the default user.
    pub user: String,
    /// The password.
    pub password: String,
    /// File whose first line is the password.
    pub password_file: PathBuf,
    /// How long connecting, and each answer, may take.
    #[serde(with = "settings::duration")]
    pub timeout: Duration,
    /// Encryption.
    pub tls: Tls,
    /// How much is sent at once.
    pub bulk: BulkSettings,
    /// What may wait while the server is away.
    pub backlog: BacklogSettings,
}

/// What becomes of an event in the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The last element of a list (`RPUSH`).
    #[default]
    List,
    /// A message to those who listen at that moment (`PUBLISH`).
    Channel,
    /// An entry of a stream (`XADD`) with the fields `id`, `type` and `event`.
    Stream,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            when: None,
            when_full: None,
            hosts: vec!["127.0.0.1:6379".to_owned()],
            mode: Mode::List,
            key: "tapline".to_owned(),
            maxlen: 0,
            db: 0,
            user: String::new(),
            password: String::new(),
            password_file: PathBuf::new(),
            timeout: Duration::from_secs(10),
            tls: Tls::default(),
            bulk: BulkSettings::default(),
            backlog: BacklogSettings::default(),
        }
    }
}

pub(super) fn wrong(message: impl std::fmt::Display) -> OpenError {
    OpenError { output: "redis", message: message.to_string() }
}

impl Settings {
    /// Host and port of each server.
    pub(super) fn servers(&self) -> Result<Vec<(String, u16)>, OpenError> {
        if self.hosts.is_empty() {
            return Err(wrong("hosts is empty: name at least one, such as 127.0.0.1:6379"));
        }
        self.hosts.iter().map(|host| address::parse(host, PORT).map_err(wrong)).collect()
    }

    pub(super) fn check(&self) -> Result<(), OpenError> {
        if self.key.is_empty() {
            return Err(wrong("key is empty: name a list, channel or stream"));
        }
        if self.maxlen > 0 && self.mode != Mode::Stream {
            return Err(wrong("maxlen is for mode = \"stream\" only: leave it out, or change the mode"));
        }
        if self.timeout.is_zero() {
            return Err(wrong("timeout = 0 would never wait for an answer: write for example 10s"));
        }
        self.tls.check().map_err(wrong)
    }

    /// The password; empty is none.
    pub(super) fn secret(&self) -> Result<String, OpenError> {
        let secret = secret(&self.password, &self.password_file, "password").map_err(wrong)?;
        if secret.is_empty() && !self.user.is_empty() {
            return Err(wrong("a user is given but no password: give both or none"));
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
            settings.check().and_then(|()| settings.secret()).and_then(|_| settings.servers()).is_ok()
        };
        assert!(check(&|_| {}));
        assert!(check(&|settings| (settings.mode, settings.maxlen) = (Mode::Stream, 1000)));
        assert!(!check(&|settings| settings.maxlen = 1000));
        assert!(!check(&|settings| settings.key.clear()));
        assert!(!check(&|settings| settings.hosts.clear()));
        assert!(!check(&|settings| settings.hosts = vec!["redis://x".to_owned()]));
        assert!(!check(&|settings| settings.user = "u".to_owned()));
        assert!(!check(&|settings| settings.tls.key = "/key".into()));
        assert!(!check(&|settings| {
            settings.password = "p".to_owned();
            settings.password_file = "/p".into();
        }));
    }
}
