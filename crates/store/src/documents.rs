//! Documents in blocks: the JSON of up to 64 events, without its id (a column), compressed together with a dictionary of our own events.
//!
//! Measured on a million events of all types (1,129 bytes of JSON each): blocks of 1, 16, 64, 256 make 533, 371, 344, 329 bytes per event on
//! disk, indexes included, at 7.7, 4.1, 3.7, 3.6 us of CPU; a smaller block is quicker to find one document in.

use std::sync::{Arc, LazyLock};

use rusqlite::{Connection, OptionalExtension};
use serde_json::value::RawValue;
use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use crate::answer::Document;

/// Events of all types as Tapline writes them: what they share need not be said again in every block. It stands in each file.
pub(crate) const DICTIONARY: &[u8] = include_bytes!("dictionary.ndjson");
/// Documents per block at most.
pub(crate) const BLOCK_ROWS: usize = 64;
/// Bytes of a block unpacked at most; a larger one is damaged.
const BLOCK_BYTES_MAX: usize = 256 << 20;
const LEVEL: i32 = 1;
/// How every line of JSON begins.
const LEAD: &[u8] = b"{\"_id\":\"";

static ENCODER: LazyLock<EncoderDictionary<'static>> = LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, LEVEL));

/// Packs documents.
pub(crate) struct Packer {
    compressor: Compressor<'static>,
    lines: Vec<u8>,
    packed: Vec<u8>,
}

impl Packer {
    pub(crate) fn new() -> std::io::Result<Self> {
        let compressor = Compressor::with_prepared_dictionary(&ENCODER)?;
        Ok(Self { compressor, lines: Vec::new(), packed: Vec::new() })
    }

    pub(crate) fn clear(&mut self) {
        self.lines.clear();
    }

    /// Adds a JSON line, line end included.
    pub(crate) fn add(&mut self, line: &[u8]) {
        let rest = match line.strip_prefix(LEAD) {
            // The 32 digits, a double quote and a comma.
            Some(rest) => rest.get(34..).unwrap_or_default(),
            None => line.get(1..).unwrap_or_default(),
        };
        self.lines.extend_from_slice(rest);
        if self.lines.last() != Some(&b'\n') {
            self.lines.push(b'\n');
        }
    }

    /// The block of what was added: its length unpacked, and its bytes.
    pub(crate) fn pack(&mut self) -> std::io::Result<(usize, &[u8])> {
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(self.lines.len()));
        self.compressor.compress_to_buffer(&self.lines, &mut self.packed)?;
        Ok((self.lines.len(), &self.packed))
    }
}

/// An unpacked block.
pub(crate) struct Block {
    first: i64,
    lines: Vec<u8>,
    ends: Vec<usize>,
    /// The lines in lower case, made when text is searched.
    lower: std::sync::OnceLock<Vec<u8>>,
}

impl Block {
    fn range(&self, row: i64) -> Option<std::ops::Range<usize>> {
        let at = usize::try_from(row.checked_sub(self.first)?).ok()?;
        let start = if at == 0 { 0 } else { self.ends.get(at - 1)? + 1 };
        Some(start..*self.ends.get(at)?)
    }

    /// The document of a row, without id, the opening brace and the line end.
    pub(crate) fn line(&self, row: i64) -> Option<&[u8]> {
        self.lines.get(self.range(row)?)
    }

    /// The same in lower case (ASCII).
    pub(crate) fn lower_line(&self, row: i64) -> Option<&[u8]> {
        self.lower().get(self.range(row)?)
    }

    /// The whole block in lower case (ASCII).
    pub(crate) fn lower(&self) -> &[u8] {
        self.lower.get_or_init(|| self.lines.to_ascii_lowercase())
    }
}

/// Unpacks the documents of one file; keeps the blocks it unpacked last.
pub(crate) struct Unpacker {
    decompressor: Decompressor<'static>,
    recent: Vec<Arc<Block>>,
}

const RECENT_MAX: usize = 8;

impl Unpacker {
    pub(crate) fn new(connection: &Connection) -> rusqlite::Result<Self> {
        let dictionary: Vec<u8> = connection.query_row("SELECT content FROM dictionary", [], |row| row.get(0))?;
        let decompressor = if dictionary == DICTIONARY {
            static DECODER: LazyLock<DecoderDictionary<'static>> =
                LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));
            Decompressor::with_prepared_dictionary(&DECODER)
        } else {
            Decompressor::with_dictionary(&dictionary)
        };
        Ok(Self { decompressor: decompressor.map_err(damaged)?, recent: Vec::new() })
    }

    /// The block that holds a row.
    pub(crate) fn block(&mut self, connection: &Connection, row: i64) -> rusqlite::Result<Option<Arc<Block>>> {
        if let Some(block) = self.recent.iter().rev().find(|block| block.range(row).is_some()) {
            return Ok(Some(Arc::clone(block)));
        }
        let found = connection
            .prepare_cached("SELECT first, length, content FROM block WHERE first <= ?1 ORDER BY first DESC LIMIT 1")?
            .query_row([row], |found| {
                let length = usize::try_from(found.get::<_, i64>(1)?).unwrap_or(usize::MAX);
                if length > BLOCK_BYTES_MAX {
                    return Err(damaged(std::io::ErrorKind::InvalidData.into()));
                }
                let lines = self.decompressor.decompress(found.get_ref(2)?.as_blob()?, length).map_err(damaged)?;
                let ends = memchr::memchr_iter(b'\n', &lines).collect();
                Ok(Block { first: found.get(0)?, lines, ends, lower: std::sync::OnceLock::new() })
            })
            .optional()?;
        let Some(block) = found.map(Arc::new) else { return Ok(None) };
        if self.recent.len() >= RECENT_MAX {
            self.recent.remove(0);
        }
        self.recent.push(Arc::clone(&block));
        Ok(block.range(row).is_some().then_some(block))
    }
}

fn damaged(error: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Blob, Box::new(error))
}

/// The whole document with its id put first; none if the line is no JSON object.
pub(crate) fn document(id: u128, line: &[u8]) -> Option<Document> {
    let rest = std::str::from_utf8(line).ok()?;
    let comma = if rest.trim() == "}" { "" } else { "," };
    RawValue::from_string(format!("{{\"id\":\"{id:032x}\"{comma}{rest}")).ok()
}
