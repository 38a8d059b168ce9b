//! A client of the API over a Unix socket or TCP: one connection per request, nothing kept.

use crate::types::ErrorAnswer;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// Longest answer that is read into memory as a whole.
const MAX_ANSWER: usize = 64 << 20;
/// How long connecting and the head of an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a collector's API is: `unix:PATH` or `http://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CollectorUrl {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP: `HOST:PORT`.
    Http(String),
}

impl FromStr for CollectorUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self::Http(address.to_owned())),
            _ => Err(format!("{text:?} is no collector: write unix:PATH or http://HOST:PORT")),
        }
    }
}

impl fmt::Display for CollectorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(address) => write!(f, "http://{address}"),
        }
    }
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("nobody answers at {url}: {error}")]
    Unreachable {
        /// Where.
        url: CollectorUrl,
        /// What the system said.
        error: String,
    },
    /// It answered with an error.
    #[error("{error}{}", if .hint.is_empty() { String::new() } else { format!("; {}", .hint) })]
    Answer {
        /// HTTP status.
        status: u16,
        /// What is wrong.
        error: String,
        /// What to do.
        hint: String,
    },
    /// The connection broke, or the answer makes no sense.
    #[error("the answer of the collector broke off or makes no sense: {0}")]
    Broken(String),
}

/// Writes a value for use in a query string.
pub fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Asks a collector.
#[derive(Debug, Clone)]
pub struct Client {
    url: CollectorUrl,
}

/// The body of an answer, piece by piece.
#[derive(Debug)]
pub struct Body {
    incoming: Incoming,
}

impl Body {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// When the connection breaks before the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.incoming.frame().await {
            let frame = frame.map_err(|error| ClientError::Broken(error.to_string()))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

impl Client {
    /// A client of the collector at `url`.
    pub fn new(url: CollectorUrl) -> Self {
        Self { url }
    }

    /// Where it asks.
    pub fn url(&self) -> &CollectorUrl {
        &self.url
    }

    /// Asks for `path` and gives the answer whatever its status.
    ///
    /// # Errors
    /// No collector.
    pub async fn ask(&self, method: Method, path: &str) -> Result<Response<Incoming>, ClientError> {
        let unreachable = |error: String| ClientError::Unreachable { url: self.url.clone(), error };
        let ask = async {
            match &self.url {
                CollectorUrl::Unix(socket) => {
                    let stream = UnixStream::connect(socket).await.map_err(|error| unreachable(error.to_string()))?;
                    send(TokioIo::new(stream), "localhost", method, path).await
                }
                CollectorUrl::Http(address) => {
                    let stream = TcpStream::connect(address).await.map_err(|error| unreachable(error.to_string()))?;
                    send(TokioIo::new(stream), address, method, path).await
                }
            }
        };
        match tokio::time::timeout(PATIENCE, ask).await {
            Ok(answer) => answer,
            Err(_) => Err(unreachable(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    async fn good(&self, method: Method, path: &str) -> Result<Body, ClientError> {
        let answer = self.ask(method, path).await?;
        let status = answer.status();
        let mut body = Body { incoming: answer.into_body() };
        if status.is_success() {
            return Ok(body);
        }
        let bytes = collect(&mut body).await?;
        let answer: ErrorAnswer = serde_json::from_slice(&bytes).unwrap_or_else(|_| ErrorAnswer {
            error: format!("the collector answered {status}: {}", String::from_utf8_lossy(&bytes)),
            hint: String::new(),
        });
        Err(ClientError::Answer { status: status.as_u16(), error: answer.error, hint: answer.hint })
    }

    /// Asks for `path` (with its query string) and gives the JSON answered.
    ///
    /// # Errors
    /// No collector, an error it answered, or an answer of another kind.
    pub async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let bytes = collect(&mut self.good(Method::GET, path).await?).await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Broken(error.to_string()))
    }

    /// Asks for `path` and gives the answer as a stream.
    ///
    /// # Errors
    /// No collector, or an error it answered.
    pub async fn stream(&self, path: &str) -> Result<Body, ClientError> {
        self.good(Method::GET, path).await
    }

    /// Tells the collector to do something, and gives what it answers.
    ///
    /// # Errors
    /// No collector, or an error it answered.
    pub async fn send(&self, method: Method, path: &str) -> Result<Vec<u8>, ClientError> {
        collect(&mut self.good(method, path).await?).await
    }
}

async fn collect(body: &mut Body) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > MAX_ANSWER {
            return Err(ClientError::Broken("it is too long".to_owned()));
        }
    }
    Ok(bytes)
}

async fn send<T>(io: TokioIo<T>, host: &str, method: Method, path: &str) -> Result<Response<Incoming>, ClientError>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| ClientError::Broken(error.to_string());
    let (mut sender, connection) = http1::handshake(io).await.map_err(broken)?;
    tokio::spawn(async move {
        // Its failure is seen by whoever reads the answer.
        let _ = connection.await;
    });
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .body(Empty::<Bytes>::new())
        .map_err(|error| ClientError::Broken(error.to_string()))?;
    sender.send_request(request).await.map_err(broken)
}
