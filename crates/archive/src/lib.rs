//! The archive: segments of batches on disk, their index, recovery after a crash, queries and retention.
//! Knows no network and no feed; the reading side works on the files alone, also while a collector writes them.
//!
//! The bytes are laid out in `docs/formats/segment.md` and `docs/formats/index.md`.
#![forbid(unsafe_code)]

mod batches;
mod bpf;
mod dump;
mod filter;
mod index;
mod layout;
mod narrow;
mod numbers;
mod pins;
mod query;
mod recovery;
mod retention;
mod scan;
mod segment;
mod state;
mod writer;

pub use batches::{StoredEntries, StoredEntry};
pub use dump::{Dump, DumpError, DumpFormat};
pub use filter::{Filter, FilterError, Matcher};
pub use index::{BatchEntry, BatchIndex, Index, IndexError, Section, Summary};
pub use layout::{Archive, SegmentFile};
pub use numbers::{PacketNumbers, PacketNumbersError};
pub use pins::{Pin, Pins};
pub use query::{Found, Origin, Progress, Query, QueryError, QueryResult, Tally};
pub use recovery::{Recovered, rebuild_index};
pub use retention::{Limits, Removed, Retention};
pub use rotation::Rotation;
pub use state::{Ahead, EpochState, SourceState};
pub use writer::{AppendError, CommitError, Compression, Writer, WriterOptions};
