//! Encryption and authentication of the feed: ZeroMQ's CURVE (RFC 26/CurveZMQ) and a list of subscribers that are let in (RFC 27/ZAP).
//! Keys are written in Z85, 40 characters.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// Where ZeroMQ asks whom to let in.
const ZAP: &str = "inproc://zeromq.zap.01";
/// How often it is looked whether to end, in milliseconds.
const POLL_MS: i32 = 200;
/// Largest list that is read.
const LIST_BYTES_MAX: u64 = 4 << 20;

/// A key: 32 bytes.
pub type Key = [u8; 32];

/// Why keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CurveError {
    /// A file cannot be read.
    #[error("{path}: {problem}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// It is no key.
    #[error("{0}: no CURVE key: 40 characters of Z85, as `tapline keys subscriber` writes them")]
    Key(String),
    /// libzmq was built without CURVE, or has no randomness.
    #[error("ZeroMQ makes no keys: {0}")]
    ZeroMq(String),
}

/// Reads a key written in Z85.
///
/// # Errors
/// When it is none; `what` names it.
pub fn key(text: &str, what: &str) -> Result<Key, CurveError> {
    let wrong = || CurveError::Key(what.to_owned());
    zmq::z85_decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)
}

/// A public key and the secret one that belongs to it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Shown to the other side.
    pub public: Key,
    /// Shown to nobody.
    pub secret: Key,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public_text()).finish_non_exhaustive()
    }
}

impl KeyPair {
    /// A new one.
    ///
    /// # Errors
    /// When libzmq was built without CURVE, or there is no randomness.
    pub fn new() -> Result<Self, CurveError> {
        let pair = zmq::CurveKeyPair::new().map_err(|error| CurveError::ZeroMq(error.to_string()))?;
        Ok(Self { public: pair.public_key, secret: pair.secret_key })
    }

    /// Reads a file of two lines, `public KEY` and `secret KEY`.
    ///
    /// # Errors
    /// When it cannot be read or holds no such lines.
    pub fn read(path: &Path) -> Result<Self, CurveError> {
        let failed = |problem: String| CurveError::File { path: path.to_owned(), problem };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let line = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let found = found.ok_or_else(|| failed(format!("has no line `{name} KEY`")))?;
            key(found, &format!("{}, {name}", path.display()))
        };
        Ok(Self { public: line("public")?, secret: line("secret")? })
    }

    /// What [`KeyPair::read`] reads.
    pub fn text(&self) -> String {
        format!("public {}\nsecret {}\n", text(&self.public), text(&self.secret))
    }

    /// The public key in Z85.
    pub fn public_text(&self) -> String {
        text(&self.public)
    }
}

fn text(key: &Key) -> String {
    // 32 bytes always make 40 characters.
    zmq::z85_encode(key).unwrap_or_default()
}

/// How the publisher encrypts.
#[derive(Debug, Clone)]
pub struct ServerKeys {
    pub(crate) own: KeyPair,
    allow: List,
}

impl ServerKeys {
    /// Reads the file with the publisher's keys, and that with a line for each subscriber that is let in: public key and name. The latter is read
    /// again when it changes.
    ///
    /// # Errors
    /// When one of them cannot be read or used.
    pub fn read(keys: &Path, allow: &Path) -> Result<Self, CurveError> {
        Ok(Self { own: KeyPair::read(keys)?, allow: List::new(allow.to_owned())? })
    }
}

/// How a subscriber encrypts.
#[derive(Debug, Clone)]
pub struct ClientKeys {
    /// The publisher's public key.
    pub server: Key,
    /// The subscriber's.
    pub own: KeyPair,
}

impl ClientKeys {
    pub(crate) fn apply(&self, socket: &zmq::Socket) -> Result<(), zmq::Error> {
        socket.set_curve_serverkey(&self.server)?;
        socket.set_curve_publickey(&self.own.public)?;
        socket.set_curve_secretkey(&self.own.secret)
    }
}

/// Names by public key.
fn read_list(path: &Path) -> Result<HashMap<Key, String>, CurveError> {
    let failed = |problem: String| CurveError::File { path: path.to_owned(), problem };
    let length = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if length > LIST_BYTES_MAX {
        return Err(failed(format!("{length} bytes is too large for a list of subscribers")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let mut list = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with("# ") {
            continue;
        }
        let (text, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        list.insert(key(text, &format!("{}:{}", path.display(), number + 1))?, name.trim().to_owned());
    }
    Ok(list)
}

/// Answers ZeroMQ's question whom to let in, on a thread of its own.
pub(crate) struct Doorkeeper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub(crate) denied: Arc<AtomicU64>,
}

impl Doorkeeper {
    /// Starts it; before any socket of the context that it guards is bound.
    pub(crate) fn start(context: &zmq::Context, keys: &ServerKeys) -> Result<Self, CurveError> {
        let mut list = keys.allow.clone();
        let failed = |error: zmq::Error| CurveError::ZeroMq(error.to_string());
        let socket = context.socket(zmq::REP).map_err(failed)?;
        socket.set_linger(0).map_err(failed)?;
        socket.set_rcvtimeo(POLL_MS).map_err(failed)?;
        socket.bind(ZAP).map_err(failed)?;
        let (stop, denied) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&denied));
        let thread = std::thread::Builder::new().name("doorkeeper".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Ok(question) = socket.recv_multipart(0) {
                    let answer = list.answer(&question, &counted);
                    // ZeroMQ asks again if it is not answered.
                    let _ = socket.send_multipart(answer, 0);
                }
            }
        });
        let thread = thread.map_err(|error| CurveError::ZeroMq(error.to_string()))?;
        Ok(Self { stop, thread: Some(thread), denied })
    }
}

impl Drop for Doorkeeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug, Clone)]
struct List {
    path: PathBuf,
    stamp: Option<(SystemTime, u64)>,
    names: HashMap<Key, String>,
}

impl List {
    fn new(path: PathBuf) -> Result<Self, CurveError> {
        let names = read_list(&path)?;
        let stamp = stamp(&path);
        Ok(Self { path, stamp, names })
    }

    fn look(&mut self) {
        let now = stamp(&self.path);
        if now == self.stamp {
            return;
        }
        self.stamp = now;
        match read_list(&self.path) {
            Ok(names) => self.names = names,
            Err(error) => tracing::error!("the list of subscribers stays as it was: {error}"),
        }
    }

    /// The answer to one question (RFC 27): version, number, status, words, who it is, nothing more.
    fn answer(&mut self, question: &[Vec<u8>], denied: &AtomicU64) -> Vec<Vec<u8>> {
        self.look();
        let part = |at: usize| question.get(at).cloned().unwrap_or_default();
        let who = match (part(5).as_slice(), Key::try_from(part(6).as_slice())) {
            (b"CURVE", Ok(key)) => self.names.get(&key),
            _ => None,
        };
        let (status, words, who) = match who {
            Some(name) => ("200", "welcome", name.as_str()),
            None => {
                denied.fetch_add(1, Ordering::Relaxed);
                let address = String::from_utf8_lossy(&part(3)).into_owned();
                tracing::warn!(address, "a subscriber that is not on the list was turned away");
                ("400", "not on the list", "")
            }
        };
        let text = |text: &str| text.as_bytes().to_vec();
        vec![text("1.0"), part(1), text(status), text(words), text(who), Vec::new()]
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Endpoint, Publisher, PublisherOptions, Subscriber, v1};
    use std::time::{Duration, Instant};

    fn publisher(allow: &Path, own: KeyPair) -> (Publisher, String) {
        let endpoint = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            format!("tcp://{}", free.local_addr().unwrap())
        };
        let options = PublisherOptions {
            endpoints: vec![Endpoint::to_publish(&endpoint, Some("encrypted")).unwrap()],
            v1_endpoints: Vec::new(),
            v1_format: v1::Format::Pcap,
            queue_bytes: 1 << 20,
            curve: Some(ServerKeys { own, allow: List::new(allow.to_owned()).unwrap() }),
        };
        (Publisher::bind(&options).unwrap(), endpoint)
    }

    /// Whether anything arrives.
    fn hears(publisher: &mut Publisher, endpoint: &str, keys: Option<ClientKeys>) -> bool {
        let topics = ["event.v2.".to_owned()];
        let endpoint = Endpoint::to_subscribe(endpoint).unwrap();
        let subscriber = Subscriber::connect(&[endpoint], &topics, 100, keys.as_ref()).unwrap();
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(1500) {
            publisher.event("test", "s", b"{}");
            if subscriber.receive(Duration::from_millis(20)).unwrap().is_some() {
                return true;
            }
        }
        false
    }

    #[test]
    fn only_who_is_on_the_list_hears_anything() {
        let folder = tempfile::tempdir().unwrap();
        let allow = folder.path().join("subscribers");
        let (server, good, other) = (KeyPair::new().unwrap(), KeyPair::new().unwrap(), KeyPair::new().unwrap());
        std::fs::write(&allow, format!("# who\n{} ada\n", good.public_text())).unwrap();
        let (mut publisher, endpoint) = publisher(&allow, server.clone());
        let keys = |server: &KeyPair, own: &KeyPair| Some(ClientKeys { server: server.public, own: own.clone() });
        assert!(hears(&mut publisher, &endpoint, keys(&server, &good)));
        assert!(!hears(&mut publisher, &endpoint, keys(&server, &other)));
        assert!(!hears(&mut publisher, &endpoint, None), "in the clear");
        assert!(!hears(&mut publisher, &endpoint, keys(&other, &good)), "another publisher");
        assert!(publisher.denied() > 0);
        let both = format!("{} ada\n{} a longer name\n", good.public_text(), other.public_text());
        std::fs::write(&allow, both).unwrap();
        assert!(hears(&mut publisher, &endpoint, keys(&server, &other)));
    }

    #[test]
    fn a_pair_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pair");
        let pair = KeyPair::new().unwrap();
        std::fs::write(&path, pair.text()).unwrap();
        assert_eq!(KeyPair::read(&path).unwrap(), pair);
        assert!(!format!("{pair:?}").contains(&text(&pair.secret)));
        std::fs::write(&path, "public x\n").unwrap();
        assert!(KeyPair::read(&path).unwrap_err().to_string().contains("pair"));
    }

    #[test]
    fn what_is_no_key_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        std::fs::write(&path, "\n# comment\nshort ada\n").unwrap();
        assert!(read_list(&path).unwrap_err().to_string().contains("list:3"));
        assert!(KeyPair::read(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
        assert!(key(&"x".repeat(39), "it").is_err());
    }
}
