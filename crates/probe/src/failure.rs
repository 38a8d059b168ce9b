//! Why the probe ends without having done its work, and with which exit code.

use std::fmt;
use std::process::ExitCode;

/// A reason to end.
#[derive(Debug)]
pub enum Failure {
    /// Something failed: exit code 1.
    Failed(String),
    /// The command line is wrong: exit code 2.
    Usage(String),
    /// The configuration is wrong, which flags are part of: exit code 2.
    Configuration(String),
}

impl Failure {
    /// From anything that says what failed.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::Failed(message.to_string())
    }

    /// A configuration that cannot be used.
    pub fn configuration(message: impl fmt::Display) -> Self {
        Self::Configuration(message.to_string())
    }

    /// What failed.
    pub fn message(&self) -> &str {
        match self {
            Self::Failed(message) | Self::Usage(message) | Self::Configuration(message) => message,
        }
    }

    /// Says it and gives the exit code.
    pub fn report(&self) -> ExitCode {
        let (message, code, more) = match self {
            Self::Failed(message) => (message, 1, None),
            Self::Usage(message) => (message, 2, Some("--help shows what can be asked for")),
            Self::Configuration(message) => (message, 2, None),
        };
        for line in message.lines().chain(more) {
            eprintln!("tapline-probe: {line}");
        }
        ExitCode::from(code)
    }
}
