//! Files of the authority: written whole or not at all, secret ones readable by their owner only.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::KeysError;

/// Mode of what everybody may read.
pub(crate) const PUBLIC: u32 = 0o644;
/// Mode of what only its owner may read.
pub(crate) const SECRET: u32 = 0o600;

fn failed(path: &Path) -> impl Fn(std::io::Error) -> KeysError {
    let path = path.to_owned();
    move |source| KeysError::File { path: path.clone(), source }
}

pub(crate) fn make_directory(path: &Path) -> Result<(), KeysError> {
    std::fs::create_dir_all(path).map_err(failed(path))
}

pub(crate) fn read(path: &Path) -> Result<String, KeysError> {
    std::fs::read_to_string(path).map_err(failed(path))
}

pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeysError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    // What an interrupted run left.
    let _ = std::fs::remove_file(&temporary);
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .map_err(failed(&temporary))?;
    out.write_all(bytes).and_then(|()| out.sync_all()).map_err(failed(&temporary))?;
    std::fs::rename(&temporary, path).map_err(failed(path))
}
