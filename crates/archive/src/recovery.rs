//! What happens to a source's files when its collector starts: segments that a crash left open are checked frame by
//! frame, cut back to their last sound one and closed; missing or broken indexes are made again; the account is brought up to date.

use crate::index::{BatchEntry, Index};
use crate::layout::{Archive, SegmentFile};
use crate::scan::Scan;
use crate::state::{EpochState, SourceState};
use crate::{batches, segment};
use packet::{Epoch, SourceName, Timestamp};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What was done to a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// A segment left open was closed.
    Closed {
        /// Its path from then on.
        path: PathBuf,
        /// Entries in it.
        entries: usize,
        /// Bytes behind the last sound frame, which were cut off: written, but never acknowledged.
        cut_bytes: u64,
    },
    /// A segment left open held no sound entry and was removed.
    Removed {
        /// Its path.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// An index was missing or broken and was made again.
    IndexRebuilt {
        /// Path of the segment.
        path: PathBuf,
    },
}

/// Puts the files of a source in order and gives its account.
pub(crate) fn recover(archive: &Archive, source: &SourceName, report: &mut Vec<Recovered>) -> io::Result<SourceState> {
    let loaded = SourceState::load(archive.root(), source);
    let mut state = loaded.clone().unwrap_or_default();
    let mut entries: Vec<(Epoch, BatchEntry, Timestamp)> = Vec::new();
    // Where a segment has its final name, everything its source had received until then was durable.
    let mut durable: BTreeMap<Epoch, u64> = BTreeMap::new();
    for file in archive.segments(source)? {
        let index = if file.open {
            close_left_open(&file, report)?
        } else if loaded.is_some() {
            // The account is saved before a segment gets its final name, so what it holds is counted.
            check_index(&file, report)?;
            None
        } else {
            Some(index_of(&file, report)?)
        };
        let Some(index) = index else { continue };
        for entry in &index.batches {
            let Some(section) = index.sections.get(entry.section as usize) else { continue };
            entries.push((section.epoch, *entry, file.modified));
            if !file.open {
                let until = durable.entry(section.epoch).or_default();
                *until = entry.last_seq.saturating_add(1).max(*until);
            }
        }
    }
    entries.sort_by_key(|(epoch, entry, _)| (*epoch, entry.seq));
    for (epoch, entry, arrived) in &entries {
        if state.epoch(*epoch).is_none() {
            state.begin(*epoch, entry.seq, *arrived);
        }
        let state = state.epoch_mut(*epoch);
        let known = durable.get(epoch).is_some_and(|until| entry.seq < *until);
        if entry.seq <= state.next_seq || known {
            state.count(entry, *arrived);
        } else {
            // A source's link types have a segment each: of one the end was lost, of the other not. The probe still has
            // what is missing and sends from there on again.
            state.put_ahead(entry);
        }
    }
    state.epochs.values_mut().for_each(EpochState::absorb);
    if loaded.as_ref() != Some(&state) {
        state.save(archive.root(), source)?;
    }
    Ok(state)
}

fn close_left_open(file: &SegmentFile, report: &mut Vec<Recovered>) -> io::Result<Option<Index>> {
    let opened = OpenOptions::new().read(true).write(true).open(&file.path)?;
    let mut scan = Scan::default();
    scan.run(&opened, file.compressed)?;
    if scan.index.batches.is_empty() {
        fs::remove_file(&file.path)?;
        let _ = fs::remove_file(file.index_path());
        report.push(Recovered::Removed { path: file.path.clone(), bytes: file.bytes });
        return Ok(None);
    }
    // What ended the segment, where the crash came while it was closed, is written anew.
    opened.set_len(scan.end)?;
    let end = segment::end_of_segment(&scan.statistics, &mut scan.frames, file.compressed)?;
    opened.write_all_at(&end, scan.end)?;
    opened.sync_all()?;
    let path = segment::finish(&file.path, &scan.index)?;
    let cut_bytes = file.bytes.saturating_sub(scan.sound);
    report.push(Recovered::Closed { path, entries: scan.index.batches.len(), cut_bytes });
    Ok(Some(scan.index))
}

fn check_index(file: &SegmentFile, report: &mut Vec<Recovered>) -> io::Result<()> {
    match batches::summary(file) {
        Some(summary) if summary.end <= file.bytes => Ok(()),
        _ => index_of(file, report).map(drop),
    }
}

fn index_of(file: &SegmentFile, report: &mut Vec<Recovered>) -> io::Result<Index> {
    if let Ok(bytes) = fs::read(file.index_path())
        && let Ok(index) = Index::parse(&bytes)
        && index.summary().end <= file.bytes
    {
        return Ok(index);
    }
    let index = rebuild_index(&file.path, file.compressed)?;
    segment::write_index(&file.path, &index)?;
    report.push(Recovered::IndexRebuilt { path: file.path.clone() });
    Ok(index)
}

/// Makes the index of a segment from the segment alone.
///
/// # Errors
/// When the file cannot be read. What is broken in it ends the index.
pub fn rebuild_index(path: &Path, compressed: bool) -> io::Result<Index> {
    let file = fs::File::open(path)?;
    let mut scan = Scan::default();
    scan.run(&file, compressed)?;
    Ok(scan.index)
}
