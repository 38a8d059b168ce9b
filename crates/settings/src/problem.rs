//! What is wrong with a configuration, in words for the person who wrote it.
//! Deliberately without error codes: the place and the next action are what counts.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of the configuration file, from 1; 0 when the whole file is meant.
    File {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// The path given to `--set` (or to a flag that stands for it).
    Set(String),
    /// Nowhere: it is a default, or what is wrong is that it is missing.
    Unsaid,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line: 0 } => write!(f, "{}", path.display()),
            Place::File { path, line } => write!(f, "{}:{line}", path.display()),
            Place::Environment(name) => write!(f, "environment variable {name}"),
            Place::Set(path) => write!(f, "--set {path}"),
            Place::Unsaid => Ok(()),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what to do.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Self {
        Problem { place, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Unsaid => f.write_str(&self.message),
            place => write!(f, "{place}: {}", self.message),
        }
    }
}

/// Everything that is wrong, one problem per line; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    pub(crate) fn new(mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| match &problem.place {
            Place::File { line, .. } => (0, *line),
            Place::Environment(_) => (1, 0),
            Place::Set(_) => (2, 0),
            Place::Unsaid => (3, 0),
        });
        list.dedup();
        Problems { list }
    }

    /// The problems, file first by line, then environment, then `--set`.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// Joins what is wrong in several sections of the same file.
    #[must_use]
    pub fn and(mut self, other: Problems) -> Self {
        self.list.extend(other.list);
        Problems::new(self.list)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// The known word nearest to a wrong one, if any is near enough to be what was meant.
pub fn nearest<'k>(wrong: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let wrong = wrong.to_lowercase();
    known
        .into_iter()
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            let related = wrong.len() >= 3 && lower.len() >= 3 && (lower.contains(&wrong) || wrong.contains(&lower));
            (if related { 1 } else { distance(&wrong, &lower) }, candidate)
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(wrong.len()) / 2).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The end of a message about an unknown word: the nearest known one, or all of them.
pub fn suggestion(wrong: &str, known: &[&str]) -> String {
    if let Some(near) = nearest(wrong, known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    if known.is_empty() {
        return "nothing is known here".to_owned();
    }
    format!("known are {}", known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", "))
}

/// Edits (insert, remove, replace, swap of neighbours counts two) between two short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (cb, above) in b.iter().zip(row.iter().skip(1)) {
            let cost = diagonal + usize::from(ca != *cb);
            left = cost.min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
