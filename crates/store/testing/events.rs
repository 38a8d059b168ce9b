//! Events of all types as the analyzer makes them, from a seed: for tests, examples and the bench. The same seed gives the same events.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use event::common::*;
use event::{Event, JsonWriter, Observer, Origin, Schema, Value};
use packet::Timestamp;

event::fields! {
    /// The fields used here, called as in the event reference.
    pub static TABLE;
    DNS_ID: Long = "dns.id", "";
    DNS_TYPE: Keyword = "dns.type", "";
    DNS_OP: Keyword = "dns.op_code", "";
    DNS_FLAGS: Keyword = "dns.header_flags", "";
    DNS_NAME: Keyword = "dns.question.name", "";
    DNS_QTYPE: Keyword = "dns.question.type", "";
    DNS_CLASS: Keyword = "dns.question.class", "";
    DNS_DOMAIN: Keyword = "dns.question.registered_domain", "";
    DNS_CODE: Keyword = "dns.response_code", "";
    DNS_ANSWERS: Objects = "dns.answers", "";
    DNS_ANSWER_TYPE: Keyword = "dns.answers.type", "";
    DNS_COUNT: Long = "dns.answers_count", "";
    DNS_IP: Ip = "dns.resolved_ip", "";
    HTTP_METHOD: Keyword = "http.request.method", "";
    HTTP_REQUEST_BYTES: Long = "http.request.bytes", "";
    HTTP_BYTES: Long = "http.response.bytes", "";
    HTTP_CODE: Long = "http.response.status_code", "";
    HTTP_PHRASE: Keyword = "http.response.status_phrase", "";
    HTTP_VERSION: Keyword = "http.version", "";
    URL_FULL: Keyword = "url.full", "";
    URL_PATH: Keyword = "url.path", "";
    URL_DOMAIN: Keyword = "url.domain", "";
    AGENT: Keyword = "user_agent.original", "";
    FLOW_ID: Keyword = "flow.id", "";
    FLOW_FINAL: Boolean = "flow.final", "";
    ICMP_TYPE: Long = "icmp.request.type", "";
    ICMP_MESSAGE: Keyword = "icmp.request.message", "";
    SIP_CALL: Keyword = "sip.call_id", "";
    SIP_METHOD: Keyword = "sip.method", "";
    SIP_CODE: Long = "sip.code", "";
    SIP_FROM: Keyword = "sip.from.uri.original", "";
    SIP_TO: Keyword = "sip.to.uri.original", "";
    SIP_AGENT: Keyword = "sip.user_agent.original", "";
    SIP_VIA: Keyword = "sip.via.original", "";
    CALL_ID: Keyword = "call.id", "";
    CALL_STATE: Keyword = "call.state", "";
    CALL_CALLER: Keyword = "call.caller", "";
    CALL_CALLEE: Keyword = "call.callee", "";
    CALL_START: Time = "call.start", "";
    CALL_ANSWER: Time = "call.answer", "";
    CALL_END: Time = "call.end", "";
    CALL_CODE: Long = "call.code", "";
    CALL_TALK: Double = "call.talk_time_ms", "";
    CALL_MOS: Double = "call.mos", "";
    CALL_MEDIA: Objects = "call.media", "";
    RTP_SSRC: Keyword = "rtp.ssrc", "";
    RTP_FINAL: Boolean = "rtp.final", "";
    RTP_CALL: Keyword = "rtp.call_id", "";
    RTP_CODEC: Keyword = "rtp.codec", "";
    RTP_PACKETS: Long = "rtp.packets", "";
    RTP_EXPECTED: Long = "rtp.expected", "";
    RTP_LOST: Long = "rtp.lost", "";
    RTP_LOST_BY_CAPTURE: Long = "rtp.lost_by_capture", "";
    RTP_DUPLICATES: Long = "rtp.duplicates", "";
    RTP_OUT_OF_ORDER: Long = "rtp.out_of_order", "";
    RTP_PERCENT: Double = "rtp.loss.percent", "";
    RTP_JITTER_MIN: Double = "rtp.jitter.min_ms", "";
    RTP_JITTER: Double = "rtp.jitter.mean_ms", "";
    RTP_JITTER_MAX: Double = "rtp.jitter.max_ms", "";
    RTP_DELTA: Double = "rtp.delta.mean_ms", "";
    RTP_DELTA_MAX: Double = "rtp.delta.max_ms", "";
    RTP_MOS: Double = "rtp.mos", "";
    RTP_R: Double = "rtp.r_factor", "";
}

/// The schema of these events.
pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| Schema::new(&[TABLE]).unwrap())
}

/// Whether a name is one of their fields.
pub fn is_field(name: &str) -> bool {
    schema().fields().iter().any(|field| field.path == name)
}

/// Random numbers (splitmix64): good enough to mix events.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// Makes events one after the other.
pub struct Events {
    pub random: Random,
    observers: Vec<Arc<Observer>>,
    packet: u64,
    hosts: u64,
}

const NAMES: [&str; 8] = ["www", "mail", "api", "cdn", "no", "static", "login", "img"];
const DOMAINS: [&str; 6] =
    ["example.com", "example.net", "tapline.test", "such.example", "Shop.Example", "bücher.example"];

impl Events {
    /// Events of this seed, among so many hosts.
    pub fn new(seed: u64, hosts: u64) -> Self {
        let observer =
            |name: &str| Arc::new(Observer { name: name.to_owned(), epoch: format!("{seed:032x}"), is_file: false });
        let observers = ["web1", "gw2", "core"].map(observer).to_vec();
        Self { random: Random(seed), observers, packet: 0, hosts }
    }

    /// The next event, with this time.
    pub fn next(&mut self, time: Timestamp) -> Event {
        let kind = match self.random.below(100) {
            0..35 => "dns",
            35..60 => "flow",
            60..78 => "http",
            78..90 => "rtp",
            90..95 => "sip",
            95..99 => "icmp",
            _ => "call",
        };
        let observer = Arc::clone(&self.observers[self.random.below(3) as usize]);
        let first_packet = self.packet;
        self.packet += 1 + self.random.below(8);
        let origin = Origin { observer, interface: "eth0".into(), first_packet, last_packet: self.packet - 1 };
        let mut event = Event::new(kind, time, origin);
        if self.random.below(50) == 0 {
            event.capture_loss = 1 + self.random.below(20);
        }
        let host = self.random.below(self.hosts);
        let client: IpAddr = Ipv4Addr::from(0x0a00_0000 + host as u32).into();
        let server: IpAddr = match self.random.below(20) {
            0 => "fd08::53".parse().unwrap(),
            _ => Ipv4Addr::from(0x0a63_0000 + self.random.below(self.hosts / 8 + 1) as u32).into(),
        };
        let client_port = 1024 + self.random.below(60_000) as u16;
        match kind {
            "dns" => self.dns(&mut event),
            "http" => self.http(&mut event),
            "flow" => self.flow(&mut event),
            "rtp" => self.rtp(&mut event, host),
            "sip" => self.sip(&mut event, host),
            "icmp" => {
                event.put(&ICMP_TYPE, 8u8);
                event.put(&ICMP_MESSAGE, "EchoRequest");
                event.put(&STATUS, "OK");
            }
            _ => return self.call(event, host, time),
        }
        self.ends(&mut event, kind, (client, client_port), server, host);
        event
    }

    fn ends(&mut self, event: &mut Event, kind: &str, client: (IpAddr, u16), server: IpAddr, host: u64) {
        let (client, client_port) = if kind == "rtp" { (client.0, 20_000 + 2 * (host % 500) as u16) } else { client };
        let server = if kind == "rtp" { IpAddr::from([10, 99, 0, (host % 8) as u8]) } else { server };
        let port = match kind {
            "dns" => 53u16,
            "http" => 80,
            "sip" => 5060,
            "rtp" => 30_000,
            _ => 443,
        };
        let bytes = (60 + self.random.below(1400), 60 + self.random.below(14_000));
        event.put(&SOURCE_IP, client);
        event.put(&DESTINATION_IP, server);
        event.put(&SOURCE_BYTES, bytes.0);
        event.put(&DESTINATION_BYTES, bytes.1);
        if kind != "icmp" {
            event.put(&SOURCE_PORT, client_port);
            event.put(&DESTINATION_PORT, port);
        }
        if !matches!(kind, "rtp" | "flow") {
            event.put(&CLIENT_IP, client);
            event.put(&SERVER_IP, server);
            event.put(&CLIENT_BYTES, bytes.0);
            event.put(&SERVER_BYTES, bytes.1);
            if kind != "icmp" {
                event.put(&CLIENT_PORT, client_port);
                event.put(&SERVER_PORT, port);
            }
            event.put(&NETWORK_BYTES, bytes.0 + bytes.1);
            event.put_list(&RELATED_IP, [client, server]);
        }
        let duration = self.random.below(5_000_000_000);
        event.put(&EVENT_START, event.time);
        event.put(&EVENT_END, event.time.plus_nanos(duration));
        event.put(&EVENT_DURATION, duration);
        event.put(&EVENT_KIND, "event");
        event.put_list(&EVENT_CATEGORY, ["network"]);
        event.put_list(&EVENT_TYPE, ["connection", "protocol"]);
        event.put(&NETWORK_TYPE, "ipv4");
        event.put(&NETWORK_TRANSPORT, if matches!(kind, "dns" | "rtp" | "sip") { "udp" } else { "tcp" });
        event.put(&NETWORK_DIRECTION, "internal");
        let dataset = event.event_type;
        event.put(&EVENT_DATASET, dataset);
        // A flow has a few events: as wide as the hosts, so that some meet.
        let flow = (host << 16 | u64::from(port)) ^ self.random.below(4) << 40;
        let community = Random(flow).next();
        event.put_display(&NETWORK_COMMUNITY_ID, format_args!("1:{community:016x}{:010x}=", community >> 24));
    }

    fn dns(&mut self, event: &mut Event) {
        let domain = DOMAINS[self.random.below(6) as usize];
        let label = NAMES[self.random.below(8) as usize];
        let failed = self.random.below(8) == 0;
        event.put(&STATUS, if failed { "Error" } else { "OK" });
        event.put(&METHOD, "QUERY");
        event.put(&DNS_ID, self.random.below(65_536));
        event.put(&DNS_TYPE, "answer");
        event.put(&DNS_OP, "QUERY");
        event.put_list(&DNS_FLAGS, ["RD", "RA"]);
        event.put(&DNS_CLASS, "IN");
        event.put_display(&DNS_NAME, format_args!("{label}{}.{domain}", self.random.below(1000)));
        event.put_text(&DNS_DOMAIN, domain);
        event.put(&DNS_QTYPE, if self.random.below(3) == 0 { "AAAA" } else { "A" });
        event.put(&DNS_CODE, if failed { "NXDOMAIN" } else { "NOERROR" });
        event.put_display(&QUERY, format_args!("class IN, type A, {label}.{domain}"));
        if !failed {
            let address = IpAddr::from(Ipv4Addr::from(self.random.next() as u32));
            let name = event.text(label);
            let data = event.display(address);
            let answer = event.object([
                ("class", Value::from("IN")),
                ("data", data),
                ("name", name),
                ("ttl", "300".into()),
                ("type", "A".into()),
            ]);
            event.put_list(&DNS_ANSWERS, [answer]);
            event.put(&DNS_COUNT, 1u8);
            event.put_list(&DNS_IP, [address]);
        }
    }

    fn http(&mut self, event: &mut Event) {
        let (code, phrase, status) = match self.random.below(10) {
            0 => (404u16, "not found", "Client Error"),
            1 => (500, "internal server error", "Server Error"),
            _ => (200, "ok", "OK"),
        };
        let domain = DOMAINS[self.random.below(6) as usize];
        let path = format!("/{}/{}.html", NAMES[self.random.below(8) as usize], self.random.below(5000));
        event.put(&STATUS, status);
        event.put(&METHOD, "GET");
        event.put(&HTTP_METHOD, "GET");
        event.put(&HTTP_VERSION, "1.1");
        event.put(&HTTP_CODE, code);
        event.put(&HTTP_PHRASE, phrase);
        event.put(&HTTP_REQUEST_BYTES, 100 + self.random.below(900));
        event.put(&HTTP_BYTES, 100 + self.random.below(90_000));
        event.put_text(&URL_DOMAIN, domain);
        event.put_display(&URL_FULL, format_args!("http://{domain}{path}"));
        event.put_display(&QUERY, format_args!("GET {path}"));
        event.put_text(&URL_PATH, &path);
        event.put(&AGENT, "Mozilla/5.0 (\"X11\"; Linux x86_64) Tapline\\Test");
    }

    fn flow(&mut self, event: &mut Event) {
        event.put_display(&FLOW_ID, format_args!("EQIA{:016x}{:016x}", self.random.next(), self.random.next()));
        event.put(&FLOW_FINAL, self.random.below(4) != 0);
        event.put(&EVENT_ACTION, "network_flow");
        event.put(&SOURCE_PACKETS, self.random.below(100));
        event.put(&DESTINATION_PACKETS, self.random.below(100));
        event.put(&NETWORK_BYTES, self.random.below(100_000));
    }

    fn rtp(&mut self, event: &mut Event, host: u64) {
        let expected = 400 + self.random.below(100);
        let lost = self.random.below(12);
        event.put(&STATUS, "OK");
        event.put_display(&RTP_SSRC, format_args!("0x{:08x}", 0x5eed_0000 + host % 500));
        event.put(&RTP_FINAL, self.random.below(12) == 0);
        event.put_display(&RTP_CALL, format_args!("{}@gw2.example", host % 500));
        event.put(&RTP_CODEC, "PCMA");
        event.put(&RTP_PACKETS, expected - lost);
        event.put(&RTP_EXPECTED, expected);
        event.put(&RTP_LOST, lost);
        if lost > 9 {
            event.put(&RTP_LOST_BY_CAPTURE, 2u8);
        }
        event.put(&RTP_DUPLICATES, self.random.below(2));
        event.put(&RTP_OUT_OF_ORDER, self.random.below(3));
        event.put(&RTP_PERCENT, (lost * 100_000 / expected) as f64 / 1000.0);
        let jitter = self.random.below(3000) as f64 / 1000.0;
        event.put(&RTP_JITTER_MIN, jitter / 2.0);
        event.put(&RTP_JITTER, jitter);
        event.put(&RTP_JITTER_MAX, jitter * 3.0);
        event.put(&RTP_DELTA, 20.0);
        event.put(&RTP_DELTA_MAX, 20.0 + jitter);
        event.put(&RTP_MOS, 4.4 - lost as f64 / 10.0);
        event.put(&RTP_R, 93.0 - lost as f64);
    }

    fn sip(&mut self, event: &mut Event, host: u64) {
        let call = host % 500;
        event.put(&STATUS, "OK");
        event.put_display(&SIP_CALL, format_args!("{call}@gw2.example"));
        match self.random.below(3) {
            0 => event.put(&SIP_METHOD, "INVITE"),
            1 => event.put(&SIP_METHOD, "BYE"),
            _ => event.put(&SIP_CODE, 200u16),
        }
        event.put_display(&SIP_FROM, format_args!("sip:ada{call}@10.1.0.4:5060"));
        event.put_display(&SIP_TO, format_args!("sip:bob{call}@10.2.0.4:5060"));
        event.put(&SIP_AGENT, "SIPp");
        event.put_display(&SIP_VIA, format_args!("SIP/2.0/UDP 10.1.0.4:5060;branch=z9hG4bK-{call}-1-0"));
        event.put_display(
            &EVENT_ORIGINAL,
            format_args!(
                "INVITE sip:bob{call}@10.2.0.4:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.0.4:5060;branch=z9hG4bK-{call}-1-0\r\nFrom: \"Ada\" <sip:ada{call}@10.1.0.4:5060>;tag={}\r\nTo: <sip:bob{call}@10.2.0.4:5060>\r\nCall-ID: {call}@gw2.example\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Type: application/sdp\r\nContent-Length: 121\r\n\r\nv=0\r\no=ada 1 1 IN IP4 10.1.0.4\r\ns=-\r\nc=IN IP4 10.1.0.4\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n",
                self.random.below(100_000)
            ),
        );
    }

    fn call(&mut self, mut event: Event, host: u64, time: Timestamp) -> Event {
        let call = host % 500;
        event.put_display(&CALL_ID, format_args!("{call}@gw2.example"));
        event.put(&CALL_STATE, "answered");
        event.put_display(&CALL_CALLER, format_args!("ada{call}@10.1.0.4"));
        event.put_display(&CALL_CALLEE, format_args!("bob{call}@10.2.0.4"));
        event.put(&CALL_START, time);
        event.put(&CALL_ANSWER, time.plus_nanos(3_000_000_000));
        event.put(&CALL_END, time.plus_nanos(63_000_000_000));
        event.put(&CALL_CODE, 200u16);
        event.put(&CALL_TALK, 60_000.0);
        event.put(&CALL_MOS, 4.2);
        let ssrc = event.display(format_args!("0x{:08x}", 0x5eed_0000 + call));
        let mut end = |ip: IpAddr, port: u16| event.object([("ip", ip.into()), ("port", port.into())]);
        let source = end(Ipv4Addr::from(0x0a00_0000 + host as u32).into(), 20_000 + 2 * call as u16);
        let destination = end([10, 99, 0, (host % 8) as u8].into(), 30_000);
        let medium = [("ssrc", ssrc), ("source", source), ("destination", destination), ("mos", 4.2.into())];
        let medium = event.object(medium);
        event.put_list(&CALL_MEDIA, [medium]);
        event.put(&STATUS, "OK");
        event
    }
}

/// Events with their JSON lines.
pub fn lines(events: &[Event]) -> Vec<Vec<u8>> {
    let mut writer = JsonWriter::new(schema());
    events.iter().map(|event| writer.write(event).to_vec()).collect()
}

/// The event of a number: always the same for the same number.
pub fn numbered(number: u64) -> Event {
    static OBSERVER: OnceLock<Arc<Observer>> = OnceLock::new();
    let observer =
        OBSERVER.get_or_init(|| Arc::new(Observer { name: "web1".into(), epoch: "00".into(), is_file: false }));
    let origin =
        Origin { observer: Arc::clone(observer), interface: "".into(), first_packet: number, last_packet: number };
    let time = Timestamp::from_parts(1_795_460_400, 0).plus_nanos(number * 10_000_000);
    let mut event = Event::new("dns", time, origin);
    event.put_display(&QUERY, format_args!("number {number}"));
    event.put(&CLIENT_IP, IpAddr::from(Ipv4Addr::from(0x0a00_0000 + (number % 500) as u32)));
    event.put(&STATUS, "OK");
    event
}
