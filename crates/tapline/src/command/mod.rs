//! The subcommands, a file each, and what several of them take as arguments.
//! Only turns arguments into checked values and calls the crates that do the work.

mod analyze;
mod ask;
mod completions;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use settings::Problems;

use crate::failure::Failure;

/// The subcommands.
#[derive(clap::Subcommand)]
pub enum Command {
    Analyze(analyze::Analyze),
    Completions(completions::Completions),
}

impl Command {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Analyze(analyze) => analyze.run(),
            Self::Completions(completions) => completions.run(),
        }
    }
}

/// Where settings come from.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingsArguments {
    /// Configuration file [default: /etc/tapline/tapline.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting, such as analyzer.protocols.http.ports=[80,8080]; the value is TOML, a bare word is a string
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = settings::parse_set)]
    sets: Vec<(String, String)>,
}

impl SettingsArguments {
    /// The configuration file, if there is one.
    pub fn file(&self) -> Option<PathBuf> {
        settings::file_or_default(self.config.as_deref())
    }

    /// Loads a section.
    pub fn load<T: DeserializeOwned + Default>(&self, section: &str) -> Result<T, Problems> {
        settings::load(section, self.file().as_deref(), &self.sets)
    }

    fn check_sections(&self)->Result<(),Problems>{self.load::<::analyzer::Settings>("analyzer").map(|_|())}
    /// Gives the same arguments to another program of ours.
    pub fn pass_on(&self, command: &mut std::process::Command) {
        if let Some(file) = &self.config {
            command.arg("--config").arg(file);
        }
        for (path, value) in &self.sets {
            command.arg("--set").arg(format!("{path}={value}"));
        }
    }

    /// The settings given with `--set` for one section.
    pub fn sets_of(&self, section: &str) -> impl Iterator<Item = String> {
        let prefix = format!("{section}.");
        self.sets.iter().filter(move |(path, _)| path.starts_with(&prefix)).map(|(path, value)| format!("{path}={value}"))
    }
}

/// Looks for problems in a configuration file.
fn check_configuration(file: &Path) -> Result<(), Problems> {
    SettingsArguments { config: Some(file.to_owned()), sets: Vec::new() }.check_sections()
}

/// A runtime for a command that asks a collector.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)
}
