//! Runs the real program, and builds small captures for it.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `tapline` with these arguments and this standard input.
pub fn tapline_with(input: &[u8], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapline"));
    // What the surroundings configure is not what is tested.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TAPLINE_")) {
        command.env_remove(name);
    }
    let mut process =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // The program may end before it has read everything.
        let _ = stdin.write_all(&input);
    });
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Runs `tapline` with these arguments.
pub fn tapline(arguments: &[&str]) -> Output {
    tapline_with(b"", arguments)
}

/// Standard error as text.
pub fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON lines that were printed.
pub fn events(output: &Output) -> Vec<serde_json::Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// How a pcap file is written.
#[derive(Clone, Copy)]
pub struct Form {
    pub big_endian: bool,
    pub nanoseconds: bool,
}

/// A pcap file with link type RAW of these packets; packet N is N milliseconds (and a bit) later than the first.
pub fn pcap(form: Form, packets: &[Vec<u8>]) -> Vec<u8> {
    let word = |value: u32| if form.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let half = |value: u16| if form.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut file = Vec::new();
    file.extend(word(if form.nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }));
    file.extend(half(2));
    file.extend(half(4));
    for value in [0, 0, 65535, 101] {
        file.extend(word(value));
    }
    for (number, packet) in packets.iter().enumerate() {
        let micros = number as u32 * 1000 + 7;
        file.extend(word(1_700_000_000 + micros / 1_000_000));
        file.extend(word(micros % 1_000_000 * if form.nanoseconds { 1000 } else { 1 }));
        file.extend(word(packet.len() as u32));
        file.extend(word(packet.len() as u32));
        file.extend(packet);
    }
    file
}

/// A plain pcap file.
pub fn plain(packets: &[Vec<u8>]) -> Vec<u8> {
    pcap(Form { big_endian: false, nanoseconds: false }, packets)
}

/// An IPv4 packet; checksums are left 0.
pub fn ipv4(protocol: u8, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
    packet[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    packet.extend(from);
    packet.extend(to);
    packet.extend(payload);
    packet
}

/// An echo request and its reply.
pub fn ping(host: u8, sequence: u16) -> [Vec<u8>; 2] {
    let message = |kind: u8| {
        let mut bytes = vec![kind, 0, 0, 0, 0x12, 0x34];
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(b"tapline tests ping");
        bytes
    };
    let (from, to) = ([10, 0, 0, host], [10, 0, 1, 1]);
    [ipv4(1, from, to, &message(8)), ipv4(1, to, from, &message(0))]
}

/// A DNS query for an A record over UDP and its answer.
pub fn lookup(host: u8, id: u16) -> [Vec<u8>; 2] {
    let message = |flags: u16, answers: u16| {
        let mut bytes = Vec::new();
        for value in [id, flags, 1, answers, 0, 0] {
            bytes.extend(value.to_be_bytes());
        }
        bytes.extend(b"\x04host\x07example\x00\x00\x01\x00\x01");
        if answers > 0 {
            bytes.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01");
        }
        bytes
    };
    let udp = |from: u16, to: u16, payload: &[u8]| {
        let mut bytes = Vec::new();
        for value in [from, to, 8 + payload.len() as u16, 0] {
            bytes.extend(value.to_be_bytes());
        }
        bytes.extend(payload);
        bytes
    };
    let (client, server) = ([10, 0, 0, host], [10, 0, 1, 53]);
    [
        ipv4(17, client, server, &udp(40_000, 53, &message(0x0100, 0))),
        ipv4(17, server, client, &udp(53, 40_000, &message(0x8180, 1))),
    ]
}
