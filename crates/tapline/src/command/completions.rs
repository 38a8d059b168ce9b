//! `tapline completions SHELL`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::failure::{Failure, print};

/// Print the completion script of a shell
#[derive(clap::Args)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Cli::command(), "tapline", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}
