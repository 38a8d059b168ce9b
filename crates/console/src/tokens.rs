//! Tokens that let a visitor in from another machine. Only their SHA-256 is kept; a token is shown once, when it is made.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

/// Where tokens stand in a data directory.
const FILE: &str = "console/tokens.json";
/// How long what was read of the file is believed.
const FRESH: Duration = Duration::from_secs(1);
/// Tokens that may exist.
const TOKENS_MAX: usize = 1000;

/// A token, without what would let anybody in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Token {
    /// What it is for.
    pub name: String,
    /// When it was made, RFC 3339.
    pub made: String,
    /// SHA-256 of it, in hexadecimal.
    sha256: String,
}

/// Why tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// What stands in it.
    #[error("{path} is no list of tokens: {problem}; remove it and make new tokens")]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// No randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The name.
    #[error("{0}")]
    Name(String),
}

/// The file of a data directory.
pub fn file(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// The tokens there are.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn list(data: &Path) -> Result<Vec<Token>, TokenError> {
    let path = file(data);
    match std::fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|error| TokenError::Content { path, problem: error.to_string() })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(TokenError::File { path, source }),
    }
}

/// Makes a token and gives it: 32 random bytes in hexadecimal. The file is readable by its owner only.
///
/// # Errors
/// When the name is taken or the file cannot be written.
pub fn make(data: &Path, name: &str) -> Result<String, TokenError> {
    let mut tokens = list(data)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        return Err(TokenError::Name(format!("`{name}` is no name: letters, digits, - _ . and @, at most 64")));
    }
    if tokens.iter().any(|token| token.name == name) {
        return Err(TokenError::Name(format!("there is a token `{name}`; revoke it, or choose another name")));
    }
    if tokens.len() >= TOKENS_MAX {
        return Err(TokenError::Name(format!("there are {TOKENS_MAX} tokens; revoke some")));
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| TokenError::Random(error.to_string()))?;
    let token = hex(&bytes);
    let made = packet::Timestamp::from_system(SystemTime::now()).to_string();
    tokens.push(Token { name: name.to_owned(), made, sha256: digest(&token) });
    write(data, &tokens)?;
    Ok(token)
}

/// Makes a token worthless at once; false if there is none of that name.
///
/// # Errors
/// When the file cannot be read or written.
pub fn revoke(data: &Path, name: &str) -> Result<bool, TokenError> {
    let mut tokens = list(data)?;
    let before = tokens.len();
    tokens.retain(|token| token.name != name);
    if tokens.len() == before {
        return Ok(false);
    }
    write(data, &tokens)?;
    Ok(true)
}

fn write(data: &Path, tokens: &[Token]) -> Result<(), TokenError> {
    let path = file(data);
    let failed = |source| TokenError::File { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let owner = std::fs::metadata(&path).ok();
    let temporary = path.with_extension("new");
    let _ = std::fs::remove_file(&temporary);
    let bytes = serde_json::to_vec_pretty(tokens).map_err(|error| failed(error.into()))?;
    let mut out =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed)?;
    out.write_all(&bytes).and_then(|()| out.sync_all()).map_err(failed)?;
    if let Some(owner) = owner {
        use std::os::unix::fs::MetadataExt;
        // A file that is ours already cannot be given away, and need not be.
        let _ = std::os::unix::fs::chown(&temporary, Some(owner.uid()), Some(owner.gid()));
    }
    std::fs::rename(&temporary, &path).map_err(failed)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// Looks tokens up; reads the file anew when it may have changed.
#[derive(Debug)]
pub(crate) struct Known {
    data: PathBuf,
    read: Mutex<Option<(Instant, Vec<Token>)>>,
}

impl Known {
    pub(crate) fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), read: Mutex::new(None) }
    }

    /// Whether there is such a token. Compared are digests, so that how long it takes tells nothing.
    pub(crate) fn has(&self, token: &str) -> bool {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = read.as_ref().is_some_and(|(at, _)| at.elapsed() < FRESH);
        if !fresh {
            let tokens = list(&self.data).unwrap_or_else(|error| {
                tracing::error!("no token is accepted: {error}");
                Vec::new()
            });
            *read = Some((Instant::now(), tokens));
        }
        let wanted = digest(token);
        read.iter().flat_map(|(_, tokens)| tokens).any(|token| token.sha256 == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_known_until_it_is_revoked_and_never_stands_in_the_file() {
        let data = tempfile::tempdir().unwrap();
        assert!(!Known::new(data.path()).has(""));
        let token = make(data.path(), "ada").unwrap();
        assert_eq!(token.len(), 64);
        assert!(make(data.path(), "ada").unwrap_err().to_string().contains("revoke it"));
        assert!(make(data.path(), "a b").unwrap_err().to_string().contains("no name"));
        let other = make(data.path(), "bob").unwrap();
        assert_ne!(token, other);
        let known = Known::new(data.path());
        assert!(known.has(&token) && known.has(&other) && !known.has("") && !known.has(&token[1..]));
        let path = file(data.path());
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&token));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(revoke(data.path(), "ada").unwrap());
        assert!(!revoke(data.path(), "ada").unwrap());
        let known = Known::new(data.path());
        assert!(!known.has(&token) && known.has(&other));
    }
}
