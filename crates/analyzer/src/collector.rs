//! Feed and API of a collector as the log that the analyzer follows.
//! Decides nothing: what is missing and what is decoded is `follow`'s and `live`'s.

use std::io;
use std::net::ToSocketAddrs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::{BalanceAnswer, Client, ClientError, CollectorUrl, EntryFrame, EntryMeta, EntryReader, escape};
use feed::curve::{ClientKeys, KeyPair};
use feed::{Endpoint, Message, Subscriber};
use packet::{Epoch, SourceName};
use settings::Faults;

use crate::log::{EpochState, Log, LogEntry, LogError, Received};
use crate::settings::Settings;

/// Messages of the feed that may wait here; more are taken from the archive later.
const QUEUE_MESSAGES: i32 = 256;

/// Where the collector is, and what is wanted of it, judged before the sandbox shuts.
#[derive(Debug)]
pub struct Endpoints {
    feed: Vec<Endpoint>,
    api: Option<CollectorUrl>,
    sources: Vec<SourceName>,
    curve: Option<ClientKeys>,
}

impl Endpoints {
    /// From the configuration; notes all that is wrong with it.
    pub fn new(settings: &Settings, faults: &mut Faults) -> Self {
        let feed = settings.feed_endpoints();
        let feed = feed.iter().filter_map(|text| faults.note("analyzer.feed", Endpoint::to_subscribe(text))).collect();
        let url = |text: String| faults.note("analyzer.collector", text.parse::<CollectorUrl>());
        let api = settings.collector_url().and_then(url);
        let sources = settings.sources.iter();
        let sources = sources.filter_map(|name| faults.note("analyzer.sources", name.parse::<SourceName>())).collect();
        let curve = match (settings.curve.server.as_str(), settings.curve.keys.as_os_str().is_empty()) {
            ("", true) => None,
            (server, is_without_keys) if server.is_empty() || is_without_keys => {
                let missing = if server.is_empty() { "server" } else { "keys" };
                let problem =
                    "is not set: an encrypted feed needs server and keys, as `tapline keys subscriber` shows them";
                faults.add(format!("analyzer.curve.{missing}"), problem);
                None
            }
            (server, _) => {
                let server = faults.note("analyzer.curve.server", feed::curve::key(server, "this"));
                let own = faults.note("analyzer.curve.keys", KeyPair::read(&settings.curve.keys));
                server.zip(own).map(|(server, own)| ClientKeys { server, own })
            }
        };
        Self { feed, api, sources, curve }
    }

    /// Host and port of what is reached by TCP.
    fn hosts(&self) -> impl Iterator<Item = (&str, u16)> {
        let api = match &self.api {
            // A URL has a port.
            Some(CollectorUrl::Http(address)) => address.rsplit_once(':'),
            _ => None,
        };
        let api = api.and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)));
        self.feed.iter().filter_map(Endpoint::tcp).chain(api)
    }

    fn has_names(&self) -> bool {
        self.hosts().any(|(host, _)| host.parse::<std::net::IpAddr>().is_err())
    }

    /// Files that must stay readable: those that names are looked up with, if any endpoint has one.
    pub fn files(&self) -> Vec<PathBuf> {
        if self.has_names() { look_up_files() } else { Vec::new() }
    }

    /// Subscribes. Call it behind the sandbox: what comes from the feed is foreign.
    ///
    /// # Errors
    /// When ZeroMQ or the system refuses.
    pub fn connect(&self) -> Result<Collector, String> {
        let mut topics = vec!["event.v2.".to_owned()];
        if self.sources.is_empty() {
            topics.push("data.v2.".to_owned());
        }
        topics.extend(self.sources.iter().map(|source| feed::v2::data_topic(source.as_str())));
        let subscriber = Subscriber::connect(&self.feed, &topics, QUEUE_MESSAGES, self.curve.as_ref())
            .map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let (api, sources) = (self.api.clone().map(Client::new), self.sources.clone());
        Ok(Collector { subscriber: Some(subscriber), api, runtime, sources })
    }

    /// TCP ports that must stay reachable.
    pub fn tcp_ports(&self) -> Vec<u16> {
        let dns = self.has_names().then_some(53);
        self.hosts().map(|(_, port)| port).chain(dns).collect()
    }
}

/// Files that names are looked up with. Call it before the sandbox shuts.
pub fn look_up_files() -> Vec<PathBuf> {
    const LOOK_UP: [&str; 5] =
        ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf"];
    // One look-up now brings in what the system needs for the next.
    let _ = ("localhost", 0).to_socket_addrs();
    LOOK_UP.iter().map(PathBuf::from).filter(|path| path.exists()).collect()
}

/// Follows one or several collectors' feeds and asks one API.
pub struct Collector {
    subscriber: Option<Subscriber>,
    api: Option<Client>,
    runtime: tokio::runtime::Runtime,
    sources: Vec<SourceName>,
}

impl Collector {
    /// Asks only the API: for those who have no feed.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub fn asking(url: CollectorUrl, sources: Vec<SourceName>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { subscriber: None, api: Some(Client::new(url)), runtime, sources })
    }
}

fn unreachable(error: &ClientError) -> LogError {
    LogError::Unreachable(error.to_string())
}

/// A stored or published entry, decompressed and checked for what the meta part promises.
///
/// # Errors
/// What is wrong with it.
pub fn read_entry(meta: &EntryMeta, frame: &[u8]) -> Result<LogEntry, String> {
    let source: SourceName = meta.source.parse().map_err(|error| format!("{error}"))?;
    let epoch: Epoch = meta.epoch.parse().map_err(|error| format!("{error}"))?;
    let raw = match meta.encoding.as_str() {
        "none" => frame.to_vec(),
        "zstd" => {
            let length = (meta.raw_length as usize).min(packet::batch::MAX_BYTES);
            zstd::bulk::decompress(frame, length).map_err(|error| format!("batch {} of {source}: {error}", meta.seq))?
        }
        other => {
            return Err(format!("batch {} of {source} is encoded as {other:?}: is this program too old?", meta.seq));
        }
    };
    if meta.last_seq < meta.seq {
        return Err(format!("batch {} of {source} ends before it begins", meta.seq));
    }
    let interfaces = Arc::from(meta.interface_set().interfaces);
    Ok(LogEntry { source, epoch, seqs: meta.seq..=meta.last_seq, interfaces, raw })
}

impl Log for Collector {
    fn receive(&mut self, timeout: Duration) -> Result<Received, LogError> {
        let Some(subscriber) = &self.subscriber else {
            std::thread::sleep(timeout);
            return Ok(Received::Nothing);
        };
        let message = subscriber.receive(timeout).map_err(|error| LogError::Broken(error.to_string()))?;
        Ok(match message {
            None => Received::Nothing,
            Some(Message::Entry(EntryFrame { meta, frame })) => match read_entry(&meta, &frame) {
                Ok(entry) => Received::Entry(entry),
                Err(problem) => Received::Bad(problem),
            },
            Some(Message::Event { .. }) => Received::Change,
            Some(Message::V1Packet { source, .. }) => {
                Received::Bad(format!("a v1 packet of {source} was not asked for"))
            }
            Some(Message::V1Event { .. }) => Received::Nothing,
            Some(Message::Bad(problem)) => Received::Bad(problem),
        })
    }

    fn fetch(
        &mut self,
        source: &SourceName,
        epoch: Epoch,
        seqs: RangeInclusive<u64>,
        each: &mut dyn FnMut(LogEntry) -> io::Result<()>,
    ) -> Result<(), LogError> {
        let Some(api) = &self.api else { return Ok(()) };
        let path = format!(
            "/api/v1/batches?source={}&epoch={epoch}&from={}&to={}",
            escape(source.as_str()),
            seqs.start(),
            seqs.end()
        );
        let mut entries = Vec::new();
        self.runtime
            .block_on(async {
                let mut body = api.stream(&path).await?;
                let mut reader = EntryReader::default();
                while let Some(bytes) = body.next().await? {
                    reader.push(&bytes);
                    while let Some(entry) = reader.next_entry().map_err(ClientError::Broken)? {
                        entries.push(entry);
                    }
                }
                if reader.is_cut() {
                    return Err(ClientError::Broken("the stream of entries ends within one".to_owned()));
                }
                Ok(())
            })
            .map_err(|error: ClientError| unreachable(&error))?;
        for stored in entries {
            match read_entry(&stored.meta, &stored.frame) {
                Ok(entry) => each(entry).map_err(|error| LogError::Broken(error.to_string()))?,
                Err(problem) => tracing::warn!("the archive's {problem}"),
            }
        }
        Ok(())
    }

    fn epochs(&mut self) -> Result<Vec<EpochState>, LogError> {
        let Some(api) = &self.api else { return Ok(Vec::new()) };
        let answer: BalanceAnswer =
            self.runtime.block_on(api.json("/api/v1/balance")).map_err(|error| unreachable(&error))?;
        let mut states: Vec<EpochState> = Vec::with_capacity(answer.balance.len());
        for row in &answer.balance {
            let (Ok(source), Ok(epoch)) = (row.source.parse::<SourceName>(), row.epoch.parse::<Epoch>()) else {
                continue;
            };
            if !self.sources.is_empty() && !self.sources.contains(&source) {
                continue;
            }
            // A probe that only lost its connection comes back with the same epoch; one that began another does not.
            let has_newer = states.iter().any(|state| state.source == source);
            let ended = row.state == "complete" || (has_newer && !row.connected);
            states.push(EpochState { source, epoch, next_seq: row.durable_seq, ended });
        }
        // Oldest first: what an ended epoch left open is given out before its successor begins.
        states.reverse();
        Ok(states)
    }
}
