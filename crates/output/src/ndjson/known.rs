//! The ids that earlier runs wrote last, so that an event decoded again is not written again.
//! Bounded in number, bytes read and time: it covers the analyzer's rewind after a restart, nothing more.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use super::files::Folder;
use crate::EventBatch;

/// Ids kept at most (16 MiB).
const IDS_MAX: usize = 500_000;
/// Bytes read back from the end of the files at most.
const BYTES_MAX: u64 = 512 << 20;
/// After this time in a run nothing is decoded a second time any more.
const AGE_MAX: Duration = Duration::from_secs(20 * 60);
/// How every line begins.
const LEAD: &[u8] = b"{\"_id\":\"";

/// The ids.
pub(super) struct Known {
    ids: HashSet<u128>,
    since: Instant,
}

impl Known {
    /// Reads the ids from the newest files backwards.
    pub(super) fn read(folder: &Folder) -> io::Result<Self> {
        let mut known = Self { ids: HashSet::new(), since: Instant::now() };
        let mut budget = BYTES_MAX;
        for number in folder.numbers()?.into_iter().rev() {
            let mut file = File::open(folder.file(number))?;
            let length = file.metadata()?.len();
            let skip = length.saturating_sub(budget);
            file.seek(SeekFrom::Start(skip))?;
            known.read_file(file)?;
            budget = budget.saturating_sub(length);
            if budget == 0 || known.ids.len() >= IDS_MAX {
                break;
            }
        }
        Ok(known)
    }

    fn read_file(&mut self, mut file: File) -> io::Result<()> {
        let mut block = vec![0u8; 256 * 1024];
        // The first bytes of the line that is being read.
        let mut head: Vec<u8> = Vec::with_capacity(LEAD.len() + 32);
        let wanted = LEAD.len() + 32;
        loop {
            let length = file.read(&mut block)?;
            if length == 0 {
                return Ok(());
            }
            let mut rest = block.get(..length).unwrap_or_default();
            while !rest.is_empty() {
                let line_end = rest.iter().position(|byte| *byte == b'\n');
                let line = rest.get(..line_end.unwrap_or(rest.len())).unwrap_or_default();
                let missing = wanted.saturating_sub(head.len());
                head.extend_from_slice(line.get(..missing.min(line.len())).unwrap_or_default());
                match line_end {
                    Some(end) => {
                        self.insert(&head);
                        head.clear();
                        rest = rest.get(end + 1..).unwrap_or_default();
                    }
                    None => break,
                }
            }
        }
    }

    fn insert(&mut self, line: &[u8]) {
        let digits = line.strip_prefix(LEAD).and_then(|id| std::str::from_utf8(id).ok());
        if let Some(id) = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok())
            && self.ids.len() < IDS_MAX
        {
            self.ids.insert(id);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Appends the lines of the events that are not known to `lines`; gives how many are known.
    pub(super) fn leave_out(&self, batch: &EventBatch, lines: &mut Vec<u8>) -> u64 {
        let mut known = 0;
        for (event, line) in batch.iter() {
            if self.ids.contains(&event.id().0) {
                known += 1;
            } else {
                lines.extend_from_slice(line);
            }
        }
        known
    }

    /// Forgets all ids once they cannot come again.
    pub(super) fn age(&mut self) {
        if !self.ids.is_empty() && self.since.elapsed() > AGE_MAX {
            self.ids = HashSet::new();
        }
    }
}
