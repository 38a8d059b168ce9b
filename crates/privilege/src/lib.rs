//! Giving up what a program no longer needs: root, groups, capabilities, and the way back to them; and ending when its supervisor is gone.
//! Deliberately not a sandbox: which files and system calls remain is the analyzer's own affair.
#![deny(unsafe_code)]

pub mod supervisor;
mod system;

use std::ffi::CString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The user that is taken when the configuration names none: the first of these that exists.
const DEFAULT_USERS: [&str; 2] = ["tapline", "nobody"];

/// Why privileges could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// There is no such user.
    #[error("there is no user {0:?} on this machine: create it, or name another")]
    NoUser(String),
    /// The system refused.
    #[error("giving up privileges failed at {step}: {error}")]
    Refused {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

fn refused(step: &'static str) -> impl Fn(io::Error) -> PrivilegeError {
    move |error| PrivilegeError::Refused { step, error }
}

/// An account of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Number of its main group.
    pub gid: u32,
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    system::effective_uid() == 0
}

/// The user to change to: the configured one, else (none, or an empty name) `tapline` where it exists, else `nobody`.
///
/// # Errors
/// When there is no such user.
pub fn user(configured: Option<&str>) -> Result<User, PrivilegeError> {
    match configured.filter(|name| !name.is_empty()) {
        Some(name) => find(name).ok_or_else(|| PrivilegeError::NoUser(name.into())),
        None => DEFAULT_USERS
            .iter()
            .find_map(|name| find(name))
            .ok_or_else(|| PrivilegeError::NoUser(DEFAULT_USERS[0].into())),
    }
}

fn find(name: &str) -> Option<User> {
    let (uid, gid) = system::account(&CString::new(name).ok()?)?;
    Some(User { name: name.into(), uid, gid })
}

/// Lets the unprivileged user and its group use a Unix socket that was bound, and nobody else.
///
/// # Errors
/// What the system says.
pub fn give_socket(path: &Path, user: &User) -> io::Result<()> {
    if is_root() {
        std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
}

/// Gives a directory of the program's own, and what lies in it, to `user`; makes it if it is missing (mode 0750).
/// Does not follow symbolic links.
///
/// # Errors
/// When it cannot be made or given away.
pub fn give_directory(path: &Path, user: &User) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    if is_root() {
        give(path, user, 0)?;
    }
    Ok(())
}

fn give(path: &Path, user: &User, depth: usize) -> io::Result<()> {
    const DEEPEST: usize = 16;
    std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))?;
    if depth < DEEPEST && path.symlink_metadata()?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give(&entry?.path(), user, depth + 1)?;
        }
    }
    Ok(())
}

/// Becomes `user` if this process is root, then gives up every capability and the way back to them for good. Before any
/// thread is started. For a process that is not root, only the latter.
///
/// # Errors
/// When the system refuses; the process must then end.
pub fn give_up(user: &User) -> Result<(), PrivilegeError> {
    if is_root() {
        // The bounding set can only be emptied while CAP_SETPCAP is still there.
        system::empty_bounding_set();
        system::set_groups(user.gid).map_err(refused("setting the groups"))?;
        system::set_gid(user.gid).map_err(refused("changing the group"))?;
        system::set_uid(user.uid).map_err(refused("changing the user"))?;
    }
    system::clear_ambient();
    system::clear_capabilities().map_err(refused("giving up capabilities"))?;
    system::no_new_privileges().map_err(refused("setting no_new_privs"))?;
    system::set_umask(0o027);
    Ok(())
}
