//! Compresses one finished file: beside it under another name, made durable, renamed, and only then the plain file is removed.
//! Whatever moment it is broken off at, all events are there, in the plain file or in a complete compressed one; `finish.rs` goes on from there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use super::Compression;
use super::files::Folder;

/// Bytes between two looks at whether to go on.
const BLOCK_BYTES: usize = 256 * 1024;

/// Whether to go on, asked before each step and each block.
pub(super) type GoOn<'a> = &'a mut dyn FnMut() -> bool;

fn ask(go_on: GoOn<'_>) -> io::Result<()> {
    if go_on() { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
}

/// Compresses a file and removes the plain one.
///
/// # Errors
/// Of the disk, or `Interrupted` if it was not to go on. The plain file is there then, or the compressed one, or both; and perhaps a part.
pub(super) fn compress(folder: &Folder, number: u64, compression: Compression, go_on: GoOn<'_>) -> io::Result<()> {
    ask(go_on)?;
    let plain = File::open(folder.file(number, Compression::None))?;
    let metadata = plain.metadata()?;
    let part = folder.part(number, compression);
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&part)?;
    let file = match compression {
        Compression::None => return Err(io::ErrorKind::InvalidInput.into()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
            copy(plain, &mut encoder, go_on)?;
            encoder.finish()?
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            encoder.include_checksum(true)?;
            encoder.set_pledged_src_size(Some(metadata.len()))?;
            copy(plain, &mut encoder, go_on)?;
            encoder.finish()?
        }
    };
    // As `gzip` does: who reads a file, and how old it is, does not change.
    file.set_permissions(metadata.permissions())?;
    file.set_modified(metadata.modified()?)?;
    ask(go_on)?;
    file.sync_all()?;
    ask(go_on)?;
    std::fs::rename(&part, folder.file(number, compression))?;
    ask(go_on)?;
    folder.sync()?;
    ask(go_on)?;
    std::fs::remove_file(folder.file(number, Compression::None))
}

fn copy(mut from: File, to: &mut impl Write, go_on: GoOn<'_>) -> io::Result<()> {
    let mut block = vec![0u8; BLOCK_BYTES];
    loop {
        ask(go_on)?;
        let length = from.read(&mut block)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(block.get(..length).unwrap_or_default())?;
    }
}

/// Whether the compressed file holds what the plain one does, to the last byte. Any fault of the compressed one means no.
///
/// # Errors
/// When the plain one cannot be read, or `Interrupted`.
pub(super) fn holds_the_same(
    folder: &Folder,
    number: u64,
    compression: Compression,
    go_on: GoOn<'_>,
) -> io::Result<bool> {
    let mut plain = File::open(folder.file(number, Compression::None))?;
    let Ok(mut copy) = folder.read(number, compression, 0) else { return Ok(false) };
    let (mut expected, mut found) = (vec![0u8; BLOCK_BYTES], vec![0u8; BLOCK_BYTES]);
    loop {
        ask(go_on)?;
        let length = plain.read(&mut expected)?;
        let (Some(expected), Some(found)) = (expected.get(..length), found.get_mut(..length)) else { return Ok(false) };
        if length == 0 {
            return Ok(matches!(copy.read(&mut [0]), Ok(0)));
        }
        if copy.read_exact(found).is_err() || expected != found {
            return Ok(false);
        }
    }
}
