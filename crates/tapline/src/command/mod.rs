//! The subcommands, a file each, and what several of them take as arguments.
//! Only turns arguments into checked values and calls the crates that do the work.

mod analyze;
mod analyzer;
mod ask;
mod children;
mod collector;
mod completions;
mod console;
mod doctor;
mod grab;
mod keys;
mod live;
mod output;
mod pin;
mod remote;
mod replay;
mod selection;
mod setup;
mod sources;
mod status;
mod up;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::analyzer::decoder::Factory;
use serde::de::DeserializeOwned;
use settings::{Faults, Problems};

use crate::failure::{Failure, print};

/// Says that a configuration is good.
fn print_good() -> Result<(), Failure> {
    print(&format!("{}\n", settings::GOOD))
}

/// The subcommands.
#[derive(clap::Subcommand)]
pub enum Command {
    Up(up::Up),
    Collector(collector::Collector),
    Analyzer(analyzer::Analyzer),
    Console(console::Console),
    Analyze(analyze::Analyze),
    Grab(grab::Grab),
    Live(live::Live),
    Replay(replay::Replay),
    Status(status::Status),
    Sources(sources::Sources),
    Pin(pin::Pin),
    Keys(keys::Keys),
    Setup(setup::Setup),
    Output(output::Output),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

impl Command {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Up(up) => up.run(),
            Self::Collector(collector) => collector.run(),
            Self::Analyzer(analyzer) => analyzer.run(),
            Self::Console(console) => console.run(),
            Self::Analyze(analyze) => analyze.run(),
            Self::Grab(grab) => grab.run(),
            Self::Live(live) => live.run(),
            Self::Replay(replay) => replay.run(),
            Self::Status(status) => status.run(),
            Self::Sources(sources) => sources.run(),
            Self::Pin(pin) => pin.run(),
            Self::Keys(keys) => keys.run(),
            Self::Setup(setup) => setup.run(),
            Self::Output(output) => output.run(),
            Self::Doctor(doctor) => doctor.run(),
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

    /// Those of this file and nothing else.
    pub fn of_file(config: Option<PathBuf>) -> Self {
        Self { config, sets: Vec::new() }
    }

    /// Whether the command line names a file.
    pub fn is_file_named(&self) -> bool {
        self.config.is_some()
    }

    /// What is said of the keys that `T` has, whatever else stands in the section. Problems of a file that nobody named are left to the programs
    /// that it is for.
    pub fn said<T: DeserializeOwned + Default>(&self, section: &str) -> Result<T, Problems> {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            // A variable for another key of the section would be a problem.
            .filter(|one| settings::load_with::<T>(section, None, std::slice::from_ref(one), &[]).is_ok())
            .collect();
        match settings::load_with(section, self.file().as_deref(), &environment, &self.sets) {
            Err(_) if self.config.is_none() && self.sets.is_empty() => Ok(T::default()),
            said => said,
        }
    }

    /// Loads a section.
    pub fn load<T: DeserializeOwned + Default>(&self, section: &str) -> Result<T, Problems> {
        settings::load(section, self.file().as_deref(), &self.sets)
    }

    /// Loads a section and makes of it what a program starts with.
    pub fn load_checked<T: DeserializeOwned + Default, P>(
        &self,
        section: &str,
        make: impl FnOnce(T) -> Result<P, Faults>,
    ) -> Result<P, Problems> {
        settings::load_checked(section, self.file().as_deref(), &self.sets, make)
    }

    /// How packets are decoded, for commands that do it without an analyzer.
    pub fn decoding(&self) -> Result<(::analyzer::Settings, Arc<dyn Factory>), Problems> {
        self.load_checked("analyzer", |settings| {
            let decoders = ::analyzer::engine::factory(&settings)?;
            Ok((settings, decoders))
        })
    }

    /// Looks for what cannot be read in the sections of this program.
    pub fn check_sections(&self) -> Result<(), Problems> {
        let problems = [
            self.load::<::collector::Settings>("collector").err(),
            self.load::<::analyzer::Settings>("analyzer").err(),
            self.load::<::console::Settings>("console").err(),
        ];
        match problems.into_iter().flatten().reduce(Problems::and) {
            None => Ok(()),
            Some(problems) => Err(problems),
        }
    }

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
        self.sets
            .iter()
            .filter(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, value)| format!("{path}={value}"))
    }
}

/// Looks for problems in a configuration file, as the programs do that start with it.
fn check_configuration(file: &Path) -> Result<(), Problems> {
    let arguments = SettingsArguments::of_file(Some(file.to_owned()));
    let problems = [
        arguments.load_checked("collector", ::collector::Plan::new).err(),
        arguments.load_checked("analyzer", ::analyzer::Plan::new).err(),
        arguments.load_checked("console", ::console::Plan::new).err(),
    ];
    problems.into_iter().flatten().reduce(Problems::and).map_or(Ok(()), Err)
}

/// A runtime for a command that asks a collector.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)
}
