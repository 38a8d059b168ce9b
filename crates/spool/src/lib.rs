//! What a probe holds until the collector has it durably: the newest batches in memory, older ones, where a disk is given, in a
//! bounded log on disk that outlives the probe. Captures, compresses and sends nothing itself.
//!
//! [`Spool`] is what capture, compressor and sender share; every count of the probe's balance is under its one lock, and nobody
//! waits for a disk there. [`Keeper`] is the one owner of the disk: it writes, reads back, makes room and recovers, step by step
//! in a thread of its own. The bytes are laid out in `docs/formats/spool.md`.
#![forbid(unsafe_code)]

mod account;
mod disk;
mod epoch;
mod keeper;
mod log;
mod record;
#[cfg(test)]
mod simulation;
mod spool;

pub use disk::{Directory, Disk, Item};
pub use keeper::{Bounds, Keeper};
pub use spool::{Ending, Limits, Mode, Next, Older, Spool, WhenFull};
