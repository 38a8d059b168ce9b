//! The protocol between probe and collector as state machines: bytes in, events and bytes out, time a parameter.
//! Owns no socket, thread or clock; what it is tested with is a seeded simulation of all three.
//!
//! The bytes are laid out in `docs/formats/uplink.md`.
#![forbid(unsafe_code)]

pub mod backoff;
mod clock;
mod collector;
pub mod frame;
pub mod message;
pub mod osmo;
mod probe;

pub use collector::{CollectorEvent, CollectorSession};
pub use message::{Bye, DropCount, EntryHead, Hello, Message, Refusal, Statistics, Welcome};
pub use probe::{ProbeEvent, ProbeSession};

/// Major version of the protocol: another one is refused by both sides.
pub const MAJOR: u16 = 1;
/// Minor version: what a newer one adds is ignored by an older peer.
pub const MINOR: u16 = 0;

/// How often each side sends a heartbeat, in nanoseconds.
pub const HEARTBEAT_NANOS: u64 = 2_000_000_000;
/// How long the other side may be silent before the connection is given up, in nanoseconds.
pub const SILENCE_NANOS: u64 = 10_000_000_000;
/// How long the handshake may take, in nanoseconds.
pub const HANDSHAKE_NANOS: u64 = 5_000_000_000;

/// The present moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds of a clock that never goes back; only differences count.
    pub monotonic: u64,
    /// The time of day, which may jump.
    pub clock: packet::Timestamp,
}

/// Why a connection cannot go on. Except for [`Fault::Silent`] it is the peer's doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A frame longer than the protocol allows.
    #[error(
        "the peer sent a frame of type {kind} that is {length} bytes long; it may have at most {}",
        frame::MAX_PAYLOAD
    )]
    Oversize {
        /// Type of the frame.
        kind: u8,
        /// Its stated length.
        length: usize,
    },
    /// A message whose content does not fit its layout.
    #[error("the peer sent a {message} that is not as the protocol has it: {problem}")]
    Malformed {
        /// Which message.
        message: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// A message that may not come now.
    #[error("the peer sent a {message} although {state}")]
    Unexpected {
        /// Which message.
        message: &'static str,
        /// What the connection was doing.
        state: &'static str,
    },
    /// Another major version.
    #[error("the peer speaks version {theirs} of the uplink protocol, this side {MAJOR}: upgrade the older of the two")]
    Version {
        /// The peer's.
        theirs: u16,
    },
    /// The peer refused the connection.
    #[error("the peer refused the connection: {0}")]
    Refused(Refusal),
    /// Nothing was heard from the peer for too long.
    #[error("nothing was heard from the peer for {} s", .0 / 1_000_000_000)]
    Silent(u64),
}
