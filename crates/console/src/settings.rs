//! The settings of `[console]`. Only values and their defaults.

use std::path::{Path, PathBuf};

/// `[console]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Data directory; `store/`, `console/` and `run/` are below it.
    pub data: PathBuf,
    /// Where page and API are served: `ADDRESS:PORT` or `unix:PATH`. An address beyond this machine needs a token.
    pub listen: Vec<String>,
    /// Folder of the event store, below the data directory unless absolute.
    pub store: PathBuf,
    /// The collector's API: `http://HOST:PORT` or `unix:PATH`; empty means the one in the data directory, else `http://127.0.0.1:7713`.
    pub collector: String,
    /// The analyzer's status: the same forms; empty means the one in the data directory.
    pub analyzer: String,
    /// Names under which this machine is also reached, such as that of a reverse proxy in front of it.
    pub hosts: Vec<String>,
    /// User to change to when started as root; empty means `tapline` if it exists, else `nobody`.
    pub user: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: PathBuf::from("/var/lib/tapline"),
            listen: vec!["127.0.0.1:7714".to_owned()],
            store: PathBuf::from("store"),
            collector: String::new(),
            analyzer: String::new(),
            hosts: Vec::new(),
            user: String::new(),
        }
    }
}

impl Settings {
    /// The event store's folder.
    pub fn store(&self) -> PathBuf {
        self.data.join(&self.store)
    }

    /// The collector's API, with the default filled in.
    pub fn collector_url(&self) -> String {
        or_local(&self.collector, &self.data.join("run/collector.sock"), "http://127.0.0.1:7713")
    }

    /// The analyzer's status, with the default filled in.
    pub fn analyzer_url(&self) -> String {
        let local = self.data.join("run/analyzer.sock");
        or_local(&self.analyzer, &local, &format!("unix:{}", local.display()))
    }
}

fn or_local(given: &str, local: &Path, otherwise: &str) -> String {
    match given {
        "" if local.exists() => format!("unix:{}", local.display()),
        "" => otherwise.to_owned(),
        given => given.to_owned(),
    }
}
