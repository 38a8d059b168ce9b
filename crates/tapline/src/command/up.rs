//! `tapline up`: collector, analyzer, console and probe as real processes on one data directory, talking through sockets in it.
//! Starts, watches and ends them; everything else happens in them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api::{BalanceAnswer, SourcesAnswer};

use super::ask;
use super::children::Child;
use crate::failure::Failure;
use crate::place;

/// How long a program may take to be ready.
const READY_PATIENCE: Duration = Duration::from_secs(20);
/// How long a probe may take to hand over what it holds when it is asked to end.
const PROBE_PATIENCE: Duration = Duration::from_secs(20);
/// How long the analyzer may take to decode the rest once the probes have ended on Ctrl-C.
const DRAIN_PATIENCE: Duration = Duration::from_secs(20);
/// How long collector and analyzer may take to end.
const END_PATIENCE: Duration = Duration::from_secs(15);
/// How often everything is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Run probe, collector, analyzer and the page together on this machine
#[derive(clap::Args)]
pub struct Up {
    /// Interface to capture on, `any` for all; may be given several times
    #[arg(short, long = "interface", value_name = "IFACE")]
    interfaces: Vec<String>,
    /// Capture file to read instead; may be given several times
    #[arg(short, long = "read", value_name = "FILE")]
    read: Vec<PathBuf>,
    /// Capture only what this pcap filter expression accepts
    #[arg(short = 'f', long, value_name = "BPF")]
    filter: Option<String>,
    /// Bytes of each packet to capture
    #[arg(short, long, value_name = "BYTES")]
    snaplen: Option<u32>,
    /// End when all files are archived and analysed
    #[arg(long)]
    once: bool,
    /// Where everything is kept
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA")]
    data: Option<PathBuf>,
    /// Also answer the collector's API on this address
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Where the page is served; `none` serves none [default: 127.0.0.1:7714, or a free port if that is taken]
    #[arg(long, value_name = "ADDR:PORT")]
    console: Option<String>,
    /// Open the page in a browser
    #[arg(long, conflicts_with = "once")]
    open: bool,
    /// Name of the source [default: the host's name]
    #[arg(long, value_name = "SOURCE")]
    name: Option<String>,
    #[command(flatten)]
    settings: super::SettingsArguments,
}

/// The probe's program, found beside this one or in the search path.
pub fn probe_program() -> Result<PathBuf, String> {
    const NAME: &str = "tapline-probe";
    let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(NAME)));
    let searched = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&searched).map(|directory| directory.join(NAME)))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{NAME} is neither beside this program nor in the search path; install it there"))
}

/// A TOML string: JSON's escapes are all among TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl Up {
    pub fn run(mut self) -> Result<(), Failure> {
        crate::logging::start("info");
        if self.once && self.read.is_empty() {
            return Err(Failure::usage("--once ends when all files are done: give files with -r FILE"));
        }
        if self.once && !self.interfaces.is_empty() {
            return Err(Failure::usage("--once is for files; an interface never ends: leave out -i or --once"));
        }
        if self.interfaces.is_empty() && self.read.is_empty() {
            let said: ProbeSaid = self.settings.load("probe").unwrap_or_default();
            self.interfaces = said.interfaces;
            if self.interfaces.is_empty() {
                self.interfaces.push("any".to_owned());
            }
        }
        for file in self.read.iter().filter(|file| file.as_path() != Path::new("-")) {
            std::fs::File::open(file).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
        }
        // Both sections are looked at before anything is started, so that every problem is shown at once.
        self.settings.check_sections()?;
        let place = Place::make(place::data_directory(self.data.as_deref()))?;
        let signals = Signals::catch()?;
        let mut running = Running { place, probes: Vec::new(), collector: None, analyzer: None, console: None };
        let outcome = self.start_and_watch(&mut running, &signals);
        let ended = running.end(&signals, self.once && outcome.is_ok());
        outcome.and(ended)
    }

    fn start_and_watch(&self, running: &mut Running, signals: &Signals) -> Result<(), Failure> {
        let place = running.place.clone();
        running.collector = Some(self.start_collector(&place)?);
        running.wait_ready("the collector", signals, |place| ask::is_good(&place.collector, "/healthz"))?;
        running.analyzer = Some(self.start_analyzer(&place)?);
        running.wait_ready("the analyzer", signals, |place| ask::is_good(&place.analyzer, "/readyz"))?;
        if let Some(listen) = self.page() {
            running.console = Some(self.start_console(&place, &listen)?);
            running.wait_ready("the console", signals, |place| ask::is_good(&place.console, "/readyz"))?;
        }
        if signals.count() > 0 {
            return Ok(());
        }
        if !self.interfaces.is_empty() {
            running.probes.push(self.start_probe(&place, &self.interfaces, None)?);
            running.wait_ready("the probe", signals, Place::is_captured)?;
            eprintln!(
                "tapline: capturing on {}; everything is kept in {}; Ctrl-C ends",
                self.interfaces.join(", "),
                place.data.display()
            );
        }
        if let Some(address) = running.console.as_ref().and_then(|_| place.page()) {
            eprintln!("tapline: the page is at {address}");
            if self.open {
                open_browser(&address);
            }
        }
        let mut files = self.read.iter();
        let mut reading: Option<(Child, &Path)> = None;
        let mut files_done = self.read.is_empty();
        while signals.count() == 0 {
            running.check_alive()?;
            match &mut reading {
                Some((probe, path)) => {
                    if let Some(status) = probe.ended() {
                        probe.join_log();
                        let path = path.display().to_string();
                        reading = None;
                        if !status.success() {
                            return Err(Failure::failed(format!(
                                "reading {path} failed ({status}); see the probe's message above"
                            )));
                        }
                    }
                }
                None => match files.next() {
                    Some(path) => {
                        eprintln!("tapline: reading {}", path.display());
                        reading = Some((self.start_probe(&place, &[], Some(path))?, path));
                    }
                    None if !files_done => {
                        files_done = true;
                        if !self.once && self.interfaces.is_empty() {
                            eprintln!("tapline: all files are archived; Ctrl-C ends");
                        }
                    }
                    None => {}
                },
            }
            if files_done && self.once && place.is_analysed() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        if let Some((probe, _)) = reading {
            running.probes.push(probe);
        }
        Ok(())
    }

    fn tapline(&self, subcommand: &str, sets: &[String]) -> Result<Command, Failure> {
        let program = std::env::current_exe().map_err(Failure::failed)?;
        let mut command = Command::new(program);
        command.arg(subcommand);
        self.settings.pass_on(&mut command);
        for set in sets {
            command.args(["--set", set]);
        }
        Ok(command)
    }

    fn start_collector(&self, place: &Place) -> Result<Child, Failure> {
        let unix = |path: &Path| quoted(&format!("unix:{}", path.display()));
        let mut api = vec![unix(&place.collector)];
        api.extend(self.listen.iter().map(|address| quoted(address)));
        let command = self.tapline(
            "collector",
            &[
                format!("collector.data={}", quoted(&place.data.display().to_string())),
                format!("collector.listen=[{}]", unix(&place.uplink)),
                format!("collector.api=[{}]", api.join(", ")),
                format!("collector.feed=[{}]", quoted(&place.feed)),
            ],
        )?;
        start("collector", command)
    }

    fn start_analyzer(&self, place: &Place) -> Result<Child, Failure> {
        let unix = |path: &Path| quoted(&format!("unix:{}", path.display()));
        let mut sets = vec![
            format!("analyzer.data={}", quoted(&place.data.display().to_string())),
            format!("analyzer.feed=[{}]", quoted(&place.feed)),
            format!("analyzer.collector={}", unix(&place.collector)),
            format!("analyzer.status={}", unix(&place.analyzer)),
            "analyzer.start=\"oldest\"".to_owned(),
        ];
        let said: AnalyzerSaid = self.settings.load("analyzer").unwrap_or_default();
        if said.output.store.enabled.is_none() {
            sets.push("analyzer.output.store.enabled=true".to_owned());
        }
        start("analyzer", self.tapline("analyzer", &sets)?)
    }

    /// Where the page is to be served; none where none is wanted.
    fn page(&self) -> Option<String> {
        const DEFAULT: &str = "127.0.0.1:7714";
        match self.console.as_deref() {
            // A run over files ends before anybody could look.
            None if self.once => None,
            Some("none") => None,
            Some(address) => Some(address.to_owned()),
            None if std::net::TcpListener::bind(DEFAULT).is_ok() => Some(DEFAULT.to_owned()),
            None => Some("127.0.0.1:0".to_owned()),
        }
    }

    fn start_console(&self, place: &Place, listen: &str) -> Result<Child, Failure> {
        let unix = |path: &Path| quoted(&format!("unix:{}", path.display()));
        let command = self.tapline(
            "console",
            &[
                format!("console.data={}", quoted(&place.data.display().to_string())),
                format!("console.listen=[{}, {}]", quoted(listen), unix(&place.console)),
                format!("console.collector={}", unix(&place.collector)),
                format!("console.analyzer={}", unix(&place.analyzer)),
            ],
        )?;
        start("console", command)
    }

    /// TCP endpoints of the programs that run here, and of the servers that outputs write to: their packets would feed themselves.
    fn own_endpoints(&self, place: &Place) -> Result<Vec<String>, Failure> {
        let analyzer: ::analyzer::Settings = self.settings.load("analyzer")?;
        let servers = analyzer.output.servers().into_iter().map(|(host, port)| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        });
        let page = place.page().and_then(|address| {
            let address = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
            Some(address.split('/').next()?.to_owned())
        });
        Ok(servers.chain(page).chain(self.listen.clone()).collect())
    }

    fn start_probe(&self, place: &Place, interfaces: &[String], file: Option<&Path>) -> Result<Child, Failure> {
        let mut command = Command::new(probe_program().map_err(Failure::failed)?);
        for interface in interfaces {
            command.args(["-i", interface]);
        }
        if let Some(file) = file {
            command.arg("-r").arg(file);
        }
        if let Some(filter) = &self.filter {
            command.args(["-f", filter]);
        }
        if let Some(snaplen) = self.snaplen {
            command.args(["-s", &snaplen.to_string()]);
        }
        if let Some(name) = &self.name {
            command.args(["--name", name]);
        }
        if let Some(config) = self.settings.file() {
            command.arg("--config").arg(config);
        }
        for set in self.settings.sets_of("probe") {
            command.args(["--set", &set]);
        }
        if file.is_none() {
            for endpoint in self.own_endpoints(place)? {
                command.args(["--exclude", &endpoint]);
            }
        }
        command.arg("--collector").arg(format!("unix:{}", place.uplink.display()));
        start("probe", command)
    }
}

/// What the file, the environment or the command line say of the probe's section, as far as it matters here.
#[derive(Default, serde::Deserialize, serde::Serialize)]
#[serde(default)]
struct ProbeSaid {
    interfaces: Vec<String>,
}

/// The same of the analyzer's: whether the store is said to be on or off.
#[derive(Default, serde::Deserialize, serde::Serialize)]
#[serde(default)]
struct AnalyzerSaid {
    output: OutputSaid,
}

#[derive(Default, serde::Deserialize, serde::Serialize)]
#[serde(default)]
struct OutputSaid {
    store: StoreSaid,
}

#[derive(Default, serde::Deserialize, serde::Serialize)]
#[serde(default)]
struct StoreSaid {
    enabled: Option<bool>,
}

/// Asks the desktop to show it; without one, the address was printed.
fn open_browser(address: &str) {
    let started = Command::new("xdg-open")
        .arg(address)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    match started {
        Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
        Err(error) => eprintln!("tapline: no browser was opened (xdg-open: {error}); open the address yourself"),
    }
}

fn start(name: &'static str, command: Command) -> Result<Child, Failure> {
    let program = command.get_program().to_owned();
    Child::start(name, command).map_err(|error| {
        Failure::failed(format!("cannot start the {name} ({}): {error}", Path::new(&program).display()))
    })
}

/// The paths of a data directory.
#[derive(Clone)]
struct Place {
    data: PathBuf,
    uplink: PathBuf,
    collector: PathBuf,
    analyzer: PathBuf,
    console: PathBuf,
    feed: String,
}

impl Place {
    fn make(data: PathBuf) -> Result<Self, Failure> {
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
        if std::os::unix::net::UnixStream::connect(&place.collector).is_ok() {
            return Err(Failure::failed(format!(
                "another tapline is running on {}; end it, or choose another directory with --data DIR",
                place.data.display()
            )));
        }
        Ok(place)
    }

    /// The account of every epoch; `None` if the collector does not answer.
    fn balance(&self) -> Option<BalanceAnswer> {
        serde_json::from_value(ask::json(&self.collector, "/api/v1/balance")?).ok()
    }

    /// Address of the page.
    fn page(&self) -> Option<String> {
        ask::json(&self.console, "/status")?["addresses"].as_array()?.first()?.as_str().map(str::to_owned)
    }

    /// Whether a probe captures: its first counts, or its connection, have come.
    fn is_captured(&self) -> bool {
        let answer =
            ask::json(&self.collector, "/api/v1/sources").and_then(|answer| serde_json::from_value(answer).ok());
        answer.is_some_and(|answer: SourcesAnswer| answer.sources.iter().any(|source| source.connected))
    }

    /// Whether everything that the archive has is decoded and written.
    fn is_analysed(&self) -> bool {
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

/// Ctrl-C and its relatives, counted.
struct Signals(Arc<AtomicUsize>);

impl Signals {
    fn catch() -> Result<Self, Failure> {
        let count = Arc::new(AtomicUsize::new(0));
        let signals = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
        let mut caught = signal_hook::iterator::Signals::new(signals).map_err(Failure::failed)?;
        let counted = Arc::clone(&count);
        std::thread::spawn(move || {
            for _ in caught.forever() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(Self(count))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

struct Running {
    place: Place,
    probes: Vec<Child>,
    collector: Option<Child>,
    analyzer: Option<Child>,
    console: Option<Child>,
}

impl Running {
    /// Fails as soon as one of the programs has ended by itself.
    fn check_alive(&mut self) -> Result<(), Failure> {
        let others = [self.collector.as_mut(), self.analyzer.as_mut(), self.console.as_mut()];
        for child in others.into_iter().flatten().chain(&mut self.probes) {
            if let Some(status) = child.ended() {
                child.join_log();
                return Err(Failure::failed(format!(
                    "the {} ended by itself ({status}); see its message above",
                    child.name
                )));
            }
        }
        Ok(())
    }

    fn wait_ready(&mut self, what: &str, signals: &Signals, ready: impl Fn(&Place) -> bool) -> Result<(), Failure> {
        let since = Instant::now();
        while signals.count() == 0 {
            self.check_alive()?;
            if ready(&self.place) {
                return Ok(());
            }
            if since.elapsed() > READY_PATIENCE {
                return Err(Failure::failed(format!("{what} is not ready after {} s", READY_PATIENCE.as_secs())));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Ends probes, then collector and analyzer once everything is decoded; a second Ctrl-C does not wait.
    fn end(&mut self, signals: &Signals, is_analysed: bool) -> Result<(), Failure> {
        let mut killed = Vec::new();
        for mut probe in std::mem::take(&mut self.probes) {
            match probe.end(PROBE_PATIENCE) {
                Some(status) if !status.success() => {
                    return Err(Failure::failed(format!("the probe ended with {status}; see its message above")));
                }
                Some(_) => {}
                None => killed.push(probe.name),
            }
        }
        let urgent = signals.count();
        let since = Instant::now();
        let alive = self.check_alive().is_ok();
        let mut analysed = is_analysed;
        while alive
            && !analysed
            && self.analyzer.is_some()
            && since.elapsed() < DRAIN_PATIENCE
            && signals.count() <= urgent.max(1)
        {
            analysed = self.place.is_analysed();
            if !analysed {
                std::thread::sleep(POLL);
            }
            if self.check_alive().is_err() {
                break;
            }
        }
        if alive && self.analyzer.is_some() {
            summary::print(&self.place.collector, &self.place.analyzer, &self.place.data);
            if !analysed {
                eprintln!("tapline: not everything is analysed yet; the next start goes on where this one ended");
            }
        }
        for child in [self.console.as_mut(), self.collector.as_mut(), self.analyzer.as_mut()].into_iter().flatten() {
            if child.end(END_PATIENCE).is_none() {
                killed.push(child.name);
            }
        }
        if killed.is_empty() {
            Ok(())
        } else {
            Err(Failure::failed(format!("had to be killed: {}", killed.join(", "))))
        }
    }
}

#[path = "up_summary.rs"]
mod summary;
