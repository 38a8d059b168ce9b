//! `tapline collector`: receives from probes, publishes, archives, and answers the API.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::failure::Failure;

/// Receive from probes, publish the feed, keep the archive
#[derive(clap::Args)]
pub struct Collector {
    /// Only look for problems in the configuration
    #[arg(long)]
    check_config: bool,
    #[command(flatten)]
    settings: super::SettingsArguments,
}

impl Collector {
    pub fn run(self) -> Result<(), Failure> {
        crate::logging::start("info");
        let plan = self.settings.load_checked("collector", collector::Plan::new)?;
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
