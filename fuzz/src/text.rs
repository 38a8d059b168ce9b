//! What people write: configuration and filter expressions.

use archive::{Archive, BatchIndex, Filter, Query, Writer, WriterOptions};
use packet::{BatchBuilder, Epoch, Packet, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::fmt::Debug;
use std::io::Write;

use crate::capture::{interface_set, name};

/// A file with this content, in memory where that goes.
pub(crate) fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm")
        .or_else(|_| tempfile::NamedTempFile::new())
        .expect("a temporary file");
    file.write_all(content).expect("room for a temporary file");
    file
}

fn load<T>(section: &str, text: &[u8], overrides: &[(String, String)]) -> Option<T>
where
    T: DeserializeOwned + Serialize + Default + PartialEq + Debug,
{
    let stored = file(text);
    let environment = [("TAPLINE_ANALYZER_WORKERS".to_owned(), "2".to_owned())];
    match settings::load_with::<T>(section, Some(stored.path()), &environment, overrides) {
        Ok(loaded) => {
            let written = toml::to_string(&loaded).expect("it can be written");
            let again: T = toml::from_str(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
            assert_eq!(again, loaded, "what was written reads otherwise:\n{written}");
            Some(loaded)
        }
        Err(problems) => {
            assert!(!problems.to_string().is_empty());
            None
        }
    }
}

/// A configuration file; lines `--set KEY=VALUE` at its end are overrides.
#[inline]
pub fn settings(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (text, sets) = text.split_once("\n--set ").unwrap_or((&text, ""));
    let overrides: Vec<_> =
        sets.split("\n--set ").take(4).filter_map(|line| ::settings::parse_set(line).ok()).collect();
    let _ = load::<collector::Settings>("collector", text.as_bytes(), &overrides);
    if let Some(settings) = load::<analyzer::Settings>("analyzer", text.as_bytes(), &overrides) {
        let _ = settings.decoding().check();
    }
}

/// Words of libpcap's language. Any other word would be a host's name, and libpcap would ask the network for it.
const WORDS: &str = "and or not host net port portrange proto protochain gateway src dst tcp udp sctp icmp icmp6 ip ip6 arp rarp \
    ether link ppp wlan less greater len mask vlan mpls pppoes geneve broadcast multicast inbound outbound icmptype icmp-echo tcpflags \
    tcp-syn tcp-ack community-id iso stp ipx igmp pim vrrp ah esp ipv6-icmp type subtype dir addr1";

thread_local! {
    static ARCHIVE: RefCell<Option<(tempfile::TempDir, Vec<Vec<u8>>)>> = const { RefCell::new(None) };
}

/// An archive of one packet per batch, so that leaving out a batch shows.
fn archive_of(packets: &[Vec<u8>]) -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    let (mut writer, _) = Writer::open(folder.path(), WriterOptions::default()).expect("an archive");
    let set = interface_set(1);
    for (seq, data) in (0u64..).zip(packets) {
        let mut builder = BatchBuilder::new(name(), Epoch([7; 16]), 0);
        let time = Timestamp::from_nanos(1_700_000_000_000_000_000 + seq);
        builder.push(&Packet { time, interface: 0, original_length: data.len() as u32, data });
        let (header, raw) = builder.seal(seq, seq, Vec::new());
        let Ok(packet::Entry::Batch(batch)) = packet::Entry::parse(&raw) else { panic!("no batch") };
        let mut occurs = BatchIndex::default();
        occurs.check(&batch, &set).expect("a good batch");
        let frame = zstd::bulk::compress(&raw, 1).expect("compressed");
        writer.append(&header, &set, &frame, &raw, &occurs, time).expect("appended");
    }
    writer.close().expect("closed");
    folder
}

/// `53`, `1-100`, `10.0.0.0/8`, `2001:db8::1`, or nothing.
fn is_number_or_address(word: &str) -> bool {
    let address = word.split_once('/').map_or(word, |(address, _)| address);
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let part = |text: &str| text.parse::<u8>().is_ok();
    address.parse::<std::net::IpAddr>().is_ok()
        || word.split('-').all(number)
        || address.split('.').count() <= 4 && address.split('.').all(part)
}

/// A filter expression: what the index leaves out must hold no match.
#[inline]
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let letters = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '/' | '+'));
    let known = |word: &str| {
        WORDS.split_whitespace().any(|one| one == word) || is_number_or_address(word) || word.starts_with("1:")
    };
    if text.len() > 300 || !text.split(letters).all(known) {
        return;
    }
    let Ok(filter) = Filter::new(text) else { return };
    ARCHIVE.with_borrow_mut(|archive| {
        let (folder, packets) = archive.get_or_insert_with(|| {
            let packets = crate::seeds::packets();
            (archive_of(&packets), packets)
        });
        let mut matcher = filter.matcher(interface_set(1).link_type());
        let accepts = |data: &&Vec<u8>| {
            matcher.accepts(&Packet { time: Timestamp::ZERO, interface: 0, original_length: data.len() as u32, data })
        };
        let expect = packets.iter().filter(accepts).count() as u64;
        let query = Query { filter, ..Query::default() };
        let found = Archive::new(folder.path()).query(query).and_then(|result| result.count()).expect("it is readable");
        assert_eq!(found, expect, "`{text}`");
    });
}
