//! The few file operations that the spool needs, and the directory that offers them. Knows nothing of what the files hold.

use rustix::fs::{AtFlags, Dir, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What a folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name, without a path.
    pub name: String,
    /// Bytes of a file.
    pub length: u64,
    /// Whether it is a folder.
    pub folder: bool,
}

/// File operations. Paths are `NAME` or `FOLDER/NAME`, relative to the spool's directory, which is the folder "".
pub trait Disk: Send {
    /// What a folder holds, in no order.
    fn list(&mut self, folder: &str) -> io::Result<Vec<Item>>;
    /// Makes a folder.
    fn make_folder(&mut self, folder: &str) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&mut self, folder: &str) -> io::Result<()>;
    /// Writes all bytes at `offset` of a file, which is made if it does not exist. After an error any part may be written.
    fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads at `offset`; fewer bytes than asked for only at the end of the file.
    fn read(&mut self, path: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Cuts a file; one that does not exist is made.
    fn truncate(&mut self, path: &str, length: u64) -> io::Result<()>;
    /// Makes a file's content survive a loss of power.
    fn sync(&mut self, path: &str) -> io::Result<()>;
    /// Makes the names in a folder survive a loss of power.
    fn sync_folder(&mut self, folder: &str) -> io::Result<()>;
    /// Gives a file another name in its folder, in the place of what has that name.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, path: &str) -> io::Result<()>;
}

/// Name of the file that is locked.
const LOCK: &str = "lock";

/// The spool's directory, held open and locked for as long as this lives.
#[derive(Debug)]
pub struct Directory {
    root: OwnedFd,
    _lock: OwnedFd,
    /// The files written and read last.
    writing: Option<(String, OwnedFd)>,
    reading: Option<(String, OwnedFd)>,
}

impl Directory {
    /// Opens the directory, makes it if needed, and locks it. With an `owner` (user, group) it and what it holds become theirs: for a
    /// program that is still root.
    ///
    /// # Errors
    /// What cannot be done, with the path; another process that holds the lock.
    pub fn open(path: &Path, owner: Option<(u32, u32)>) -> io::Result<Self> {
        let explain = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(explain)?;
        }
        match std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o750).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(explain(error)),
            _ => {}
        }
        let open = || -> io::Result<(OwnedFd, OwnedFd)> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(path, flags, Mode::empty())?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let lock = rustix::fs::openat(&root, LOCK, flags, Mode::from_raw_mode(0o640))?;
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another probe uses this spool: give one of the two another --name or another probe.spool.directory",
                )),
                Err(error) => Err(error.into()),
                Ok(()) => Ok((root, lock)),
            }
        };
        let (root, lock) = open().map_err(explain)?;
        let mut directory = Self { root, _lock: lock, writing: None, reading: None };
        if let Some(owner) = owner {
            directory.give(owner).map_err(explain)?;
        }
        Ok(directory)
    }

    /// Gives everything to a user: two levels, symbolic links not followed.
    fn give(&mut self, (user, group): (u32, u32)) -> io::Result<()> {
        let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        rustix::fs::fchown(&self.root, user, group)?;
        for item in self.list("")? {
            if item.folder {
                for inner in self.list(&item.name)? {
                    let path = format!("{}/{}", item.name, inner.name);
                    rustix::fs::chownat(&self.root, path, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
                }
            }
            rustix::fs::chownat(&self.root, &item.name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    fn opened<'a>(
        root: &OwnedFd,
        slot: &'a mut Option<(String, OwnedFd)>,
        path: &str,
        flags: OFlags,
    ) -> io::Result<&'a OwnedFd> {
        if slot.as_ref().is_none_or(|(open, _)| open != path) {
            let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(root, path, flags, Mode::from_raw_mode(0o640))?;
            *slot = Some((path.to_owned(), file));
        }
        slot.as_ref().map(|(_, file)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn writable(&mut self, path: &str) -> io::Result<&OwnedFd> {
        Self::opened(&self.root, &mut self.writing, path, OFlags::WRONLY | OFlags::CREATE)
    }

    fn folder(&self, folder: &str) -> io::Result<OwnedFd> {
        let name = if folder.is_empty() { "." } else { folder };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(rustix::fs::openat(&self.root, name, flags, Mode::empty())?)
    }

    fn forget(&mut self, path: &str) {
        for slot in [&mut self.writing, &mut self.reading] {
            if slot.as_ref().is_some_and(|(open, _)| open == path) {
                *slot = None;
            }
        }
    }
}

impl Disk for Directory {
    fn list(&mut self, folder: &str) -> io::Result<Vec<Item>> {
        let folder = self.folder(folder)?;
        let mut items = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let stat = rustix::fs::statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
            items.push(Item { name, length: u64::try_from(stat.st_size).unwrap_or(0), folder: kind.is_dir() });
        }
        Ok(items)
    }

    fn make_folder(&mut self, folder: &str) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.root, folder, Mode::from_raw_mode(0o750))?)
    }

    fn remove_folder(&mut self, folder: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.root, folder, AtFlags::REMOVEDIR)?)
    }

    fn write(&mut self, path: &str, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        let file = self.writable(path)?;
        while !bytes.is_empty() {
            match rustix::io::pwrite(file, bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    offset += length as u64;
                    bytes = bytes.get(length..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read(&mut self, path: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = Self::opened(&self.root, &mut self.reading, path, OFlags::RDONLY)?;
        let mut have = 0;
        while let Some(rest) = buffer.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pread(file, rest, offset + have as u64) {
                Ok(0) => break,
                Ok(length) => have += length,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(have)
    }

    fn truncate(&mut self, path: &str, length: u64) -> io::Result<()> {
        Ok(rustix::fs::ftruncate(self.writable(path)?, length)?)
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(self.writable(path)?)?)
    }

    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.folder(folder)?.as_fd())?)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.forget(from);
        self.forget(to);
        Ok(rustix::fs::renameat(&self.root, from, &self.root, to)?)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.forget(path);
        Ok(rustix::fs::unlinkat(&self.root, path, AtFlags::empty())?)
    }
}
