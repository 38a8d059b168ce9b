//! Where things are: the data directory, and the collector and analyzer that a command asks. One rule for all commands.
//! Creates nothing.

use std::path::{Path, PathBuf};

use api::{Client, ClientError, CollectorUrl, StatusAnswer};

use crate::command::{SettingsArguments, runtime};
use crate::failure::Failure;

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

/// Where the collector's API answers when nothing else is said.
const API: &str = "127.0.0.1:7713";

/// What a configuration says of places.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct CollectorSaid {
    data: Option<PathBuf>,
    api: Option<Vec<String>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct AnalyzerSaid {
    data: Option<PathBuf>,
    status: Option<String>,
}

/// The programs of this machine: where the command line and the configuration say that they are.
#[derive(Debug)]
pub struct Local {
    /// The data directory: the one that is named, else the configuration's, else the default.
    pub data: PathBuf,
    /// Whether the command line names it: then a collector or analyzer of another one is not meant.
    is_named: bool,
    api: Vec<String>,
    status: Option<CollectorUrl>,
}

impl Local {
    /// Looks at the command line and the configuration.
    ///
    /// # Errors
    /// What is wrong with a configuration that was named.
    pub fn new(named: Option<&Path>, settings: &SettingsArguments) -> Result<Self, Failure> {
        let collector: CollectorSaid = settings.said("collector")?;
        let analyzer: AnalyzerSaid = settings.said("analyzer")?;
        let data = data_directory(named.or(collector.data.as_deref()));
        let beside = if named.is_some() { data.clone() } else { analyzer.data.unwrap_or_else(|| data.clone()) };
        // An analyzer cannot be asked whose it is: that of a file which nobody named is not taken for that of a directory which somebody did.
        let is_meant = named.is_none() || settings.is_file_named();
        let status = match analyzer.status.filter(|status| is_meant && !status.is_empty()) {
            None => Some(CollectorUrl::Unix(analyzer_socket(&beside))),
            Some(status) => match status.strip_prefix("unix:") {
                Some(path) => Some(CollectorUrl::Unix(beside.join(path))),
                None => status.parse().ok(),
            },
        };
        let api = collector.api.unwrap_or_else(|| vec![API.to_owned()]);
        Ok(Self { data, is_named: named.is_some(), api, status })
    }

    /// The archive.
    pub fn archive(&self) -> PathBuf {
        self.data.join("archive")
    }

    /// Where the collector may be, the likeliest first, and whether whoever answers there is the one that is meant.
    fn collectors(&self) -> Vec<(CollectorUrl, bool)> {
        let mut all = vec![(CollectorUrl::Unix(collector_socket(&self.data)), true)];
        for url in self.api.iter().filter_map(|text| text.parse::<CollectorUrl>().ok()) {
            if !all.iter().any(|(known, _)| *known == url) {
                all.push((url, !self.is_named));
            }
        }
        all
    }

    /// Where the analyzer may be, the likeliest first.
    fn analyzers(&self) -> Vec<CollectorUrl> {
        let local = CollectorUrl::Unix(analyzer_socket(&self.data));
        let other = self.status.clone().filter(|url| *url != local);
        [local].into_iter().chain(other).collect()
    }

    /// What the analyzer says of itself, and where; else where it was looked for.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub fn ask_analyzer(&self) -> Result<Result<(CollectorUrl, serde_json::Value), String>, Failure> {
        let runtime = runtime()?;
        let mut tried = Vec::new();
        for url in self.analyzers() {
            match runtime.block_on(Client::new(url.clone()).json("/status")) {
                Ok(status) => return Ok(Ok((url, status))),
                Err(ClientError::Unreachable { url, error }) => tried.push(format!("{url} ({error})")),
                Err(error) => tried.push(format!("{url} ({error})")),
            }
        }
        Ok(Err(format!("tried {}", tried.join(", "))))
    }
}

/// Which collector a command asks.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Connect {
    /// The collector to ask: http://HOST:PORT or unix:PATH [default: the socket in the data directory, then collector.api of the
    /// configuration, by itself http://127.0.0.1:7713]
    #[arg(long, value_name = "URL", env = "TAPLINE_URL")]
    pub connect: Option<String>,
    /// Data directory of a `tapline up` or collector on this machine [default: collector.data of the configuration, then
    /// /var/lib/tapline, for others than root ~/.local/share/tapline]
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA")]
    pub data: Option<PathBuf>,
    /// Configuration that says where the programs are [default: /etc/tapline/tapline.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What came of looking for a collector.
pub enum Found {
    /// It answers, or was named.
    Collector(Client),
    /// None answers; the text says where it was looked for.
    Nobody(String),
}

impl Connect {
    /// Those arguments without `--connect`.
    pub fn at(data: Option<PathBuf>, config: Option<PathBuf>) -> Self {
        Self { connect: None, data, config }
    }

    /// The programs of this machine.
    ///
    /// # Errors
    /// What is wrong with a configuration that was named.
    pub fn local(&self) -> Result<Local, Failure> {
        Local::new(self.data.as_deref(), &SettingsArguments::of_file(self.config.clone()))
    }

    /// Looks for the collector.
    ///
    /// # Errors
    /// Wrong arguments.
    pub fn find(&self) -> Result<Found, Failure> {
        if let Some(url) = &self.connect {
            return Ok(Found::Collector(Client::new(url.parse().map_err(Failure::usage)?)));
        }
        let local = self.local()?;
        let runtime = runtime()?;
        let mut tried = Vec::new();
        for (url, is_meant) in local.collectors() {
            let client = Client::new(url.clone());
            let problem = match runtime.block_on(client.json::<StatusAnswer>("/api/v1/status")) {
                Ok(status) if is_meant || is_same(&status.archive, &local.archive()) => {
                    return Ok(Found::Collector(client));
                }
                Ok(status) => format!("it writes the archive {}", status.archive.display()),
                Err(ClientError::Unreachable { error, .. }) => error,
                Err(_) if is_meant => return Ok(Found::Collector(client)),
                Err(error) => error.to_string(),
            };
            tried.push(format!("{url} ({problem})"));
        }
        Ok(Found::Nobody(format!("no collector answers for {}: tried {}", local.data.display(), tried.join(", "))))
    }

    /// The collector to ask.
    ///
    /// # Errors
    /// When none answers, with where it was looked for and what to do.
    pub fn client(&self) -> Result<Client, Failure> {
        match self.find()? {
            Found::Collector(client) => Ok(client),
            Found::Nobody(text) => Err(nobody(&text)),
        }
    }
}

/// No collector answers, and nothing else will do.
pub fn nobody(text: &str) -> Failure {
    Failure::failed(format!(
        "{text}; start one (`tapline up`, `tapline collector`), or say where it is with --connect URL, --data DIR or --config FILE"
    ))
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(data: Option<&str>, file: Option<&str>) -> (Vec<String>, Vec<String>, String) {
        let folder = tempfile::tempdir().unwrap();
        let config = file.map(|text| {
            let path = folder.path().join("tapline.toml");
            std::fs::write(&path, text).unwrap();
            path
        });
        let local = Local::new(data.map(Path::new), &SettingsArguments::of_file(config)).unwrap();
        let collectors = local.collectors().iter().map(|(url, is_meant)| format!("{url} {is_meant}")).collect();
        let analyzers = local.analyzers().iter().map(ToString::to_string).collect();
        (collectors, analyzers, local.data.display().to_string())
    }

    #[test]
    fn a_named_directory_is_looked_into_first_and_others_must_prove_that_they_are_its() {
        let (collectors, analyzers, data) = local(Some("/d"), None);
        assert_eq!(collectors, ["unix:/d/run/collector.sock true", "http://127.0.0.1:7713 false"]);
        assert_eq!(analyzers, ["unix:/d/run/analyzer.sock"]);
        assert_eq!(data, "/d");
    }

    #[test]
    fn a_configuration_says_where_the_programs_are() {
        let file = "[collector]\ndata = \"/c\"\napi = [\"127.0.0.1:7799\", \"unix:/c/run/collector.sock\"]\n[analyzer]\ndata = \"/a\"\nworkers = 2\n";
        let (collectors, analyzers, data) = local(None, Some(file));
        assert_eq!(collectors, ["unix:/c/run/collector.sock true", "http://127.0.0.1:7799 true"]);
        assert_eq!(analyzers, ["unix:/c/run/analyzer.sock", "unix:/a/run/analyzer.sock"]);
        assert_eq!(data, "/c");
        let (_, analyzers, _) = local(Some("/d"), Some("[analyzer]\nstatus = \"127.0.0.1:7798\"\n"));
        assert_eq!(analyzers, ["unix:/d/run/analyzer.sock", "http://127.0.0.1:7798"]);
    }

    #[test]
    fn a_configuration_that_is_named_and_missing_is_said() {
        let settings = SettingsArguments::of_file(Some("/nonexistent/tapline.toml".into()));
        assert!(
            matches!(Local::new(None, &settings), Err(Failure::Usage(text)) if text.contains("/nonexistent/tapline.toml"))
        );
    }
}
