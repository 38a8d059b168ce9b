//! tapline-probe: captures packets and sends them to a collector. The only privileged program, and only until its capture
//! handles are open. Decodes nothing.
#![forbid(unsafe_code)]

mod batcher;
mod capture;
mod config;
mod exclusion;
mod failure;
mod file;
mod link;
mod outlet;
mod plan;
mod spools;
mod status;
mod tls;

use config::{Arguments, Settings};
use failure::Failure;
use link::Destination;
use outlet::Running;
use packet::Epoch;
use plan::Plan;
use spool::Limits;
use spools::Spools;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

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
    let plan = settings::load_checked("probe", file.as_deref(), &arguments.overrides, |settings| {
        Plan::new(settings, &arguments)
    });
    let plan = plan.map_err(Failure::configuration)?;
    if arguments.check {
        println!("{}", settings::GOOD);
        return Ok(());
    }
    Probe::start(arguments, plan)
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
    fn start(arguments: Arguments, plan: Plan) -> Result<(), Failure> {
        let Plan { settings, user, source, destinations, named, identity, status } = plan;
        let epoch = random_bytes()?;
        let from_file = arguments.read.is_some() && !arguments.realtime;
        let limits = Limits {
            memory: settings.spool.memory,
            full: settings.spool.full,
            waits: from_file,
            mode: settings.spool.mode,
        };
        let named: Vec<_> = named.iter().flat_map(Destination::addresses).collect();
        let exclude = exclusion::filter(&destinations, &named, &capture::local_addresses());
        let mut outlets = outlet::plan(settings.collector_mode, destinations, &source, Epoch(epoch), limits)?;
        let branches = outlets.iter().map(outlet::Outlet::branch).collect::<Result<_, _>>()?;
        let spools = Spools::new(source, Epoch(epoch), branches);

        // All that needs privileges: capture handles, and the file as the user that started us may read it.
        let handles = capture::open(&settings, &exclude, &spools)?;
        let input = match &arguments.read {
            Some(path) => Some((path.clone(), file::open(path)?)),
            None => None,
        };
        if !from_file {
            outlet::open_directories(&mut outlets, &settings.spool, &user)?;
        }
        let door = status.map(|address| address.bind()).transpose().map_err(Failure::failed)?;
        privilege::give_up(&user).map_err(Failure::failed)?;

        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The first asks for an orderly end, the second for an immediate one.
            signal_hook::flag::register_conditional_shutdown(signal, 1, ended.clone()).map_err(Failure::failed)?;
            signal_hook::flag::register(signal, stop.clone()).map_err(Failure::failed)?;
        }
        Self::arm(stop.clone(), ended)?;
        privilege::supervisor::end_with_it(Duration::ZERO).map_err(Failure::failed)?;
        if let Some(door) = door {
            let told = |outlet: &outlet::Outlet| status::Outlet {
                collectors: outlet.destinations.iter().map(ToString::to_string).collect(),
                spool: outlet.spool.clone(),
                orders: outlet.orders.clone(),
            };
            let status = status::Status(outlets.iter().map(told).collect());
            let serving = std::thread::Builder::new().name("status".to_owned());
            serving.spawn(move || status::serve(&door, &status)).map_err(Failure::failed)?;
        }
        let seed = epoch.iter().fold(0u64, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte));
        let start = |(number, outlet): (u64, outlet::Outlet)| {
            // Each waits at times of its own.
            outlet.start(&settings, identity.clone(), seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        };
        let running: Vec<Running> = (0..).zip(outlets).map(start).collect::<Result<_, _>>()?;
        let (sequencer, compressor) = batcher::start(spools.clone(), settings.compression_level)?;

        let outcome = match input {
            Some((path, input)) => {
                let pace = (arguments.realtime, arguments.count);
                file::run(&path, input, &sequencer, &spools, &settings, pace, &stop)
            }
            None => Self::capture(handles, &sequencer, &settings, arguments.count, &stop, &spools),
        };
        drop(sequencer);
        spools.close();
        let compressed = compressor.join().unwrap_or_else(|_| Err(Failure::failed("the compressor ended in a panic")));
        Self::drain(&settings, &running, from_file, &stop);
        running.iter().for_each(Running::give_up);
        let left: Vec<u64> = running.into_iter().map(Running::end).collect();
        outcome?;
        compressed?;
        if let Some(left) = left.into_iter().max().filter(|left| *left > 0 && from_file) {
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

    fn capture(
        handles: Vec<capture::Handle>,
        sequencer: &batcher::Sequencer,
        settings: &Settings,
        count: Option<u64>,
        stop: &Arc<AtomicBool>,
        spools: &Spools,
    ) -> Result<(), Failure> {
        let shared = capture::Shared { stop: stop.clone(), left: count.map(AtomicU64::new), spools: spools.clone() };
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

    /// Waits until everything is acknowledged everywhere: a file's packets as long as it takes, others for a bounded time.
    fn drain(settings: &Settings, running: &[Running], from_file: bool, stop: &AtomicBool) {
        let since = Instant::now();
        while !running.iter().all(Running::is_finished) {
            let patient = from_file && !stop.load(Ordering::Relaxed);
            if !patient && since.elapsed() > settings.end_patience {
                return;
            }
            let empty = running.iter().all(Running::is_empty);
            if empty && since.elapsed() > settings.end_patience + Duration::from_secs(3) && !patient {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
