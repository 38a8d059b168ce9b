//! The program `tapline analyzer` on one page: what is opened as root, what as the user, where the doors shut, and what runs behind them.
//! Decides nothing about packets or events.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use listen::{BindError, Bound};
use output::{Place, Queue};

use crate::correlation::Stage;
use crate::live::{self, Added, LiveError, Options};
use crate::plan::Plan;
use crate::pool::Pool;
use crate::sandbox::{self, Allowed};
use crate::settings::Sandbox;
use crate::status::{self, Shared};
use crate::worker::Parts;
use crate::{collector, json_renderer};

/// How long the analyzer outlives its supervisor: as long as the collector, so that it decodes what still comes in.
const ORPHANED: Duration = Duration::from_secs(2);

/// Why the analyzer could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A directory cannot be made or given away.
    #[error("{path}: {source}; the analyzer needs this directory")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The status cannot be served.
    #[error(transparent)]
    Status(#[from] BindError),
    /// Privileges could not be given up.
    #[error(transparent)]
    Privilege(#[from] privilege::PrivilegeError),
    /// The sandbox could not be entered.
    #[error(transparent)]
    Sandbox(#[from] sandbox::SandboxError),
    /// An output could not be opened.
    #[error(transparent)]
    Output(#[from] output::OpenError),
    /// The feed could not be subscribed to.
    #[error("{0}")]
    Feed(String),
    /// The system gave no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// Following the feed ended.
    #[error(transparent)]
    Live(#[from] LiveError),
}

impl Plan {
    /// Runs until `stop` is set. Call it before any thread is started.
    ///
    /// # Errors
    /// Why it cannot start or go on.
    pub fn run(self, stop: &AtomicBool) -> Result<(), RunError> {
        let Self { settings, user, decoders, endpoints, status, outputs } = self;
        let place = Place { data: settings.data.clone(), fields: settings.fields() };

        // As the user that started us: directories, and the status socket.
        let directory = |path: &Path, source| RunError::Directory { path: path.to_owned(), source };
        let mut own = vec![settings.state()];
        own.extend(settings.output.directories(&place));
        for path in &own {
            privilege::give_directory(path, &user).map_err(|source| directory(path, source))?;
        }
        let bind = |address: listen::Address| -> Result<Bound, RunError> {
            if let Some(parent) = address.path().and_then(Path::parent) {
                std::fs::create_dir_all(parent).map_err(|source| directory(parent, source))?;
            }
            let bound = address.bind()?;
            if let Some(path) = address.path() {
                // Who may reach the directory may ask: there is nothing to protect but the addresses in error messages.
                std::fs::set_permissions(path, Permissions::from_mode(0o666))
                    .map_err(|source| directory(path, source))?;
            }
            Ok(bound)
        };
        let listener = status.map(bind).transpose()?;

        // As the unprivileged user: the outputs' files. Then the doors shut, before the first packet byte and the first thread.
        privilege::give_up(&user)?;
        let shared = Arc::new(Shared::default());
        let outputs = outputs.into_iter().map(|output| output.open(&place)).collect::<Result<Vec<_>, _>>()?;
        match settings.sandbox {
            Sandbox::On => {
                let mut tcp_ports = endpoints.tcp_ports();
                tcp_ports.extend(settings.output.tcp_ports());
                let mut read = endpoints.files();
                if settings.output.looks_up_names() {
                    read.extend(collector::look_up_files());
                }
                let allowed = Allowed { write: own, read, tcp_ports };
                let facts = sandbox::enter(&allowed)?;
                tracing::info!(
                    landlock = facts.landlock,
                    seccomp = facts.seccomp,
                    "sandbox entered; opening {}: {}",
                    facts.outside_path,
                    facts.outside_file
                );
                shared.set_sandbox(facts);
            }
            Sandbox::Off => tracing::warn!("the sandbox is off: packets are decoded with all rights of this user"),
        }
        privilege::supervisor::end_with_it(ORPHANED).map_err(RunError::Thread)?;

        let mut queues = Vec::new();
        for opened in outputs {
            let when_full = opened.when_full.unwrap_or(settings.when_full);
            queues.push(Queue::start(opened.output, settings.queue, when_full, opened.when).map_err(RunError::Thread)?);
        }
        if let Some(listener) = listener {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("status".to_owned())
                .spawn(move || serve(listener, shared))
                .map_err(RunError::Thread)?;
        }
        let parts = Parts { decoders, renderer: json_renderer(&settings) };
        let added = Added { stage: Stage::live(settings.has_calls()), renderer: (parts.renderer)() };
        let workers = match settings.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            given => given,
        };
        let pool = Pool::new(workers, &parts).map_err(RunError::Thread)?;
        let log = endpoints.connect().map_err(RunError::Feed)?;
        tracing::info!(workers, feed = settings.feed_endpoints().join(" "), "following the feed");
        let options = Options { state: settings.state(), start: settings.start, rewind_max: settings.rewind_max };
        live::follow(log, pool, queues, added, shared, &options, stop)?;
        Ok(())
    }
}

fn serve(listener: Bound, shared: Arc<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.and_then(|runtime| runtime.block_on(status::serve(listener, shared)));
    if let Err(error) = result {
        tracing::error!("the status is no longer served: {error}");
    }
}
