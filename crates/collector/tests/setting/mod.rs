//! A real collector in a process of its own, and a probe that speaks the uplink over its socket.
#![allow(dead_code)] // Each test file uses its part.

use api::{BalanceAnswer, BalanceRow, EntryFrame, EntryReader};
use collector::Settings;
use feed::{Endpoint, Message, Subscriber};
use packet::{
    BatchBuilder, CaptureReader, Epoch, GapRecord, Interface, InterfaceSet, LinkType, Packet, SourceName, Timestamp,
};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use uplink::{EntryHead, Hello, Moment, ProbeEvent, ProbeSession, Statistics, Welcome};

const SETTINGS: &str = "TAPLINE_TEST_COLLECTOR";
/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// To be called by a test named `collector_process`: becomes a collector where the harness started it as one.
pub fn collector_process() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    let settings: Settings = serde_json::from_str(&settings).unwrap();
    let stop: &'static std::sync::atomic::AtomicBool = Box::leak(Box::default());
    std::thread::spawn(|| {
        // Its standard input is closed when it is to end.
        let _ = std::io::stdin().read(&mut [0]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    collector::Plan::new(settings).unwrap().run(stop).unwrap();
}

/// A collector on a directory of its own.
pub struct Collector {
    pub folder: tempfile::TempDir,
    pub settings: Settings,
    process: Option<Child>,
}

impl Collector {
    pub fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir_all(data.join("run")).unwrap();
        let run = data.join("run").display().to_string();
        let mut settings = Settings {
            listen: vec![format!("unix:{run}/uplink.sock")],
            api: vec![format!("unix:{run}/collector.sock")],
            feed: vec![format!("ipc://{run}/feed")],
            feed_v1: vec![format!("ipc://{run}/feed1")],
            data,
            ..Settings::default()
        };
        change(&mut settings);
        let mut collector = Self { folder, settings, process: None };
        collector.run();
        collector
    }

    pub fn run(&mut self) {
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "collector_process", "--nocapture", "--test-threads=1"])
            .env(SETTINGS, serde_json::to_string(&self.settings).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        wait("the API to answer", || UnixStream::connect(self.api_path()).is_ok().then_some(()));
        // The socket is there before privileges are given up; the answer comes after.
        self.text("/healthz");
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Ends it in peace; its exit must be a success.
    pub fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        drop(process.stdin.take());
        let status = wait("the collector to end", || process.try_wait().unwrap());
        assert!(status.success());
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn uplink_path(&self) -> String {
        self.settings.listen[0].strip_prefix("unix:").unwrap().to_owned()
    }

    pub fn api_path(&self) -> String {
        self.settings.api[0].strip_prefix("unix:").unwrap().to_owned()
    }

    /// Status and body of an answer.
    pub fn ask(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let mut stream = UnixStream::connect(self.api_path()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, answer.split_off(head))
    }

    pub fn text(&self, path: &str) -> String {
        let (status, body) = self.ask("GET", path);
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    /// The value of a metric, all its labels written out.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.text("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    pub fn balance(&self, source: &str) -> Vec<BalanceRow> {
        let mut rows = self.json::<BalanceAnswer>("/api/v1/balance").balance;
        rows.retain(|row| row.source == source);
        rows
    }

    /// The captured bytes of all packets that are found.
    pub fn grab(&self, parameters: &str) -> Vec<Vec<u8>> {
        let (status, body) = self.ask("GET", &format!("/api/v1/packets?{parameters}"));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let mut reader = CaptureReader::new(body.as_slice()).unwrap();
        let mut found = Vec::new();
        while let Some(packet) = reader.next().unwrap() {
            found.push(packet.data.to_vec());
        }
        found
    }

    pub fn entries(&self, source: &str, epoch: Epoch) -> Vec<EntryFrame> {
        let (status, body) = self.ask("GET", &format!("/api/v1/batches?source={source}&epoch={epoch}"));
        assert_eq!(status, 200);
        let mut reader = EntryReader::default();
        reader.push(&body);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            entries.push(entry);
        }
        entries
    }

    pub fn subscriber(&self, topics: &[&str]) -> Subscriber {
        let endpoints = [self.settings.feed.clone(), self.settings.feed_v1.clone()].concat();
        let topics: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
        let endpoints: Vec<_> = endpoints.iter().map(|text| Endpoint::to_subscribe(text).unwrap()).collect();
        let subscriber = Subscriber::connect(&endpoints, &topics, 100_000, None).unwrap();
        // A subscription takes its time to arrive, and nothing says when it has.
        std::thread::sleep(Duration::from_millis(300));
        subscriber
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Everything that comes until `enough`.
pub fn messages(subscriber: &Subscriber, mut enough: impl FnMut(&[Message]) -> bool) -> Vec<Message> {
    let begin = Instant::now();
    let mut seen = Vec::new();
    while !enough(&seen) {
        assert!(begin.elapsed() < PATIENCE, "only these came: {seen:?}");
        seen.extend(subscriber.receive(Duration::from_millis(100)).unwrap());
    }
    seen
}

/// Waits for something to be there.
pub fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn moment() -> Moment {
    static BEGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let monotonic = BEGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64;
    Moment { monotonic, clock: Timestamp::from_system(std::time::SystemTime::now()) }
}

pub fn ethernet() -> InterfaceSet {
    let interface =
        Interface { name: "eth0".into(), link_type: LinkType::ETHERNET, snaplen: 262_144, filter: String::new() };
    InterfaceSet { number: 0, interfaces: vec![interface] }
}

/// A UDP packet that carries `payload`.
pub fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
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

/// A batch as a probe makes it.
pub fn batch(source: &str, epoch: Epoch, seq: u64, first: u64, packets: &[Vec<u8>]) -> (EntryHead, Vec<u8>) {
    let mut builder = BatchBuilder::new(source.parse().unwrap(), epoch, 0);
    for (n, data) in packets.iter().enumerate() {
        let time = Timestamp::from_nanos(1_700_000_000_000_000_000 + (first + n as u64) * 1_000);
        builder.push(&Packet { time, interface: 0, original_length: data.len() as u32, data });
    }
    let (_, raw) = builder.seal(seq, first, Vec::new());
    (EntryHead { seq, last_seq: seq, raw_length: raw.len() as u32 }, compress(&raw))
}

pub fn gap(record: &GapRecord) -> (EntryHead, Vec<u8>) {
    let raw = record.to_bytes();
    let head = EntryHead { seq: record.name.seq, last_seq: record.last_seq, raw_length: raw.len() as u32 };
    (head, compress(&raw))
}

pub fn compress(raw: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(raw, 1).unwrap()
}

/// A probe's end of the uplink.
pub struct Probe {
    pub stream: UnixStream,
    session: ProbeSession,
    pub acknowledged: u64,
    pub welcome: Welcome,
}

impl Probe {
    /// Says hello and is welcomed.
    pub fn connect(path: impl AsRef<Path>, source: &str, epoch: Epoch, next_seq: u64) -> Self {
        Self::try_connect(path, source, epoch, next_seq).unwrap()
    }

    /// Says hello; the error is why it was not let in.
    pub fn try_connect(path: impl AsRef<Path>, source: &str, epoch: Epoch, next_seq: u64) -> Result<Self, String> {
        let stream = UnixStream::connect(path).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let hello = Hello {
            major: uplink::MAJOR,
            minor: uplink::MINOR,
            source: source.parse::<SourceName>().unwrap(),
            epoch,
            oldest_seq: 0,
            next_seq,
            clock: moment().clock,
            sets: vec![ethernet()],
        };
        let session = ProbeSession::new(hello, moment());
        let welcome = Welcome { major: 0, minor: 0, next_seq: 0, durable_seq: 0, credit: 0, clock: Timestamp::ZERO };
        let mut probe = Self { stream, session, acknowledged: 0, welcome };
        let begin = Instant::now();
        while !probe.session.is_open() {
            assert!(begin.elapsed() < PATIENCE, "no welcome");
            probe.exchange()?;
        }
        Ok(probe)
    }

    /// Writes what is to be written, reads what has come.
    pub fn exchange(&mut self) -> Result<(), String> {
        let output = std::mem::take(self.session.output());
        self.stream.write_all(&output).map_err(|error| error.to_string())?;
        let mut buffer = [0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err("closed".to_owned()),
            Ok(length) => {
                let mut events = Vec::new();
                self.session.input(&buffer[..length], moment(), &mut events).map_err(|fault| fault.to_string())?;
                for event in events {
                    match event {
                        ProbeEvent::Acknowledged(seq) => self.acknowledged = seq,
                        ProbeEvent::Welcomed(welcome) => {
                            self.welcome = welcome;
                            self.acknowledged = welcome.durable_seq;
                        }
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
        self.session.tick(moment()).map_err(|fault| fault.to_string())
    }

    pub fn send(&mut self, (head, frame): (EntryHead, Vec<u8>)) {
        self.session.send_entry(head, &frame, moment());
    }

    pub fn state(&mut self, statistics: Statistics) {
        let statistics = Statistics { time: moment().clock, acknowledged_seq: self.acknowledged, ..statistics };
        self.session.send_statistics(statistics, moment());
    }

    pub fn bye(&mut self, statistics: Statistics) {
        let statistics = Statistics { time: moment().clock, acknowledged_seq: self.acknowledged, ..statistics };
        self.session.send_bye(statistics, moment());
    }

    pub fn until_acknowledged(&mut self, seq: u64) {
        let begin = Instant::now();
        while self.acknowledged < seq {
            assert!(begin.elapsed() < PATIENCE, "only {} acknowledged", self.acknowledged);
            self.exchange().unwrap();
        }
    }

    /// Goes on until the collector ends it, and says why.
    pub fn until_refused(&mut self) -> String {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < PATIENCE, "it was not refused");
            if let Err(why) = self.exchange() {
                return why;
            }
        }
    }
}
