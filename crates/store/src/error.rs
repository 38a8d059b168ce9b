//! What can go wrong, and whose fault it is.

use std::path::PathBuf;

use crate::FilterError;

/// Why the store could not be written or asked. A damaged file is no error for readers: it is skipped and reported in
/// [`crate::StoreFacts`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The question cannot be understood: the asker's fault.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// What was given as `after` was not made by this store.
    #[error("`{0}` is no place to go on from; give the `next` of the answer before, unchanged")]
    Cursor(String),
    /// A number or name out of its bounds: the asker's fault.
    #[error("{0}")]
    Question(String),
    /// The directory cannot be read or written.
    #[error("{path}: {source}; check the store's directory and its owner")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process writes into this directory.
    #[error("{0} is being written by another process; stop it, or give this one another directory")]
    Busy(PathBuf),
    /// SQLite refuses.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Compression refuses: our own fault, or no memory.
    #[error("cannot compress: {0}")]
    Compression(std::io::Error),
}

impl Error {
    /// Whether the question was at fault, not the store: a console answers 400 then, else 503.
    pub fn is_question(&self) -> bool {
        matches!(self, Self::Filter(_) | Self::Cursor(_) | Self::Question(_))
    }
}
