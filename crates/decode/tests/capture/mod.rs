//! Runs a capture file through an engine, as the tests of this folder need it.
#![allow(clippy::unwrap_used, dead_code)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use decode::{Clock, Config, Counters, Emit, Engine, Frame};
use event::{Event, JsonWriter, Observer};
use packet::{CaptureReader, Packet};

/// The crate's folder.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Writes events as lines of JSON as they come, so that none is kept.
#[derive(Default)]
pub struct Lines {
    pub text: Vec<u8>,
    pub events: u64,
    pub keep: bool,
}

impl Emit for Lines {
    fn event(&mut self, event: Event, _: bool) {
        if !self.keep {
            self.text.clear();
        }
        self.events += 1;
        self.text.extend_from_slice(JsonWriter::new(decode::schema()).write(&event));
    }
}

/// Decodes a capture with options of the analyzer in TOML. A capture that ends within a packet ends there.
pub fn decode(capture: impl Read, options: &str, out: &mut Lines) -> Counters {
    let observer = Arc::new(Observer { name: "capture".into(), epoch: "0".into(), is_file: true });
    let config: Config = toml::from_str(options).unwrap();
    let mut engine = Engine::new(&config, observer).unwrap();
    let Ok(mut reader) = CaptureReader::new(capture) else { return engine.counters() };
    let (mut number, mut clock, mut mistakes) = (0, Clock::default(), 0);
    let mut data = Vec::new();
    while mistakes < 1000 {
        let (time, index, original_length) = match reader.next() {
            Ok(Some(packet)) => {
                data.clear();
                data.extend_from_slice(packet.data);
                (packet.time, packet.interface, packet.original_length)
            }
            Ok(None) => break,
            Err(_) => {
                mistakes += 1;
                continue;
            }
        };
        let Some(interface) = reader.interfaces().get(index as usize) else { continue };
        let clock = clock.see(time);
        let packet = Packet { time, interface: index, original_length, data: &data };
        engine.packet(&Frame { number, clock, interface, packet: &packet }, out);
        number += 1;
    }
    engine.finish(out);
    engine.counters()
}

/// The documents of a capture file.
pub fn documents(path: &Path, options: &str) -> Vec<serde_json::Value> {
    let mut lines = Lines { keep: true, ..Lines::default() };
    decode(std::fs::File::open(path).unwrap(), options, &mut lines);
    lines
        .text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}
