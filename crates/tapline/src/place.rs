//! Where things are by default: the data directory and the collector that a command asks.
//! Creates nothing.

use std::path::{Path, PathBuf};

/// The data directory: what was named, else `/var/lib/tapline` for root and services, else below `$XDG_DATA_HOME`.
pub fn data_directory(named: Option<&Path>) -> PathBuf {
    if let Some(named) = named {
        // Relative paths would mean something else in the processes that `up` starts.
        return std::path::absolute(named).unwrap_or_else(|_| named.to_owned());
    }
    if let Some(state) = std::env::var_os("STATE_DIRECTORY") {
        return PathBuf::from(state);
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/tapline");
    }
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/".into())).join(".local/share");
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    base.unwrap_or_else(home).join("tapline")
}

/// Socket of the collector's API in a data directory.
pub fn collector_socket(data: &Path) -> PathBuf {
    data.join("run/collector.sock")
}

/// Socket of the analyzer's status in a data directory.
pub fn analyzer_socket(data: &Path) -> PathBuf {
    data.join("run/analyzer.sock")
}

/// Socket of the console in a data directory.
pub fn console_socket(data: &Path) -> PathBuf {
    data.join("run/console.sock")
}

/// Which collector a command asks.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Connect {
    /// The collector to ask: http://HOST:PORT or unix:PATH [default: the socket in the data directory, then http://127.0.0.1:7713]
    #[arg(long, value_name = "URL", env = "TAPLINE_URL")]
    pub connect: Option<String>,
    /// Data directory of a `tapline up` or collector on this machine
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA")]
    pub data: Option<PathBuf>,
}

impl Connect {
    /// The URL of the collector.
    pub fn url(&self) -> String {
        if let Some(url) = &self.connect {
            return url.clone();
        }
        let socket = collector_socket(&data_directory(self.data.as_deref()));
        if self.data.is_some() || socket.exists() {
            return format!("unix:{}", socket.display());
        }
        "http://127.0.0.1:7713".to_owned()
    }
}
