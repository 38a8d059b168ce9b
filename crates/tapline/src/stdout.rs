//! Standard output for many lines: as a file, since the standard library's own looks for line ends and writes up to the last one.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use crate::failure::Failure;

/// Standard output, and whether somebody looks at it who wants to see each line at once.
pub fn open() -> Result<(File, bool), Failure> {
    let stdout = io::stdout();
    let file = stdout.as_fd().try_clone_to_owned().map_err(Failure::output)?;
    Ok((File::from(file), stdout.is_terminal()))
}
