//! Many probes at once, for the bench: `probes SOCKET COUNT PACKETS_PER_SECOND SECONDS`. Each speaks the uplink as the real one does:
//! a batch every 50 ms, statistics every second, a goodbye once everything is acknowledged. Prints how many packets were sent.

#![allow(clippy::expect_used)]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime};

use packet::{BatchBuilder, Epoch, Interface, InterfaceSet, LinkType, Packet, Timestamp};
use uplink::{EntryHead, Hello, MAJOR, MINOR, Moment, ProbeEvent, ProbeSession, Statistics};

const LINGER: Duration = Duration::from_millis(50);
/// A voice packet with its headers, and the SIP message that is each tenth.
const LENGTHS: [usize; 10] = [214, 214, 214, 214, 214, 214, 214, 214, 214, 700];

struct Probe {
    session: ProbeSession,
    stream: UnixStream,
    builder: BatchBuilder,
    compressor: zstd::bulk::Compressor<'static>,
    begin: Instant,
    next_seq: u64,
    packets: u64,
    acknowledged_seq: u64,
    noise: u64,
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

impl Probe {
    fn connect(socket: &str, number: u64) -> Self {
        let source: packet::SourceName = format!("probe{number:04}").parse().expect("a name");
        let mut epoch = [0; 16];
        epoch[..8].copy_from_slice(&now().nanos().to_le_bytes());
        epoch[8..].copy_from_slice(&number.to_le_bytes());
        let interface =
            Interface { name: "eth0".into(), link_type: LinkType::ETHERNET, snaplen: 262_144, filter: String::new() };
        let begin = Instant::now();
        let hello = Hello {
            major: MAJOR,
            minor: MINOR,
            source: source.clone(),
            epoch: Epoch(epoch),
            oldest_seq: 0,
            next_seq: 0,
            clock: now(),
            sets: vec![InterfaceSet { number: 0, interfaces: vec![interface] }],
        };
        let stream = UnixStream::connect(socket).expect("the collector listens");
        stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        let mut compressor = zstd::bulk::Compressor::new(1).expect("zstd");
        compressor.include_checksum(true).expect("zstd");
        Self {
            session: ProbeSession::new(hello, Moment { monotonic: 0, clock: now() }),
            stream,
            builder: BatchBuilder::new(source, Epoch(epoch), 0),
            compressor,
            begin,
            next_seq: 0,
            packets: 0,
            acknowledged_seq: 0,
            noise: number | 1,
        }
    }

    fn moment(&self) -> Moment {
        Moment { monotonic: self.begin.elapsed().as_nanos() as u64, clock: now() }
    }

    fn batch(&mut self, packets: u64) {
        let mut data = [0u8; 700];
        for _ in 0..packets {
            for chunk in data.chunks_mut(8) {
                self.noise ^= self.noise << 13;
                self.noise ^= self.noise >> 7;
                self.noise ^= self.noise << 17;
                chunk.copy_from_slice(&self.noise.to_le_bytes()[..chunk.len()]);
            }
            // Ethernet, IPv4, UDP.
            data[12..14].copy_from_slice(&[8, 0]);
            let length = LENGTHS[(self.packets % 10) as usize];
            data[14] = 0x45;
            data[16..18].copy_from_slice(&((length - 14) as u16).to_be_bytes());
            data[20..22].copy_from_slice(&[0x40, 0]);
            data[23] = 17;
            // Ten calls at a time between the same addresses.
            let call = (self.packets % 10) as u8;
            data[26..34].copy_from_slice(&[10, 1, 0, call, 10, 2, 0, call]);
            data[34..38].copy_from_slice(&[0x40, call, 0x41, call]);
            data[38..40].copy_from_slice(&((length - 34) as u16).to_be_bytes());
            let bytes = &data[..length];
            self.builder.push(&Packet { time: now(), interface: 0, original_length: length as u32, data: bytes });
            self.packets += 1;
        }
        let first = self.packets - packets;
        let (_, raw) = self.builder.seal(self.next_seq, first, Vec::new());
        let frame = self.compressor.compress(&raw).expect("compressed");
        let head = EntryHead { seq: self.next_seq, last_seq: self.next_seq, raw_length: raw.len() as u32 };
        self.session.send_entry(head, &frame, self.moment());
        self.next_seq += 1;
    }

    fn statistics(&self) -> Statistics {
        Statistics {
            time: now(),
            captured: self.packets,
            acknowledged: 0,
            acknowledged_seq: self.acknowledged_seq,
            held: 0,
            received_by_kernel: self.packets,
            dropped_by_kernel: 0,
            dropped_by_interface: 0,
            drops: Vec::new(),
            spool_bytes: 0,
        }
    }

    fn exchange(&mut self) {
        self.session.tick(self.moment()).expect("a live collector");
        let output = self.session.output();
        if !output.is_empty() {
            self.stream.write_all(output).expect("written");
            output.clear();
        }
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(length) => {
                let (mut events, now) = (Vec::new(), self.moment());
                self.session.input(&buffer[..length], now, &mut events).expect("sense");
                for event in events {
                    match event {
                        ProbeEvent::Acknowledged(seq) => self.acknowledged_seq = seq,
                        ProbeEvent::Welcomed(_) => {}
                    }
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn run(mut self, rate: u64, seconds: u64) -> u64 {
        while !self.session.is_open() {
            self.exchange();
        }
        let (begin, each) = (Instant::now(), (rate * LINGER.as_millis() as u64 / 1000).max(1));
        let mut stated = Instant::now();
        for tick in 1.. {
            if begin.elapsed() >= Duration::from_secs(seconds) {
                break;
            }
            self.batch(each);
            if stated.elapsed() >= Duration::from_secs(1) {
                let (statistics, now) = (self.statistics(), self.moment());
                self.session.send_statistics(statistics, now);
                stated = Instant::now();
            }
            self.exchange();
            std::thread::sleep((begin + LINGER * tick).saturating_duration_since(Instant::now()));
        }
        let patience = Instant::now();
        while self.acknowledged_seq < self.next_seq && patience.elapsed() < Duration::from_secs(30) {
            self.exchange();
        }
        assert_eq!(self.acknowledged_seq, self.next_seq, "not everything was acknowledged");
        let (statistics, now) = (self.statistics(), self.moment());
        self.session.send_bye(statistics, now);
        self.exchange();
        self.packets
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let (Some(socket), Some(count), Some(rate), Some(seconds)) = (words.first(), number(1), number(2), number(3))
    else {
        eprintln!("probes SOCKET COUNT PACKETS_PER_SECOND SECONDS");
        std::process::exit(2);
    };
    let threads: Vec<_> = (0..count)
        .map(|number| {
            let socket = socket.clone();
            let run = move || {
                // Not all at the same instant.
                std::thread::sleep(Duration::from_millis(number % 50));
                Probe::connect(&socket, number).run(rate, seconds)
            };
            std::thread::Builder::new().stack_size(256 * 1024).spawn(run).expect("a thread")
        })
        .collect();
    let packets: u64 = threads.into_iter().map(|thread| thread.join().expect("a probe failed")).sum();
    println!("packets: {packets}");
}
