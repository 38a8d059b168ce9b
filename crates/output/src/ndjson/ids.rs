//! The ids at the beginning of the lines written last, whether the files are compressed or not.
//! Bounded in bytes read: it is done while the program starts.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};

use super::Compression;
use super::files::Folder;
use crate::known::{IDS_MAX, Known};

/// Bytes of events read back at most; of a compressed file all, because its end cannot be found otherwise.
const BYTES_MAX: u64 = 512 << 20;
/// How every line begins.
const LEAD: &[u8] = b"{\"_id\":\"";

/// Reads the ids from the newest files backwards.
pub(super) fn read(folder: &Folder) -> io::Result<Known> {
    let mut known = Known::new([]);
    let mut budget = BYTES_MAX;
    for (number, forms) in folder.files()?.into_iter().rev() {
        let form = forms.into_iter().min().unwrap_or_default();
        let path = folder.file(number, form);
        let skip = match form {
            Compression::None => std::fs::metadata(&path)?.len().saturating_sub(budget),
            _ => 0,
        };
        let mut ids = VecDeque::new();
        match read_file(folder.read(number, form, skip)?, &mut ids) {
            Ok(length) => budget = budget.saturating_sub(length),
            // A file that somebody damaged must not keep events from being written.
            Err(error) if form != Compression::None && is_damage(&error) => {
                tracing::warn!("{}: {error}; events in it may be written again", path.display());
            }
            Err(error) => return Err(error),
        }
        known.extend(ids.into_iter().rev());
        if budget == 0 || known.is_full() {
            break;
        }
    }
    Ok(known)
}

fn is_damage(error: &io::Error) -> bool {
    // libzstd's errors come as `Other`.
    matches!(
        error.kind(),
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof | ErrorKind::Other
    )
}

/// Adds the ids of a file, of which the last [`IDS_MAX`] stay; gives its length in bytes.
fn read_file(mut file: impl Read, ids: &mut VecDeque<u128>) -> io::Result<u64> {
    let mut block = vec![0u8; 256 * 1024];
    let mut total = 0;
    // The first bytes of the line that is being read.
    let mut head: Vec<u8> = Vec::with_capacity(LEAD.len() + 32);
    let wanted = LEAD.len() + 32;
    loop {
        let length = file.read(&mut block)?;
        if length == 0 {
            return Ok(total);
        }
        total += length as u64;
        let mut rest = block.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let line_end = rest.iter().position(|byte| *byte == b'\n');
            let line = rest.get(..line_end.unwrap_or(rest.len())).unwrap_or_default();
            let missing = wanted.saturating_sub(head.len());
            head.extend_from_slice(line.get(..missing.min(line.len())).unwrap_or_default());
            match line_end {
                Some(end) => {
                    if let Some(id) = id(&head) {
                        if ids.len() >= IDS_MAX {
                            ids.pop_front();
                        }
                        ids.push_back(id);
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_large_file_the_last_ids_are_kept() {
        let text: String = (0..IDS_MAX as u128 + 3).map(|id| format!("{{\"_id\":\"{id:032x}\",\"a\":1}}\n")).collect();
        let mut ids = VecDeque::new();
        assert_eq!(read_file(text.as_bytes(), &mut ids).unwrap(), text.len() as u64);
        assert_eq!((ids.len(), ids.front(), ids.back()), (IDS_MAX, Some(&3), Some(&(IDS_MAX as u128 + 2))));
    }
}
