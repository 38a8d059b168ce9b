//! The program `tapline collector` on one page: what is bound as root, where root is given up, and what runs then.

use crate::hook::Hook;
use crate::http::{Api, router};
use crate::ledger::Ledger;
use crate::osmo::{self, Names};
use crate::pipeline::{self, PUBLISH_QUEUE, Publish, WRITE_QUEUE, Writing};
use crate::plan::Plan;
use crate::policy::{Policies, SourcePolicy};
use crate::session::{self, Surroundings};
use crate::settings::{Compression, Durability, Settings};
use crate::shared::{Shared, add};
use crate::tls::{self, Gate};
use archive::{Limits, Recovered, Retention, Rotation, Writer, WriterOptions};
use feed::{Publisher, PublisherOptions};
use listen::{Address, BindError, Bound};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

/// How often the stop flag is looked at and the feed learns of subscriptions.
const TICK: Duration = Duration::from_millis(50);
/// How long sessions get to end.
const GOODBYE: Duration = Duration::from_millis(500);

/// How long the collector outlives its supervisor: what the probes still have comes in and becomes durable meanwhile.
const ORPHANED: Duration = Duration::from_secs(2);

/// How long a TLS handshake may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);

/// Why the collector could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A directory cannot be made or given away.
    #[error("{path}: {error}; the collector needs this directory")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A socket cannot be bound.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// The feed cannot be published.
    #[error(transparent)]
    Feed(#[from] feed::FeedError),
    /// Privileges could not be given up.
    #[error(transparent)]
    Privilege(#[from] privilege::PrivilegeError),
    /// The archive cannot be opened.
    #[error("the archive at {path} cannot be opened: {error}")]
    Archive {
        /// Where.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The system gave no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl Plan {
    /// Runs until `stop` is set. Call it before any thread is started.
    ///
    /// # Errors
    /// Why it cannot start.
    pub fn run(self, stop: &AtomicBool) -> Result<(), RunError> {
        let settings = &self.settings;
        let directory = |path: &Path, error| RunError::Directory { path: path.to_owned(), error };
        for path in [settings.archive(), settings.state(), settings.data.join("run")] {
            privilege::give_directory(&path, &self.user).map_err(|error| directory(&path, error))?;
        }
        let bind = |addresses: &[Address]| {
            let bind = |address: &Address| -> Result<Bound, RunError> {
                let bound = address.bind()?;
                if let Some(path) = address.path() {
                    privilege::give_socket(path, &self.user).map_err(|error| directory(path, error))?;
                }
                Ok(bound)
            };
            addresses.iter().map(bind).collect::<Result<Vec<_>, _>>()
        };
        let (uplinks, apis, osmo) = (bind(&self.uplinks)?, bind(&self.apis)?, bind(&self.osmo)?);
        let sockets = Sockets { uplinks, apis, osmo, names: self.names };
        privilege::give_up(&self.user)?;
        privilege::supervisor::end_with_it(ORPHANED).map_err(RunError::Thread)?;
        work(settings, self.policies, self.rotation, self.gate, &self.feed, sockets, stop)
    }
}

/// What runs once there are no privileges any more.
fn work(
    settings: &Settings,
    policies: Policies,
    rotation: Rotation,
    gate: Option<Arc<Gate>>,
    feed: &PublisherOptions,
    sockets: Sockets,
    stop: &AtomicBool,
) -> Result<(), RunError> {
    let publisher = Publisher::bind(feed)?;
    let (shared, writer) = open_archive(settings, rotation)?;
    if let Some(gate) = &gate {
        shared.certificate_expires.store(gate.expires, Ordering::Relaxed);
        let days = tls::days_left(gate.expires);
        if days < tls::WARN_DAYS {
            tracing::warn!("the collector's certificate expires in {days} days: make a new one with `tapline keys`");
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(RunError::Thread)?;
    let (jobs, job_receiver) = mpsc::channel(PUBLISH_QUEUE);
    let (write_sender, write_receiver) = std::sync::mpsc::sync_channel(WRITE_QUEUE);
    let weak = jobs.downgrade();
    let hook = match settings.hook.as_slice() {
        [] => None,
        command => Some(Arc::new(Hook::start(command.to_vec()).map_err(RunError::Thread)?)),
    };
    if let Some(hook) = &hook {
        let _ = shared.hook.set(Arc::clone(&hook.counters));
    }
    let writing = Writing {
        writer,
        shared: shared.clone(),
        events: weak,
        commit_every: settings.commit,
        commit_bytes: pipeline::COMMIT_BYTES.min(settings.credit / 4),
        waiting: 0,
        retention: retention(settings),
        hook,
        balance: settings.state().join("balance.json"),
        begun: HashMap::new(),
        awaited: HashMap::new(),
        nearly_full: false,
    };
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let write_thread = thread("writer").spawn(move || writing.run(&write_receiver)).map_err(RunError::Thread)?;
    let publish_shared = shared.clone();
    let publish_thread = thread("publisher")
        .spawn(move || pipeline::publish(publisher, job_receiver, write_sender, &publish_shared))
        .map_err(RunError::Thread)?;

    tracing::info!(
        listen = settings.listen.join(" "),
        api = settings.api.join(" "),
        feed = settings.feed.join(" "),
        archive = %settings.archive().display(),
        "collecting"
    );
    runtime.block_on(serve(settings, &shared, policies, jobs, sockets, gate, stop));
    shared.stopping.store(true, Ordering::Relaxed);
    // The runtime's tasks held the last senders: with them the publisher ends, and with it the writer.
    runtime.shutdown_timeout(Duration::from_secs(2));
    for (name, thread) in [("publisher", publish_thread), ("writer", write_thread)] {
        if thread.join().is_err() {
            tracing::error!("the {name} ended in a panic");
        }
    }
    tracing::info!("ended: everything received is durable");
    Ok(())
}

fn retention(settings: &Settings) -> Retention {
    let limits = |age: Duration, total_bytes| Limits { age_seconds: age.as_secs(), total_bytes };
    let of = |policy: &SourcePolicy| limits(policy.retention.age, policy.retention.size);
    Retention {
        all: limits(settings.retention.age, settings.retention.size),
        free_bytes: settings.retention.free,
        sources: settings
            .sources
            .iter()
            .map(|(name, policy)| (name.clone(), of(policy)))
            .filter(|(_, limits)| *limits != Limits::default())
            .collect(),
    }
}

fn open_archive(settings: &Settings, rotation: Rotation) -> Result<(Arc<Shared>, Writer), RunError> {
    let root = settings.archive();
    let options = WriterOptions {
        compression: match settings.compression {
            Compression::Zstd => archive::Compression::Zstd,
            Compression::None => archive::Compression::None,
        },
        segment_bytes: settings.segment_size,
        rotation,
        sync: settings.durability == Durability::Durable,
    };
    let (writer, recovered) =
        Writer::open(&root, options).map_err(|error| RunError::Archive { path: root.clone(), error })?;
    for recovered in &recovered {
        match recovered {
            Recovered::Closed { path, entries, cut_bytes } => tracing::warn!(
                "{} was left open: closed with {entries} entries, {cut_bytes} bytes that were never acknowledged cut off",
                path.display()
            ),
            other => tracing::warn!("recovery: {other:?}"),
        }
    }
    let ledger = Ledger::load(&settings.state().join("balance.json"));
    let shared =
        Arc::new(Shared::new(writer.archive(), retention(settings), settings.state().join("pins.json"), ledger));
    let nanos = crate::shared::now().nanos();
    for (source, state) in writer.states() {
        for (epoch, state) in &state.epochs {
            if let Ok(epoch) = epoch.parse() {
                shared.begin_track(source, epoch, state.next_seq);
                shared.ledger().committed(source, epoch, state, state.arrived_nanos.min(nanos));
            }
        }
    }
    Ok((shared, writer))
}

async fn serve(
    settings: &Settings,
    shared: &Arc<Shared>,
    policies: Policies,
    jobs: mpsc::Sender<Publish>,
    sockets: Sockets,
    gate: Option<Arc<Gate>>,
    stop: &AtomicBool,
) {
    let (stop_sender, stopped) = watch::channel(false);
    let surroundings = Surroundings {
        shared: shared.clone(),
        jobs: jobs.clone(),
        credit: settings.credit,
        policies,
        v1: !settings.feed_v1.is_empty(),
        stop: stopped,
        gate: gate.clone(),
    };
    for bound in sockets.osmo {
        tokio::spawn(accept_osmo(bound, sockets.names.clone(), surroundings.clone(), settings.connections as u64));
    }
    for bound in sockets.uplinks {
        tokio::spawn(accept(bound, surroundings.clone(), settings.connections as u64));
    }
    for bound in sockets.apis {
        tokio::spawn(answer(bound, Api { shared: shared.clone(), jobs: jobs.clone() }));
    }
    let mut tick = tokio::time::interval(TICK);
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let _ = jobs.try_send(Publish::Tick);
        if let Some(gate) = &gate {
            gate.look();
        }
        for (source, silent) in shared.silence(settings.silence) {
            let name = if silent { "source_silent" } else { "source_back" };
            tracing::info!(%source, "{}", if silent { "connected, but no packets come" } else { "packets come again" });
            let body = serde_json::json!({ "after_seconds": settings.silence.as_secs() });
            let _ = jobs.try_send(Publish::Event { name, source: source.to_string(), body });
        }
    }
    stop_sender.send_replace(true);
    drop(jobs);
    tokio::time::sleep(GOODBYE).await;
}

/// Listening sockets, and how osmo-pcap clients are named.
struct Sockets {
    uplinks: Vec<Bound>,
    apis: Vec<Bound>,
    osmo: Vec<Bound>,
    names: Names,
}

/// Whether there are as many connections as there may be; then this one is turned away, and counted.
fn is_full(shared: &Shared, limit: u64) -> bool {
    let full = shared.counters.connected.load(Ordering::Relaxed) >= limit;
    if full {
        add(&shared.counters.refused_connections, 1);
    }
    full
}

async fn accept_osmo(bound: Bound, names: Names, surroundings: Surroundings, limit: u64) {
    let Bound::Tcp(listener) = bound else {
        return; // The plan has none.
    };
    let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let Ok(listener) = listener else { return tracing::error!("a listening socket cannot be used") };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) if !is_full(&surroundings.shared, limit) => {
                tokio::spawn(osmo::serve(stream, peer, names.clone(), surroundings.clone()));
            }
            Ok(_) => {}
            Err(error) => pause(&error).await,
        }
    }
}

async fn accept(bound: Bound, surroundings: Surroundings, limit: u64) {
    let full = |shared: &Shared| is_full(shared, limit);
    match bound {
        Bound::Tcp(listener) => {
            let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
            let Ok(listener) = listener else { return tracing::error!("a listening socket cannot be used") };
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) if !full(&surroundings.shared) => {
                        let _ = stream.set_nodelay(true);
                        tokio::spawn(greet(stream, peer.to_string(), surroundings.clone()));
                    }
                    Ok(_) => {}
                    Err(error) => pause(&error).await,
                }
            }
        }
        Bound::Unix(listener) => {
            let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::UnixListener::from_std(listener));
            let Ok(listener) = listener else { return tracing::error!("a listening socket cannot be used") };
            loop {
                match listener.accept().await {
                    Ok((stream, _)) if !full(&surroundings.shared) => {
                        tokio::spawn(session::serve(stream, "unix".to_owned(), None, surroundings.clone()));
                    }
                    Ok(_) => {}
                    Err(error) => pause(&error).await,
                }
            }
        }
    }
}

/// Serves a connection by TCP: after TLS, where it is spoken.
async fn greet(stream: TcpStream, peer: String, surroundings: Surroundings) {
    let Some(gate) = surroundings.gate.clone() else {
        return session::serve(stream, peer, None, surroundings).await;
    };
    let handshake = TlsAcceptor::from(gate.config()).accept(stream);
    // Counts as a connection already: handshakes are limited like all others.
    add(&surroundings.shared.counters.connected, 1);
    let shaken = tokio::time::timeout(HANDSHAKE_PATIENCE, handshake).await;
    surroundings.shared.counters.connected.fetch_sub(1, Ordering::Relaxed);
    let greeted = match shaken {
        Ok(Ok(stream)) => {
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            gate.identity(chain).map(|identity| (stream, identity))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no handshake within {} s", HANDSHAKE_PATIENCE.as_secs())),
    };
    match greeted {
        Ok((stream, identity)) => session::serve(stream, peer, Some(identity), surroundings).await,
        Err(problem) => {
            surroundings.shared.bad_peer("tls");
            tracing::warn!(peer, "no TLS with a probe that is known here: {problem}");
        }
    }
}

/// Out of file descriptors, most likely: others may be freed.
async fn pause(error: &std::io::Error) {
    tracing::warn!("accepting a connection: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn answer(bound: Bound, api: Api) {
    let router = router(api);
    let served = match bound {
        Bound::Tcp(listener) => {
            match listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener)) {
                Ok(listener) => axum::serve(listener, router).await,
                Err(error) => Err(error),
            }
        }
        Bound::Unix(listener) => {
            match listener.set_nonblocking(true).and_then(|()| tokio::net::UnixListener::from_std(listener)) {
                Ok(listener) => axum::serve(listener, router).await,
                Err(error) => Err(error),
            }
        }
    };
    if let Err(error) = served {
        tracing::error!("the API is no longer answered: {error}");
    }
}
