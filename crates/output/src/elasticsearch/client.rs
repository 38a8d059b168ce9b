//! HTTP to a cluster: nodes that take turns, authentication, TLS, proxy, compression.
//! Knows requests and answers, nothing of what they are about.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::Uri;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Proxy};

use super::settings::{Settings, wrong};
use crate::remote::Unavailable;
use crate::secrets::system_ca;
use crate::{OpenError, address};

/// The port of a host that is named without scheme and port.
const PORT: u16 = 9200;
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// A node that fails is left out so long; twice as long each further time, up to [`LEFT_OUT_MAX`].
const LEFT_OUT_MIN: Duration = Duration::from_secs(1);
const LEFT_OUT_MAX: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read at most.
const ANSWER_MAX: u64 = 64 << 20;

/// A node of the cluster.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Scheme, host, port and path prefix, without a slash at the end.
    base: String,
    pub(super) host: String,
    pub(super) port: u16,
    is_https: bool,
    left_out: Option<(Instant, Duration)>,
}

impl Node {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bad = |problem: &dyn fmt::Display| {
            format!("hosts: `{text}` is no address: {problem}; give http://HOST:PORT or https://HOST:PORT")
        };
        let url = if text.contains("://") {
            text.to_owned()
        } else if text.rsplit(']').next().is_some_and(|end| end.contains(':')) {
            format!("http://{text}")
        } else {
            format!("http://{text}:{PORT}")
        };
        let uri: Uri = url.parse().map_err(|error| bad(&error))?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad(&"it is neither http nor https")),
        };
        let authority = uri.authority().ok_or_else(|| bad(&"it names no host"))?;
        if authority.host().is_empty() {
            return Err(bad(&"it names no host"));
        }
        if authority.as_str().contains('@') {
            return Err(bad(&"user and password have keys of their own"));
        }
        if uri.query().is_some() {
            return Err(bad(&"it has a query"));
        }
        let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { base, host: authority.host().to_owned(), port, is_https, left_out: None })
    }
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The beginning of the body, for messages.
    pub(super) fn summary(&self) -> String {
        let text = String::from_utf8_lossy(self.body.get(..self.body.len().min(400)).unwrap_or_default());
        let reason = serde_json::from_slice::<serde_json::Value>(&self.body)
            .ok()
            .and_then(|body| body.pointer("/error/reason").and_then(|reason| reason.as_str().map(str::to_owned)));
        format!("HTTP status {}: {}", self.status, reason.unwrap_or_else(|| text.trim().to_owned()))
    }
}

/// The cluster.
pub(super) struct Cluster {
    nodes: Vec<Node>,
    turn: usize,
    agent: Agent,
    authorization: Option<String>,
    compression: u32,
}

/// Names are looked up when the program starts: once the sandbox is shut, nobody reads the system's configuration any more.
#[derive(Debug)]
struct Fixed(Vec<(String, u16, Vec<SocketAddr>)>);

impl Resolver for Fixed {
    fn resolve(&self, uri: &Uri, _: &ureq::config::Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        let mut found = self.empty();
        let known = self.0.iter().find(|(name, at, _)| name == host && *at == port);
        for address in known.map(|(_, _, addresses)| addresses).into_iter().flatten().take(16) {
            found.push(*address);
        }
        if found.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(found) }
    }
}

impl Cluster {
    /// Judges the settings and reads the files that they name.
    pub(super) fn new(settings: &Settings) -> Result<Self, OpenError> {
        settings.check()?;
        let nodes = settings.nodes()?;
        let proxy = match settings.proxy.as_str() {
            "" => None,
            text => Some(Proxy::new(text).map_err(|error| wrong(format!("proxy `{text}`: {error}")))?),
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("tapline/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_PATIENCE))
            .timeout_global(Some(settings.timeout))
            .allow_non_standard_methods(true)
            .proxy(proxy);
        if nodes.iter().any(|node| node.is_https) {
            config = config.tls_config(tls(settings)?);
        }
        let agent = Agent::with_parts(config.build(), DefaultConnector::default(), Fixed(Vec::new()));
        let authorization = settings.authorization()?;
        Ok(Self { nodes, turn: 0, agent, authorization, compression: settings.compression })
    }

    /// Looks the names up that it will need.
    pub(super) fn look_up(&mut self) -> Result<(), OpenError> {
        // Behind a proxy it is the proxy that looks the hosts up.
        let names: Vec<(String, u16)> = match self.agent.config().proxy() {
            Some(proxy) => vec![(proxy.host().to_owned(), proxy.port())],
            None => self.nodes.iter().map(|node| (node.host.clone(), node.port)).collect(),
        };
        let mut known = Vec::new();
        for (host, port) in names {
            let addresses =
                address::look_up(host.trim_start_matches('[').trim_end_matches(']'), port).map_err(wrong)?;
            known.push((host, port, addresses));
        }
        self.agent = Agent::with_parts(self.agent.config().clone(), DefaultConnector::default(), Fixed(known));
        Ok(())
    }

    /// Sends a request to the node whose turn it is; one that cannot be reached, or says that it cannot serve, is left out for a while and the
    /// next one is asked.
    pub(super) fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer, Unavailable> {
        let packed = if body.is_empty() || self.compression == 0 { None } else { Some(self.pack(body)?) };
        let now = Instant::now();
        let count = self.nodes.len();
        // Those in service first, in turn; then the others, for they may be back.
        let mut order: Vec<usize> = (0..count).map(|step| (self.turn + step) % count).collect();
        order
            .sort_by_key(|at| self.nodes.get(*at).and_then(|node| node.left_out).is_some_and(|(until, _)| until > now));
        self.turn = (self.turn + 1) % count;
        let mut problem = String::new();
        for at in order {
            let Some(node) = self.nodes.get(at) else { continue };
            match self.ask(node, method, path, packed.as_deref().unwrap_or(body), packed.is_some()) {
                Ok(answer) if !matches!(answer.status, 502..=504) => {
                    if let Some(node) = self.nodes.get_mut(at) {
                        node.left_out = None;
                    }
                    return Ok(answer);
                }
                Ok(answer) => problem = format!("{}: {}", node.base, answer.summary()),
                Err(ureq::Error::Io(error)) => problem = format!("{}: {error}", node.base),
                Err(error) => problem = format!("{}: {error}", node.base),
            }
            if let Some(node) = self.nodes.get_mut(at) {
                let pause = node.left_out.map_or(LEFT_OUT_MIN, |(_, pause)| (pause * 2).min(LEFT_OUT_MAX));
                node.left_out = Some((now + pause, pause));
            }
        }
        Err(Unavailable(problem))
    }

    fn pack(&self, body: &[u8]) -> Result<Vec<u8>, Unavailable> {
        let room = Vec::with_capacity(body.len() / 4);
        let mut encoder = flate2::write::GzEncoder::new(room, flate2::Compression::new(self.compression));
        encoder
            .write_all(body)
            .and_then(|()| encoder.finish())
            .map_err(|error| Unavailable(format!("cannot compress: {error}")))
    }

    fn ask(&self, node: &Node, method: &str, path: &str, body: &[u8], is_packed: bool) -> Result<Answer, ureq::Error> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", node.base))
            .header("accept", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut answer = if body.is_empty() {
            self.agent.run(request.body(()).map_err(ureq::Error::Http)?)?
        } else {
            let kind = if path.starts_with("/_bulk") { "application/x-ndjson" } else { "application/json" };
            request = request.header("content-type", kind);
            if is_packed {
                request = request.header("content-encoding", "gzip");
            }
            self.agent.run(request.body(body).map_err(ureq::Error::Http)?)?
        };
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec()?;
        Ok(Answer { status, body })
    }
}

fn tls(settings: &Settings) -> Result<TlsConfig, OpenError> {
    let read = |key: &str, path: &Path| {
        std::fs::read(path).map_err(|error| wrong(format!("tls.{key} {}: {error}", path.display())))
    };
    let certificates = |key: &str, path: &Path, pem: &[u8]| {
        let found: Vec<Certificate<'static>> = parse_pem(pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if found.is_empty() {
            Err(wrong(format!("tls.{key} {} holds no certificate", path.display())))
        } else {
            Ok(found)
        }
    };
    let mut config = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .disable_verification(!settings.tls.verify);
    let ca = if settings.tls.ca.as_os_str().is_empty() { system_ca() } else { Some(settings.tls.ca.as_path()) };
    match ca {
        Some(path) => {
            let roots = certificates("ca", path, &read("ca", path)?)?;
            config = config.root_certs(RootCerts::new_with_certs(&roots));
        }
        None if settings.tls.verify => {
            return Err(wrong("this system has no certificates of authorities: install ca-certificates or set tls.ca"));
        }
        None => {}
    }
    if !settings.tls.certificate.as_os_str().is_empty() {
        let path = &settings.tls.certificate;
        let chain = certificates("certificate", path, &read("certificate", path)?)?;
        let key = PrivateKey::from_pem(&read("key", &settings.tls.key)?)
            .map_err(|error| wrong(format!("tls.key {}: {error}", settings.tls.key.display())))?;
        config = config.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(config.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_urls_or_names() {
        let of = |text: &str| Node::parse(text).map(|node| (node.base, node.host, node.port));
        let is = |text: &str, base: &str, host: &str, port| {
            assert_eq!(of(text), Ok((base.to_owned(), host.to_owned(), port)), "{text}");
        };
        is("localhost", "http://localhost:9200", "localhost", 9200);
        is("localhost:9201", "http://localhost:9201", "localhost", 9201);
        is("https://es.example/a/b/", "https://es.example/a/b", "es.example", 443);
        is("http://[::1]:9200", "http://[::1]:9200", "[::1]", 9200);
        is("[::1]", "http://[::1]:9200", "[::1]", 9200);
        for bad in ["", "ftp://x", "http://", "http://u:p@x:1", "http://x:1/?a=b", "http://a b"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
