//! Why the probe ends without having done its work, and with which exit code.

use std::fmt;
use std::process::ExitCode;

/// A reason to end.
#[derive(Debug)]
pub enum Failure {
    /// Something failed: exit code 1.
    Failed(String),
    /// The command line or the configuration is wrong: exit code 2.
    Usage(String),
}

impl Failure {
    /// From anything that says what failed.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::Failed(message.to_string())
    }

    /// What failed.
    pub fn message(&self) -> &str {
        match self {
            Self::Failed(message) | Self::Usage(message) => message,
        }
    }

    /// Says it and gives the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Failed(message) => {
                eprintln!("tapline-probe: {message}");
                ExitCode::from(1)
            }
            Self::Usage(message) => {
                eprintln!("tapline-probe: {message}");
                eprintln!("tapline-probe: --help shows what can be asked for");
                ExitCode::from(2)
            }
        }
    }
}
