//! `tapline analyzer`: subscribes to feeds, decodes, and hands events to the outputs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use analyzer::RunError;

use crate::failure::Failure;

/// Decode a collector's feed into events
#[derive(clap::Args)]
pub struct Analyzer {
    /// Only look for problems in the configuration
    #[arg(long)]
    check_config: bool,
    #[command(flatten)]
    settings: super::SettingsArguments,
}

impl Analyzer {
    pub fn run(self) -> Result<(), Failure> {
        crate::logging::start("info");
        let settings: analyzer::Settings = self.settings.load("analyzer")?;
        if self.check_config {
            return analyzer::engine::factory(&settings).map(|_| ()).map_err(Failure::usage);
        }
        // Flags, not a thread: privileges are given up while there is only one.
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(Failure::failed)?;
        }
        analyzer::run(&settings, &stop).map_err(|error| match error {
            RunError::Configuration(text) => Failure::usage(text),
            other => Failure::failed(other),
        })
    }
}
