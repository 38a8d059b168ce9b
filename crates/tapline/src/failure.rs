//! How a command fails: exit code 1 when it could not do its work, 2 when it was called or configured wrongly.
//! A reader that went away (`| head`) is no failure.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// It could not do its work.
    Failed(String),
    /// The command line or the configuration is wrong.
    Usage(String),
    /// Nobody reads its output any more.
    ReaderGone,
}

impl Failure {
    /// A failure with a text that says what failed and what to do.
    pub fn failed(text: impl Display) -> Self {
        Self::Failed(text.to_string())
    }

    /// Wrong usage or configuration.
    pub fn usage(text: impl Display) -> Self {
        Self::Usage(text.to_string())
    }

    /// What became of writing to standard output.
    pub fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }

    /// Tells the user and gives the exit code.
    pub fn report(&self) -> ExitCode {
        let (text, code) = match self {
            Self::Failed(text) => (text, 1),
            Self::Usage(text) => (text, 2),
            Self::ReaderGone => return ExitCode::SUCCESS,
        };
        let mut stderr = io::stderr();
        for line in text.lines() {
            // If standard error is gone there is nobody left to tell.
            let _ = writeln!(stderr, "tapline: {line}");
        }
        ExitCode::from(code)
    }
}

impl From<settings::Problems> for Failure {
    fn from(problems: settings::Problems) -> Self {
        Self::Usage(problems.to_string())
    }
}

impl From<api::ClientError> for Failure {
    fn from(error: api::ClientError) -> Self {
        match error {
            api::ClientError::Unreachable { .. } => {
                Self::Failed(format!("{error}; is the collector running, and is that its address?"))
            }
            other => Self::failed(other),
        }
    }
}

/// Prints a text to standard output.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::output)
}
