//! `tapline up`: collector, analyzer, console and probe as real processes on one data directory, talking through sockets in it.
//! Starts, watches and ends them; everything else happens in them.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::ask;
use super::children::Child;
use crate::failure::Failure;
use crate::place::Local;
use data::Place;

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
    /// Capture file to read instead, `-` for standard input; may be given several times
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
    /// Where everything is kept [default: collector.data of the configuration, then /var/lib/tapline, for others than root
    /// ~/.local/share/tapline]
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA")]
    data: Option<PathBuf>,
    /// Also answer the collector's API on this address
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Where the page is served; `none` serves none [default: console.listen of the configuration, then 127.0.0.1:7714, or a free
    /// port if that is taken]
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
    /// What the configuration says of what is set here.
    #[arg(skip)]
    said: Box<Said>,
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
        for file in self.read.iter().filter(|file| !is_stdin(file)) {
            std::fs::File::open(file).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
        }
        match self.read.iter().filter(|file| is_stdin(file)).count() {
            0 => {}
            1 if std::io::stdin().is_terminal() => {
                return Err(Failure::usage(
                    "-r - reads a capture from standard input, which is a terminal: pipe one in, as in `tcpdump -i eth0 -U -w - | tapline up -r -`",
                ));
            }
            1 => {}
            _ => return Err(Failure::usage("standard input can be read once: leave out one -r -")),
        }
        // All sections are looked at before anything is started, so that every problem is shown at once.
        self.settings.check_sections()?;
        let said = Said::load(&self.settings)?;
        if self.interfaces.is_empty() && self.read.is_empty() {
            self.interfaces = said.probe.interfaces.clone();
            if self.interfaces.is_empty() {
                self.interfaces.push("any".to_owned());
            }
        }
        let place = Place::make(Local::new(self.data.as_deref(), &self.settings)?.data)?;
        let unused = said.unused(&place.data);
        if !unused.is_empty() {
            eprintln!("tapline: up joins its programs by itself; not used of the configuration: {}", unused.join(", "));
        }
        *self.said = said;
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
        if let Some(address) = running.console.as_ref().and_then(|_| place.pages().into_iter().next()) {
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
                        let path = shown(path);
                        reading = None;
                        if !status.success() {
                            let what = format!("reading {path} failed ({status})");
                            return Err(ended_badly("probe", status, &what));
                        }
                    }
                }
                None => match files.next() {
                    Some(path) => {
                        eprintln!("tapline: reading {}", shown(path));
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
        let beside = |own: String, others: &[String]| {
            let others = others.iter().map(|other| quoted(other)).filter(|other| *other != own);
            [own.clone()].into_iter().chain(others).collect::<Vec<_>>().join(", ")
        };
        let api: Vec<String> = self.listen.iter().chain(&self.said.collector.api).cloned().collect();
        let command = self.tapline(
            "collector",
            &[
                format!("collector.data={}", quoted(&place.data.display().to_string())),
                format!("collector.listen=[{}]", beside(unix(&place.uplink), &self.said.collector.listen)),
                format!("collector.api=[{}]", beside(unix(&place.collector), &api)),
                format!("collector.feed=[{}]", beside(quoted(&place.feed), &self.said.collector.feed)),
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
        ];
        if self.said.analyzer.start.is_none() {
            sets.push("analyzer.start=\"oldest\"".to_owned());
        }
        if self.said.analyzer.output.store.enabled.is_none() {
            sets.push("analyzer.output.store.enabled=true".to_owned());
        }
        start("analyzer", self.tapline("analyzer", &sets)?)
    }

    /// Where the page is to be served; none where none is wanted.
    fn page(&self) -> Option<Vec<String>> {
        const DEFAULT: &str = "127.0.0.1:7714";
        let one = |address: &str| Some(vec![address.to_owned()]);
        match self.console.as_deref() {
            // A run over files ends before anybody could look.
            None if self.once => None,
            Some("none") => None,
            Some(address) => one(address),
            None if !self.said.console.listen.is_empty() => Some(self.said.console.listen.clone()),
            None if std::net::TcpListener::bind(DEFAULT).is_ok() => one(DEFAULT),
            None => one("127.0.0.1:0"),
        }
    }

    fn start_console(&self, place: &Place, listen: &[String]) -> Result<Child, Failure> {
        let unix = |path: &Path| quoted(&format!("unix:{}", path.display()));
        let listen: Vec<String> = listen.iter().map(|address| quoted(address)).collect();
        let command = self.tapline(
            "console",
            &[
                format!("console.data={}", quoted(&place.data.display().to_string())),
                format!("console.listen=[{}, {}]", listen.join(", "), unix(&place.console)),
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
        let pages = place.pages().into_iter().filter_map(|address| {
            let address = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
            Some(address.split('/').next()?.to_owned())
        });
        let collector = &self.said.collector;
        let served = [&collector.listen, &collector.api, &collector.osmo_pcap.listen].into_iter().flatten();
        let published = collector.feed.iter().chain(&collector.feed_v1).filter_map(|feed| feed.strip_prefix("tcp://"));
        // ZeroMQ's word for every address.
        let published = published.map(|address| address.replace("*:", "0.0.0.0:"));
        let served = served.filter(|address| !address.starts_with("unix:")).cloned();
        Ok(servers.chain(pages).chain(self.listen.clone()).chain(served).chain(published).collect())
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
        match file.is_some_and(is_stdin) {
            true => start_with("probe", command, Stdio::inherit()),
            false => start("probe", command),
        }
    }
}

/// Whether the file is standard input.
fn is_stdin(file: impl AsRef<Path>) -> bool {
    file.as_ref().as_os_str() == "-"
}

/// What a file to read is called in messages.
fn shown(file: &Path) -> String {
    if is_stdin(file) { "standard input".to_owned() } else { file.display().to_string() }
}

/// What the file, the environment or the command line say, as far as it is set here too: taken up, or not used.
#[derive(Default, Clone)]
struct Said {
    probe: ProbeSaid,
    collector: CollectorSaid,
    analyzer: AnalyzerSaid,
    console: ConsoleSaid,
}

#[derive(Default, Clone, serde::Deserialize)]
#[serde(default)]
struct ProbeSaid {
    interfaces: Vec<String>,
    collector: Vec<String>,
}

#[derive(Default, Clone, serde::Deserialize)]
#[serde(default)]
struct CollectorSaid {
    data: Option<PathBuf>,
    listen: Vec<String>,
    api: Vec<String>,
    feed: Vec<String>,
    feed_v1: Vec<String>,
    osmo_pcap: OsmoPcapSaid,
}

#[derive(Default, Clone, serde::Deserialize)]
#[serde(default)]
struct OsmoPcapSaid {
    listen: Vec<String>,
}

#[derive(Default, Clone, serde::Deserialize)]
#[serde(default)]
struct AnalyzerSaid {
    data: Option<PathBuf>,
    feed: Vec<String>,
    collector: String,
    status: Option<String>,
    start: Option<String>,
    output: OutputSaid,
}

#[derive(Default, Clone, serde::Deserialize)]
#[serde(default)]
struct OutputSaid {
    store: StoreSaid,
}

#[derive(Default, Clone, serde::Deserialize)]
#[serde(default)]
struct StoreSaid {
    enabled: Option<bool>,
}

#[derive(Default, Clone, serde::Deserialize)]
#[serde(default)]
struct ConsoleSaid {
    data: Option<PathBuf>,
    listen: Vec<String>,
    collector: String,
    analyzer: String,
}

impl Said {
    fn load(settings: &super::SettingsArguments) -> Result<Self, Failure> {
        Ok(Self {
            probe: settings.said("probe")?,
            collector: settings.said("collector")?,
            analyzer: settings.said("analyzer")?,
            console: settings.said("console")?,
        })
    }

    /// Keys that are said and not used: how the programs find each other is decided here, and all keep their data in one directory.
    fn unused(&self, data: &Path) -> Vec<&'static str> {
        let elsewhere = |said: &Option<PathBuf>| said.as_ref().is_some_and(|said| said != data);
        let keys = [
            ("probe.collector", !self.probe.collector.is_empty()),
            ("collector.data", elsewhere(&self.collector.data)),
            ("analyzer.data", elsewhere(&self.analyzer.data)),
            ("analyzer.feed", !self.analyzer.feed.is_empty()),
            ("analyzer.collector", !self.analyzer.collector.is_empty()),
            ("analyzer.status", self.analyzer.status.is_some()),
            ("console.data", elsewhere(&self.console.data)),
            ("console.collector", !self.console.collector.is_empty()),
            ("console.analyzer", !self.console.analyzer.is_empty()),
        ];
        keys.into_iter().filter(|(_, is_unused)| *is_unused).map(|(key, _)| key).collect()
    }
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
    start_with(name, command, Stdio::null())
}

fn start_with(name: &'static str, command: Command, stdin: Stdio) -> Result<Child, Failure> {
    let program = command.get_program().to_owned();
    Child::start(name, command, stdin).map_err(|error| {
        Failure::failed(format!("cannot start the {name} ({}): {error}", Path::new(&program).display()))
    })
}

/// Why there is no going on, once one of the programs has ended.
fn ended_badly(name: &str, status: ExitStatus, what: &str) -> Failure {
    match status.code() {
        // What it calls wrong usage was passed on from the user.
        Some(2) => Failure::usage(format!("the {name} cannot run so; see its message above")),
        _ => Failure::failed(format!("{what}; see the {name}'s message above")),
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
                let what = format!("the {} ended by itself ({status})", child.name);
                return Err(ended_badly(child.name, status, &what));
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
                    return Err(ended_badly(probe.name, status, &format!("the probe ended with {status}")));
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

#[path = "up_place.rs"]
mod data;
#[path = "up_summary.rs"]
mod summary;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_configuration_what_up_decides_itself_is_named_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tapline.toml");
        let text = "[probe]\ncollector = [\"127.0.0.1:7710\"]\ninterfaces = [\"lo\"]\n[collector]\ndata = \"/d\"\nfeed = [\"tcp://127.0.0.1:7711\"]\n\
                    [analyzer]\nstart = \"now\"\nstatus = \"127.0.0.1:7799\"\n[console]\ndata = \"/elsewhere\"\n";
        std::fs::write(&path, text).unwrap();
        let said = Said::load(&crate::command::SettingsArguments::of_file(Some(path))).unwrap();
        assert_eq!(said.unused(Path::new("/d")), ["probe.collector", "analyzer.status", "console.data"]);
        assert_eq!(said.collector.feed, ["tcp://127.0.0.1:7711"]);
        assert_eq!(said.analyzer.start.as_deref(), Some("now"));
        assert!(Said::default().unused(Path::new("/d")).is_empty());
    }
}
