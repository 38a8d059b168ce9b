//! The program `tapline`: the command line and glue, one file per subcommand.
//! Deliberately holds no mechanism of its own: capturing, storing, publishing and decoding live in the crates below.
#![forbid(unsafe_code)]

mod analyze;
mod command;
mod failure;
mod logging;
mod place;
mod stdout;

use std::process::ExitCode;

use clap::Parser;

/// Collect packets centrally, publish them live, decode them away from the capture points.
#[derive(Parser)]
#[command(name = "tapline", version, max_term_width = 120, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: command::Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
