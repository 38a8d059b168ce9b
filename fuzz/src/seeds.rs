//! What fuzzing begins with, made from the fixtures of the crates and from what we write ourselves.

use crate::capture::{interface_set, name};
use crate::input::{pause, put_bytes};
use archive::Index;
use packet::flow::FlowKey;
use packet::net::{Transport, dissect};
use packet::{BatchBuilder, BatchName, CaptureReader, Epoch, LinkType, Packet, Timestamp, pcapng};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use uplink::{CollectorSession, EntryHead, Hello, Moment, ProbeSession, Statistics};

/// Most packets of one fixture.
const PACKETS_MAX: usize = 40;

/// The seeds of a target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "archive" => archives(),
        "batch" => batches(),
        "capture" => captures(),
        "decode_dns" => conversations("dns", 17),
        "decode_dns_tcp" => conversations("dns", 6),
        "decode_http" => conversations("http", 6),
        "decode_icmp" => conversations("icmp", 1),
        "decode_rtp" => conversations("rtp", 17),
        "decode_sdp" => descriptions(),
        "decode_sip" => conversations("sip", 17),
        "decode_sip_tcp" => conversations("sip", 6),
        "dissect" => headers(),
        "engine" => fixtures("").iter().map(|path| engine(path)).collect(),
        "feed" => feeds(),
        "filter" => FILTERS.iter().map(|text| text.as_bytes().to_vec()).collect(),
        "index" => indexes(),
        "osmo" => vec![osmo(false), osmo(true)],
        "segment" => archives().iter().map(|seed| [&[seed[0] & 1, 200, 1], &seed[1..]].concat()).collect(),
        "settings" => configurations(),
        "uplink_collector" => vec![[&[3], probe().as_slice()].concat(), [&[255], probe().as_slice()].concat()],
        "uplink_probe" => vec![[&[3], collector().as_slice()].concat()],
        _ => Vec::new(),
    }
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")
}

/// The recorded captures of a protocol, or of all.
fn fixtures(protocol: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for known in decode::protocols::ALL.iter().filter(|known| protocol.is_empty() || known.name == protocol) {
        let folder = crates().join("decode/src/protocols").join(known.name).join("fixtures");
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        found.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "pcap")));
    }
    found.sort();
    found
}

struct Recorded {
    nanos: u64,
    link_type: LinkType,
    data: Vec<u8>,
}

fn recorded(path: &Path) -> Vec<Recorded> {
    let bytes = std::fs::read(path).expect("a fixture");
    let mut reader = CaptureReader::new(&bytes[..]).expect("a capture");
    let mut packets = Vec::new();
    while let Ok(Some(packet)) = reader.next()
        && packets.len() < PACKETS_MAX
    {
        let (nanos, interface, data) = (packet.time.nanos(), packet.interface as usize, packet.data.to_vec());
        packets.push(Recorded { nanos, link_type: reader.interfaces()[interface].link_type, data });
    }
    packets
}

/// Some packets of every kind there is, all on Ethernet.
pub(crate) fn packets() -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for path in fixtures("") {
        let ethernet = recorded(&path).into_iter().filter(|packet| packet.link_type == LinkType::ETHERNET);
        packets.extend(ethernet.map(|packet| packet.data).filter(|data| data.len() < 1600).step_by(6).take(6));
    }
    // ARP, VLAN, IPv6, a fragment and something unknown.
    packets.push(
        [&[0xff; 12][..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[2; 6], &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 2]].concat(),
    );
    let mut vlan = packets[0].clone();
    vlan.splice(12..12, [0x81, 0, 0, 7]);
    packets.push(vlan);
    let mut six = vec![2; 12];
    six.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 12, 17, 64]);
    six.extend([0x20; 32]);
    six.extend([0, 53, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    packets.push(six);
    let mut fragment = packets[0].clone();
    fragment[20] = 0x20;
    packets.push(fragment);
    packets.push([&[2; 12][..], &[0x88, 0xb5, 1, 2, 3]].concat());
    packets
}

/// Packets of every kind on Ethernet, and one on every other link type, behind headers of some length.
fn headers() -> Vec<Vec<u8>> {
    const LINK_TYPES: [u16; 43] = [
        0, 6, 7, 8, 9, 10, 12, 50, 51, 100, 101, 104, 105, 106, 107, 108, 109, 113, 117, 119, 123, 127, 129, 138, 147,
        163, 166, 192, 197, 204, 219, 228, 229, 239, 240, 242, 258, 276, 281, 282, 283, 284, 290,
    ];
    let all = packets();
    let mut seeds: Vec<_> = all.iter().map(|packet| [&[1, 0, 0], packet.as_slice()].concat()).collect();
    let ip = all.first().and_then(|packet| packet.get(14..)).unwrap_or_default();
    for link_type in LINK_TYPES {
        for header in [0, 4, 8, 12, 16, 20, 24, 64] {
            let mut seed = link_type.to_le_bytes().to_vec();
            seed.push(0);
            seed.resize(3 + header, 0);
            seed.extend_from_slice(ip);
            seeds.push(seed);
        }
    }
    seeds
}

/// The code of the pause nearest to so many nanoseconds.
fn code(nanos: u64) -> u8 {
    (0..15).min_by_key(|code| pause(*code).abs_diff(nanos)).unwrap_or(0)
}

fn engine(path: &Path) -> Vec<u8> {
    let packets = recorded(path);
    let mut out = packets.first().map_or(1, |first| first.link_type.0).to_le_bytes().to_vec();
    out.push(0);
    let mut before = None;
    for packet in &packets {
        let since = before.map_or(0, |before| packet.nanos.saturating_sub(before));
        before = Some(packet.nanos);
        out.push(code(since) & 15);
        put_bytes(&mut out, &packet.data);
    }
    out
}

/// The conversations of a protocol's fixtures as records, each under several choices.
fn conversations(protocol: &str, transport: u8) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for path in fixtures(protocol) {
        let mut flows: BTreeMap<String, (FlowKey, usize, u64, Vec<u8>)> = BTreeMap::new();
        for packet in recorded(&path) {
            let dissected = dissect(packet.link_type, &packet.data, packet.data.len() as u32);
            let Some((key, direction)) = dissected.flow_key() else { continue };
            let is_icmp = matches!(dissected.transport, Transport::Icmp(_));
            if (key.protocol() != transport && !(is_icmp && transport == 1)) || dissected.payload.is_empty() && !is_icmp
            {
                continue;
            }
            let (_, first, before, records) =
                flows.entry(format!("{key:?}")).or_insert_with(|| (key, direction.index(), packet.nanos, Vec::new()));
            let side = u8::from(direction.index() != *first);
            let what = if key.protocol() == 58 { 2 } else { 0 };
            records.push(side | what | (code(packet.nanos.saturating_sub(*before)) & 15) << 4);
            *before = packet.nanos;
            let payload = match (&dissected.network, is_icmp) {
                (Some(network), true) => network.payload,
                _ => dissected.payload,
            };
            put_bytes(records, payload);
        }
        for (_, _, _, records) in flows.into_values() {
            for choice in [0, 2, 0x30, 0x71] {
                seeds.push([&[choice], records.as_slice()].concat());
            }
        }
    }
    if seeds.is_empty() {
        // Nothing was recorded over this transport: what was over the other is as good.
        return if transport == 6 { conversations(protocol, 17) } else { Vec::new() };
    }
    seeds
}

fn descriptions() -> Vec<Vec<u8>> {
    let offer = "v=0\r\no=ada 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8 101\r\n\
        a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n";
    let answer = "v=0\r\no=bob 2 2 IN IP6 2001:db8::2\r\ns=call\r\nt=0 0\r\nm=audio 6000/2 RTP/SAVP 8 96\r\nc=IN IP4 10.0.0.2/127/3\r\n\
        a=rtcp:6003 IN IP4 10.0.0.2\r\na=rtcp-mux\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0\r\nm=video 0 RTP/AVP 96\r\n\
        a=rtpmap:96 H264/90000\r\na=setup:active\r\na=group:BUNDLE 0 1\r\na=mid:0\r\n";
    let pair = |choice: u8, offer: &str, answer: &str| {
        let mut seed = vec![choice];
        put_bytes(&mut seed, offer.as_bytes());
        seed.extend_from_slice(answer.as_bytes());
        seed
    };
    vec![pair(0, offer, answer), pair(1, answer, offer)]
}

fn captures() -> Vec<Vec<u8>> {
    let mut files: Vec<Vec<u8>> = fixtures("").iter().filter_map(|path| std::fs::read(path).ok()).collect();
    files.iter_mut().for_each(|file| file.truncate(6000));
    let mut pcapng = Vec::new();
    pcapng::write_section_header(&mut pcapng, "seed");
    interface_set(1).interfaces.iter().for_each(|interface| pcapng::write_interface(&mut pcapng, interface));
    for (number, data) in (0u64..).zip(packets().iter().take(5)) {
        let time = Timestamp::from_nanos(1_700_000_000_000_000_000 + number);
        let packet = Packet { time, interface: number as u32 & 1, original_length: data.len() as u32, data };
        pcapng::write_enhanced_packet(&mut pcapng, &packet);
    }
    pcapng::write_interface_statistics(&mut pcapng, &pcapng::InterfaceStatistics { received: 5, ..Default::default() });
    // The same in the other byte order would need another writer: the magic is enough for a start.
    let mut big = pcapng.clone();
    big[8..12].copy_from_slice(&[0x1a, 0x2b, 0x3c, 0x4d]);
    files.push(zstd::bulk::compress(&pcapng, 1).expect("compressed"));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &pcapng).expect("compressed");
    files.push(gzip.finish().expect("compressed"));
    files.push(pcapng);
    files.push(big);
    files.into_iter().map(|file| [&[1], file.as_slice()].concat()).collect()
}

/// Records of an honest batch, as `capture::honest_batch` reads them.
fn batch_records() -> Vec<u8> {
    let mut records = vec![4];
    for data in packets().iter().take(3) {
        records.extend([0x10, 1, 2, 3, 4]);
        put_bytes(&mut records, data);
    }
    records.extend([2, 9, 9, 9, 9, 5, 0]);
    records
}

fn sealed(seq: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(name(), Epoch([7; 16]), 0);
    for data in packets().iter().take(2) {
        let time = Timestamp::from_nanos(1_700_000_000_000_000_000 + seq);
        builder.push(&Packet { time, interface: 1, original_length: data.len() as u32, data });
    }
    builder.seal(seq, seq * 2, Vec::new()).1
}

fn batches() -> Vec<Vec<u8>> {
    let honest = [&[0], batch_records().as_slice(), &[0]].concat();
    vec![honest, [&[1], sealed(3).as_slice()].concat(), [&[3], sealed(3).as_slice()].concat()]
}

fn archives() -> Vec<Vec<u8>> {
    let mut segment = vec![5, 0, 5];
    segment.extend(batch_records());
    segment.extend([2, 3]);
    segment.extend([1; 24]);
    segment.push(4);
    segment.extend(batch_records());
    segment.extend(batch_records());
    segment.push(6);
    segment.extend(batch_records());
    let index = [0u8, 0, 0, 0];
    (0..32).map(|choice| [&[choice], segment.as_slice(), &index].concat()).collect()
}

fn indexes() -> Vec<Vec<u8>> {
    let mut segment = Vec::new();
    pcapng::write_section_header(&mut segment, "seed");
    interface_set(1).interfaces.iter().for_each(|interface| pcapng::write_interface(&mut segment, interface));
    (0..3).for_each(|seq| segment.extend(sealed(seq)));
    let index = Index::of_segment(&segment, false);
    let mut file = Vec::new();
    index.write(&mut file);
    let body = &file[64..file.len() - 4];
    vec![[&[1], file.as_slice()].concat(), [&[0, index.batches.len() as u8, 1, 0, 0, 0, 0, 0, 0], body].concat()]
}

const FILTERS: &[&str] = &[
    "",
    "udp port 53",
    "host 10.0.0.1 and not tcp",
    "src or dst net 10.0.0.0/8 or (tcp and portrange 1-100)",
    "ip proto 17 and (port 53 or 80 or 5060)",
    "host 10.0.0.1 or 10.0.0.2",
    "net 10.8.0.0 mask 255.255.0.0",
    "vlan 7 and host 10.0.0.1",
    "ip6 and udp[0:2] = 53",
    "tcp[13] & 2 != 0 and len > 60",
    "ether host 02:02:02:02:02:02 or arp",
    "icmp or icmp6 or sctp",
    "community-id 1:LQU9qZlK+B5F3KDmev6m5PMibrg= or port 5060",
    "not (host 10.0.0.1 or not udp)",
    "ip6 host 2020::1 or ip6 net 2020::/16",
    "gateway 10.0.0.1",
];

fn feeds() -> Vec<Vec<u8>> {
    let raw = sealed(7);
    let frame = zstd::bulk::compress(&raw, 1).expect("compressed");
    let named = BatchName { source: name(), epoch: Epoch([7; 16]), seq: 7 };
    let meta = api::EntryMeta::new(&named, 7, 14, 2, (1, 2), &interface_set(1), raw.len(), None);
    let json = serde_json::to_vec(&meta).expect("JSON");
    let message = |parts: &[&[u8]]| {
        let mut seed = vec![parts.len() as u8];
        parts.iter().for_each(|part| put_bytes(&mut seed, part));
        seed
    };
    let plain = String::from_utf8_lossy(&json).replace("zstd", "none");
    let mut stream = Vec::new();
    api::write_entry(&mut stream, &meta, &frame).expect("written");
    vec![
        message(&[b"data.v2.fuzz/", &json, &frame]),
        message(&[b"data.v2.fuzz/", plain.as_bytes(), &raw]),
        message(&[b"event.v2.connect.fuzz/", b"{\"peer\":\"10.0.0.1\"}"]),
        message(&[b"data.v1.fuzz", &[0xd4, 0xc3, 0xb2, 0xa1], b"record"]),
        message(&[b"event.v1.closingtracefile.fuzz", b"/a/b"]),
        stream,
    ]
}

fn configurations() -> Vec<Vec<u8>> {
    let defaults = |section: &str, text: Result<String, toml::ser::Error>| {
        let table: toml::Table = text.ok().and_then(|text| toml::from_str(&text).ok()).unwrap_or_default();
        toml::to_string(&BTreeMap::from([(section, table)])).unwrap_or_default().into_bytes()
    };
    let written = b"[analyzer]\nsources = [\"a\"]\nprofile = \"packetbeat\"\nrewind_max = \"1m30s\"\n[analyzer.protocols.http]\n\
        ports = [80, \"8000-8010\"]\nsend_headers = [\"a\"]\ntransaction_timeout = \"2.5s\"\n[analyzer.protocols.dns]\nenabled = 0\n\
        [analyzer.flows]\nperiod = \"-1s\"\n[[analyzer.processors]]\ndrop_fields = { fields = [\"a.b\"] }\n[analyzer.output.ndjson]\npath = \"x\"\n\
        [collector]\nlisten = [\"unix:a\"]\nsubscriber_queue = \"64MiB\"\nsegment_time = \"1h\"\n[collector.sources.\"*\"]\nstore = \"headers\"\nfilter = \"udp\"\n\
        \n--set collector.retention.age=10d\n--set analyzer.tags=[\"a\"]";
    vec![
        defaults("collector", toml::to_string(&collector::Settings::default())),
        defaults("analyzer", toml::to_string(&analyzer::Settings::default())),
        written.to_vec(),
        b"[analyzer.flows]\nperiod = 10\ntimeout = \"250us\"\n[collector]\ncommit = 1.5\nsilence = \"1\xc2\xb5s\"\n"
            .to_vec(),
    ]
}

const NOW: Moment = Moment { monotonic: 1, clock: Timestamp::from_nanos(1_700_000_000_000_000_000) };

/// All that a probe sends.
fn probe() -> Vec<u8> {
    let hello = Hello {
        major: uplink::MAJOR,
        minor: uplink::MINOR,
        source: name(),
        epoch: Epoch([7; 16]),
        oldest_seq: 0,
        next_seq: 2,
        clock: NOW.clock,
        sets: vec![interface_set(1)],
    };
    let mut session = ProbeSession::new(hello, NOW);
    let _ = session.input(&collector(), NOW, &mut Vec::new());
    let mut set = interface_set(276);
    set.number = 1;
    session.send_interfaces(set, NOW);
    for seq in 0..2 {
        let raw = sealed(seq);
        let frame = zstd::bulk::compress(&raw, 1).expect("compressed");
        session.send_entry(EntryHead { seq, last_seq: seq, raw_length: raw.len() as u32 }, &frame, NOW);
    }
    session.send_statistics(Statistics { captured: 9, ..Statistics::default() }, NOW);
    let _ = session.tick(Moment { monotonic: uplink::HEARTBEAT_NANOS + 2, ..NOW });
    session.send_bye(Statistics::default(), NOW);
    session.output().clone()
}

/// All that a collector sends.
fn collector() -> Vec<u8> {
    let mut session = CollectorSession::new(NOW);
    session.welcome(0, 0, 1 << 20, NOW);
    session.acknowledge(1, 1 << 20, NOW);
    let _ = session.tick(Moment { monotonic: uplink::HEARTBEAT_NANOS + 2, ..NOW });
    session.output().clone()
}

/// What an osmo-pcap client sends.
fn osmo(as_pcapng: bool) -> Vec<u8> {
    let format = if as_pcapng { feed::v1::Format::Pcapng } else { feed::v1::Format::Pcap };
    let frame = |out: &mut Vec<u8>, kind: u8, payload: &[u8]| {
        out.extend([kind, 0]);
        out.extend((payload.len() as u16).to_be_bytes());
        out.extend(payload);
    };
    let mut out = vec![5];
    frame(&mut out, 0, &feed::v1::link_header(format, &interface_set(1).interfaces));
    for data in packets().iter().take(3) {
        let packet = Packet { time: NOW.clock, interface: 0, original_length: data.len() as u32, data };
        let mut record = Vec::new();
        feed::v1::record(format, &packet, &mut record);
        frame(&mut out, 1, &record);
    }
    out
}
