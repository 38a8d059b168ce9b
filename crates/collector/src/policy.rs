//! What of a source's packets is stored: all of them, their headers, or none, for all packets or those a filter takes.
//! Changes nothing of what is published.

use archive::{BatchIndex, Filter};
use packet::batch::{BatchHeader, Item};
use packet::net::{self, Transport};
use packet::{Batch, BatchBuilder, Entry, InterfaceSet, LinkType, Packet, SourceName};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What is stored of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Store {
    /// `true`: all of it.
    #[default]
    Whole,
    /// `"headers"`: link, network and transport header, not what they carry.
    Headers,
    /// `false`: nothing; it is published only.
    Nothing,
}

impl Serialize for Store {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole => serializer.serialize_bool(true),
            Self::Headers => serializer.serialize_str("headers"),
            Self::Nothing => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for Store {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Store;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, \"headers\" or false")
            }

            fn visit_bool<E: Error>(self, whole: bool) -> Result<Store, E> {
                Ok(if whole { Store::Whole } else { Store::Nothing })
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Store, E> {
                match word {
                    "headers" => Ok(Store::Headers),
                    "true" => Ok(Store::Whole),
                    "false" => Ok(Store::Nothing),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Words)
    }
}

/// `[collector.sources.NAME]`; the name `*` is for all that are not named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourcePolicy {
    /// What is stored of the packets that `filter` takes.
    pub store: Store,
    /// Which packets `store` is said of, a pcap filter expression; empty means all. The others are stored whole.
    pub filter: String,
    /// What is removed of the source's segments, beside what is removed of all.
    pub retention: SourceRetention,
}

/// `[collector.sources.NAME.retention]`; 0 is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceRetention {
    /// Longest time since a segment's last packet arrived.
    #[serde(with = "settings::duration")]
    pub age: Duration,
    /// Most bytes of its segments.
    #[serde(with = "settings::size")]
    pub size: u64,
}

/// A policy that does anything but store everything.
#[derive(Debug)]
pub(crate) struct Policy {
    store: Store,
    filter: Filter,
}

/// The policies of all sources.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policies {
    named: Arc<BTreeMap<String, Option<Arc<Policy>>>>,
}

impl Policies {
    /// Fails with the name of the policy that is wrong, and why.
    pub(crate) fn new(sources: &BTreeMap<String, SourcePolicy>) -> Result<Self, (String, String)> {
        let mut named = BTreeMap::new();
        for (name, policy) in sources {
            if name != "*" {
                name.parse::<SourceName>().map_err(|error| (name.clone(), error.to_string()))?;
            }
            let filter = Filter::new(&policy.filter).map_err(|error| (name.clone(), error.to_string()))?;
            let policy = match policy.store {
                Store::Whole => None,
                store => Some(Arc::new(Policy { store, filter })),
            };
            named.insert(name.clone(), policy);
        }
        Ok(Self { named: Arc::new(named) })
    }

    /// What is said of a source; none if all of it is stored.
    pub(crate) fn of(&self, source: &SourceName) -> Option<Arc<Policy>> {
        self.named.get(source.as_str()).or_else(|| self.named.get("*")).cloned().flatten()
    }
}

/// What is left of a batch to be stored.
#[derive(Debug)]
pub(crate) enum Left {
    /// All of it.
    Whole,
    /// Nothing.
    Nothing,
    /// Part of it, as a batch of the same name.
    Part(Box<Part>),
}

/// A batch as it is stored when that is not as it came.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) header: BatchHeader,
    pub(crate) occurs: BatchIndex,
    pub(crate) frame: Vec<u8>,
    pub(crate) raw: Vec<u8>,
    /// Packets of the batch that are not in it.
    pub(crate) not_stored: u64,
}

impl Policy {
    /// Applies it to a checked batch.
    pub(crate) fn apply(&self, raw: &[u8], set: &InterfaceSet) -> Left {
        let Ok(Entry::Batch(batch)) = Entry::parse(raw) else { return Left::Whole };
        let all = self.filter.is_any();
        if all && self.store == Store::Nothing {
            return Left::Nothing;
        }
        self.part(&batch, set).map_or(Left::Whole, |(part, kept, touched)| match (kept, touched) {
            (0, _) if self.store == Store::Nothing => Left::Nothing,
            (_, 0) => Left::Whole,
            _ => Left::Part(Box::new(part)),
        })
    }

    fn part(&self, batch: &Batch<'_>, set: &InterfaceSet) -> Option<(Part, u32, u32)> {
        let link_type = set.link_type();
        let mut matcher = self.filter.matcher(link_type);
        let name = &batch.header.name;
        let mut builder = BatchBuilder::new(name.source.clone(), name.epoch, batch.header.interface_set);
        let mut touched = 0;
        for item in batch.items() {
            match item.ok()? {
                Item::Statistics(statistics) => builder.push_statistics(&statistics),
                Item::Packet(packet) if !matcher.accepts(&packet) => builder.push(&packet),
                Item::Packet(packet) => {
                    touched += 1;
                    if self.store == Store::Headers {
                        let data = packet.data.get(..headers(link_type, &packet)).unwrap_or(packet.data);
                        builder.push(&Packet { data, ..packet });
                    }
                }
            }
        }
        let kept = builder.packets();
        let (header, raw) = builder.seal(name.seq, batch.header.first_packet, Vec::new());
        let mut occurs = BatchIndex::default();
        let Ok(Entry::Batch(stored)) = Entry::parse(&raw) else { return None };
        occurs.check(&stored, set).ok()?;
        let frame = zstd::bulk::compress(&raw, 1).ok()?;
        let not_stored = u64::from(batch.header.packets - kept);
        Some((Part { header, occurs, frame, raw, not_stored }, kept, touched))
    }
}

/// Bytes of a packet up to the end of its innermost transport header; of what cannot be understood, its link header.
fn headers(link_type: LinkType, packet: &Packet<'_>) -> usize {
    let dissected = net::dissect(link_type, packet.data, packet.original_length);
    let Some(network) = &dissected.network else {
        return match link_type {
            LinkType::ETHERNET => 14,
            LinkType::LINUX_SLL => 16,
            LinkType::LINUX_SLL2 => 20,
            _ => 4,
        };
    };
    let least = network.offset as usize + if network.version() == 4 { 20 } else { 40 };
    // Where the payload stands in the packet, extension headers left behind.
    let at = (network.payload.as_ptr() as usize).wrapping_sub(packet.data.as_ptr() as usize);
    let begin = if !network.payload.is_empty() && at <= packet.data.len() { at } else { least };
    begin
        + match &dissected.transport {
            Transport::Udp(_) | Transport::Icmp(_) => 8,
            Transport::Tcp(tcp) => 20 + tcp.options.len(),
            Transport::Sctp(_) => 12,
            Transport::None | Transport::Fragment | Transport::Other => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{Epoch, Interface, Timestamp};

    /// UDP over IPv4 over Ethernet.
    pub(crate) fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
        frame.extend_from_slice(&((28 + payload.len()) as u16).to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend_from_slice(&port.to_be_bytes());
        frame.extend_from_slice(&port.to_be_bytes());
        frame.extend_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
        frame.extend_from_slice(&[0, 0]);
        frame.extend_from_slice(payload);
        frame
    }

    fn apply(store: Store, filter: &str, packets: &[Vec<u8>]) -> (Left, Vec<usize>) {
        let interface = Interface {
            name: "eth0".into(),
            link_type: LinkType::ETHERNET,
            snaplen: MAX_PACKET_BYTES as u32,
            filter: String::new(),
        };
        let set = InterfaceSet { number: 0, interfaces: vec![interface] };
        let mut builder = BatchBuilder::new("gw".parse().unwrap(), Epoch([1; 16]), 0);
        for data in packets {
            let time = Timestamp::from_nanos(5);
            builder.push(&Packet { time, interface: 0, original_length: data.len() as u32, data });
        }
        let (_, raw) = builder.seal(7, 100, Vec::new());
        let left = Policy { store, filter: Filter::new(filter).unwrap() }.apply(&raw, &set);
        let mut lengths = Vec::new();
        if let Left::Part(part) = &left {
            assert_eq!((part.header.name.seq, part.header.first_packet), (7, 100));
            let Ok(Entry::Batch(batch)) = Entry::parse(&part.raw) else { panic!("no batch") };
            lengths.extend(batch.items().filter_map(|item| match item.unwrap() {
                Item::Packet(packet) => Some(packet.data.len()),
                Item::Statistics(_) => None,
            }));
        }
        (left, lengths)
    }

    use packet::batch::MAX_PACKET_BYTES;

    #[test]
    fn only_what_the_policy_says_is_left() {
        let packets = [udp(5060, b"INVITE"), udp(10_000, &[0xd5; 160]), udp(10_002, &[0xd5; 160])];
        let media = "udp portrange 10000-20000";
        assert!(matches!(apply(Store::Nothing, "", &packets).0, Left::Nothing));
        assert!(matches!(apply(Store::Nothing, media, &packets[1..]).0, Left::Nothing));
        assert!(matches!(apply(Store::Nothing, media, &packets[..1]).0, Left::Whole));
        let (left, lengths) = apply(Store::Nothing, media, &packets);
        assert_eq!(lengths, [48]);
        assert!(matches!(left, Left::Part(part) if part.not_stored == 2));
        let (left, lengths) = apply(Store::Headers, media, &packets);
        assert_eq!(lengths, [48, 42, 42]);
        assert!(matches!(left, Left::Part(part) if part.not_stored == 0));
        assert_eq!(apply(Store::Headers, "", &packets).1, [42, 42, 42]);
    }

    #[test]
    fn the_words_of_the_configuration() {
        let read = |text: &str| serde_json::from_str::<Store>(text).ok();
        assert_eq!(read("true"), Some(Store::Whole));
        assert_eq!(read("\"headers\""), Some(Store::Headers));
        assert_eq!(read("false"), Some(Store::Nothing));
        assert_eq!(read("\"some\""), None);
    }
}
