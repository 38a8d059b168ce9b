//! The data directory of `tapline up`: its paths, that nobody else runs on it, and what the programs on it say of themselves.
//! Starts and ends nothing.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api::{BalanceAnswer, SourcesAnswer};

use super::super::ask;
use crate::failure::Failure;
use crate::place;

/// How long to wait for what a killed `tapline up` left behind, which notices that after two seconds.
const LEFT_BEHIND: Duration = Duration::from_secs(10);

/// The paths of a data directory.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) data: PathBuf,
    pub(super) uplink: PathBuf,
    pub(super) collector: PathBuf,
    pub(super) analyzer: PathBuf,
    pub(super) console: PathBuf,
    pub(super) feed: String,
}

impl Place {
    pub(super) fn make(data: PathBuf) -> Result<Self, Failure> {
        let wrong = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::failed(format!(
                "{}: {error}; choose a directory that you may write to with --data DIR",
                path.display()
            ))
        };
        std::fs::create_dir_all(&data).map_err(|error| wrong(&data, &error))?;
        let user = privilege::user(None).map_err(Failure::failed)?;
        for name in ["archive", "store", "spool", "state", "run", "events"] {
            let path = data.join(name);
            privilege::give_directory(&path, &user).map_err(|error| wrong(&path, &error))?;
        }
        let run = data.join("run");
        let place = Self {
            uplink: run.join("uplink.sock"),
            collector: place::collector_socket(&data),
            analyzer: place::analyzer_socket(&data),
            console: place::console_socket(&data),
            feed: format!("ipc://{}", run.join("feed").display()),
            data,
        };
        // Unix socket addresses are short.
        const SOCKET_PATH_MAX: usize = 107;
        if place.collector.as_os_str().len() > SOCKET_PATH_MAX {
            return Err(wrong(&place.data, &"the path is too long for the sockets in it"));
        }
        place.wait_until_free()?;
        Ok(place)
    }

    /// Waits while programs end whose `tapline up` was killed; another one that runs here is an error.
    fn wait_until_free(&self) -> Result<(), Failure> {
        let until = Instant::now() + LEFT_BEHIND;
        let mut told = false;
        let others =
            || [&self.collector, &self.analyzer].into_iter().find_map(|socket| UnixStream::connect(socket).ok());
        while let Some(other) = others() {
            let (whose, how, supervised) = match running(&other) {
                Some((pid, supervised)) => (format!(" (process {pid})"), format!(" with `kill {pid}`"), supervised),
                None => Default::default(),
            };
            if supervised || Instant::now() >= until {
                return Err(Failure::failed(format!(
                    "another tapline{whose} is running on {}; end it{how}, or choose another directory with --data DIR",
                    self.data.display()
                )));
            }
            if !told {
                told = true;
                eprintln!("tapline: waiting for another tapline{whose} to end, which nobody supervises any more");
            }
            std::thread::sleep(super::POLL);
        }
        Ok(())
    }

    /// The account of every epoch; `None` if the collector does not answer.
    fn balance(&self) -> Option<BalanceAnswer> {
        serde_json::from_value(ask::json(&self.collector, "/api/v1/balance")?).ok()
    }

    /// Addresses of the page.
    pub(super) fn pages(&self) -> Vec<String> {
        let status = ask::json(&self.console, "/status").unwrap_or_default();
        let addresses = status["addresses"].as_array().into_iter().flatten();
        addresses.filter_map(|address| address.as_str().map(str::to_owned)).collect()
    }

    /// Whether a probe captures: its first counts, or its connection, have come.
    pub(super) fn is_captured(&self) -> bool {
        let answer =
            ask::json(&self.collector, "/api/v1/sources").and_then(|answer| serde_json::from_value(answer).ok());
        answer.is_some_and(|answer: SourcesAnswer| answer.sources.iter().any(|source| source.connected))
    }

    /// Whether everything that the archive has is decoded and written.
    pub(super) fn is_analysed(&self) -> bool {
        let (Some(balance), Some(status)) = (self.balance(), ask::json(&self.analyzer, "/status")) else {
            return false;
        };
        let positions = status["positions"].as_array().cloned().unwrap_or_default();
        balance.balance.iter().all(|row| {
            row.durable_seq == 0
                || positions.iter().any(|position| {
                    position["source"] == row.source.as_str()
                        && position["epoch"] == row.epoch.as_str()
                        && position["next_seq"].as_u64().is_some_and(|next| next >= row.durable_seq)
                        && (row.state != "complete" || position["resume_seq"] == position["next_seq"])
                })
        })
    }
}

/// The process to end for the one that listens on this socket, and whether that is the `tapline up` that started it; else it is
/// itself.
fn running(socket: &UnixStream) -> Option<(u32, bool)> {
    let listening = rustix::net::sockopt::socket_peercred(socket).ok()?.pid.as_raw_nonzero().get();
    let status = std::fs::read_to_string(format!("/proc/{listening}/status")).unwrap_or_default();
    let parent: Option<u32> = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    let is_tapline =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "tapline\n");
    let itself = || Some((u32::try_from(listening).ok()?, false));
    parent.filter(is_tapline).map(|pid| (pid, true)).or_else(itself)
}
