//! Packets, capture file formats, the batch, and views of link, network and transport headers.
//! Deliberately without I/O policy: no socket, thread or clock; readers take any `io::Read`, writers append to a `Vec<u8>`.
#![forbid(unsafe_code)]

pub mod base64;
pub mod batch;
pub mod capture;
pub mod cursor;
pub mod flow;
pub mod identity;
pub mod interface;
pub mod net;
pub mod pcap;
pub mod pcapng;
pub mod time;

pub use batch::{Batch, BatchBuilder, BatchError, BatchHeader, DropPlace, DropReason, Entry, GapRecord};
pub use capture::{CaptureError, CaptureReader};
pub use cursor::{Cursor, Cut};
pub use flow::{CommunityId, Direction, Endpoint, FlowKey};
pub use identity::{BatchName, Epoch, SourceName};
pub use interface::{Interface, InterfaceSet, LinkType};
pub use time::Timestamp;

/// One captured packet, borrowed from the buffer it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When it was captured.
    pub time: Timestamp,
    /// Index into the interfaces of its section (capture file) or interface set (batch).
    pub interface: u32,
    /// Length on the wire in bytes; at least `data.len()` unless the capture lies.
    pub original_length: u32,
    /// The captured bytes, beginning with the link header.
    pub data: &'a [u8],
}
