//! `tapline analyzer`: subscribes to feeds, decodes, and hands events to the outputs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
        let plan = self.settings.load_checked("analyzer", analyzer::Plan::new)?;
        if self.check_config {
            return super::print_good();
        }
        // Flags, not a thread: privileges are given up while there is only one.
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(Failure::failed)?;
        }
        plan.run(&stop).map_err(Failure::failed)
    }
}
