//! What must not be taken on trust of an entry: bounded decompression and one walk, before it is published or stored.

use archive::BatchIndex;
use packet::batch::{BatchHeader, GapRecord};
use packet::{BatchName, Entry, Epoch, InterfaceSet, SourceName};
use std::cell::RefCell;
use uplink::EntryHead;

/// Why an entry is refused: always the sender's fault.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Its frame, or what its message says of it.
    #[error("batch {0}: it cannot be decompressed within the limits")]
    Compression(u64),
    /// What the frame holds.
    #[error("batch {seq}: {error}")]
    Content {
        /// Its sequence number.
        seq: u64,
        /// What is wrong.
        error: packet::BatchError,
    },
    /// Another entry than its message says.
    #[error("batch {0}: what is inside names another source, epoch or sequence number than its message")]
    Name(u64),
    /// Interfaces that nobody announced.
    #[error("batch {0}: it refers to an interface set that was not announced")]
    Set(u64),
}

/// An entry that was checked.
#[derive(Debug)]
pub enum Checked {
    /// Packets.
    Batch {
        /// What its opening block says.
        header: BatchHeader,
        /// What occurs in it.
        occurs: BatchIndex,
    },
    /// What was lost.
    Gap(GapRecord),
}

impl Checked {
    /// First and last sequence number.
    pub(crate) fn range(&self) -> (u64, u64) {
        match self {
            Self::Batch { header, .. } => (header.name.seq, header.name.seq),
            Self::Gap(gap) => (gap.name.seq, gap.last_seq),
        }
    }
}

thread_local! {
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn decompress(frame: &[u8], raw_length: usize) -> Option<Vec<u8>> {
    // Content size and checksum stand in the frame; the stated length bounds what is allocated, whatever the frame says.
    let raw = DECOMPRESSOR.with_borrow_mut(|decompressor| {
        if decompressor.is_none() {
            *decompressor = zstd::bulk::Decompressor::new().ok();
        }
        decompressor.as_mut()?.decompress(frame, raw_length).ok()
    })?;
    // A frame and nothing behind it: what follows would be stored unchecked.
    let whole = zstd::zstd_safe::find_frame_compressed_size(frame).ok()?;
    (raw.len() == raw_length && whole == frame.len()).then_some(raw)
}

/// Checks an entry of `source` and `epoch`; gives it with its decompressed bytes.
///
/// # Errors
/// The first thing that is not as its message says.
pub fn check<'s>(
    source: &SourceName,
    epoch: Epoch,
    head: &EntryHead,
    frame: &[u8],
    set_of: impl Fn(u32) -> Option<&'s InterfaceSet>,
) -> Result<(Checked, Vec<u8>), Refused> {
    let seq = head.seq;
    let raw = decompress(frame, head.raw_length as usize).ok_or(Refused::Compression(seq))?;
    let content = |error| Refused::Content { seq, error };
    let is_it = |name: &BatchName| name.source == *source && name.epoch == epoch && name.seq == seq;
    let checked = match Entry::parse(&raw).map_err(content)? {
        Entry::Batch(batch) => {
            if !is_it(&batch.header.name) || head.last_seq != seq {
                return Err(Refused::Name(seq));
            }
            let set = set_of(batch.header.interface_set).ok_or(Refused::Set(seq))?;
            let mut occurs = BatchIndex::default();
            occurs.check(&batch, set).map_err(content)?;
            Checked::Batch { header: batch.header, occurs }
        }
        Entry::Gap(gap) => {
            if !is_it(&gap.name) || head.last_seq != gap.last_seq {
                return Err(Refused::Name(seq));
            }
            Checked::Gap(gap)
        }
    };
    Ok((checked, raw))
}
