//! A disk that keeps what was synced, may lose or tear the rest, and fails when it is told to. Between any two of its operations the rest
//! of the world goes on.

use super::random::Random;
use super::world::Sides;
use crate::disk::{Disk, Item};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

/// How the disk fails at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// What grows a file is refused, after a part of it.
    Full,
    /// Everything fails.
    Failing,
    /// Only syncing fails.
    Syncing,
    /// Only reading fails.
    Reading,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Debug, Clone, Default)]
struct File {
    /// As programs see it.
    now: Vec<u8>,
    /// As it would be after a loss of power, and what happened since.
    safe: Vec<u8>,
    since: Vec<Change>,
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, bytes) => {
            let (start, end) = (*offset as usize, *offset as usize + bytes.len());
            if content.len() < end {
                content.resize(end, 0);
            }
            content[start..end].copy_from_slice(bytes);
        }
        Change::Truncate(length) => content.resize(*length as usize, 0),
    }
}

#[derive(Debug, Clone)]
enum Naming {
    Set(String, u64),
    Gone(String),
}

fn rename(names: &mut BTreeMap<String, u64>, naming: &Naming) {
    match naming {
        Naming::Set(name, file) => drop(names.insert(name.clone(), *file)),
        Naming::Gone(name) => drop(names.remove(name)),
    }
}

#[derive(Debug, Clone, Default)]
struct Folder {
    now: BTreeMap<String, u64>,
    safe: BTreeMap<String, u64>,
    since: Vec<Naming>,
}

/// What is on the disk; it outlives programs.
#[derive(Debug)]
pub struct Platter {
    folders: BTreeMap<String, Folder>,
    files: BTreeMap<u64, File>,
    next_file: u64,
    pub trouble: Trouble,
    /// Operations until the trouble is over.
    pub lasts: u64,
    /// Whether there ever was trouble.
    pub troubled: bool,
    /// Operations until the program is killed.
    pub dies_in: Option<u64>,
    /// A disk that only says that it has synced.
    pub lies: bool,
    random: Random,
}

impl Platter {
    pub fn new(seed: u64) -> Self {
        Self {
            folders: BTreeMap::from([(String::new(), Folder::default())]),
            files: BTreeMap::new(),
            next_file: 0,
            trouble: Trouble::None,
            lasts: 0,
            troubled: false,
            dies_in: None,
            lies: false,
            random: Random::new(seed ^ 0xD15C),
        }
    }

    /// The power is lost: of what was not synced a part survives, in the order in which it was done, and of the last piece a part.
    pub fn lose_power(&mut self) {
        let random = &mut self.random;
        for file in self.files.values_mut() {
            let survive = random.below(file.since.len() as u64 + 1) as usize;
            let mut content = file.safe.clone();
            for change in &file.since[..survive] {
                apply(&mut content, change);
            }
            if let Some(Change::Write(offset, bytes)) = file.since.get(survive) {
                let part = random.below(bytes.len() as u64 + 1) as usize;
                let mut torn = bytes[..part].to_vec();
                if random.percent(30) {
                    // The length was there before the bytes; what is written over stays.
                    for at in part..bytes.len() {
                        torn.push(content.get(*offset as usize + at).copied().unwrap_or(0));
                    }
                }
                apply(&mut content, &Change::Write(*offset, torn));
            }
            *file = File { now: content.clone(), safe: content, since: Vec::new() };
        }
        let mut kept = BTreeMap::new();
        for (name, folder) in &mut self.folders {
            let survive = random.below(folder.since.len() as u64 + 1) as usize;
            let mut names = folder.safe.clone();
            for naming in &folder.since[..survive] {
                rename(&mut names, naming);
            }
            kept.insert(name.clone(), Folder { now: names.clone(), safe: names, since: Vec::new() });
        }
        let root = kept.get("").cloned().unwrap_or_default();
        self.folders = kept.into_iter().filter(|(name, _)| name.is_empty() || root.now.contains_key(name)).collect();
        for name in root.now.keys() {
            self.folders.entry(name.clone()).or_default();
        }
    }

    /// Bytes of all segments.
    pub fn segment_bytes(&self) -> u64 {
        let folders = self.folders.values().flat_map(|folder| &folder.now);
        let segments = folders.filter(|(name, _)| name.ends_with(".log"));
        segments.filter_map(|(_, file)| self.files.get(file)).map(|file| file.now.len() as u64).sum()
    }

    fn file(&self, path: &str) -> Option<u64> {
        let (folder, name) = split(path);
        self.folders.get(folder)?.now.get(name).copied()
    }

    fn made(&mut self, path: &str) -> io::Result<u64> {
        if let Some(file) = self.file(path) {
            return Ok(file);
        }
        let (folder, name) = split(path);
        let file = self.next_file;
        let folder = self.folders.get_mut(folder).ok_or(io::ErrorKind::NotFound)?;
        self.next_file += 1;
        self.files.insert(file, File::default());
        folder.now.insert(name.to_owned(), file);
        folder.since.push(Naming::Set(name.to_owned(), file));
        Ok(file)
    }

    fn change(&mut self, path: &str, change: Change) -> io::Result<()> {
        let file = self.made(path)?;
        if let Some(file) = self.files.get_mut(&file) {
            apply(&mut file.now, &change);
            file.since.push(change);
        }
        Ok(())
    }

    fn name(&mut self, folder: &str, naming: Naming) -> io::Result<()> {
        let folder = self.folders.get_mut(folder).ok_or(io::ErrorKind::NotFound)?;
        rename(&mut folder.now, &naming);
        folder.since.push(naming);
        Ok(())
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The program's hold of the disk.
pub struct Simulated {
    pub platter: Arc<Mutex<Platter>>,
    pub sides: Arc<Mutex<Sides>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Name,
    Remove,
    Sync,
}

impl Simulated {
    /// What comes before each operation: the world goes on, the program may be killed, the disk may fail.
    fn before(&mut self, kind: Kind, what: &str) -> io::Result<()> {
        if self.platter.lock().unwrap().dies_in != Some(0) {
            let mut sides = self.sides.lock().unwrap();
            sides.meanwhile();
            sides.say(|| format!("    disk {kind:?} {what}"));
        }
        let mut platter = self.platter.lock().unwrap();
        match &mut platter.dies_in {
            Some(0) => return Err(io::Error::other("dead")),
            Some(left) => *left -= 1,
            None => {}
        }
        if platter.trouble != Trouble::None {
            platter.lasts = platter.lasts.saturating_sub(1);
            if platter.lasts == 0 {
                platter.trouble = Trouble::None;
            }
        }
        let fails = match platter.trouble {
            Trouble::None => false,
            Trouble::Full => kind == Kind::Name,
            Trouble::Failing => true,
            Trouble::Syncing => kind == Kind::Sync,
            Trouble::Reading => kind == Kind::Read,
        };
        if fails { Err(io::Error::other(format!("{:?}", platter.trouble))) } else { Ok(()) }
    }
}

impl Disk for Simulated {
    fn list(&mut self, folder: &str) -> io::Result<Vec<Item>> {
        self.before(Kind::Read, folder)?;
        let platter = self.platter.lock().unwrap();
        let names = &platter.folders.get(folder).ok_or(io::ErrorKind::NotFound)?.now;
        let item = |(name, file): (&String, &u64)| Item {
            name: name.clone(),
            length: platter.files.get(file).map_or(0, |file| file.now.len() as u64),
            folder: folder.is_empty() && platter.folders.contains_key(name),
        };
        Ok(names.iter().map(item).collect())
    }

    fn make_folder(&mut self, folder: &str) -> io::Result<()> {
        self.before(Kind::Name, folder)?;
        let mut platter = self.platter.lock().unwrap();
        if platter.folders.contains_key(folder) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        platter.folders.insert(folder.to_owned(), Folder::default());
        platter.name("", Naming::Set(folder.to_owned(), u64::MAX))
    }

    fn remove_folder(&mut self, folder: &str) -> io::Result<()> {
        self.before(Kind::Remove, folder)?;
        let mut platter = self.platter.lock().unwrap();
        if platter.folders.get(folder).is_none_or(|folder| !folder.now.is_empty()) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        platter.folders.remove(folder);
        platter.name("", Naming::Gone(folder.to_owned()))
    }

    fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.before(Kind::Write, &format!("{path} at {offset}, {} bytes", bytes.len()))?;
        let mut platter = self.platter.lock().unwrap();
        let file = platter.made(path)?;
        let known = platter.files.get(&file).map_or(0, |file| file.now.len() as u64);
        if platter.trouble == Trouble::Full && offset + bytes.len() as u64 > known {
            let part = platter.random.below(bytes.len() as u64 + 1) as usize;
            platter.change(path, Change::Write(offset, bytes[..part].to_vec()))?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.change(path, Change::Write(offset, bytes.to_vec()))
    }

    fn read(&mut self, path: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.before(Kind::Read, &format!("{path} at {offset}"))?;
        let platter = self.platter.lock().unwrap();
        let file = platter.file(path).and_then(|file| platter.files.get(&file)).ok_or(io::ErrorKind::NotFound)?;
        let rest = file.now.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn truncate(&mut self, path: &str, length: u64) -> io::Result<()> {
        self.before(Kind::Write, &format!("{path} cut to {length}"))?;
        self.platter.lock().unwrap().change(path, Change::Truncate(length))
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        self.before(Kind::Sync, path)?;
        let mut platter = self.platter.lock().unwrap();
        let file = platter.file(path).ok_or(io::ErrorKind::NotFound)?;
        if !platter.lies
            && let Some(file) = platter.files.get_mut(&file)
        {
            file.safe = file.now.clone();
            file.since.clear();
        }
        Ok(())
    }

    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        self.before(Kind::Sync, folder)?;
        let mut platter = self.platter.lock().unwrap();
        let folder = platter.folders.get_mut(folder).ok_or(io::ErrorKind::NotFound)?;
        folder.safe = folder.now.clone();
        folder.since.clear();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.before(Kind::Name, &format!("{from} to {to}"))?;
        let mut platter = self.platter.lock().unwrap();
        let file = platter.file(from).ok_or(io::ErrorKind::NotFound)?;
        let ((folder, from), (_, to)) = (split(from), split(to));
        // One change on a disk that journals: never without either name.
        platter.name(folder, Naming::Set(to.to_owned(), file))?;
        let both = platter.folders.get_mut(folder).ok_or(io::ErrorKind::NotFound)?;
        both.now.remove(from);
        both.since.push(Naming::Gone(from.to_owned()));
        Ok(())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.before(Kind::Remove, path)?;
        let mut platter = self.platter.lock().unwrap();
        platter.file(path).ok_or(io::ErrorKind::NotFound)?;
        let (folder, name) = split(path);
        platter.name(folder, Naming::Gone(name.to_owned()))
    }
}
