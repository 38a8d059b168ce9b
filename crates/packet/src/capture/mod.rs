//! Reading capture files (pcap and pcapng, every byte order and time resolution) from any `io::Read` as a stream.
//! Does not decompress (see [`Compression`]), does not reorder packets, and allocates nothing per packet.
//!
//! A damaged file gives everything before the damage. Where the reader can find its place again behind it, it says so in
//! [`CaptureReader::warnings`] and goes on; where it cannot, `next` says what is wrong and at which offset, and then ends.

mod blocks;
mod buffer;
mod classic;
mod clock;
mod error;
mod reader;

pub use error::{CaptureError, Warning};
pub use reader::CaptureReader;

use crate::pcapng::InterfaceStatistics;

/// The formats that [`CaptureReader`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Classic pcap.
    Pcap {
        /// Whether its numbers are most significant byte first.
        big_endian: bool,
        /// Whether its times are in nanoseconds rather than microseconds.
        nanoseconds: bool,
    },
    /// pcapng; byte order and resolution may change from section to section and interface to interface.
    Pcapng {
        /// Whether the first section is most significant byte first.
        big_endian: bool,
    },
}

impl Format {
    /// `pcap` or `pcapng`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pcap { .. } => "pcap",
            Self::Pcapng { .. } => "pcapng",
        }
    }
}

/// How a stream is compressed, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878), also beginning with a skippable frame.
    Zstd,
    /// LZ4 frame.
    Lz4,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
}

impl Compression {
    /// Recognises it by the first four bytes; `None` for anything not compressed in a known way.
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Self::Lz4),
            [0xfd, b'7', b'z', b'X', ..] => Some(Self::Xz),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            _ => None,
        }
    }

    /// The name of the format and of its usual command.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }
}
