//! tapline-probe: captures packets and sends them to a collector. The only privileged program, and only until its capture
//! handles are open. Decodes nothing.
#![forbid(unsafe_code)]

mod batcher;
mod capture;
mod config;
mod failure;
mod file;
mod link;
mod status;
mod tls;

use config::{Arguments, Settings};
use failure::Failure;
use link::{Destination, Link, Orders};
use packet::batch::DropReason;
use packet::{Epoch, SourceName, Timestamp};
use spool::{Bounds, Directory, Keeper, Limits, Spool};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run() -> Result<(), Failure> {
    let Some(arguments) = config::arguments()? else { return Ok(()) };
    if arguments.list {
        return capture::list();
    }
    let file = settings::file_or_default(arguments.config.as_deref());
    let settings: Settings = settings::load("probe", file.as_deref(), &arguments.overrides)
        .map_err(|problems| Failure::Usage(problems.to_string()))?;
    let destinations = settings
        .collector
        .iter()
        .map(|text| Destination::parse(text, settings.allow_plaintext || settings.tls.is_set()))
        .collect::<Result<Vec<_>, _>>()?;
    if arguments.check {
        println!("the configuration is good");
        return Ok(());
    }
    if settings.interfaces.is_empty() == arguments.read.is_none() {
        return Err(Failure::Usage("give either interfaces with -i, or a capture file with -r".to_owned()));
    }
    if destinations.is_empty() {
        return Err(Failure::Usage(
            "no collector: say where to send with --collector HOST:PORT or unix:PATH".to_owned(),
        ));
    }
    Probe::start(arguments, settings, destinations)
}

/// What is left out of every capture: the connections of Tapline itself.
fn exclusion(settings: &Settings, destinations: &[Destination]) -> String {
    let named = settings.exclude.iter().map(|text| Destination::Tcp(text.clone()));
    let mut parts = Vec::new();
    for address in destinations.iter().cloned().chain(named).flat_map(|destination| destination.addresses()) {
        let part = format!("not (host {} and tcp port {})", address.ip(), address.port());
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts.join(" and ")
}

fn source_name(settings: &Settings) -> Result<SourceName, Failure> {
    if settings.name.is_empty() {
        return Ok(SourceName::from_arbitrary(&rustix::system::uname().nodename().to_string_lossy()));
    }
    settings.name.parse().map_err(|error: packet::identity::SourceNameError| Failure::Usage(error.to_string()))
}

fn random_bytes() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    let mut file = std::fs::File::open("/dev/urandom").map_err(Failure::failed)?;
    std::io::Read::read_exact(&mut file, &mut bytes).map_err(Failure::failed)?;
    Ok(bytes)
}

/// Everything that runs.
struct Probe;

impl Probe {
    fn start(arguments: Arguments, settings: Settings, destinations: Vec<Destination>) -> Result<(), Failure> {
        let epoch = random_bytes()?;
        let source = source_name(&settings)?;
        let user =
            privilege::user(Some(settings.user.as_str()).filter(|name| !name.is_empty())).map_err(Failure::failed)?;
        let identity = settings.tls.is_set().then(|| tls::Identity::load(&settings.tls)).transpose()?;
        let from_file = arguments.read.is_some() && !arguments.realtime;
        let limits = Limits {
            memory: settings.spool.memory,
            full: settings.spool.full,
            waits: from_file,
            mode: settings.spool.mode,
        };
        let spool = Arc::new(Spool::new(source, Epoch(epoch), limits));

        // All that needs privileges: capture handles, and the file as the user that started us may read it.
        let exclude = exclusion(&settings, &destinations);
        let handles = capture::open(&settings, &exclude, &spool)?;
        let input = match &arguments.read {
            Some(path) => Some((path.clone(), file::open(path)?)),
            None => None,
        };
        let directory = if from_file { None } else { Self::directory(&settings, &spool, &user)? };
        let door = match settings.status.as_str() {
            "" => None,
            text => Some(listen::bind("probe.status", text, false).map_err(Failure::failed)?.0),
        };
        privilege::give_up(&user).map_err(Failure::failed)?;
        let keeper = directory.map(|directory| Self::keeper(&settings, &spool, directory)).transpose()?;

        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The first asks for an orderly end, the second for an immediate one.
            signal_hook::flag::register_conditional_shutdown(signal, 1, ended.clone()).map_err(Failure::failed)?;
            signal_hook::flag::register(signal, stop.clone()).map_err(Failure::failed)?;
        }
        Self::arm(stop.clone(), ended)?;
        let (wake, waker) = UnixStream::pair().map_err(Failure::failed)?;
        wake.set_nonblocking(true).map_err(Failure::failed)?;
        waker.set_nonblocking(true).map_err(Failure::failed)?;
        let orders = Arc::new(Orders::default());
        let seed = epoch.iter().fold(0u64, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte));
        if let Some(door) = door {
            let status = status::Status { spool: spool.clone(), connected: orders.connected.clone() };
            let serving = std::thread::Builder::new().name("status".to_owned());
            serving.spawn(move || status::serve(&door, &status)).map_err(Failure::failed)?;
        }
        let link = Link::new(spool.clone(), destinations, identity, orders.clone(), wake, seed);
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let sender = thread("uplink").spawn(move || link.run()).map_err(Failure::failed)?;
        let ending = Arc::new(AtomicBool::new(false));
        let keeper = match keeper {
            Some(keeper) => {
                let (waker, ending) = (waker.try_clone().map_err(Failure::failed)?, ending.clone());
                let wake = move || drop((&waker).write(&[1]));
                Some(thread("spool").spawn(move || keeper.run(&ending, wake)).map_err(Failure::failed)?)
            }
            None => None,
        };
        let (sequencer, compressor) = batcher::start(spool.clone(), settings.compression_level, move || {
            // A full pipe already says that there is something.
            let _ = (&waker).write(&[1]);
        })?;

        let outcome = match input {
            Some((path, input)) => {
                let pace = (arguments.realtime, arguments.count);
                file::run(&path, input, &sequencer, &spool, &settings, pace, &stop)
            }
            None => Self::capture(handles, &sequencer, &settings, arguments.count, &stop, &spool),
        };
        drop(sequencer);
        spool.close();
        let compressed = compressor.join().unwrap_or_else(|_| Err(Failure::failed("the compressor ended in a panic")));
        Self::drain(&settings, &spool, from_file, &stop, &sender);
        orders.give_up.store(true, Ordering::Relaxed);
        let _ = sender.join();
        ending.store(true, Ordering::Relaxed);
        let on_disk = keeper.map(|keeper| keeper.join().is_ok());
        let left = Self::report(&spool, on_disk == Some(true));
        outcome?;
        compressed?;
        if left > 0 && from_file {
            return Err(Failure::failed(format!("{left} packets of the file were not acknowledged")));
        }
        Ok(())
    }

    /// A second signal ends the probe at once, but not one that came with the first: some programs send two.
    fn arm(stop: Arc<AtomicBool>, ended: Arc<AtomicBool>) -> Result<(), Failure> {
        const TOGETHER: Duration = Duration::from_millis(300);
        let wait = move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(TOGETHER / 3);
            }
            std::thread::sleep(TOGETHER);
            ended.store(true, Ordering::Relaxed);
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(|_| ()).map_err(Failure::failed)
    }

    /// The spool's directory, opened and locked, and given to the user that the probe becomes.
    fn directory(settings: &Settings, spool: &Spool, user: &privilege::User) -> Result<Option<Directory>, Failure> {
        let Some(path) = settings.spool.folder(spool.source()) else { return Ok(None) };
        let owner = privilege::is_root().then_some((user.uid, user.gid));
        let directory = Directory::open(&path, owner);
        directory.map(Some).map_err(|error| Failure::failed(format!("the spool's directory {error}")))
    }

    fn keeper(settings: &Settings, spool: &Arc<Spool>, directory: Directory) -> Result<Keeper, Failure> {
        let sync_nanos = u64::try_from(settings.spool.sync.as_nanos()).unwrap_or(u64::MAX);
        let bounds = Bounds { disk: settings.spool.disk, sync_nanos };
        let report = Box::new(|text: &str| eprintln!("tapline-probe: spool: {text}"));
        Keeper::open(spool.clone(), Box::new(directory), bounds, report)
            .map_err(|error| Failure::failed(format!("the spool's directory cannot be read: {error}")))
    }

    fn capture(
        handles: Vec<capture::Handle>,
        sequencer: &batcher::Sequencer,
        settings: &Settings,
        count: Option<u64>,
        stop: &Arc<AtomicBool>,
        spool: &Arc<Spool>,
    ) -> Result<(), Failure> {
        let shared = capture::Shared { stop: stop.clone(), left: count.map(AtomicU64::new), spool: spool.clone() };
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                handles.into_iter().map(|handle| scope.spawn(|| handle.run(sequencer, settings, &shared))).collect();
            let mut outcome = Ok(());
            for thread in threads {
                let ended = thread.join().unwrap_or_else(|_| Err(Failure::failed("a capture ended in a panic")));
                outcome = outcome.and(ended);
            }
            outcome
        })
    }

    /// Waits until everything is acknowledged: a file's packets as long as it takes, others for a bounded time.
    fn drain(
        settings: &Settings,
        spool: &Spool,
        from_file: bool,
        stop: &AtomicBool,
        sender: &std::thread::JoinHandle<()>,
    ) {
        let since = Instant::now();
        while !sender.is_finished() {
            let patient = from_file && !stop.load(Ordering::Relaxed);
            if !patient && since.elapsed() > settings.end_patience {
                return;
            }
            if spool.is_empty() && since.elapsed() > settings.end_patience + Duration::from_secs(3) && !patient {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Says what became of the packets; gives how many are left.
    fn report(spool: &Spool, on_disk: bool) -> u64 {
        let counts = spool.statistics(Timestamp::from_system(SystemTime::now()));
        let dropped = |reasons: &dyn Fn(DropReason) -> bool| -> u64 {
            counts.drops.iter().filter(|drop| reasons(drop.reason)).map(|drop| drop.packets).sum()
        };
        eprintln!(
            "tapline-probe: {} packets captured, {} dropped by the kernel, {} by the interfaces, {} by a full spool, {} acknowledged, {} spooled",
            counts.captured,
            counts.dropped_by_kernel,
            counts.dropped_by_interface,
            dropped(&|reason| reason == DropReason::BufferFull),
            counts.acknowledged,
            counts.held
        );
        let failed = dropped(&|reason| reason != DropReason::BufferFull);
        if failed > 0 {
            eprintln!("tapline-probe: {failed} packets dropped because the spool's disk was full or failed");
        }
        let older = spool.older();
        if older != spool::Older::default() {
            eprintln!(
                "tapline-probe: of earlier runs: {} packets acknowledged, {} spooled",
                older.acknowledged, older.held
            );
        }
        if on_disk && counts.held + older.held > 0 {
            eprintln!(
                "tapline-probe: what is spooled lies on the disk ({} bytes); the next run delivers it",
                counts.spool_bytes
            );
        }
        counts.held
    }
}
