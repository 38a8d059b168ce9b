//! JSON lines on standard output, for pipes and containers.
//! Ends quietly when the reader is gone.

use std::io::{ErrorKind, Stdout, Write};
use std::path::PathBuf;

use processors::Condition;

use crate::{EventBatch, Failure, OpenError, Output, Place, WhenFull, Written};

/// Settings of `[analyzer.output.stdout]`.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether events are written to standard output.
    pub enabled: bool,
    /// Which events go there; all unless said. The conditions are those of the processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// What its full queue means; `analyzer.when_full` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
}

impl Settings {
    pub(crate) fn directories(&self, _: &Place) -> Vec<PathBuf> {
        Vec::new()
    }

    pub(crate) fn open(&self, _: &Place) -> Result<Lines<Stdout>, OpenError> {
        Ok(Lines::new(std::io::stdout()))
    }
}

/// Writes JSON lines to anything that takes bytes.
pub struct Lines<W> {
    to: W,
}

impl<W: Write + Send> Lines<W> {
    /// Lines to `to`.
    pub fn new(to: W) -> Self {
        Self { to }
    }
}

impl<W: Write + Send> Output for Lines<W> {
    fn name(&self) -> &'static str {
        "stdout"
    }

    // A write that fails half way cannot be taken back from a pipe, so every error ends the output.
    fn write(&mut self, batch: &EventBatch) -> Result<Written, Failure> {
        match self.to.write_all(batch.json()) {
            Ok(()) => Ok(Written { events: batch.len() as u64, known: 0, bytes: batch.json_bytes() as u64 }),
            Err(error) => {
                if error.kind() != ErrorKind::BrokenPipe {
                    tracing::error!("cannot write to standard output: {error}");
                }
                Err(Failure::Closed)
            }
        }
    }

    fn flush(&mut self) -> Result<u64, Failure> {
        self.to.flush().map(|()| 0).map_err(|_| Failure::Closed)
    }
}
