//! The numbered files of a folder: `events-00000001.ndjson` and so on, `.gz` or `.zst` behind it once compressed. The highest number is the
//! one being written and is plain; all others are finished. Touches no file with another kind of name.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Compression;

const PREFIX: &str = "events-";
const SUFFIX: &str = ".ndjson";
/// Ends the name of a compressed file that is not complete yet.
const PART: &str = ".part";

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
}

/// In what forms each number is there, lowest number first.
pub(super) type Files = BTreeMap<u64, Vec<Compression>>;

/// The file that is written.
pub(super) struct Open {
    pub(super) file: File,
    /// Bytes in it.
    pub(super) length: u64,
    /// When it was last written to.
    pub(super) written: SystemTime,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn name(number: u64, compression: Compression) -> String {
        format!("{PREFIX}{number:08}{SUFFIX}{}", compression.suffix())
    }

    pub(super) fn file(&self, number: u64, compression: Compression) -> PathBuf {
        self.path.join(Self::name(number, compression))
    }

    /// Where a file is compressed to until that is complete.
    pub(super) fn part(&self, number: u64, compression: Compression) -> PathBuf {
        self.path.join(Self::name(number, compression) + PART)
    }

    fn parse(name: &str) -> Option<(u64, Compression)> {
        let number = name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok().filter(|number| *number > 0)?;
        // A number that is written in another way, such as `events-1.ndjson`, is not ours.
        Compression::ALL.into_iter().find(|form| Self::name(number, *form) == name).map(|form| (number, form))
    }

    /// The files there are, those that are not complete left out.
    pub(super) fn files(&self) -> io::Result<Files> {
        let mut files = Files::new();
        for entry in std::fs::read_dir(&self.path)? {
            if let Some((number, form)) = entry?.file_name().to_str().and_then(Self::parse) {
                files.entry(number).or_default().push(form);
            }
        }
        Ok(files)
    }

    /// Removes compressed files that a crash left incomplete; what they were made of is still there.
    pub(super) fn remove_parts(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_str().and_then(|name| Self::parse(name.strip_suffix(PART)?)).is_some() {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Opens the newest file at its end, or begins one if there is none or it is compressed. Half a line at the end is the trace of a crash
    /// and is cut off.
    pub(super) fn open_last(&self) -> io::Result<Open> {
        let newest = self.files()?.pop_last().filter(|(_, forms)| forms.contains(&Compression::None));
        let Some((number, _)) = newest else { return self.begin_next() };
        let mut file = OpenOptions::new().read(true).write(true).open(self.file(number, Compression::None))?;
        let metadata = file.metadata()?;
        let length = whole_lines(&mut file)?;
        // Only then, because it would count as written to.
        if length < metadata.len() {
            file.set_len(length)?;
        }
        file.seek(SeekFrom::Start(length))?;
        Ok(Open { file, length, written: metadata.modified()? })
    }

    /// Begins a new file.
    pub(super) fn begin_next(&self) -> io::Result<Open> {
        let number = self.files()?.last_key_value().map_or(0, |(number, _)| *number).saturating_add(1);
        let path = self.file(number, Compression::None);
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Open { file, length: 0, written: SystemTime::now() })
    }

    /// Opens a file to read what was written, from `skip` on where that costs nothing.
    pub(super) fn read(&self, number: u64, compression: Compression, skip: u64) -> io::Result<Box<dyn Read>> {
        let mut file = File::open(self.file(number, compression))?;
        Ok(match compression {
            Compression::None => {
                file.seek(SeekFrom::Start(skip))?;
                Box::new(file)
            }
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(file))),
            Compression::Zstd => Box::new(zstd::Decoder::new(file)?),
        })
    }

    /// Makes durable what names there are.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Length of the file up to its last line end.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = vec![0u8; 64 * 1024];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = block.get_mut(..(end - start) as usize).unwrap_or_default();
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "events-00000007.ndjson",
            "events-00000007.ndjson.gz",
            "events-00000009.ndjson.zst",
            "events-00000011.ndjson.zst.part",
            "events-123456789.ndjson",
            "events-5.ndjson",
            "events-+0000005.ndjson",
            "events-00000000.ndjson",
            "events-00000006.ndjson.bz2",
            "notes-00000012.ndjson",
        ] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        let folder = Folder::new(folder.path().to_owned());
        let mut files = folder.files().unwrap();
        files.values_mut().for_each(|forms| forms.sort());
        let expected = [
            (7, vec![Compression::None, Compression::Gzip]),
            (9, vec![Compression::Zstd]),
            (123_456_789, vec![Compression::None]),
        ];
        assert_eq!(files.into_iter().collect::<Vec<_>>(), expected);
        folder.remove_parts().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 9);
    }
}
