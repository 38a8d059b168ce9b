//! A connection to a Redis server: addresses, TLS, authentication, commands out and answers in (RESP 2).
//! Knows commands and answers, nothing of what they are about.
//!
//! The `redis` crate looks names up and reads the system's certificates whenever it connects, which the sandbox forbids.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::settings::{Settings, wrong};
use crate::remote::Unavailable;
use crate::{OpenError, address};

/// Bytes of an answer at most: numbers, ids of entries and errors are short.
const ANSWER_MAX: u64 = 64 << 10;

/// Appends a command to what is to be sent.
pub(super) fn command(out: &mut Vec<u8>, words: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// The servers, and how to connect to them.
pub(super) struct Client {
    servers: Vec<Server>,
    turn: usize,
    timeout: Duration,
    tls: Option<Arc<ClientConfig>>,
    /// Commands with which every connection begins, and what each is for.
    greeting: Vec<(Vec<u8>, &'static str)>,
}

/// Its name is looked up when the program starts: once the sandbox is shut, nobody reads the system's configuration any more.
struct Server {
    host: String,
    port: u16,
    addresses: Vec<SocketAddr>,
}

impl Client {
    /// Judges the settings and reads the keys that they name; asks nobody yet.
    pub(super) fn new(settings: &Settings) -> Result<Self, OpenError> {
        let servers = settings.servers()?.into_iter();
        let servers = servers.map(|(host, port)| Server { host, port, addresses: Vec::new() }).collect();
        let mut greeting = Vec::new();
        let mut greet = |words: &[&str], what| {
            let mut bytes = Vec::new();
            command(&mut bytes, words);
            greeting.push((bytes, what));
        };
        let password = settings.secret()?;
        match (settings.user.as_str(), password.as_str()) {
            (_, "") => {}
            ("", password) => greet(&["AUTH", password], "the password was refused"),
            (user, password) => greet(&["AUTH", user, password], "user and password were refused"),
        }
        if settings.db > 0 {
            greet(&["SELECT", &settings.db.to_string()], "the database cannot be selected");
        }
        let tls = if settings.tls.enabled {
            // Whether a server accepts our certificate, or that we have none, is known when it answers something.
            greet(&["PING"], "it does not answer a PING");
            Some(Arc::new(tls(settings)?))
        } else {
            None
        };
        Ok(Self { servers, turn: 0, timeout: settings.timeout, tls, greeting })
    }

    /// Looks the servers' names up.
    pub(super) fn look_up(&mut self) -> Result<(), OpenError> {
        for server in &mut self.servers {
            server.addresses = address::look_up(&server.host, server.port).map_err(wrong)?;
        }
        Ok(())
    }

    /// The next connection goes to another server, if there is one.
    pub(super) fn next_server(&mut self) {
        self.turn = (self.turn + 1) % self.servers.len().max(1);
    }

    /// Connects to the first server that can be reached, beginning with the one whose turn it is.
    pub(super) fn connect(&mut self) -> Result<Connection, Unavailable> {
        let mut problem = "no server".to_owned();
        for _ in 0..self.servers.len() {
            let Some(server) = self.servers.get(self.turn) else { break };
            match self.connect_to(server) {
                Ok(connection) => return Ok(connection),
                Err(error) => problem = format!("{}:{}: {error}", server.host, server.port),
            }
            self.next_server();
        }
        Err(Unavailable(problem))
    }

    fn connect_to(&self, server: &Server) -> io::Result<Connection> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in &server.addresses {
            let socket = match TcpStream::connect_timeout(address, self.timeout) {
                Ok(socket) => socket,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(self.timeout))?;
            socket.set_write_timeout(Some(self.timeout))?;
            let stream = match &self.tls {
                None => Stream::Plain(socket),
                Some(config) => Stream::Tls(Box::new(handshake(config, server, socket)?)),
            };
            let name = format!("{}:{}", server.host, server.port);
            let mut connection = Connection { stream: BufReader::new(stream), name };
            for (bytes, what) in &self.greeting {
                connection.write_all(bytes)?;
                connection.read().map_err(in_words)?.map_err(|error| io::Error::other(format!("{what}: {error}")))?;
            }
            return Ok(connection);
        }
        Err(last)
    }
}

/// Belongs to connecting: where it fails, the next server is tried.
fn handshake(
    config: &Arc<ClientConfig>,
    server: &Server,
    mut socket: TcpStream,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(server.host.clone()).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut socket).map_err(in_words)?;
    }
    Ok(StreamOwned::new(session, socket))
}

/// The usual mistakes, and what to do.
fn in_words(error: io::Error) -> io::Error {
    let words = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate comes from none of the authorities in tls.ca"
        }
        Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)) => {
            "it asks for a certificate: set tls.certificate and tls.key"
        }
        Some(rustls::Error::AlertReceived(AlertDescription::UnknownCA)) => {
            "it does not know the authority of tls.certificate"
        }
        Some(rustls::Error::InvalidMessage(_)) => "what answers there does not speak TLS: is it the server's tls-port?",
        _ => return error,
    };
    io::Error::other(words)
}

fn tls(settings: &Settings) -> Result<ClientConfig, OpenError> {
    let certificates = |pem: &[u8]| CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect::<Vec<_>>();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(&settings.tls.authorities().map_err(wrong)?));
    if added == 0 {
        return Err(wrong(
            "tls.ca holds no certificate that can be used: name a file with those of the authorities that the server's is of",
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_root_certificates(roots);
    match settings.tls.identity().map_err(wrong)? {
        None => Ok(config.with_no_client_auth()),
        Some(identity) => {
            let key =
                PrivateKeyDer::from_pem_slice(&identity.key).map_err(|error| wrong(format!("tls.key: {error}")))?;
            config
                .with_client_auth_cert(certificates(&identity.certificates), key)
                .map_err(|error| wrong(format!("tls.certificate: {error}")))
        }
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// An open connection. After an error nothing more can be said on it.
pub(super) struct Connection {
    stream: BufReader<Stream>,
    name: String,
}

impl Connection {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Unavailable> {
        self.write_all(bytes).map_err(|error| self.broken(&error))
    }

    /// The next answer: done, or the server's error.
    pub(super) fn answer(&mut self) -> Result<Result<(), String>, Unavailable> {
        self.read().map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &io::Error) -> Unavailable {
        Unavailable(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("{}: no answer in time", self.name),
            io::ErrorKind::UnexpectedEof => format!("{}: the connection was closed", self.name),
            _ => format!("{}: {error}", self.name),
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    fn read(&mut self) -> io::Result<Result<(), String>> {
        answer(&mut self.stream)
    }
}

/// Reads an answer that is a status, a number, a text or an error; our commands have no others.
fn answer(reader: &mut impl BufRead) -> io::Result<Result<(), String>> {
    let strange = || io::Error::other("what answers does not speak Redis' protocol");
    let mut line = Vec::new();
    reader.take(ANSWER_MAX).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.strip_suffix(b"\r\n").ok_or_else(strange)?;
    let (kind, rest) = line.split_first().ok_or_else(strange)?;
    match kind {
        b'+' | b':' => Ok(Ok(())),
        b'-' => Ok(Err(String::from_utf8_lossy(rest).into_owned())),
        b'$' => {
            let length =
                std::str::from_utf8(rest).ok().and_then(|text| text.parse::<i64>().ok()).ok_or_else(strange)?;
            // -1 is nothing: what was asked for is not there.
            let Ok(length) = u64::try_from(length) else {
                return Ok(Err("the server answered that there is no such thing".to_owned()));
            };
            if length > ANSWER_MAX {
                return Err(strange());
            }
            let read = io::copy(&mut reader.take(length + 2), &mut io::sink())?;
            if read < length + 2 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Ok(())) }
        }
        _ => Err(strange()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::{Redis, Settings};
    use crate::remote::{Document, Fate, Service};
    use packet::Timestamp;
    use std::net::TcpListener;

    #[test]
    fn answers_are_read_one_after_the_other() {
        let mut bytes: &[u8] = b"+OK\r\n:12\r\n$3\r\na\nb\r\n-OOM no room\r\n$-1\r\n";
        assert_eq!(answer(&mut bytes).unwrap(), Ok(()));
        assert_eq!(answer(&mut bytes).unwrap(), Ok(()));
        assert_eq!(answer(&mut bytes).unwrap(), Ok(()));
        assert_eq!(answer(&mut bytes).unwrap(), Err("OOM no room".to_owned()));
        assert!(answer(&mut bytes).unwrap().is_err());
        assert_eq!(answer(&mut bytes).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        for strange in ["HTTP/1.1 400 Bad\r\n", "+OK", "+OK\n", "$x\r\n", "$99999999\r\n", "\r\n", "*1\r\n", "$3\r\nab"]
        {
            assert!(answer(&mut strange.as_bytes()).is_err(), "{strange}");
        }
    }

    /// A server that reads what comes, answers the given texts, one connection each, and closes.
    fn scripted(scripts: Vec<&'static str>) -> (u16, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let mut heard = Vec::new();
            for script in scripts {
                let (mut socket, _) = listener.accept().unwrap();
                let mut buffer = vec![0; 1 << 20];
                let length = socket.read(&mut buffer).unwrap();
                heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
                socket.write_all(script.as_bytes()).unwrap();
                // What comes late is read, so that closing is not a reset.
                socket.shutdown(std::net::Shutdown::Write).unwrap();
                while socket.read(&mut buffer).is_ok_and(|length| length > 0) {}
            }
            heard
        });
        (port, thread)
    }

    fn redis(ports: &[u16], change: impl Fn(&mut Settings)) -> Redis {
        let hosts = ports.iter().map(|port| format!("localhost:{port}")).collect();
        let mut settings = Settings { hosts, timeout: Duration::from_secs(2), ..Settings::default() };
        change(&mut settings);
        let mut redis = settings.service(&[]).unwrap();
        redis.look_up().unwrap();
        redis
    }

    fn document() -> Document<'static> {
        let json = r#"{"_id":"0123456789abcdef0123456789abcdef","type":"dns"}"#;
        Document { time: Timestamp::from_nanos(7), kind: "dns", key: "", json }
    }

    #[test]
    fn what_was_answered_before_a_connection_broke_counts() {
        let (port, thread) = scripted(vec![":1\r\n-WRONGTYPE no\r\n", ":1\r\n"]);
        let mut redis = redis(&[port], |_| {});
        let fates = redis.send(&[document(); 4]).unwrap();
        assert_eq!(fates.len(), 4);
        assert_eq!(fates[0], Fate::Kept);
        assert!(matches!(fates[1], Fate::Refused { .. }));
        assert!(matches!(&fates[2], Fate::Later(reason) if reason.contains("closed")), "{fates:?}");
        assert!(matches!(fates[3], Fate::Later(_)));
        assert_eq!(redis.send(&[document()]).unwrap(), [Fate::Kept], "on a new connection");
        redis.connection = None;
        assert!(thread.join().unwrap()[1].starts_with("*3\r\n$5\r\nRPUSH\r\n$7\r\ntapline\r\n"));
        assert!(redis.send(&[document()]).is_err(), "nobody listens any more");
    }

    #[test]
    fn a_server_that_cannot_serve_is_left_for_the_next_one() {
        let (first, first_thread) = scripted(vec!["-READONLY You can't write against a read only replica.\r\n"]);
        let (second, second_thread) = scripted(vec![":1\r\n"]);
        let mut redis = redis(&[first, second], |_| {});
        assert!(matches!(redis.send(&[document()]).unwrap()[0], Fate::Later(_)));
        assert_eq!(redis.send(&[document()]).unwrap(), [Fate::Kept]);
        first_thread.join().unwrap();
        drop(redis);
        second_thread.join().unwrap();
    }

    #[test]
    fn a_refused_password_is_said() {
        let (port, thread) = scripted(vec!["-WRONGPASS invalid username-password pair\r\n"]);
        let mut redis = redis(&[port], |settings| settings.password = "secret".to_owned());
        let problem = redis.send(&[document()]).unwrap_err().0;
        assert!(problem.contains("refused: WRONGPASS") && !problem.contains("secret"), "{problem}");
        assert_eq!(thread.join().unwrap(), ["*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n"]);
    }
}
