//! One configuration loader for every Tapline program: one TOML file, a section per program, flag over environment over file over default.
//! Deliberately knows no program's keys: a section's keys are whatever the serde structure it is loaded into has (use `deny_unknown_fields` and `default`).
//!
//! ```no_run
//! #[derive(serde::Deserialize, Default)]
//! #[serde(default, deny_unknown_fields)]
//! struct Collector {
//!     listen: Vec<String>,
//!     #[serde(with = "settings::duration")]
//!     linger: std::time::Duration,
//! }
//! let set = settings::parse_set("collector.linger=50ms").unwrap();
//! let collector: Collector = settings::load("collector", None, &[set]).unwrap();
//! ```
#![forbid(unsafe_code)]

mod document;
mod environment;
mod fault;
mod problem;
pub mod schema;
mod units;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub use fault::Faults;
pub use problem::{Place, Problem, Problems, nearest, suggestion};
pub use units::{duration, size};

/// The sections a configuration file may hold, one per program.
pub const SECTIONS: &[&str] = &["probe", "collector", "analyzer", "console"];

/// Where the configuration is looked for when no `--config` names a file.
pub const DEFAULT_FILE: &str = "/etc/tapline/tapline.toml";

/// What every program says of a configuration in which it finds nothing wrong.
pub const GOOD: &str = "the configuration is good";

/// Files larger than this are refused: a configuration is small, a wrong path may not be.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The file to load: the one that was named, else [`DEFAULT_FILE`] if it exists, else none.
pub fn file_or_default(named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(path) => Some(path.to_owned()),
        None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()),
    }
}

/// Loads one section: `overrides` (dotted path from the root including the section, TOML text) over the
/// environment (`TAPLINE_<SECTION>_<KEY>`, nested keys joined with `_`) over `file` over the defaults of `T`.
///
/// A value that is no TOML (a bare word, an address) is a string. Overrides and file sections of other programs are left alone;
/// sections that no program has are problems.
///
/// # Errors
/// Every problem there is, not only the first, each with its place.
pub fn load<T: DeserializeOwned + Default>(
    section: &str,
    file: Option<&Path>,
    overrides: &[(String, String)],
) -> Result<T, Problems> {
    load_checked(section, file, overrides, Ok)
}

/// [`load`], and what the program makes of the values: `make` judges them without touching anything outside, and its result is what the program
/// starts with. So looking for mistakes and starting are one path.
///
/// # Errors
/// As [`load`]; where everything could be read, all that `make` finds, each with its place.
pub fn load_checked<T: DeserializeOwned + Default, P>(
    section: &str,
    file: Option<&Path>,
    overrides: &[(String, String)],
    make: impl FnOnce(T) -> Result<P, Faults>,
) -> Result<P, Problems> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect();
    load_checked_with(section, file, &environment, overrides, make)
}

/// [`load`] with the environment as a parameter.
///
/// # Errors
/// As [`load`].
pub fn load_with<T: DeserializeOwned + Default>(
    section: &str,
    file: Option<&Path>,
    environment: &[(String, String)],
    overrides: &[(String, String)],
) -> Result<T, Problems> {
    load_checked_with(section, file, environment, overrides, Ok)
}

fn load_checked_with<T: DeserializeOwned + Default, P>(
    section: &str,
    file: Option<&Path>,
    environment: &[(String, String)],
    overrides: &[(String, String)],
    make: impl FnOnce(T) -> Result<P, Faults>,
) -> Result<P, Problems> {
    let mut problems = Vec::new();
    let mut sources = document::Sources::default();
    if let Some(path) = file {
        match read(path) {
            Ok(text) => sources.add_file(path, text),
            Err(message) => problems.push(Problem::new(Place::File { path: path.to_owned(), line: 0 }, message)),
        }
    }
    for (name, value) in environment {
        match environment::path_of::<T>(section, name) {
            Some(Ok(path)) => sources.add_value(Place::Environment(name.clone()), &path, value),
            Some(Err(message)) => problems.push(Problem::new(Place::Environment(name.clone()), message)),
            None => {}
        }
    }
    for (path, value) in overrides {
        sources.add_value(Place::Set(path.clone()), path, value);
    }
    match document::deserialize::<T>(section, &sources, &mut problems) {
        Some(loaded) if problems.is_empty() => make(loaded).map_err(|faults| faults.at(&sources)),
        _ => Err(Problems::new(problems)),
    }
}

/// Splits the argument of `--set`, `path.to.key=value`, for [`load`].
///
/// # Errors
/// What is wrong with it, for the user.
pub fn parse_set(argument: &str) -> Result<(String, String), String> {
    let (path, value) = argument
        .split_once('=')
        .ok_or_else(|| format!("`{argument}` has no `=`; write for example analyzer.workers=2"))?;
    let path = path.trim();
    let section = path.split('.').next().unwrap_or_default();
    if !SECTIONS.contains(&section) {
        return Err(format!("`{path}` must begin with a section: {}", SECTIONS.join(", ")));
    }
    if !path.contains('.') {
        return Err(format!("`{path}` names a whole section; write {path}.KEY=VALUE"));
    }
    Ok((path.to_owned(), value.trim().to_owned()))
}

fn read(path: &Path) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|e| format!("cannot read the configuration: {e}"))?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("{length} bytes is too large for a configuration (at most {FILE_BYTES_MAX})"));
    }
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read the configuration: {e}"))?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests;
