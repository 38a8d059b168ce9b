//! TLS 1.3 to a collector on another machine, with certificates on both sides: the probe's names its source, the collector's the host that
//! is connected to. Without blocking: what the socket does not take waits.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde::{Deserialize, Serialize};

/// How long the handshake may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// `[probe.tls]`: all three, or none for plain text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The probe's certificate, PEM; it names the source.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Certificates of the authorities by which the collector is known.
    pub ca: PathBuf,
}

impl Settings {
    /// Whether TLS is wanted.
    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }
}

/// What the probe shows, and whom it believes.
#[derive(Debug, Clone)]
pub struct Identity(Arc<ClientConfig>);

/// Why TLS cannot be spoken.
#[derive(Debug)]
pub struct TlsError {
    /// The key of `probe.tls` whose value cannot be used.
    pub key: &'static str,
    /// Why, and what to do.
    pub problem: String,
}

/// A file cannot be used.
fn wrong(key: &'static str, path: &Path, problem: impl std::fmt::Display) -> TlsError {
    let problem = format!("{}: {problem}; `tapline keys probe` makes what is needed", path.display());
    TlsError { key, problem }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error: pem::Error| wrong(key, path, plain(error));
    let found: Vec<_> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)?;
    if found.is_empty() { Err(self::wrong(key, path, "holds no certificate")) } else { Ok(found) }
}

/// What is wrong with a file of PEM: of one that cannot be read what the system says.
fn plain(error: pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// Which cannot be used, and why.
    pub fn load(settings: &Settings) -> Result<Self, TlsError> {
        for (name, path) in [("certificate", &settings.certificate), ("key", &settings.key), ("ca", &settings.ca)] {
            if path.as_os_str().is_empty() {
                let problem = "is not set: TLS needs certificate, key and ca".to_owned();
                return Err(TlsError { key: name, problem });
            }
        }
        let mut roots = RootCertStore::empty();
        for certificate in certificates("ca", &settings.ca)? {
            roots.add(certificate).map_err(|error| wrong("ca", &settings.ca, error))?;
        }
        let key =
            PrivateKeyDer::from_pem_file(&settings.key).map_err(|error| wrong("key", &settings.key, plain(error)))?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong("certificate", &settings.certificate, error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates("certificate", &settings.certificate)?, key)
            .map_err(|error| wrong("key", &settings.key, error))?;
        Ok(Self(Arc::new(config)))
    }

    /// Greets the collector `host`, whose certificate must bear this name, and gives the connection, non-blocking.
    pub fn greet(&self, mut tcp: TcpStream, host: &str) -> io::Result<TlsStream> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
        let mut connection = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time"),
                _ => io::Error::new(error.kind(), format!("TLS: {error}")),
            })?;
        }
        tcp.set_nonblocking(true)?;
        Ok(TlsStream { connection, tcp, pending: false })
    }
}

/// A connection with TLS.
pub struct TlsStream {
    connection: ClientConnection,
    tcp: TcpStream,
    /// Whether what was read may not have been all that is there.
    pending: bool,
}

impl TlsStream {
    /// Whether there may be more to read without the socket showing it.
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    /// Whether something waits for the socket to take it.
    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// The socket, for polling.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }

    /// Hands to the socket what it takes.
    pub fn push(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.tcp) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Nothing more will be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.connection.send_close_notify();
        self.push()?;
        self.tcp.shutdown(std::net::Shutdown::Write)
    }

    /// As [`Read::read`]; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pending = false;
        loop {
            match self.connection.reader().read(buffer) {
                Ok(length) => {
                    self.pending = length == buffer.len();
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The other side went without a word of TLS.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) => return Err(error),
            }
            if self.connection.read_tls(&mut self.tcp)? == 0 {
                return Ok(0);
            }
            if let Err(error) = self.connection.process_new_packets() {
                // The other side is told why, if it still listens.
                let _ = self.push();
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {error}")));
            }
        }
    }

    /// As [`Write::write`].
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.connection.writer().write(bytes)?;
        self.push()?;
        if length == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(length) }
    }
}
