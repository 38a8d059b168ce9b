//! Elasticsearch 8 and 9 and OpenSearch 2 and 3: events become documents by the bulk API, under ids that follow from the event.
//! Waiting, retrying and putting aside are [`crate::remote`]'s; here is what the servers understand.

mod bulk;
mod client;
mod settings;
mod template;

use event::Field;
use serde_json::Value;

use crate::OpenError;
use crate::remote::{Document, Fate, Service, Unavailable};
use bulk::Names;
use client::{Answer, Cluster};
pub use settings::{Dynamic, Settings, Tls};

/// What a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    OpenSearch,
}

/// What a server says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Which of the two.
    pub flavour: Flavour,
    /// Its version.
    pub version: String,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.flavour {
            Flavour::Elasticsearch => "Elasticsearch",
            Flavour::OpenSearch => "OpenSearch",
        };
        write!(f, "{name} {}", self.version)
    }
}

impl Settings {
    /// Hosts and ports of the servers and the proxy; mistakes are [`Settings::service`]'s to report.
    pub(crate) fn endpoints(&self) -> Vec<(String, u16)> {
        let nodes = self.nodes().unwrap_or_default();
        let proxy = ureq::Proxy::new(&self.proxy).ok().map(|proxy| (proxy.host().to_owned(), proxy.port()));
        nodes.iter().map(|node| (node.host.clone(), node.port)).chain(proxy).collect()
    }

    pub(crate) fn tcp_ports(&self) -> Vec<u16> {
        self.endpoints().into_iter().map(|(_, port)| port).collect()
    }

    /// Names are looked up when the program starts only.
    pub(crate) fn looks_up_names(&self) -> bool {
        false
    }

    pub(crate) fn service(&self, fields: &[&'static Field]) -> Result<Elasticsearch, OpenError> {
        Elasticsearch::new(self, fields)
    }
}

/// The service.
pub struct Elasticsearch {
    cluster: Cluster,
    settings: Settings,
    fields: Vec<&'static Field>,
    names: Names,
    is_set_up: bool,
    /// Documents in one request at most: fewer after a server was too busy.
    portion: usize,
}

/// What a server refused, and what to do about it.
fn refusal(path: &str, answer: &Answer) -> Unavailable {
    let advice = match answer.status {
        401 | 403 => {
            "; give analyzer.output.elasticsearch user and password, or api_key, of who may manage index templates"
        }
        _ => "",
    };
    Unavailable(format!("{path}: {}{advice}", answer.summary()))
}

impl Elasticsearch {
    /// Judges the settings and reads the keys that they name; asks nobody yet.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(settings: &Settings, fields: &[&'static Field]) -> Result<Self, OpenError> {
        Ok(Self {
            cluster: Cluster::new(settings)?,
            names: Names::new(settings),
            settings: settings.clone(),
            fields: fields.to_vec(),
            is_set_up: !settings.setup,
            portion: usize::MAX,
        })
    }

    /// The templates as they would be installed: where each is put, and what.
    pub fn templates(settings: &Settings, fields: &[&'static Field], flavour: Flavour) -> Vec<(String, Value)> {
        let all = template::all(settings, fields, flavour);
        all.into_iter().map(|template| (format!("{}/{}", template.kind, template.name), template.body)).collect()
    }

    /// Asks a server what it is.
    ///
    /// # Errors
    /// When none answers, or what answers is neither.
    pub fn server(&mut self) -> Result<Server, Unavailable> {
        let is_away = |Unavailable(problem)| {
            Unavailable(format!(
                "{problem}; is a server running there, and is analyzer.output.elasticsearch.hosts right?"
            ))
        };
        let answer = self.cluster.request("GET", "/", b"").map_err(is_away)?;
        if answer.status != 200 {
            return Err(refusal("/", &answer));
        }
        let strange = || {
            let what = "what answers is neither Elasticsearch nor OpenSearch";
            Unavailable(format!(
                "{what}: is analyzer.output.elasticsearch.hosts right? They name {}",
                self.settings.hosts.join(", ")
            ))
        };
        let body: Value = serde_json::from_slice(&answer.body).map_err(|_| strange())?;
        let version = body["version"]["number"].as_str().ok_or_else(strange)?.to_owned();
        let flavour = match body["version"]["distribution"].as_str() {
            Some("opensearch") => Flavour::OpenSearch,
            _ => Flavour::Elasticsearch,
        };
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0);
        let oldest = if flavour == Flavour::OpenSearch { 1 } else { 7 };
        let server = Server { flavour, version };
        if major < oldest {
            return Err(Unavailable(format!(
                "{server} is too old: it has no composable index templates; use Elasticsearch 8 or OpenSearch 2, or newer"
            )));
        }
        Ok(server)
    }

    /// Installs the templates, or brings them up to date; `say` is told what was done.
    ///
    /// # Errors
    /// When a server does not answer or refuses.
    pub fn set_up(&mut self, say: &mut dyn FnMut(String)) -> Result<Server, Unavailable> {
        let server = self.server()?;
        for template in template::all(&self.settings, &self.fields, server.flavour) {
            let path = format!("/{}/{}", template.kind, template.name);
            let found = self.cluster.request("GET", &path, b"")?;
            let present: Value = match found.status {
                200 => serde_json::from_slice(&found.body).unwrap_or_default(),
                404 => Value::Null,
                _ => return Err(refusal(&path, &found)),
            };
            let (list, inner) = match template.kind {
                "_component_template" => ("component_templates", "component_template"),
                _ => ("index_templates", "index_template"),
            };
            let meta = &present[list][0][inner]["_meta"];
            if meta["digest"] == template.digest() {
                say(format!("{path} is up to date"));
                continue;
            }
            let put = self.cluster.request("PUT", &path, template.body.to_string().as_bytes())?;
            if put.status != 200 {
                return Err(refusal(&path, &put));
            }
            say(match (&present[list], meta["version"].as_str()) {
                (Value::Null, _) => format!("{path} was installed"),
                (_, Some(version)) => {
                    format!("{path} of Tapline {version} was replaced; indices that exist keep their mapping")
                }
                (_, None) => {
                    format!("{path}, which was not Tapline's, was replaced; indices that exist keep their mapping")
                }
            });
        }
        Ok(server)
    }

    /// Sends a part; when it is too large, its halves.
    fn send_part(&mut self, documents: &[Document<'_>]) -> Result<Vec<Fate>, Unavailable> {
        let body = bulk::body(documents, &self.names);
        let answer = self.cluster.request("POST", bulk::PATH, body.as_bytes())?;
        match answer.status {
            200..=299 => bulk::fates(&answer.body, documents.len()).map_err(Unavailable),
            413 if documents.len() > 1 => {
                let (first, second) = documents.split_at(documents.len() / 2);
                let mut fates = self.send_part(first)?;
                self.send_after(&mut fates, second);
                Ok(fates)
            }
            413 => Ok(vec![Fate::Refused { status: 413, reason: answer.summary() }]),
            429 => {
                // Less at once may find room.
                self.portion = (documents.len() / 2).max(1);
                Err(Unavailable(answer.summary()))
            }
            _ => Err(Unavailable(answer.summary())),
        }
    }

    /// Sends what comes after a part whose fate is known: that is not thrown away when this fails.
    /// Gives whether it did not.
    fn send_after(&mut self, fates: &mut Vec<Fate>, documents: &[Document<'_>]) -> bool {
        match self.send_part(documents) {
            Ok(more) => {
                fates.extend(more);
                true
            }
            Err(problem) => {
                fates.resize(fates.len() + documents.len(), Fate::Later(problem.0));
                false
            }
        }
    }
}

impl Service for Elasticsearch {
    fn look_up(&mut self) -> Result<(), OpenError> {
        self.cluster.look_up()
    }

    fn send(&mut self, documents: &[Document<'_>]) -> Result<Vec<Fate>, Unavailable> {
        if !self.is_set_up {
            let server = self.set_up(&mut |done| tracing::info!("{done}"))?;
            tracing::info!("connected to {server}");
            self.is_set_up = true;
        }
        let mut parts = documents.chunks(self.portion);
        let mut fates = self.send_part(parts.next().unwrap_or_default())?;
        for part in parts {
            if !self.send_after(&mut fates, part) {
                // Where the servers are too busy or away for a part, the rest comes later, too.
                fates.resize(documents.len(), Fate::Later("after a part that was not taken".to_owned()));
                return Ok(fates);
            }
        }
        // Slowly back to whole bulks.
        self.portion = self.portion.saturating_add(self.portion / 8 + 1);
        Ok(fates)
    }

    fn place(&self, document: &Document<'_>) -> String {
        self.names.of(document)
    }
}
