//! The ids at the beginning of the lines written last.
//! Bounded in bytes read: it is done while the program starts.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::files::Folder;
use crate::known::Known;

/// Bytes read back from the end of the files at most.
const BYTES_MAX: u64 = 512 << 20;
/// How every line begins.
const LEAD: &[u8] = b"{\"_id\":\"";

/// Reads the ids from the newest files backwards.
pub(super) fn read(folder: &Folder) -> io::Result<Known> {
    let mut known = Known::new([]);
    let mut budget = BYTES_MAX;
    for number in folder.numbers()?.into_iter().rev() {
        let mut file = File::open(folder.file(number))?;
        let length = file.metadata()?.len();
        let skip = length.saturating_sub(budget);
        file.seek(SeekFrom::Start(skip))?;
        read_file(file, &mut known)?;
        budget = budget.saturating_sub(length);
        if budget == 0 || known.is_full() {
            break;
        }
    }
    Ok(known)
}

fn read_file(mut file: File, known: &mut Known) -> io::Result<()> {
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
                    known.extend(id(&head));
                    head.clear();
                    rest = rest.get(end + 1..).unwrap_or_default();
                }
                None => break,
            }
        }
    }
}

fn id(line: &[u8]) -> Option<u128> {
    let digits = line.strip_prefix(LEAD).and_then(|id| std::str::from_utf8(id).ok())?;
    u128::from_str_radix(digits, 16).ok()
}
