//! Capture files as input: as fast as the collector takes them, without loss, or at the pace of their times.

use crate::batcher::{Batcher, Sequencer};
use crate::config::Settings;
use crate::failure::Failure;
use crate::spools::Spools;
use packet::capture::CaptureReader;
use packet::{Interface, Packet, Timestamp};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Opens the file, so that this can be done before privileges are given up.
pub fn open(path: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    Ok(Box::new(file))
}

/// Reads the file to its end.
pub fn run(
    path: &Path,
    input: Box<dyn Read + Send>,
    sequencer: &Sequencer,
    spools: &Spools,
    settings: &Settings,
    pace: (bool, Option<u64>),
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let (realtime, count) = pace;
    let failed = |error: packet::capture::CaptureError| Failure::failed(format!("{}: {error}", path.display()));
    let mut input = plain(input).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    let mut reader = CaptureReader::new(&mut input).map_err(failed)?;
    let target = usize::try_from(settings.batch).unwrap_or(usize::MAX);
    // Times in a file say nothing about how long a batch waits, unless they are followed.
    let linger = if realtime { settings.linger } else { Duration::from_secs(3600) };
    let mut sets = Sets::default();
    let mut batcher: Option<Batcher> = None;
    let mut pacer = Pacer::default();
    let mut taken = 0;
    while !stop.load(Ordering::Relaxed) && count.is_none_or(|count| taken < count) {
        let known = sets.places.len();
        let (packet, interface) = match reader.next() {
            Ok(None) => break,
            Ok(Some(packet)) => {
                let number = packet.interface as usize;
                let fresh = if number >= known { Some(()) } else { None };
                (packet, fresh)
            }
            Err(error) => {
                eprintln!("tapline-probe: {}: {error}; what comes before is sent", path.display());
                break;
            }
        };
        let owned;
        let packet = if interface.is_some() {
            // The reader's interfaces can only be looked at once the packet no longer borrows it.
            owned = (packet.time, packet.interface, packet.original_length, packet.data.to_vec());
            sets.update(reader.interfaces(), spools);
            Packet { time: owned.0, interface: owned.1, original_length: owned.2, data: &owned.3 }
        } else {
            packet
        };
        let (set, index) = sets.places.get(packet.interface as usize).copied().unwrap_or((0, 0));
        if realtime {
            pacer.wait(packet.time, stop, batcher.as_mut())?;
        }
        let batcher = batcher.get_or_insert_with(|| sequencer.batcher(set, target, linger));
        batcher.use_set(set)?;
        batcher.push(&Packet { interface: index, ..packet })?;
        taken += 1;
    }
    for warning in reader.warnings() {
        eprintln!("tapline-probe: {}: {warning:?}", path.display());
    }
    if let Some(mut batcher) = batcher {
        batcher.seal()?;
    }
    Ok(())
}

/// The input, decompressed if it is a zstd file.
fn plain(mut input: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = [0; 4];
    let mut have = 0;
    while have < magic.len() {
        match input.read(&mut magic[have..])? {
            0 => break,
            length => have += length,
        }
    }
    let whole = io::Cursor::new(magic[..have].to_vec()).chain(input);
    if magic == [0x28, 0xb5, 0x2f, 0xfd] {
        return Ok(Box::new(zstd::stream::read::Decoder::new(whole)?));
    }
    if magic[..2] == [0x1f, 0x8b] {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "gzip: write `zcat FILE | tapline-probe -r -`"));
    }
    Ok(Box::new(whole))
}

/// Where the interfaces of a file stand in sets of ours: (set, index).
#[derive(Default)]
struct Sets {
    places: Vec<(u32, u32)>,
    kinds: Vec<Vec<Interface>>,
}

impl Sets {
    /// Interfaces of one link type share a set; one that is new begins a new set which holds those before it too.
    fn update(&mut self, interfaces: &[Interface], spools: &Spools) {
        while let Some(fresh) = interfaces.get(self.places.len()) {
            let interface = Interface {
                name: fresh.name.clone(),
                link_type: fresh.link_type,
                snaplen: packet::batch::MAX_PACKET_BYTES as u32,
                filter: fresh.filter.clone(),
            };
            let alike =
                |kind: &&mut Vec<Interface>| kind.first().is_some_and(|one| one.link_type == interface.link_type);
            let kind = match self.kinds.iter_mut().find(alike) {
                Some(kind) => {
                    kind.push(interface);
                    kind
                }
                None => {
                    self.kinds.push(vec![interface]);
                    match self.kinds.last_mut() {
                        Some(kind) => kind,
                        None => return,
                    }
                }
            };
            let index = (kind.len() - 1) as u32;
            self.places.push((spools.add_set(kind.clone()), index));
        }
    }
}

/// Waits until a packet's time has come, counted from the first one.
#[derive(Default)]
struct Pacer {
    begin: Option<(Instant, Timestamp)>,
}

impl Pacer {
    fn wait(&mut self, time: Timestamp, stop: &AtomicBool, mut batcher: Option<&mut Batcher>) -> Result<(), Failure> {
        let (began, first) = *self.begin.get_or_insert((Instant::now(), time));
        let due = Duration::from_nanos(time.since(first));
        loop {
            let ahead = due.saturating_sub(began.elapsed());
            if ahead < Duration::from_millis(1) || stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if let Some(batcher) = batcher.as_deref_mut() {
                batcher.tick()?;
            }
            std::thread::sleep(ahead.min(Duration::from_millis(20)));
        }
    }
}
