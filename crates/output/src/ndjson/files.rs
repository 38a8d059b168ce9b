//! The numbered files of a folder: `events-00000001.ndjson` and so on, the highest number is the one being written.
//! Touches no file with another kind of name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const PREFIX: &str = "events-";
const SUFFIX: &str = ".ndjson";

/// The folder.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{PREFIX}{number:08}{SUFFIX}"))
    }

    /// The numbers there are, lowest first.
    pub(super) fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok());
            numbers.extend(number.filter(|number: &u64| *number > 0));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Opens the newest file, or the first one, at its end; half a line there is the trace of a crash and is cut off.
    pub(super) fn open_last(&self) -> io::Result<(File, u64)> {
        let number = self.numbers()?.last().copied().unwrap_or(1);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.file(number))?;
        let length = whole_lines(&mut file)?;
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok((file, length))
    }

    /// Begins a new file.
    pub(super) fn begin_next(&self) -> io::Result<(File, u64)> {
        let number = self.numbers()?.last().copied().unwrap_or(0) + 1;
        let file = OpenOptions::new().write(true).create_new(true).open(self.file(number))?;
        Ok((file, 0))
    }

    /// Removes all but the newest `files_max` files; 0 removes none.
    pub(super) fn keep_last(&self, files_max: u32) {
        let Ok(numbers) = self.numbers() else { return };
        let surplus = numbers.len().saturating_sub(files_max as usize);
        if files_max == 0 {
            return;
        }
        for number in numbers.iter().take(surplus) {
            if let Err(error) = std::fs::remove_file(self.file(*number)) {
                tracing::warn!("cannot remove {}: {error}", self.file(*number).display());
            }
        }
    }
}

/// Length of the file up to its last line end.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = vec![0u8; 64 * 1024];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = block.get_mut(..(end - start) as usize).unwrap_or_default();
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
