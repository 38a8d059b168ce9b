//! Opens a capture file, or standard input, whatever it is compressed with, and gives it an identity by its content.
//! Reads no packet itself: that is `packet::capture`'s.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use event::Observer;
use packet::capture::Compression;
use xxhash_rust::xxh3::xxh3_128;

/// The identity is a hash over this many bytes from the beginning (decompressed): the same for a file, its compressed form and a pipe.
pub const IDENTITY_BYTES: usize = 4 << 20;
/// Compressed within compressed is undone this often.
const LAYERS_MAX: usize = 3;

/// A capture file ready to be read.
pub struct CaptureFile {
    /// Its decompressed bytes.
    pub input: Box<dyn Read + Send>,
    /// Its name and the hash of its content, which stand for source and epoch.
    pub observer: Arc<Observer>,
    /// Its size as stored, where known: for progress.
    pub size: Option<u64>,
    /// How many of the stored bytes have been read.
    pub read: Arc<AtomicU64>,
}

/// Why a capture file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system did not open it.
    #[error("{0}")]
    Open(io::Error),
    /// It could not be read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// Compressed in a way that this program does not undo.
    #[error("compressed with {0}; decompress it first, for example `{0} -dc FILE | tapline analyze -`")]
    Compression(Compression),
}

/// Opens `path`; `-` is standard input.
///
/// # Errors
/// When it cannot be opened or its first bytes not be read.
pub fn open(path: &Path) -> Result<CaptureFile, OpenError> {
    if path == Path::new("-") {
        let stdin = io::stdin();
        return with_input("-".to_owned(), Box::new(stdin), None);
    }
    let file = File::open(path).map_err(OpenError::Open)?;
    let metadata = file.metadata().map_err(OpenError::Open)?;
    if metadata.is_dir() {
        return Err(OpenError::Open(io::Error::other("is a directory")));
    }
    let size = Some(metadata.len()).filter(|_| metadata.is_file());
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    with_input(name, Box::new(file), size)
}

fn with_input(name: String, input: Box<dyn Read + Send>, size: Option<u64>) -> Result<CaptureFile, OpenError> {
    let read = Arc::new(AtomicU64::new(0));
    let mut input: Box<dyn Read + Send> = Box::new(Counted { input, read: Arc::clone(&read) });
    for _ in 0..LAYERS_MAX {
        let head = first_bytes(&mut input, 4)?;
        let compression = Compression::detect(&head);
        let whole = Box::new(Cursor::new(head).chain(input));
        input = match compression {
            None => {
                input = whole;
                break;
            }
            Some(Compression::Gzip) => Box::new(flate2::read::MultiGzDecoder::new(whole)),
            Some(Compression::Zstd) => Box::new(zstd_frames(whole).map_err(OpenError::Read)?),
            Some(other) => return Err(OpenError::Compression(other)),
        };
    }
    let head = first_bytes(&mut input, IDENTITY_BYTES)?;
    let epoch = format!("{:032x}", xxh3_128(&head));
    let observer = Arc::new(Observer { name, epoch, is_file: true });
    Ok(CaptureFile { input: Box::new(Cursor::new(head).chain(input)), observer, size, read })
}

/// Frame after frame, with a limit on the window so that a small file cannot claim much memory.
fn zstd_frames(input: Box<dyn Read + Send>) -> io::Result<impl Read + Send> {
    let mut decoder = zstd::stream::read::Decoder::new(input)?;
    decoder.window_log_max(26)?;
    Ok(decoder)
}

/// Up to `count` bytes; what was read before an error counts, the error comes again with the next read.
fn first_bytes(input: &mut Box<dyn Read + Send>, count: usize) -> Result<Vec<u8>, OpenError> {
    let mut head = Vec::new();
    match input.by_ref().take(count as u64).read_to_end(&mut head) {
        Ok(_) => Ok(head),
        Err(_) if !head.is_empty() => Ok(head),
        Err(error) => Err(OpenError::Read(error)),
    }
}

struct Counted {
    input: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn opened(bytes: &[u8]) -> (Vec<u8>, String) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut opened = open(file.path()).unwrap();
        let mut content = Vec::new();
        opened.input.read_to_end(&mut content).unwrap();
        assert_eq!(opened.read.load(Ordering::Relaxed), bytes.len() as u64);
        (content, opened.observer.epoch.clone())
    }

    #[test]
    fn content_and_identity_do_not_depend_on_compression() {
        let plain: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut zstd = zstd::encode_all(&plain[..1000], 1).unwrap();
        zstd.extend(zstd::encode_all(&plain[1000..], 1).unwrap());
        let expect = opened(&plain);
        assert_eq!(expect.0, plain);
        assert_eq!(opened(&gzip), expect);
        assert_eq!(opened(&zstd), expect, "several frames are one content");
        assert_eq!(opened(&zstd::encode_all(&gzip[..], 1).unwrap()), expect, "compressed twice");
    }

    #[test]
    fn a_compression_that_is_not_undone_is_named() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"\xfd7zXZ\0\0").unwrap();
        let error = open(file.path()).err().unwrap();
        assert!(error.to_string().contains("xz -dc"), "{error}");
    }
}
