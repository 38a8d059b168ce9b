//! The file being written: rows, blocks of documents, roll-ups and names in one transaction per batch.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use event::Event;
use rusqlite::{Connection, OpenFlags, params};

use super::{Options, Stored, Work};
use crate::Error;
use crate::documents::{BLOCK_ROWS, DICTIONARY};
use crate::format::{self, FileName, Refused};
use crate::rollup::Entry;
use crate::time::signed;

/// Names of one kind in a file at most; what comes beyond is `(other)`.
const NAMES_MAX: usize = 4096;
/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 256;

/// The open file.
pub(super) struct Open {
    pub(super) name: FileName,
    pub(super) events: u64,
    path: PathBuf,
    connection: Connection,
    time_min: i64,
    time_max: i64,
    next_row: i64,
    names: [HashMap<String, i64>; 3],
    log: Option<File>,
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(2))?;
    // In the sandbox there is no directory for temporary files.
    connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16000;")?;
    Ok(connection)
}

/// Opens a finished file to give it its indexes.
pub(super) fn connect_existing(path: &Path) -> Result<Connection, Refused> {
    drop(format::open_read(path)?);
    Ok(connect(path)?)
}

impl Open {
    /// Begins a new file. It is made under another name and moved into place whole.
    pub(super) fn create(options: &Options, name: FileName) -> Result<Self, Error> {
        let path = options.directory.join(name.to_string());
        let new = options.directory.join("new.sqlite");
        let wrong = |source| Error::File { path: path.clone(), source };
        for ending in ["", "-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(format::beside(&new, ending));
        }
        let make = || -> Result<(), rusqlite::Error> {
            let connection = connect(&new)?;
            connection.execute_batch(&format!(
                "PRAGMA page_size = 8192; PRAGMA application_id = {}; PRAGMA user_version = {};",
                format::APPLICATION,
                format::VERSION
            ))?;
            connection.execute_batch(&format!("BEGIN; {} COMMIT;", format::TABLES))?;
            connection.execute("INSERT INTO dictionary VALUES(1, ?1)", [DICTIONARY])?;
            connection.execute("INSERT INTO state VALUES(1, 0, NULL, NULL, 0, 0, 0)", [])?;
            connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
            connection.close().map_err(|(_, error)| error)
        };
        make().map_err(wrong)?;
        let directory = |source| Error::Directory { path: options.directory.clone(), source };
        std::fs::rename(&new, &path).map_err(directory)?;
        File::open(&options.directory).and_then(|directory| directory.sync_all()).map_err(directory)?;
        match Self::existing(options, name) {
            Ok(Some(open)) => Ok(open),
            Ok(None) => Err(directory(std::io::Error::other("the new file was finished by somebody else"))),
            Err(Refused::Sqlite(source)) => Err(wrong(source)),
            Err(Refused::Foreign(text)) => Err(directory(std::io::Error::other(text))),
        }
    }

    /// Goes on with a file; none if it is finished.
    pub(super) fn existing(options: &Options, name: FileName) -> Result<Option<Self>, Refused> {
        let path = options.directory.join(name.to_string());
        let connection = connect(&path)?;
        format::check(&connection)?;
        // A commit goes to the log without waiting for the disk; `sync` waits.
        connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 4000;")?;
        connection.set_prepared_statement_cache_capacity(32);
        let (events, time_min, time_max, sealed) =
            connection.query_row("SELECT events, time_min, time_max, sealed FROM state", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, Option<i64>>(2)?, row.get(3)?))
            })?;
        if sealed {
            return Ok(None);
        }
        let last: Option<i64> = connection.query_row("SELECT max(row) FROM event", [], |row| row.get(0))?;
        let mut names: [HashMap<String, i64>; 3] = Default::default();
        let mut statement = connection.prepare("SELECT kind, number, text FROM name")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(names) = names.get_mut(usize::try_from(row.get::<_, i64>(0)?).unwrap_or(usize::MAX)) {
                names.insert(row.get(2)?, row.get(1)?);
            }
        }
        drop(rows);
        drop(statement);
        let age = i64::try_from(options.retention_age.as_secs()).unwrap_or(i64::MAX);
        let size = i64::try_from(options.retention_size).unwrap_or(i64::MAX);
        connection.execute("UPDATE state SET retention_age = ?1, retention_size = ?2", [age, size])?;
        Ok(Some(Self {
            name,
            events: u64::try_from(events).unwrap_or(0),
            path,
            connection,
            time_min: time_min.unwrap_or(i64::MAX),
            time_max: time_max.unwrap_or(i64::MIN),
            next_row: last.unwrap_or(0).saturating_add(1),
            names,
            log: None,
        }))
    }

    /// Stores a batch in one transaction. After an error the file has to be opened again.
    pub(super) fn write<'e>(
        &mut self,
        events: impl Iterator<Item = (&'e Event, &'e [u8])>,
        work: &mut Work,
    ) -> Result<Stored, Error> {
        let wrong = |source| Error::File { path: self.path.clone(), source };
        let Work { extractor, gathered, packer } = work;
        gathered.clear();
        packer.clear();
        let mut stored = Stored::default();
        let first = self.next_row;
        let transaction = self.connection.unchecked_transaction().map_err(wrong)?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO event VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)")
                .map_err(wrong)?;
            let mut insert_block = transaction.prepare_cached("INSERT INTO block VALUES(?1, ?2, ?3)").map_err(wrong)?;
            let (mut block_first, mut in_block) = (first, 0);
            for (event, line) in events {
                let columns = extractor.columns(event);
                let texts = [event.event_type, event.origin.observer.name.as_str(), columns.status];
                let mut numbers = [0i64; 3];
                for (kind, (number, text)) in numbers.iter_mut().zip(texts).enumerate() {
                    let Some(names) = self.names.get_mut(kind) else { continue };
                    *number = number_of(&transaction, names, kind, text).map_err(wrong)?;
                }
                let time = signed(event.time);
                let loss = i64::try_from(event.capture_loss).unwrap_or(i64::MAX);
                let [kind, source, status] = numbers;
                insert
                    .execute(params![
                        self.next_row,
                        time,
                        event.id().0.to_be_bytes(),
                        kind,
                        source,
                        status,
                        columns.client_ip,
                        columns.client_port,
                        columns.server_ip,
                        columns.server_port,
                        columns.flow,
                        columns.call,
                        (loss > 0).then_some(loss),
                        columns.bytes,
                        columns.duration
                    ])
                    .map_err(wrong)?;
                gathered.add(&Entry {
                    time,
                    names: numbers,
                    bytes: columns.bytes,
                    duration: columns.duration,
                    capture_loss: loss,
                    addresses: [columns.client_ip, columns.server_ip],
                    is_final_flow: columns.is_final_flow,
                });
                packer.add(line);
                in_block += 1;
                self.next_row += 1;
                self.time_min = self.time_min.min(time);
                self.time_max = self.time_max.max(time);
                stored.events += 1;
                stored.bytes += line.len() as u64;
                if in_block == BLOCK_ROWS {
                    let (length, packed) = packer.pack().map_err(Error::Compression)?;
                    insert_block.execute(params![block_first, length as i64, packed]).map_err(wrong)?;
                    packer.clear();
                    (block_first, in_block) = (self.next_row, 0);
                }
            }
            if in_block > 0 {
                let (length, packed) = packer.pack().map_err(Error::Compression)?;
                insert_block.execute(params![block_first, length as i64, packed]).map_err(wrong)?;
            }
        }
        if stored.events == 0 {
            return Ok(stored);
        }
        gathered.store(&transaction).map_err(wrong)?;
        let events = self.events + stored.events;
        transaction
            .prepare_cached("UPDATE state SET events = ?1, time_min = ?2, time_max = ?3")
            .and_then(|mut update| update.execute(params![events as i64, self.time_min, self.time_max]))
            .map_err(wrong)?;
        transaction.commit().map_err(wrong)?;
        self.events = events;
        Ok(stored)
    }

    /// Waits until the log is on the disk.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        let wrong = |source| Error::Directory { path: self.path.clone(), source };
        if self.log.is_none() {
            self.log = Some(File::open(format::beside(&self.path, "-wal")).map_err(wrong)?);
            // The log is a file of its own, whose name must last as well.
            if let Some(directory) = self.path.parent() {
                File::open(directory).and_then(|directory| directory.sync_all()).map_err(wrong)?;
            }
        }
        self.log.as_ref().map_or(Ok(()), File::sync_data).map_err(wrong)
    }
}

/// The number of a name in this file; a new one is noted in it. 0 is the empty name.
fn number_of(
    connection: &Connection,
    names: &mut HashMap<String, i64>,
    kind: usize,
    text: &str,
) -> Result<i64, rusqlite::Error> {
    if text.is_empty() && kind == format::STATUS {
        return Ok(0);
    }
    if let Some(number) = names.get(text) {
        return Ok(*number);
    }
    let text = if names.len() >= NAMES_MAX || text.len() > NAME_BYTES_MAX { "(other)" } else { text };
    if let Some(number) = names.get(text) {
        return Ok(*number);
    }
    let number = names.len() as i64 + 1;
    connection.execute("INSERT INTO name VALUES(?1, ?2, ?3)", params![kind as i64, number, text])?;
    names.insert(text.to_owned(), number);
    Ok(number)
}

/// Appends the ids of a file, those stored last first, until there are `most`.
pub(super) fn read_ids(path: &Path, most: usize, ids: &mut Vec<u128>) -> Result<(), Refused> {
    let connection = format::open_read(path)?;
    let wanted = i64::try_from(most.saturating_sub(ids.len())).unwrap_or(i64::MAX);
    let mut statement = connection.prepare("SELECT id FROM event ORDER BY row DESC LIMIT ?1")?;
    let mut rows = statement.query([wanted])?;
    while let Some(row) = rows.next()? {
        ids.push(u128::from_be_bytes(row.get(0)?));
    }
    Ok(())
}
