//! The sender: one thread with one non-blocking socket and `poll`, driving the uplink's state machine. Connects again for as
//! long as there is something to hand over: each connection serves one epoch, those of earlier runs first.

use crate::tls::{Identity, TlsStream};
use packet::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec};
use spool::{Ending, Spool};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use uplink::{Moment, ProbeEvent, ProbeSession, backoff};

/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How often the balance is stated.
const STATISTICS_EVERY: Duration = Duration::from_secs(1);
/// Bytes that may stand in the output before no more entries are added.
const OUTPUT_BYTES: usize = 2 << 20;

/// Where a collector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A Unix socket.
    Unix(std::path::PathBuf),
    /// TCP.
    Tcp(String),
}

impl Destination {
    /// Reads `unix:PATH` or `HOST:PORT`; other machines only with TLS, or where plain text is allowed in so many words.
    /// Where a name leads is not asked: the only one that counts as this machine's is `localhost`.
    pub fn parse(text: &str, encrypted_or_allowed: bool) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => return Err(format!("{text:?} is no collector: write HOST:PORT or unix:PATH")),
            Some(path) => return Ok(Self::Unix(path.into())),
            None => {}
        }
        let (host, _) = split(text).ok_or_else(|| format!("{text:?} is no collector: write HOST:PORT or unix:PATH"))?;
        let is_here = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => host == "localhost",
        };
        if !is_here && !encrypted_or_allowed {
            return Err(format!(
                "{text:?} is another machine, and the connection would not be encrypted: set probe.tls (see `tapline keys probe`), or probe.allow_plaintext = true if that is meant"
            ));
        }
        Ok(Self::Tcp(text.to_owned()))
    }

    /// Reads `HOST:PORT` of something that is no collector.
    pub fn endpoint(text: &str) -> Result<Self, String> {
        let tcp = split(text).filter(|_| !text.starts_with("unix:")).map(|_| Self::Tcp(text.to_owned()));
        tcp.ok_or_else(|| format!("{text:?} is no endpoint: write HOST:PORT"))
    }

    /// Its addresses as of now; none for a Unix socket or a name that is not known now.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Unix(_) => Vec::new(),
            Self::Tcp(text) => text.to_socket_addrs().map(Iterator::collect).unwrap_or_default(),
        }
    }

    fn connect(&self, identity: Option<&Identity>) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Ok(Stream::Unix(stream))
            }
            Self::Tcp(text) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in text.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            if let Some(identity) = identity {
                                let host = text.rsplit_once(':').map_or(text.as_str(), |(host, _)| host);
                                return Ok(Stream::Tls(Box::new(identity.greet(stream, host)?)));
                            }
                            stream.set_nonblocking(true)?;
                            return Ok(Stream::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(text) => f.write_str(text),
        }
    }
}

/// Host and port.
fn split(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|_| !host.is_empty())?;
    Some((host, port))
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    /// Whether there may be more to read without the socket showing it.
    fn is_pending(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.is_pending())
    }

    /// Whether what was written waits for the socket to take it.
    fn wants_write(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.wants_write())
    }

    /// Hands to the socket what waits and it takes.
    fn push(&mut self) -> io::Result<()> {
        match self {
            Self::Unix(_) | Self::Tcp(_) => Ok(()),
            Self::Tls(stream) => stream.push(),
        }
    }

    /// Nothing more will be written; what the other side still sends can be read.
    fn finish(&mut self) {
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(stream) => stream.finish(),
        };
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.descriptor(),
        }
    }
}

/// What the sender is told by the rest of the probe.
#[derive(Debug, Default)]
pub struct Orders {
    /// End now, whatever is left.
    pub give_up: AtomicBool,
    /// The other way round: which collector has welcomed the probe.
    pub connected: Connected,
}

/// Which of its collectors a sender is connected to: its place among them plus one, 0 for none.
#[derive(Debug, Default)]
pub struct Connected(AtomicUsize);

impl Connected {
    /// Notes the place, or that there is no connection.
    pub fn set(&self, place: Option<usize>) {
        self.0.store(place.map_or(0, |place| place.saturating_add(1)), Ordering::Relaxed);
    }

    /// The place, if there is a connection.
    pub fn get(&self) -> Option<usize> {
        self.0.load(Ordering::Relaxed).checked_sub(1)
    }
}

/// The sending thread's world.
pub struct Link {
    spool: Arc<Spool>,
    destinations: Vec<Destination>,
    identity: Option<Identity>,
    orders: Arc<Orders>,
    wake: UnixStream,
    begin: Instant,
    random: u64,
    announced: usize,
    /// What each collector has acknowledged of the epoch that is being sent, up to its last connection.
    acknowledged: Vec<u64>,
}

/// Why a connection ended.
enum Over {
    /// Everything of its epoch is handed over.
    Done,
    /// Told to give up.
    GivenUp,
    /// It broke; another is tried.
    Broken(String),
}

impl Link {
    /// A sender; TCP is spoken with TLS where there is an identity. `wake` becomes readable when there is something new.
    pub fn new(
        spool: Arc<Spool>,
        destinations: Vec<Destination>,
        identity: Option<Identity>,
        orders: Arc<Orders>,
        wake: UnixStream,
        seed: u64,
    ) -> Self {
        let acknowledged = vec![0; destinations.len()];
        let begin = Instant::now();
        Self { spool, destinations, identity, orders, wake, begin, random: seed | 1, announced: 0, acknowledged }
    }

    fn now(&self) -> Moment {
        let monotonic = u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Moment { monotonic, clock: Timestamp::from_system(SystemTime::now()) }
    }

    fn random(&mut self) -> u64 {
        // xorshift64: only spreads the waits of many probes.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Sends until everything is handed over, or until told to give up.
    pub fn run(mut self) {
        let mut attempt = 0u32;
        let mut told = String::new();
        loop {
            let place = attempt as usize % self.destinations.len().max(1);
            let Some(destination) = self.destinations.get(place).cloned() else { return };
            let problem = match destination.connect(self.identity.as_ref()) {
                Ok(stream) => {
                    let was = self.begin.elapsed();
                    let before = self.spool.acknowledged();
                    let over = self.serve(stream, place, &destination);
                    self.orders.connected.set(None);
                    if let Some(count) = self.acknowledged.get_mut(place) {
                        *count += self.spool.acknowledged().saturating_sub(before);
                    }
                    match over {
                        Over::GivenUp => return,
                        Over::Done => {
                            if !self.spool.leave() {
                                return;
                            }
                            self.acknowledged.fill(0);
                            attempt = 0;
                            continue;
                        }
                        Over::Broken(problem) => {
                            if self.begin.elapsed().saturating_sub(was) > Duration::from_secs(10) {
                                attempt = 0;
                            }
                            problem
                        }
                    }
                }
                Err(error) => error.to_string(),
            };
            if self.orders.give_up.load(Ordering::Relaxed) {
                return;
            }
            let message = format!("collector {destination}: {problem}");
            if message != told {
                eprintln!("tapline-probe: {message}; trying again, packets are kept meanwhile");
                told = message;
            }
            let wait = Duration::from_millis(backoff::wait_ms(attempt, self.random()));
            attempt = attempt.saturating_add(1);
            let until = Instant::now() + wait;
            while Instant::now() < until {
                if self.orders.give_up.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn serve(&mut self, mut stream: Stream, place: usize, destination: &Destination) -> Over {
        let now = self.now();
        let hello = self.spool.hello(now.clock);
        self.announced = hello.sets.len();
        let mut session = ProbeSession::new(hello, now);
        let mut events = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut stated = Instant::now();
        let mut goodbye: Option<Instant> = None;
        // The epoch is at its end, and nobody said a goodbye when it was: the connection is closed without one.
        let mut unclean = false;
        loop {
            if self.orders.give_up.load(Ordering::Relaxed) {
                return Over::GivenUp;
            }
            let now = self.now();
            if let Err(fault) = session.tick(now) {
                return Over::Broken(fault.to_string());
            }
            if session.is_open() && goodbye.is_none() {
                self.fill(&mut session, now);
                let ending = self.spool.ending();
                let ends = ending != Ending::NotYet;
                if ends {
                    goodbye = Some(Instant::now());
                    unclean = true;
                }
                if (ends || stated.elapsed() >= STATISTICS_EVERY)
                    && let Some(mut statement) = self.spool.statement(now.clock)
                {
                    stated = Instant::now();
                    // What another collector has is no business of this one: its account would never close.
                    let elsewhere = self.elsewhere(place);
                    statement.captured = statement.captured.saturating_sub(elsewhere);
                    statement.acknowledged = statement.acknowledged.saturating_sub(elsewhere);
                    if ending == Ending::Complete {
                        session.send_bye(statement, now);
                        unclean = false;
                    } else {
                        session.send_statistics(statement, now);
                    }
                }
            }
            if let Err(error) = flush(&mut stream, &mut session) {
                return Over::Broken(error.to_string());
            }
            if let Some(said) = goodbye
                && (session.output().is_empty() && !stream.wants_write() || said.elapsed() > Duration::from_secs(2))
            {
                if std::mem::take(&mut unclean) {
                    stream.finish();
                }
                // The collector closes once it has read the goodbye.
                let closed = matches!(stream.read(&mut buffer), Ok(0));
                if closed || said.elapsed() > Duration::from_secs(2) {
                    return Over::Done;
                }
            }
            if let Err(error) = self.wait(&stream, !session.output().is_empty() || stream.wants_write()) {
                return Over::Broken(error.to_string());
            }
            let length = match stream.read(&mut buffer) {
                Ok(0) if goodbye.is_some() => return Over::Done,
                Ok(0) => return Over::Broken("it closed the connection".to_owned()),
                Ok(length) => length,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    continue;
                }
                Err(_) if goodbye.is_some() => return Over::Done,
                Err(error) => return Over::Broken(error.to_string()),
            };
            let received = buffer.get(..length).unwrap_or_default();
            if let Err(fault) = session.input(received, self.now(), &mut events) {
                return Over::Broken(fault.to_string());
            }
            for event in events.drain(..) {
                match event {
                    ProbeEvent::Welcomed(welcome) => {
                        let oldest = self.spool.held_from();
                        if welcome.next_seq < oldest && self.spool.ending() == Ending::NotYet {
                            return Over::Broken(format!(
                                "of this run it has what comes before batch {}, and those before batch {oldest} are gone from here, for they were acknowledged: it can go on with the next run only",
                                welcome.next_seq
                            ));
                        }
                        self.orders.connected.set(Some(place));
                        eprintln!("tapline-probe: connected to {destination} as {}", self.spool.source());
                        self.spool.acknowledge(welcome.durable_seq);
                        self.spool.resume(welcome.next_seq);
                    }
                    ProbeEvent::Acknowledged(seq) => self.spool.acknowledge(seq),
                }
            }
        }
    }

    /// Packets that others than this collector have acknowledged of the epoch that is being sent.
    fn elsewhere(&self, place: usize) -> u64 {
        self.acknowledged.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, packets)| packets).sum()
    }

    /// Adds entries while credit and the output allow it.
    fn fill(&mut self, session: &mut ProbeSession, now: Moment) {
        while session.output().len() < OUTPUT_BYTES {
            let Some(next) = self.spool.next() else { return };
            let (mut head, frame) = match (&next.frame, &next.gap) {
                (Some(frame), _) => (next.head, frame.clone()),
                (None, Some(gap)) => {
                    let raw = gap.to_bytes();
                    let Some(frame) = compressed(&raw) else { return };
                    let mut head = next.head;
                    head.raw_length = raw.len() as u32;
                    (head, Arc::new(frame))
                }
                (None, None) => return,
            };
            if !session.may_send(frame.len()) {
                return;
            }
            if let Some(set) = next.set {
                // Sets are announced in order, before the first batch that refers to them.
                while self.announced <= set as usize {
                    let Some(set) = self.spool.set(self.announced as u32) else { return };
                    session.send_interfaces(set, now);
                    self.announced += 1;
                }
            }
            if !self.spool.mark_sent(&next.head) {
                continue;
            }
            head.seq = next.head.seq;
            session.send_entry(head, &frame, now);
        }
    }

    fn wait(&mut self, stream: &Stream, writing: bool) -> io::Result<()> {
        let mut flags = PollFlags::IN;
        if writing {
            flags |= PollFlags::OUT;
        }
        let descriptor = stream.descriptor();
        let mut waited = [PollFd::from_borrowed_fd(descriptor, flags), PollFd::new(&self.wake, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: if stream.is_pending() { 0 } else { 100_000_000 } };
        match rustix::event::poll(&mut waited, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut drained = [0; 256];
        while matches!((&self.wake).read(&mut drained), Ok(length) if length == drained.len()) {}
        Ok(())
    }
}

fn flush(stream: &mut Stream, session: &mut ProbeSession) -> io::Result<()> {
    stream.push()?;
    let output = session.output();
    let mut written = 0;
    while written < output.len() {
        match stream.write(output.get(written..).unwrap_or_default()) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => written += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    output.drain(..written);
    Ok(())
}

fn compressed(raw: &[u8]) -> Option<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(1).ok()?;
    compressor.include_checksum(true).ok()?;
    compressor.compress(raw).ok()
}
