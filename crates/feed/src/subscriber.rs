//! The subscriber: reads v2 messages, and v1 messages of an original osmo-pcap server. Gaps and repeats are for the reader of
//! the log to see, who knows what it has; here a message is only read.

use crate::curve::ClientKeys;
use crate::{Endpoint, FeedError};
use api::{EntryFrame, EntryMeta};
use std::time::Duration;

/// A message of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// An entry of the log.
    Entry(EntryFrame),
    /// Something happened: name, source, JSON.
    Event {
        /// Its name.
        name: String,
        /// About whom.
        source: String,
        /// What else is to be said, as JSON.
        body: Vec<u8>,
    },
    /// A packet of a v1 publisher.
    V1Packet {
        /// The source as the publisher names it.
        source: String,
        /// pcap file header, or section header and interfaces.
        link_header: Vec<u8>,
        /// Record header and packet, or an enhanced packet block.
        record: Vec<u8>,
    },
    /// An event of a v1 publisher.
    V1Event {
        /// Its name and source, as they stand in the topic.
        topic: String,
        /// The path of a finished file.
        path: Option<String>,
    },
    /// A message that is not as the feed has it.
    Bad(String),
}

/// Subscribes to a feed.
pub struct Subscriber {
    socket: zmq::Socket,
    _context: zmq::Context,
}

impl Subscriber {
    /// Connects to all `endpoints`, encrypted where there are keys, and subscribes to all `topics` (prefixes). A publisher that is away is
    /// waited for.
    ///
    /// # Errors
    /// When ZeroMQ refuses.
    pub fn connect(
        endpoints: &[Endpoint],
        topics: &[String],
        queue_messages: i32,
        curve: Option<&ClientKeys>,
    ) -> Result<Self, FeedError> {
        let failed = |endpoint: &str| {
            let endpoint = endpoint.to_owned();
            move |error| FeedError::Socket { endpoint, error }
        };
        let context = zmq::Context::new();
        let socket = context.socket(zmq::SUB).map_err(failed("socket"))?;
        socket.set_rcvhwm(queue_messages).map_err(failed("socket"))?;
        socket.set_linger(0).map_err(failed("socket"))?;
        socket.set_reconnect_ivl(100).map_err(failed("socket"))?;
        socket.set_reconnect_ivl_max(2_000).map_err(failed("socket"))?;
        if let Some(keys) = curve {
            keys.apply(&socket).map_err(failed("socket"))?;
        }
        for topic in topics {
            socket.set_subscribe(topic.as_bytes()).map_err(failed("socket"))?;
        }
        for endpoint in endpoints.iter().map(Endpoint::as_str) {
            socket.connect(endpoint).map_err(failed(endpoint))?;
        }
        Ok(Self { socket, _context: context })
    }

    /// Waits for the next message; none if none came in time.
    ///
    /// # Errors
    /// When the socket can no longer be used.
    pub fn receive(&self, timeout: Duration) -> Result<Option<Message>, FeedError> {
        let failed = |error| FeedError::Socket { endpoint: "subscriber".to_owned(), error };
        let wait = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        match self.socket.poll(zmq::POLLIN, wait) {
            Ok(0) | Err(zmq::Error::EINTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(failed(error)),
        }
        match self.socket.recv_multipart(zmq::DONTWAIT) {
            Ok(parts) => Ok(Some(Message::read(parts))),
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Message {
    /// Reads the parts of a message.
    pub fn read(parts: Vec<Vec<u8>>) -> Self {
        let mut parts = parts.into_iter();
        let topic = parts.next().map(|topic| String::from_utf8_lossy(&topic).into_owned()).unwrap_or_default();
        let rest: Vec<Vec<u8>> = parts.collect();
        let bad = |problem: &str| Message::Bad(format!("{topic:.100}: {problem}"));
        if topic.starts_with("data.v2.") {
            let Ok([meta, frame]) = <[Vec<u8>; 2]>::try_from(rest) else { return bad("it has not three parts") };
            return match serde_json::from_slice::<EntryMeta>(&meta) {
                Ok(meta) if meta.v == 1 => Message::Entry(EntryFrame { meta, frame }),
                Ok(meta) => bad(&format!("its form has version {}, this program reads version 1", meta.v)),
                Err(error) => bad(&error.to_string()),
            };
        }
        if let Some(name) = topic.strip_prefix("event.v2.") {
            let Some((name, source)) = name.split_once('.') else { return bad("it names no source") };
            let source = source.trim_end_matches('/').to_owned();
            return Message::Event { name: name.to_owned(), source, body: rest.into_iter().next().unwrap_or_default() };
        }
        if let Some(source) = topic.strip_prefix("data.v1.") {
            let source = source.to_owned();
            return match <[Vec<u8>; 2]>::try_from(rest) {
                Ok([link_header, record]) => Message::V1Packet { source, link_header, record },
                Err(_) => bad("it has not three parts"),
            };
        }
        if topic.starts_with("event.v1.") {
            let path = rest.first().map(|path| String::from_utf8_lossy(path).into_owned());
            return Message::V1Event { topic, path };
        }
        bad("an unknown topic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Publisher, PublisherOptions, v1};
    use packet::{BatchName, Epoch, InterfaceSet};

    #[test]
    fn what_is_published_arrives_where_it_was_subscribed_to() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = format!("ipc://{}/feed", folder.path().display());
        let endpoint = Endpoint::to_publish(&endpoint, None).unwrap();
        let options = PublisherOptions {
            endpoints: vec![endpoint.clone()],
            v1_endpoints: Vec::new(),
            v1_format: v1::Format::Pcap,
            queue_bytes: 1 << 20,
            curve: None,
        };
        let mut publisher = Publisher::bind(&options).unwrap();
        let topics = ["data.v2.web1/".to_owned(), "event.v2.".to_owned()];
        let subscriber = Subscriber::connect(std::slice::from_ref(&endpoint), &topics, 1000, None).unwrap();
        while publisher.subscriptions() < 2 {
            publisher.tick();
            std::thread::yield_now();
        }
        let set = InterfaceSet { number: 0, interfaces: Vec::new() };
        for source in ["web10", "web1"] {
            let name = BatchName { source: source.parse().unwrap(), epoch: Epoch([1; 16]), seq: 7 };
            let meta = EntryMeta::new(&name, 7, 70, 10, (1, 2), &set, 100, None);
            publisher.entry(&meta, b"frame");
        }
        publisher.event("connect", "web10", b"{}");
        let wait = Duration::from_secs(5);
        match subscriber.receive(wait).unwrap() {
            Some(Message::Entry(entry)) => assert_eq!((entry.meta.source.as_str(), entry.meta.seq), ("web1", 7)),
            other => panic!("{other:?}"),
        }
        assert_eq!(
            subscriber.receive(wait).unwrap(),
            Some(Message::Event { name: "connect".into(), source: "web10".into(), body: b"{}".to_vec() })
        );
    }

    #[test]
    fn messages_that_make_no_sense_are_said_to_be_bad() {
        for parts in [
            vec![],
            vec![b"data.v2.x/".to_vec()],
            vec![b"data.v2.x/".to_vec(), b"{".to_vec(), vec![]],
            vec![b"?".to_vec()],
        ] {
            assert!(matches!(Message::read(parts), Message::Bad(_)));
        }
    }
}
