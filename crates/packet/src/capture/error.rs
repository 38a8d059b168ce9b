//! What can be wrong with a capture file. Offsets count bytes from its beginning (decompressed).

use super::Compression;

/// Why a capture file cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The stream itself failed: the medium's or system's fault.
    #[error("reading failed at offset {offset}: {source}")]
    Read {
        /// How far the stream had been read.
        offset: u64,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nothing at all to read.
    #[error("empty: not even a file header; give a pcap or pcapng file")]
    Empty,
    /// Compressed, which the caller has to undo first.
    #[error("compressed with {0}; decompress it first")]
    Compressed(Compression),
    /// No format this program reads.
    #[error("not a pcap or pcapng file ({hint}; it begins with {magic:02x?})")]
    Unrecognised {
        /// Its first bytes.
        magic: [u8; 4],
        /// What it seems to be, and what to do.
        hint: &'static str,
    },
    /// The format was recognised, but here the file breaks off or contradicts itself and no place to go on was found.
    #[error("damaged at offset {offset}: {problem}")]
    Damaged {
        /// Where the record or block begins that cannot be read.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Damage behind which the reader found its place again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at offset {offset}: {problem}; {skipped} bytes skipped")]
pub struct Warning {
    /// Where the record or block begins that is damaged.
    pub offset: u64,
    /// What is wrong with it.
    pub problem: &'static str,
    /// How many bytes could not be read because of it; 0 when all could.
    pub skipped: u64,
}
