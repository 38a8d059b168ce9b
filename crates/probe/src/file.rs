//! Capture files as input: as fast as the collector takes them, without loss, or at the pace of their times.

use crate::batcher::{Batcher, Sequencer};
use crate::config::Settings;
use crate::failure::Failure;
use crate::spools::Spools;
use packet::capture::CaptureReader;
use packet::{Interface, Packet, Timestamp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A batch that is being filled, which reading may close while it waits.
type Filling = Rc<RefCell<Option<Batcher>>>;

/// Opens the file, so that this can be done before privileges are given up; none is standard input, which is open.
pub fn open(path: &Path) -> Result<Option<File>, Failure> {
    if path.as_os_str() == "-" {
        return Ok(None);
    }
    File::open(path).map(Some).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

/// Reads the file to its end.
pub fn run(
    path: &Path,
    input: Option<File>,
    sequencer: &Sequencer,
    spools: &Spools,
    settings: &Settings,
    pace: (bool, Option<u64>),
    stop: &Arc<AtomicBool>,
) -> Result<(), Failure> {
    let (realtime, count) = pace;
    let shown = if input.is_some() { path.display().to_string() } else { "standard input".to_owned() };
    let filling = Filling::default();
    let input: Box<dyn Read> = match input {
        Some(file) => Box::new(file),
        None => Box::new(StandardInput { stop: stop.clone(), filling: filling.clone(), linger: settings.linger }),
    };
    let failed = |error: packet::capture::CaptureError| Failure::failed(format!("{shown}: {error}"));
    let mut input = plain(input).map_err(|error| Failure::failed(format!("{shown}: {error}")))?;
    let mut reader = match CaptureReader::new(&mut input) {
        // Ended before anything came.
        Err(_) if stop.load(Ordering::Relaxed) => return Ok(()),
        opened => opened.map_err(failed)?,
    };
    let target = usize::try_from(settings.batch).unwrap_or(usize::MAX);
    // Times in a file say nothing about how long a batch waits, unless they are followed.
    let linger = if realtime { settings.linger } else { Duration::from_secs(3600) };
    let mut sets = Sets::default();
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
                eprintln!("tapline-probe: {shown}: {error}; what comes before is sent");
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
        let mut batcher = filling.borrow_mut();
        if realtime {
            pacer.wait(packet.time, stop, batcher.as_mut())?;
        }
        let batcher = batcher.get_or_insert_with(|| sequencer.batcher(set, target, linger));
        batcher.use_set(set)?;
        batcher.push(&Packet { interface: index, ..packet })?;
        taken += 1;
    }
    for warning in reader.warnings() {
        eprintln!("tapline-probe: {shown}: {warning:?}");
    }
    if let Some(batcher) = filling.borrow_mut().as_mut() {
        batcher.seal()?;
    }
    Ok(())
}

/// Standard input, which may be the pipe of a capture that goes on: while nothing comes, what has come is passed on, and the end is asked about.
struct StandardInput {
    stop: Arc<AtomicBool>,
    filling: Filling,
    linger: Duration,
}

impl Read for StandardInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const POLL: Duration = Duration::from_millis(100);
        let stdin = io::stdin();
        let mut wait = self.linger.min(POLL);
        while !self.stop.load(Ordering::Relaxed) {
            let mut one = [PollFd::new(&stdin, PollFlags::IN)];
            match poll(&mut one, Some(&Timespec::try_from(wait).map_err(io::Error::other)?)) {
                Ok(0) => {
                    if let Some(batcher) = self.filling.borrow_mut().as_mut() {
                        batcher.seal().map_err(|failure| io::Error::other(failure.message().to_owned()))?;
                    }
                    wait = POLL;
                }
                // Not through the buffer of `Stdin`: what waits there could not be seen.
                Ok(_) => return Ok(rustix::io::read(&stdin, buffer)?),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(0)
    }
}

/// The input, decompressed if it is a zstd file.
fn plain(mut input: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
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
