//! Open files, kept between questions; what is damaged or newer is reported once and left out.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use crate::Error;
use crate::documents::Unpacker;
use crate::filter::Names;
use crate::format::{self, FileName, Refused};

/// Files kept open at most between questions.
const IDLE_MAX: usize = 400;

/// What a file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) events: u64,
    /// First and last time in it; none if it is empty.
    pub(super) times: Option<(i64, i64)>,
    pub(super) sealed: bool,
    pub(super) retention: (i64, i64),
}

/// One open file within a question: a transaction, so that all it says is of one moment.
pub(super) struct File {
    pub(super) name: FileName,
    pub(super) connection: Connection,
    pub(super) unpacker: Unpacker,
    pub(super) names: Names,
    pub(super) state: State,
}

/// The files of one directory.
pub(super) struct Pool {
    directory: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    idle: HashMap<FileName, Vec<File>>,
    idle_count: usize,
    /// Finished files never change.
    sealed: HashMap<FileName, State>,
    refused: BTreeMap<FileName, String>,
}

impl Pool {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, inner: Mutex::default() }
    }

    pub(super) fn path(&self, name: FileName) -> PathBuf {
        self.directory.join(name.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of all files, oldest first.
    pub(super) fn names(&self) -> Result<Vec<FileName>, Error> {
        let wrong = |source| Error::Directory { path: self.directory.clone(), source };
        let names = format::files(&self.directory).map_err(wrong)?;
        let mut inner = self.lock();
        let Inner { idle, idle_count, sealed, refused } = &mut *inner;
        idle.retain(|name, files| {
            let stays = names.binary_search(name).is_ok();
            if !stays {
                *idle_count -= files.len();
            }
            stays
        });
        sealed.retain(|name, _| names.binary_search(name).is_ok());
        refused.retain(|name, _| names.binary_search(name).is_ok());
        Ok(names)
    }

    /// Why files are left out.
    pub(super) fn problems(&self) -> Vec<String> {
        self.lock().refused.iter().map(|(name, why)| format!("{name} {why}")).collect()
    }

    /// What a file says; none if it cannot be read.
    pub(super) fn state(&self, name: FileName) -> Option<State> {
        if let Some(state) = self.lock().sealed.get(&name) {
            return Some(*state);
        }
        let file = self.take(name)?;
        let state = file.state;
        self.give_back(file);
        Some(state)
    }

    /// Opens a file, or takes an open one; none if it cannot be read or is gone.
    pub(super) fn take(&self, name: FileName) -> Option<File> {
        let idle = {
            let mut inner = self.lock();
            let file = inner.idle.get_mut(&name).and_then(Vec::pop);
            inner.idle_count -= usize::from(file.is_some());
            file
        };
        let result = match idle {
            Some(mut file) => file.begin().map(|()| file).map_err(Refused::from),
            None => File::open(&self.path(name), name),
        };
        match result {
            Ok(file) => {
                let mut inner = self.lock();
                inner.refused.remove(&name);
                if file.state.sealed {
                    inner.sealed.insert(name, file.state);
                }
                Some(file)
            }
            Err(refused) => {
                self.refuse(name, &refused);
                None
            }
        }
    }

    /// Leaves a file out of answers until it can be opened again.
    pub(super) fn refuse(&self, name: FileName, why: &Refused) {
        // Removed by retention meanwhile: nothing is wrong.
        if self.path(name).exists() && self.lock().refused.insert(name, why.to_string()).is_none() {
            tracing::warn!("{name} of the event store {why}");
        }
    }

    pub(super) fn give_back(&self, file: File) {
        if file.connection.execute_batch("COMMIT").is_err() {
            return;
        }
        let mut inner = self.lock();
        if inner.idle_count < IDLE_MAX {
            inner.idle_count += 1;
            inner.idle.entry(file.name).or_default().push(file);
        }
    }
}

impl File {
    fn open(path: &Path, name: FileName) -> Result<Self, Refused> {
        let connection = format::open_read(path)?;
        connection.execute_batch("PRAGMA cache_size = -4000;")?;
        connection.set_prepared_statement_cache_capacity(32);
        let unpacker = Unpacker::new(&connection)?;
        let state = State { events: 0, times: None, sealed: false, retention: (0, 0) };
        let mut file = Self { name, connection, unpacker, names: Names::default(), state };
        file.begin()?;
        Ok(file)
    }

    fn begin(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch("BEGIN")?;
        if self.state.sealed {
            return Ok(());
        }
        self.state = self
            .connection
            .prepare_cached("SELECT events, time_min, time_max, sealed, retention_age, retention_size FROM state")?
            .query_row([], |row| {
                let (min, max): (Option<i64>, Option<i64>) = (row.get(1)?, row.get(2)?);
                Ok(State {
                    events: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
                    times: min.zip(max),
                    sealed: row.get(3)?,
                    retention: (row.get(4)?, row.get(5)?),
                })
            })?;
        // A block that was not full may be followed by others, never changed; so what is unpacked stays right.
        let mut names = Names::default();
        let mut statement = self.connection.prepare_cached("SELECT kind, number, text FROM name")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let place = (usize::try_from(row.get::<_, i64>(0)?), usize::try_from(row.get::<_, i64>(1)?));
            let (Ok(kind), Ok(number @ 0..=65_535)) = place else { continue };
            let Some(names) = names.get_mut(kind) else { continue };
            if names.len() <= number {
                names.resize(number + 1, String::new());
            }
            if let Some(name) = names.get_mut(number) {
                *name = row.get(2)?;
            }
        }
        for names in &mut names {
            if names.is_empty() {
                names.push(String::new());
            }
        }
        self.names = names;
        Ok(())
    }
}
