//! The engine and its decoders, reached as packets reach them: through link, network and transport headers, reassembly,
//! recognition and giving-back. Every event must be sound JSON with an id of its own, and nothing may stay open.

use crate::input::{Input, pause};
use decode::{Config, Emit, Engine, Frame};
use event::{Event, JsonWriter, Observer};
use packet::{Interface, LinkType, Packet, Timestamp};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

/// When the first packet comes, in nanoseconds.
const START: u64 = 1_700_000_000_000_000_000;

/// Options that the first byte of an input chooses from. The first two are also those under which what comes out must not
/// depend on how a stream is cut into segments.
const OPTIONS: [&str; 4] = [
    "",
    "profile = \"packetbeat\"",
    "internal_networks = [\"198.51.100.0/24\"]
[flows]\nperiod = \"1s\"\ntimeout = \"3s\"
[protocols.dns]\nsend_request = 1\nsend_response = 1\ninclude_authorities = 1\ninclude_additionals = 1\ntransaction_timeout = \"1ms\"
[protocols.http]\nsend_all_headers = 1\nsend_request = 1\nsend_response = 1\nsplit_cookie = 1\nreal_ip_header = \"x-forwarded-for\"\ninclude_body_for = [\"\"]\ntransaction_timeout = \"1s\"
[protocols.rtp]\nsend_dtmf = 1\ninterval = \"1s\"\nstream_timeout = \"2s\"
[protocols.icmp]\ntransaction_timeout = \"1ms\"\n",
    "[limits]\nflows = 3\nstream_bytes = 600\nstream_bytes_total = 900\nfragment_bytes = 600
[protocols.http]\nmax_message_size = 40\ninclude_body_for = [\"text\"]\n",
];

fn config(number: u8, only: Option<&str>) -> Config {
    static CONFIGS: OnceLock<Vec<Config>> = OnceLock::new();
    let configs = CONFIGS.get_or_init(|| OPTIONS.iter().map(|text| toml::from_str(text).unwrap()).collect());
    let mut config = configs[usize::from(number) % OPTIONS.len()].clone();
    if let Some(only) = only {
        for protocol in decode::protocols::ALL.iter().filter(|protocol| protocol.name != only) {
            config.protocols.entry(protocol.name.to_owned()).or_default().insert("enabled".to_owned(), false.into());
        }
        config.flows.enabled = decode::options::Flag(false);
    }
    config
}

struct Sent {
    nanos: u64,
    /// Packets that our own capture lost before it.
    lost: u64,
    data: Vec<u8>,
    wire_length: u32,
}

struct Documents {
    ids: HashSet<String>,
    all: Vec<Value>,
}

impl Emit for Documents {
    fn event(&mut self, event: Event, _: bool) {
        let mut writer = JsonWriter::new(decode::schema());
        let line = writer.write(&event);
        let document: Value = match serde_json::from_slice(line) {
            Ok(document) => document,
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(line)),
        };
        let id = document["_id"].as_str().expect("an id").to_owned();
        assert!(self.ids.insert(id), "two events share an id: {document}");
        self.all.push(document);
    }
}

fn run(config: &Config, link_type: u16, packets: &[Sent]) -> Vec<Value> {
    let observer = Arc::new(Observer { name: "fuzz".into(), epoch: "0".into(), is_file: true });
    let mut engine = Engine::new(config, observer).expect("the options are right");
    let interface = Interface { name: "i".into(), link_type: LinkType(link_type), snaplen: 0, filter: String::new() };
    let mut out = Documents { ids: HashSet::new(), all: Vec::new() };
    let mut clock = decode::Clock::default();
    for (number, sent) in packets.iter().enumerate() {
        let time = Timestamp::from_nanos(sent.nanos);
        let clock = clock.see(time);
        if sent.lost > 0 {
            engine.lost(sent.lost, clock);
        }
        let packet = Packet { time, interface: 0, original_length: sent.wire_length, data: &sent.data };
        engine.packet(&Frame { number: number as u64, clock, interface: &interface, packet: &packet }, &mut out);
        assert!(engine.oldest_needed().is_none_or(|oldest| oldest <= number as u64));
    }
    engine.finish(&mut out);
    assert_eq!(engine.counters().flows, 0);
    assert_eq!(engine.oldest_needed(), None);
    out.all
}

/// Any packets at any times, twice: link type, options, then packets.
#[inline]
pub fn engine(data: &[u8]) {
    let mut input = Input(data);
    let link_type = input.half();
    let config = config(input.byte(), None);
    let (mut packets, mut nanos) = (Vec::new(), START);
    while !input.is_empty() {
        let time = input.byte();
        nanos = match time >> 4 {
            14 => nanos.saturating_sub(pause(time)),
            15 => input.long(),
            _ => nanos.saturating_add(pause(time)),
        };
        let lost = if time >> 4 == 13 { input.long() } else { 0 };
        let data = input.bytes().to_vec();
        // Some were cut by the capture.
        let cut = if time & 0x40 != 0 { u32::from(time >> 4) * 10 } else { 0 };
        packets.push(Sent { nanos, lost, wire_length: data.len() as u32 + cut, data });
    }
    let once = run(&config, link_type, &packets);
    same(&once, &run(&config, link_type, &packets), "the same packets give other events");
}

fn same(expect: &[Value], found: &[Value], problem: &str) {
    let lines = |documents: &[Value]| documents.iter().map(|one| format!("{one}\n")).collect::<String>();
    assert!(expect == found, "{problem}: expected\n{}found\n{}", lines(expect), lines(found));
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Two machines that talk: side 0 has 10.0.0.1, side 1 has 10.0.0.2.
struct Talk {
    packets: Vec<Sent>,
    nanos: u64,
    ports: [u16; 2],
    /// Next sequence number of each side.
    next: [u32; 2],
}

impl Talk {
    fn new(ports: [u16; 2]) -> Self {
        // One of the two sides' numbers wraps around soon.
        Self { packets: Vec::new(), nanos: START, ports, next: [1000, 0xffff_fff0] }
    }

    fn ip(&mut self, side: usize, protocol: u8, payload: &[u8], cut: usize) {
        let address = |side: usize| [10, 0, 0, 1 + side as u8];
        let length = (20 + payload.len()).min(usize::from(u16::MAX)) as u16;
        let mut data = vec![0x45, 0];
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(&[0, self.packets.len() as u8, 0, 0, 64, protocol, 0, 0]);
        data.extend_from_slice(&address(side));
        data.extend_from_slice(&address(1 - side));
        data.extend_from_slice(payload);
        let wire_length = data.len() as u32;
        data.truncate(data.len() - cut.min(payload.len()));
        self.packets.push(Sent { nanos: self.nanos, lost: 0, data, wire_length });
    }

    /// `over` is added to both ports: media and their RTCP.
    fn udp(&mut self, side: usize, over: u16, payload: &[u8], cut: usize) {
        let mut datagram = Vec::with_capacity(8 + payload.len());
        datagram.extend_from_slice(&(self.ports[side] + over).to_be_bytes());
        datagram.extend_from_slice(&(self.ports[1 - side] + over).to_be_bytes());
        datagram.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
        datagram.extend_from_slice(&[0, 0]);
        datagram.extend_from_slice(payload);
        self.ip(side, 17, &datagram, cut);
    }

    fn tcp(&mut self, side: usize, flags: u8, sequence: u32, payload: &[u8]) {
        let mut segment = Vec::with_capacity(20 + payload.len());
        segment.extend_from_slice(&self.ports[side].to_be_bytes());
        segment.extend_from_slice(&self.ports[1 - side].to_be_bytes());
        segment.extend_from_slice(&sequence.to_be_bytes());
        segment.extend_from_slice(&self.next[1 - side].to_be_bytes());
        segment.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend_from_slice(payload);
        self.ip(side, 6, &segment, 0);
    }

    fn tcp_next(&mut self, side: usize, flags: u8, payload: &[u8]) {
        self.tcp(side, flags, self.next[side], payload);
        let length = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        self.next[side] = self.next[side].wrapping_add(length);
    }
}

/// Records of one byte (who, what, when), a length and so many bytes, as datagrams. The datagrams themselves come back too.
fn datagrams<'a>(talk: &mut Talk, input: &mut Input<'a>) {
    while !input.is_empty() {
        let head = input.byte();
        let (side, what) = (usize::from(head & 1), head >> 1 & 7);
        talk.nanos = talk.nanos.saturating_add(pause(head >> 4));
        let payload: &'a [u8] = input.bytes();
        let cut = if what == 7 { payload.len() / 2 } else { 0 };
        talk.udp(side, u16::from(what & 1), payload, cut);
    }
}

/// The same records as a connection. With `pieces` above 1 the bytes of each come in so many segments, which changes
/// nothing that a decoder may see.
fn stream(ports: [u16; 2], mut input: Input<'_>, from_start: bool, pieces: usize) -> Vec<Sent> {
    let mut talk = Talk::new(ports);
    if from_start {
        talk.tcp_next(0, SYN, &[]);
        talk.tcp_next(1, SYN | ACK, &[]);
    }
    talk.tcp_next(0, ACK, &[]);
    while !input.is_empty() {
        let head = input.byte();
        let (side, what) = (usize::from(head & 1), head >> 1 & 7);
        // Below what the clock believes of a single packet.
        talk.nanos += pause(head >> 4).min(500_000_000_000);
        let payload = input.bytes();
        match what {
            // Lost before it was captured.
            4 => talk.next[side] = talk.next[side].wrapping_add(payload.len() as u32),
            // The last byte first, and again as part of the whole.
            5 if payload.len() > 1 => {
                let last = talk.next[side].wrapping_add(payload.len() as u32 - 1);
                talk.tcp(side, ACK, last, &payload[payload.len() - 1..]);
                talk.tcp_next(side, ACK, payload);
            }
            // Twice.
            6 => {
                let sequence = talk.next[side];
                talk.tcp_next(side, ACK, payload);
                talk.tcp(side, ACK, sequence, payload);
            }
            7 if payload.len() & 1 == 1 => talk.tcp_next(side, RST, &[]),
            7 => talk.tcp_next(side, ACK | FIN, &[]),
            _ => {
                let length = payload.len().div_ceil(pieces).max(1);
                payload.chunks(length).for_each(|piece| talk.tcp_next(side, ACK, piece));
            }
        }
    }
    talk.packets
}

/// Bytes of the stream that the events of one protocol account for.
fn explained(documents: &[Value]) -> usize {
    let bytes = |document: &Value| match document["type"].as_str() {
        Some("sip") => document["event"]["original"].as_str().map_or(0, str::len) as u64,
        _ => ["source", "destination"].iter().filter_map(|side| document[side]["bytes"].as_u64()).sum(),
    };
    documents.iter().map(bytes).sum::<u64>() as usize
}

/// Bytes of the records that hold nothing but bytes; none where there are others.
fn plain_bytes(mut input: Input<'_>) -> Option<usize> {
    let mut bytes = 0;
    while !input.is_empty() {
        let what = input.byte() >> 1 & 7;
        if !matches!(what, 0..=3 | 5 | 6) {
            return None;
        }
        bytes += input.bytes().len();
    }
    Some(bytes)
}

/// What tells where packets are, which differs where a stream is cut otherwise.
fn without_places(mut documents: Vec<Value>) -> Vec<Value> {
    for document in &mut documents {
        if let Some(object) = document.as_object_mut() {
            object.remove("_id");
        }
        if let Some(tapline) = document["tapline"].as_object_mut() {
            tapline.remove("packet");
        }
    }
    documents
}

/// The first byte of the input chooses: options (2 bits), port known or recognised (1), handshake seen (1), cuts (3).
fn over_tcp(only: &str, port: u16, data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let ports = [40_000, if choice & 4 == 0 { port } else { 4_321 }];
    let pieces = 1 + usize::from(choice >> 4 & 7);
    let from_start = choice & 8 == 0;
    let whole = stream(ports, Input(input.0), from_start, 1);
    if choice & 6 != 0 || pieces == 1 {
        run(&config(choice & 3, None), LinkType::RAW.0, &stream(ports, Input(input.0), from_start, pieces));
        return;
    }
    let config = config(choice & 3, Some(only));
    let expect = run(&config, LinkType::RAW.0, &whole);
    let found = run(&config, LinkType::RAW.0, &stream(ports, Input(input.0), from_start, pieces));
    // Where something was not understood, a decoder may look for the next message at the beginning of a segment.
    if plain_bytes(Input(input.0)) == Some(explained(&expect)) {
        same(&without_places(expect), &without_places(found), "a stream cut otherwise gives other events");
    }
}

fn over_udp(port: u16, data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let mut talk = Talk::new([40_000, if choice & 4 == 0 { port } else { 4_320 }]);
    datagrams(&mut talk, &mut input);
    run(&config(choice & 3, None), LinkType::RAW.0, &talk.packets);
}

/// DNS over UDP.
#[inline]
pub fn dns(data: &[u8]) {
    over_udp(53, data);
}

/// DNS over TCP.
#[inline]
pub fn dns_tcp(data: &[u8]) {
    over_tcp("dns", 53, data);
}

/// HTTP.
#[inline]
pub fn http(data: &[u8]) {
    over_tcp("http", 80, data);
}

/// SIP over UDP.
#[inline]
pub fn sip(data: &[u8]) {
    over_udp(5060, data);
}

/// SIP over TCP.
#[inline]
pub fn sip_tcp(data: &[u8]) {
    over_tcp("sip", 5060, data);
}

/// ICMP of both IP versions: records as in a conversation, each an ICMP message.
#[inline]
pub fn icmp(data: &[u8]) {
    let mut input = Input(data);
    let config = config(input.byte() & 3, None);
    let mut talk = Talk::new([0, 0]);
    while !input.is_empty() {
        let head = input.byte();
        let side = usize::from(head & 1);
        talk.nanos = talk.nanos.saturating_add(pause(head >> 4));
        let message = input.bytes();
        if head & 2 == 0 {
            talk.ip(side, 1, message, if head & 4 == 0 { 0 } else { message.len() / 2 });
            continue;
        }
        let mut data = vec![0x60, 0, 0, 0];
        data.extend_from_slice(&(message.len() as u16).to_be_bytes());
        data.extend_from_slice(&[58, 64]);
        for side in [side, 1 - side] {
            data.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, side as u8]);
        }
        data.extend_from_slice(message);
        talk.packets.push(Sent { nanos: talk.nanos, lost: 0, wire_length: data.len() as u32, data });
    }
    run(&config, LinkType::RAW.0, &talk.packets);
}

fn sip_with(body: &[u8], first_line: &str) -> Vec<u8> {
    let mut message = format!(
        "{first_line}\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a@10.0.0.1>;tag=1\r\nTo: <sip:b@10.0.0.2>;tag=2\r\n\
         Call-ID: 1@10.0.0.1\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    message.extend_from_slice(body);
    message
}

fn call(talk: &mut Talk, offer: &[u8], answer: &[u8]) {
    let media = std::mem::replace(&mut talk.ports, [5060, 5060]);
    talk.udp(0, 0, &sip_with(offer, "INVITE sip:b@10.0.0.2 SIP/2.0"), 0);
    talk.udp(1, 0, &sip_with(answer, "SIP/2.0 200 OK"), 0);
    talk.ports = media;
}

/// SDP: the first part of the input is the offer of a call, the rest its answer; some media follow.
#[inline]
pub fn sdp(data: &[u8]) {
    let mut input = Input(data);
    let config = config(input.byte() & 3, None);
    let offer = input.bytes();
    let mut talk = Talk::new([6000, 6000]);
    call(&mut talk, offer, input.take(60_000));
    for number in 0..4u8 {
        talk.nanos += 20_000_000;
        talk.udp(1, 0, &[0x80, 8, 0, number, 0, 0, number / 2, (number & 1) * 160, 1, 2, 3, 4, 5, 5], 0);
    }
    run(&config, LinkType::RAW.0, &talk.packets);
}

/// RTP and RTCP, announced or not.
#[inline]
pub fn rtp(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let mut talk = Talk::new([6000, 6000]);
    if choice & 4 == 0 {
        let offer = b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0 8 96 101\r\n\
            a=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n";
        let answer =
            b"v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0 8 101\r\n\
            a=rtpmap:101 telephone-event/8000\r\na=rtcp:6001\r\n";
        call(&mut talk, offer, answer);
    }
    datagrams(&mut talk, &mut input);
    run(&config(choice & 3, None), LinkType::RAW.0, &talk.packets);
}
