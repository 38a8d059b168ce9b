//! The collector's HTTP API as both sides see it: types of its answers, the framing of entries, times as users write them, and a client
//! over a Unix socket or TCP. Serves nothing itself; the collector does.
#![forbid(unsafe_code)]

mod client;
mod entries;
pub mod moment;
mod types;

pub use client::{Body, Client, ClientError, CollectorUrl, escape};
pub use entries::{EntryFrame, EntryMeta, EntryReader, GapMeta, InterfaceMeta, write_entry};
pub use hyper::Method;
pub use types::{
    ArchiveAnswer, ArchiveRetention, BalanceAnswer, BalanceRow, ErrorAnswer, SegmentRow, SegmentsAnswer, SourceRow,
    SourcesAnswer, StatusAnswer, StoredPart, StoredSource, ToRemove,
};
