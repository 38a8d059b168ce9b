//! The publisher: one XPUB socket for v2, one for v1 if configured. Never waits for a subscriber: what one cannot take is
//! its own loss. Owned by one thread.

use crate::curve::{Doorkeeper, ServerKeys};
use crate::{Endpoint, FeedError, v1, v2};
use api::EntryMeta;
use packet::batch::Item;
use packet::{Batch, InterfaceSet};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// How the feed is published.
#[derive(Debug, Clone)]
pub struct PublisherOptions {
    /// Endpoints of v2.
    pub endpoints: Vec<Endpoint>,
    /// Endpoints of v1; none switches it off.
    pub v1_endpoints: Vec<Endpoint>,
    /// File format of v1 messages of native sources.
    pub v1_format: v1::Format,
    /// Bytes that may wait for one subscriber.
    pub queue_bytes: usize,
    /// Keys with which v2 is encrypted, on all its endpoints; none: in the clear.
    pub curve: Option<ServerKeys>,
}

/// ZeroMQ counts messages, not bytes: how large a v2 message is taken to be.
const TYPICAL_BATCH: usize = 128 * 1024;
/// Most distinct subscriptions that are remembered.
const MAX_SUBSCRIPTIONS: usize = 4096;
/// The same for a v1 message.
const TYPICAL_PACKET: usize = 512;

/// Publishes the feed.
pub struct Publisher {
    v2: Channel,
    v1: Option<Channel>,
    v1_format: v1::Format,
    scratch: Vec<u8>,
    /// Messages handed to ZeroMQ.
    pub published: u64,
    /// Ends before the context.
    doorkeeper: Option<Doorkeeper>,
    _context: zmq::Context,
}

struct Channel {
    socket: zmq::Socket,
    subscriptions: BTreeSet<Vec<u8>>,
}

impl Channel {
    fn bind(
        context: &zmq::Context,
        endpoints: &[Endpoint],
        messages: usize,
        curve: Option<&ServerKeys>,
    ) -> Result<Self, FeedError> {
        let failed = |endpoint: &str| {
            let endpoint = endpoint.to_owned();
            move |error| FeedError::Socket { endpoint, error }
        };
        let socket = context.socket(zmq::XPUB).map_err(failed("socket"))?;
        socket.set_sndhwm(i32::try_from(messages).unwrap_or(i32::MAX)).map_err(failed("socket"))?;
        socket.set_linger(1_000).map_err(failed("socket"))?;
        if let Some(curve) = curve {
            socket.set_zap_domain("feed").map_err(failed("socket"))?;
            socket.set_curve_server(true).map_err(failed("socket"))?;
            socket.set_curve_secretkey(&curve.own.secret).map_err(failed("socket"))?;
        }
        for endpoint in endpoints {
            let endpoint = endpoint.as_str();
            socket.bind(endpoint).map_err(failed(endpoint))?;
        }
        Ok(Self { socket, subscriptions: BTreeSet::new() })
    }

    /// Learns who has subscribed to what since the last call.
    fn learn(&mut self) {
        while let Ok(message) = self.socket.recv_bytes(zmq::DONTWAIT) {
            match message.split_first() {
                Some((1, topic)) if self.subscriptions.len() < MAX_SUBSCRIPTIONS => {
                    self.subscriptions.insert(topic.to_vec());
                }
                // Too many to keep apart: everything counts as wanted, ZeroMQ itself knows who gets what.
                Some((1, _)) => {
                    self.subscriptions.insert(Vec::new());
                }
                Some((0, topic)) => {
                    self.subscriptions.remove(topic);
                }
                _ => {}
            }
        }
    }

    fn wanted(&self, topic: &[u8]) -> bool {
        self.subscriptions.iter().any(|prefix| topic.starts_with(prefix))
    }

    fn send(&self, parts: &[&[u8]]) {
        // With XPUB and DONTWAIT a full queue of one subscriber drops the message for that one only.
        let _ = self.socket.send_multipart(parts, zmq::DONTWAIT);
    }
}

impl Publisher {
    /// Binds the sockets.
    ///
    /// # Errors
    /// An endpoint that cannot be bound.
    pub fn bind(options: &PublisherOptions) -> Result<Self, FeedError> {
        let context = zmq::Context::new();
        let batches = (options.queue_bytes / TYPICAL_BATCH).max(16);
        let packets = (options.queue_bytes / TYPICAL_PACKET).max(1024);
        let doorkeeper = options.curve.as_ref().map(|keys| Doorkeeper::start(&context, keys)).transpose()?;
        let v2 = Channel::bind(&context, &options.endpoints, batches, options.curve.as_ref())?;
        let v1 = if options.v1_endpoints.is_empty() {
            None
        } else {
            Some(Channel::bind(&context, &options.v1_endpoints, packets, None)?)
        };
        Ok(Self {
            v2,
            v1,
            v1_format: options.v1_format,
            scratch: Vec::new(),
            published: 0,
            doorkeeper,
            _context: context,
        })
    }

    /// Learns about new subscriptions; to be called now and then.
    pub fn tick(&mut self) {
        self.v2.learn();
        if let Some(v1) = &mut self.v1 {
            v1.learn();
        }
    }

    /// Subscribers that were turned away because they are not on the list.
    pub fn denied(&self) -> u64 {
        self.doorkeeper.as_ref().map_or(0, |doorkeeper| doorkeeper.denied.load(Ordering::Relaxed))
    }

    /// Distinct subscriptions of v2.
    pub fn subscriptions(&self) -> usize {
        self.v2.subscriptions.len()
    }

    /// Distinct subscriptions of v1.
    pub fn v1_subscriptions(&self) -> usize {
        self.v1.as_ref().map_or(0, |v1| v1.subscriptions.len())
    }

    /// Publishes an entry on v2.
    pub fn entry(&mut self, meta: &EntryMeta, frame: &[u8]) {
        self.v2.learn();
        let topic = v2::data_topic(&meta.source);
        if !self.v2.wanted(topic.as_bytes()) {
            return;
        }
        let Ok(json) = serde_json::to_vec(meta) else { return };
        self.v2.send(&[topic.as_bytes(), &json, frame]);
        self.published += 1;
    }

    /// Publishes an event on v2; `body` is its JSON.
    pub fn event(&mut self, name: &str, source: &str, body: &[u8]) {
        self.v2.learn();
        self.v2.send(&[v2::event_topic(name, source).as_bytes(), body]);
    }

    /// Whether anybody has subscribed to v1 packets of a source.
    pub fn v1_wanted(&mut self, source: &str) -> bool {
        let Some(v1) = &mut self.v1 else { return false };
        v1.learn();
        v1.wanted(v1::data_topic(source).as_bytes())
    }

    /// Publishes the packets of a batch on v1, one message each.
    pub fn v1_batch(&mut self, batch: &Batch<'_>, set: &InterfaceSet) {
        let Some(v1) = &self.v1 else { return };
        let topic = v1::data_topic(batch.header.name.source.as_str());
        let header = v1::link_header(self.v1_format, &set.interfaces);
        for item in batch.items() {
            if let Ok(Item::Packet(packet)) = item {
                self.scratch.clear();
                v1::record(self.v1_format, &packet, &mut self.scratch);
                v1.send(&[topic.as_bytes(), &header, &self.scratch]);
            }
        }
    }

    /// Publishes packets of an osmo-pcap client on v1 as the client sent them.
    pub fn v1_records<'r>(&mut self, source: &str, link_header: &[u8], records: impl Iterator<Item = &'r [u8]>) {
        let Some(v1) = &self.v1 else { return };
        let topic = v1::data_topic(source);
        for record in records {
            v1.send(&[topic.as_bytes(), link_header, record]);
        }
    }

    /// Publishes an event on v1: `connect`, `disconnect`, or `closingtracefile` with the path of the file.
    pub fn v1_event(&mut self, name: &str, source: &str, path: Option<&str>) {
        let Some(v1) = &mut self.v1 else { return };
        v1.learn();
        let topic = v1::event_topic(name, source);
        match path {
            Some(path) => v1.send(&[topic.as_bytes(), path.as_bytes()]),
            None => v1.send(&[topic.as_bytes()]),
        }
    }
}
