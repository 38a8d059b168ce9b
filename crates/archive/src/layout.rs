//! Where things are: the folders and names of segments below an archive's root.
//! Reads no segment; that is `scan`, `index` and `batches`.

use crate::batches::{self, Loaded};
use crate::index::Summary;
use packet::{SourceName, Timestamp};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Ending of a compressed segment.
const COMPRESSED: &str = ".pcapng.zst";
/// Ending of a plain one.
const PLAIN: &str = ".pcapng";
/// Added while a segment is open.
const PART: &str = ".part";
/// How often a folder that keeps changing is read.
const LISTINGS_MAX: usize = 5;

/// An archive on disk, for reading.
#[derive(Debug, Clone)]
pub struct Archive {
    root: PathBuf,
}

/// A segment file that is there, closed or still being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// Whose packets it holds.
    pub source: SourceName,
    /// Its path.
    pub path: PathBuf,
    /// Whether it is still being written (or was, when its collector died).
    pub open: bool,
    /// Whether its entries are compressed.
    pub compressed: bool,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was last written to: the time of arrival that retention goes by.
    pub modified: Timestamp,
}

impl SegmentFile {
    fn from_path(source: &SourceName, path: PathBuf, metadata: &fs::Metadata) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (whole, open) = name.strip_suffix(PART).map_or((name, false), |whole| (whole, true));
        let compressed = whole.ends_with(COMPRESSED);
        if !compressed && !whole.ends_with(PLAIN) {
            return None;
        }
        let modified = Timestamp::from_system(metadata.modified().ok()?);
        Some(Self { source: source.clone(), open, compressed, bytes: metadata.len(), modified, path })
    }

    /// Path of its index: of the closed segment's, or of the journal beside an open one.
    pub fn index_path(&self) -> PathBuf {
        index_path(&self.path)
    }
}

/// `X.pcapng.zst` has the index `X.idx`, `X.pcapng.zst.part` the journal `X.idx.part`.
pub(crate) fn index_path(segment: &Path) -> PathBuf {
    let name = segment.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (whole, part) = name.strip_suffix(PART).map_or((name, ""), |whole| (whole, PART));
    let stem = whole.strip_suffix(COMPRESSED).or_else(|| whole.strip_suffix(PLAIN)).unwrap_or(whole);
    segment.with_file_name(format!("{stem}.idx{part}"))
}

/// The name that an open segment has once it is closed.
pub(crate) fn closed_path(open: &Path) -> PathBuf {
    let name = open.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    open.with_file_name(name.strip_suffix(PART).unwrap_or(name))
}

/// A path for a new segment that no file has, open or closed. Makes the folder of its day, durably.
pub(crate) fn new_segment_path(
    root: &Path,
    source: &SourceName,
    first_packet: Timestamp,
    compressed: bool,
) -> io::Result<PathBuf> {
    let (year, month, day, hour, minute, second) = first_packet.civil();
    let micros = first_packet.subsecond_nanos() / 1_000;
    let ending = if compressed { COMPRESSED } else { PLAIN };
    let folder = root.join(source.as_str()).join(format!("{year:04}-{month:02}-{day:02}"));
    if !folder.is_dir() {
        fs::create_dir_all(&folder)?;
        for made in folder.ancestors().take(3).filter(|made| made.starts_with(root)) {
            fs::File::open(made)?.sync_all()?;
        }
    }
    let name = format!("{source}_{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{micros:06}Z_0{ending}");
    let free = next_free(&folder.join(name))?;
    Ok(with_part(&free))
}

fn with_part(closed: &Path) -> PathBuf {
    let mut name = closed.as_os_str().to_owned();
    name.push(PART);
    name.into()
}

/// The path itself if no file has it, open or closed, else that with the next number that is free.
pub(crate) fn next_free(closed: &Path) -> io::Result<PathBuf> {
    let taken = |path: &Path| path.exists() || with_part(path).exists();
    if !taken(closed) {
        return Ok(closed.into());
    }
    let name = closed.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (stem, ending) = match name.strip_suffix(COMPRESSED) {
        Some(stem) => (stem, COMPRESSED),
        None => (name.strip_suffix(PLAIN).unwrap_or(name), PLAIN),
    };
    let (stem, number) = stem.rsplit_once('_').unwrap_or((stem, "0"));
    let first = number.parse::<u32>().unwrap_or(0);
    (first..u32::MAX)
        .map(|number| closed.with_file_name(format!("{stem}_{number}{ending}")))
        .find(|path| !taken(path))
        .ok_or_else(|| io::Error::new(io::ErrorKind::AlreadyExists, "every name for this second is taken"))
}

impl Archive {
    /// The archive below `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The sources that have a folder, by name.
    ///
    /// # Errors
    /// When the root cannot be read.
    pub fn sources(&self) -> io::Result<Vec<SourceName>> {
        let mut sources: Vec<SourceName> = match fs::read_dir(&self.root) {
            Ok(entries) => entries
                .filter_map(Result::ok)
                .filter(|entry| entry.path().is_dir())
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        sources.sort();
        Ok(sources)
    }

    /// The segments of a source in the order of their names, which is that of their first packets.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn segments(&self, source: &SourceName) -> io::Result<Vec<SegmentFile>> {
        // A segment that is renamed while its folder is read can be missed under both names: so it is read until twice the same.
        let mut segments = self.list(source)?;
        for _ in 0..LISTINGS_MAX {
            let again = self.list(source)?;
            let same = segments.iter().map(|segment| &segment.path).eq(again.iter().map(|segment| &segment.path));
            segments = again;
            if same {
                break;
            }
        }
        Ok(segments)
    }

    fn list(&self, source: &SourceName) -> io::Result<Vec<SegmentFile>> {
        let mut segments = Vec::new();
        let days = match fs::read_dir(self.root.join(source.as_str())) {
            Ok(days) => days,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(segments),
            Err(error) => return Err(error),
        };
        for day in days {
            let day = day?;
            if !day.file_type()?.is_dir() {
                continue;
            }
            let files = match fs::read_dir(day.path()) {
                Ok(files) => files,
                // Retention removed the last segment of the day, and the folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in files {
                let entry = entry?;
                // A file may be renamed or removed between the two calls.
                let Ok(metadata) = entry.metadata() else { continue };
                segments.extend(SegmentFile::from_path(source, entry.path(), &metadata));
            }
        }
        // The closed name sorts before the open one: where both are there, the segment is closed.
        segments.sort_by(|a, b| a.path.cmp(&b.path));
        segments.dedup_by(|later, first| later.open && !first.open && closed_path(&later.path) == first.path);
        Ok(segments)
    }

    /// What a segment holds: from the head of its index, or by reading an open one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn summary(&self, segment: &SegmentFile) -> io::Result<Summary> {
        match batches::summary(segment) {
            Some(summary) => Ok(summary),
            None => Loaded::open(segment.clone()).map(|loaded| loaded.index.summary()).map_err(|(_, error)| error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_state_the_first_packet_and_are_never_taken_twice() {
        let root = tempfile::tempdir().unwrap();
        let source: SourceName = "gw_1.x".parse().unwrap();
        let time = Timestamp::from_parts(1_700_000_000, 123_456_789);
        let path = |compressed| new_segment_path(root.path(), &source, time, compressed).unwrap();
        let first = path(true);
        assert!(first.ends_with("gw_1.x/2023-11-14/gw_1.x_20231114T221320.123456Z_0.pcapng.zst.part"), "{first:?}");
        assert_eq!(index_path(&first), first.with_file_name("gw_1.x_20231114T221320.123456Z_0.idx.part"));
        assert_eq!(index_path(&closed_path(&first)), first.with_file_name("gw_1.x_20231114T221320.123456Z_0.idx"));
        fs::write(&first, "").unwrap();
        let second = path(true);
        assert!(second.to_str().unwrap().ends_with("Z_1.pcapng.zst.part"));
        fs::write(closed_path(&second), "").unwrap();
        assert!(path(true).to_str().unwrap().ends_with("Z_2.pcapng.zst.part"));
        assert!(path(false).to_str().unwrap().ends_with("Z_0.pcapng.part"));
    }

    #[test]
    fn only_segments_are_listed_and_each_once() {
        let root = tempfile::tempdir().unwrap();
        let day = root.path().join("a/2023-11-14");
        fs::create_dir_all(&day).unwrap();
        for name in ["a_1_0.pcapng.zst", "a_1_0.pcapng.zst.part", "a_1_0.idx", "a_2_0.pcapng.part", "notes.txt"] {
            fs::write(day.join(name), "").unwrap();
        }
        fs::write(root.path().join("a/state.json"), "").unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let archive = Archive::new(root.path());
        let sources = archive.sources().unwrap();
        assert_eq!(sources.len(), 1);
        let found = archive.segments(&sources[0]).unwrap();
        let shown: Vec<_> = found.iter().map(|s| (s.path.file_name().unwrap().to_str().unwrap(), s.open)).collect();
        assert_eq!(shown, [("a_1_0.pcapng.zst", false), ("a_2_0.pcapng.part", true)]);
        assert!(Archive::new(root.path().join("none")).sources().unwrap().is_empty());
    }
}
