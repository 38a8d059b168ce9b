//! What stands in a file of the store and how files are called. Reads and writes no events.
//!
//! A file `events-20261123T19.sqlite` holds what arrived in the hour (or other period) that began then; `-2` before the ending is the
//! second one of that period. It is an SQLite database in WAL mode with `application_id` and `user_version` set.

use std::path::Path;

use packet::Timestamp;
use rusqlite::{Connection, OpenFlags};

/// Version of the tables. A file with a higher one is left alone.
pub(crate) const VERSION: i64 = 1;
/// `TPLE`: tells our files from other databases.
pub(crate) const APPLICATION: i64 = 0x5450_4c45;

/// Times are nanoseconds; addresses 16 bytes, IPv4 mapped; flows and calls the 64-bit hash of their text; the numbers of types, sources
/// and statuses stand in `name`; status 0 is none. `block` holds the documents of up to 64 rows in a row, from `first` on.
pub(crate) const TABLES: &str = "
CREATE TABLE state(one INTEGER PRIMARY KEY CHECK(one = 1), events INTEGER NOT NULL, time_min INTEGER, time_max INTEGER,
    sealed INTEGER NOT NULL, retention_age INTEGER NOT NULL, retention_size INTEGER NOT NULL);
CREATE TABLE dictionary(one INTEGER PRIMARY KEY CHECK(one = 1), content BLOB NOT NULL);
CREATE TABLE name(kind INTEGER NOT NULL, number INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY(kind, number)) WITHOUT ROWID;
CREATE TABLE event(row INTEGER PRIMARY KEY, time INTEGER NOT NULL, id BLOB NOT NULL, type INTEGER NOT NULL, source INTEGER NOT NULL,
    status INTEGER NOT NULL, client_ip BLOB, client_port INTEGER, server_ip BLOB, server_port INTEGER, flow INTEGER, call INTEGER,
    capture_loss INTEGER, bytes INTEGER, duration INTEGER);
CREATE INDEX event_time ON event(time);
CREATE TABLE block(first INTEGER PRIMARY KEY, length INTEGER NOT NULL, content BLOB NOT NULL);
CREATE TABLE rollup(level INTEGER NOT NULL, start INTEGER NOT NULL, type INTEGER NOT NULL, source INTEGER NOT NULL,
    status INTEGER NOT NULL, events INTEGER NOT NULL, bytes INTEGER NOT NULL, timed INTEGER NOT NULL, duration INTEGER NOT NULL,
    capture_loss INTEGER NOT NULL, PRIMARY KEY(level, start, type, source, status)) WITHOUT ROWID;
CREATE TABLE talker(start INTEGER NOT NULL, ip BLOB NOT NULL, events INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY(start, ip)) WITHOUT ROWID;
";

/// What a finished file gets, one at a time.
pub(crate) const INDEXES: &[&str] = &[
    "CREATE INDEX IF NOT EXISTS event_id ON event(id)",
    "CREATE INDEX IF NOT EXISTS event_client ON event(client_ip, time) WHERE client_ip IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS event_server ON event(server_ip, time) WHERE server_ip IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS event_flow ON event(flow, time) WHERE flow IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS event_call ON event(call, time) WHERE call IS NOT NULL",
];

/// Lengths of the roll-ups in seconds. Each divides the next.
pub(crate) const LEVELS: [i64; 3] = [10, 60, 3600];
/// Nanoseconds of a second.
pub(crate) const SECOND: i64 = 1_000_000_000;

/// `name.kind`: 0 for types, 1 for sources, 2 for statuses.
pub(crate) const STATUS: usize = 2;

/// Begin of the period in seconds since 1970, and the number within it from 1: files in the order in which they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileName {
    pub(crate) start: u64,
    pub(crate) number: u32,
}

impl FileName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (start, number) = match name.strip_prefix("events-")?.strip_suffix(".sqlite")?.split_once('-') {
            Some((start, number)) => (start, number.parse().ok().filter(|number| *number > 1)?),
            None => (name.strip_prefix("events-")?.strip_suffix(".sqlite")?, 1),
        };
        let (date, time) = start.split_once('T')?;
        if date.len() != 8
            || !matches!(time.len(), 2 | 4 | 6)
            || !start.bytes().all(|b| b.is_ascii_digit() || b == b'T')
        {
            return None;
        }
        let part = |text: &str, at: usize, length: usize| text.get(at..at + length).unwrap_or("0").parse::<u64>().ok();
        let days = days(part(date, 0, 4)?, part(date, 4, 2)?, part(date, 6, 2)?)?;
        let start = days * 86_400 + part(time, 0, 2)? * 3_600 + part(time, 2, 2)? * 60 + part(time, 4, 2)?;
        let parsed = Self { start, number };
        // Only names as they are written here, so that a name and its place are one.
        (parsed.to_string() == name).then_some(parsed)
    }
}

/// Days since 1970-01-01; none for what is no date.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The year begins in March, so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    days.checked_sub(719_468)
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, month, day, hour, minute, second) = Timestamp::from_parts(self.start, 0).civil();
        write!(f, "events-{year:04}{month:02}{day:02}T{hour:02}")?;
        if minute != 0 || second != 0 {
            write!(f, "{minute:02}")?;
        }
        if second != 0 {
            write!(f, "{second:02}")?;
        }
        if self.number > 1 {
            write!(f, "-{}", self.number)?;
        }
        f.write_str(".sqlite")
    }
}

/// The files of a directory, oldest first; none if it does not exist.
pub(crate) fn files(directory: &Path) -> std::io::Result<Vec<FileName>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().to_str().and_then(FileName::parse));
    }
    names.sort_unstable();
    Ok(names)
}

/// Bytes of a file on disk, its log included.
pub(crate) fn bytes(path: &Path) -> u64 {
    ["", "-wal"].iter().map(|ending| std::fs::metadata(beside(path, ending)).map_or(0, |m| m.len())).sum()
}

/// The path with something appended to its name, as SQLite calls the files beside a database.
pub(crate) fn beside(path: &Path, ending: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Why a file is left alone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// Written by a newer Tapline, or no file of the store.
    #[error("{0}")]
    Foreign(String),
    /// Damaged, or not readable.
    #[error("cannot be read: {0}; it is left out of all answers, move it away to silence this")]
    Sqlite(#[from] rusqlite::Error),
}

/// Checks that an open database is one of ours.
pub(crate) fn check(connection: &Connection) -> Result<(), Refused> {
    let get = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let (application, version) = (get("application_id")?, get("user_version")?);
    if application != APPLICATION {
        return Err(Refused::Foreign("is no file of the store; move it away to silence this".to_owned()));
    }
    if version > VERSION {
        return Err(Refused::Foreign(format!(
            "has version {version}, this program knows up to {VERSION}; read it with the newer Tapline that wrote it"
        )));
    }
    Ok(())
}

/// Opens a file for reading. Where its directory cannot be written, only a finished one can be read.
pub(crate) fn open_read(path: &Path) -> Result<Connection, Refused> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).map_err(Refused::from).and_then(|connection| {
        connection.busy_timeout(std::time::Duration::from_millis(50))?;
        check(&connection)?;
        Ok(connection)
    });
    match opened {
        Err(Refused::Sqlite(error)) if is_for_want_of_rights(&error) && !has_log(path) => {
            let text = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            let flags = flags | OpenFlags::SQLITE_OPEN_URI;
            let connection = Connection::open_with_flags(format!("file:{text}?immutable=1"), flags)?;
            check(&connection)?;
            let sealed: bool = connection.query_row("SELECT sealed FROM state", [], |row| row.get(0))?;
            if sealed { Ok(connection) } else { Err(Refused::Sqlite(error)) }
        }
        other => other,
    }
}

fn has_log(path: &Path) -> bool {
    std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

fn is_for_want_of_rights(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
    matches!(error.sqlite_error_code(), Some(CannotOpen | PermissionDenied | ReadOnly))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_their_times() {
        for (name, start, number) in [
            ("events-20261123T19.sqlite", 1_795_460_400, 1),
            ("events-20261123T19-12.sqlite", 1_795_460_400, 12),
            ("events-19700101T000001.sqlite", 1, 1),
            ("events-20240229T2359.sqlite", 1_709_251_140, 1),
        ] {
            assert_eq!(FileName::parse(name), Some(FileName { start, number }), "{name}");
            assert_eq!(FileName { start, number }.to_string(), name);
        }
        for name in [
            "events-20261323T19.sqlite",
            "events-20261123T19-1.sqlite",
            "events-20261123T19.sqlite-wal",
            "x",
            "events-20261123T25.sqlite",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
