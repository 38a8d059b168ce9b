//! Redis, and what speaks its protocol (Valkey, KeyDB): events as elements of lists, messages to channels, or entries of streams.
//! Waiting, retrying and putting aside are [`crate::remote`]'s; here is what the server understands.

mod client;
mod settings;

use crate::OpenError;
use crate::remote::{Document, Fate, Service, Unavailable};
use client::{Client, Connection};
pub use settings::{Mode, Settings};

/// So many commands, or bytes of them, are on their way at once: no more can be there twice after a connection broke.
const PORTION: usize = 500;
const PORTION_BYTES: usize = 256 << 10;
/// Placeholder in the key.
const TYPE: &str = "{type}";
/// Errors by which a server says that it cannot serve now: another one may.
const ELSEWHERE: [&str; 5] = ["READONLY", "MASTERDOWN", "LOADING", "CLUSTERDOWN", "MISCONF"];

impl Settings {
    /// Hosts and ports of the servers; mistakes are [`Settings::service`]'s to report.
    pub(crate) fn endpoints(&self) -> Vec<(String, u16)> {
        self.servers().unwrap_or_default()
    }

    pub(crate) fn tcp_ports(&self) -> Vec<u16> {
        self.endpoints().into_iter().map(|(_, port)| port).collect()
    }

    /// Names are looked up when the program starts only.
    pub(crate) fn looks_up_names(&self) -> bool {
        false
    }

    pub(crate) fn service(&self, _: &[&'static event::Field]) -> Result<Redis, OpenError> {
        self.check()?;
        Ok(Redis { client: Client::new(self)?, connection: None, commands: Commands::new(self) })
    }
}

/// The service.
pub struct Redis {
    client: Client,
    connection: Option<Connection>,
    commands: Commands,
}

impl Redis {
    /// Sends some documents and reads the answers. What was answered before a connection broke counts.
    fn send_portion(&mut self, documents: &[Document<'_>], fates: &mut Vec<Fate>) -> Result<(), Unavailable> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.client.connect()?,
        };
        let mut bytes = Vec::new();
        for document in documents {
            self.commands.write(document, &mut bytes);
        }
        connection.write(&bytes)?;
        let mut is_elsewhere = false;
        for _ in documents {
            let answer = connection.answer()?;
            is_elsewhere |= matches!(&answer, Err(error) if ELSEWHERE.iter().any(|code| has_code(error, code)));
            fates.push(fate(answer));
        }
        if is_elsewhere {
            self.client.next_server();
        } else {
            self.connection = Some(connection);
        }
        Ok(())
    }
}

impl Service for Redis {
    fn look_up(&mut self) -> Result<(), OpenError> {
        self.client.look_up()
    }

    fn send(&mut self, documents: &[Document<'_>]) -> Result<Vec<Fate>, Unavailable> {
        let mut fates = Vec::with_capacity(documents.len());
        let mut rest = documents;
        while !rest.is_empty() {
            let (portion, after) = rest.split_at(portion(rest));
            rest = after;
            match self.send_portion(portion, &mut fates) {
                Ok(()) => {}
                Err(problem) if fates.is_empty() => return Err(problem),
                Err(problem) => {
                    fates.resize(documents.len(), Fate::Later(problem.0));
                    return Ok(fates);
                }
            }
            if let Some(Fate::Later(reason)) = fates.last() {
                // A server that takes nothing now is not told the rest.
                let reason = reason.clone();
                fates.resize(documents.len(), Fate::Later(reason));
            }
            if fates.len() == documents.len() {
                break;
            }
        }
        Ok(fates)
    }

    fn place(&self, document: &Document<'_>) -> String {
        self.commands.key(document)
    }
}

/// How many of the documents are sent at once.
fn portion(documents: &[Document<'_>]) -> usize {
    let mut bytes = 0;
    let fit = documents.iter().take(PORTION).take_while(|document| {
        let is_first = bytes == 0;
        bytes += document.json.len();
        is_first || bytes <= PORTION_BYTES
    });
    fit.count()
}

fn has_code(error: &str, code: &str) -> bool {
    error.split(' ').next() == Some(code)
}

/// What an answer says: a key of another type never takes an event, whatever is waited for; rights may be about this key only; anything else is about
/// the server.
fn fate(answer: Result<(), String>) -> Fate {
    match answer {
        Ok(()) => Fate::Kept,
        Err(reason) if has_code(&reason, "WRONGTYPE") => Fate::Refused { status: 0, reason },
        Err(reason) if has_code(&reason, "NOPERM") => Fate::Blocked(reason),
        Err(reason) => Fate::Later(reason),
    }
}

/// Writes the command for a document.
struct Commands {
    mode: Mode,
    /// The key's parts before, between and after its placeholders.
    key: Vec<String>,
    maxlen: String,
}

impl Commands {
    fn new(settings: &Settings) -> Self {
        Self {
            mode: settings.mode,
            key: settings.key.split(TYPE).map(str::to_owned).collect(),
            maxlen: if settings.maxlen == 0 { String::new() } else { settings.maxlen.to_string() },
        }
    }

    fn key(&self, document: &Document<'_>) -> String {
        self.key.join(document.kind)
    }

    fn write(&self, document: &Document<'_>, out: &mut Vec<u8>) {
        let key = self.key(document);
        let key = key.as_str();
        match self.mode {
            Mode::List => client::command(out, &["RPUSH", key, document.json]),
            Mode::Channel => client::command(out, &["PUBLISH", key, document.json]),
            Mode::Stream => {
                let fields = ["*", "id", document.id(), "type", document.kind, "event", document.json];
                let bound: &[&str] = if self.maxlen.is_empty() { &[] } else { &["MAXLEN", "~", &self.maxlen] };
                client::command(out, &[&["XADD", key], bound, &fields].concat());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Timestamp;

    const JSON: &str = r#"{"_id":"0123456789abcdef0123456789abcdef","type":"dns"}"#;

    fn document() -> Document<'static> {
        Document { time: Timestamp::from_nanos(7), kind: "dns", key: "1:abc=", json: JSON }
    }

    fn words(settings: &Settings) -> Vec<String> {
        let mut out = Vec::new();
        Commands::new(settings).write(&document(), &mut out);
        let text = String::from_utf8(out).unwrap();
        text.split("\r\n").filter(|line| !line.starts_with(['$', '*']) || *line == "*").map(str::to_owned).collect()
    }

    #[test]
    fn each_mode_has_its_command() {
        let mut settings = Settings { key: "{type}-x-{type}".to_owned(), ..Settings::default() };
        assert_eq!(words(&settings), ["RPUSH", "dns-x-dns", JSON, ""]);
        settings.mode = Mode::Channel;
        assert_eq!(words(&settings), ["PUBLISH", "dns-x-dns", JSON, ""]);
        (settings.mode, settings.key) = (Mode::Stream, "all".to_owned());
        let fields = ["id", "0123456789abcdef0123456789abcdef", "type", "dns", "event", JSON, ""];
        assert_eq!(words(&settings), [&["XADD", "all", "*"], fields.as_slice()].concat());
        settings.maxlen = 9;
        assert_eq!(words(&settings), [&["XADD", "all", "MAXLEN", "~", "9", "*"], fields.as_slice()].concat());
    }

    #[test]
    fn only_a_key_of_another_type_is_a_refusal() {
        let error = |text: &str| fate(Err(text.to_owned()));
        assert_eq!(fate(Ok(())), Fate::Kept);
        assert!(matches!(error("WRONGTYPE Operation against a key"), Fate::Refused { status: 0, .. }));
        assert!(matches!(error("NOPERM this user has no permissions"), Fate::Blocked(_)));
        for text in ["OOM command not allowed", "LOADING Redis is", "READONLY You can't", "MASTERDOWN Link", "ERR x"] {
            assert!(matches!(error(text), Fate::Later(_)), "{text}");
        }
    }

    #[test]
    fn portions_are_bounded_in_number_and_size() {
        let long = "x".repeat(PORTION_BYTES / 2);
        let large = Document { json: &long, ..document() };
        let larger = "x".repeat(PORTION_BYTES * 2);
        let larger = Document { json: &larger, ..document() };
        assert_eq!(portion(&vec![document(); 2 * PORTION]), PORTION);
        assert_eq!(portion(&[document()]), 1);
        assert_eq!(portion(&[large, large, large]), 2);
        assert_eq!(portion(&[larger, document()]), 1);
    }
}
