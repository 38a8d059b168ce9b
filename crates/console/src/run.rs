//! The program `tapline console` on one page: sockets as the user that started it, then without privileges the store's reader, the watch
//! over the other programs, and the answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use listen::{BindError, Bound};
use store::Reader;
use tokio::sync::watch;

use crate::fields::{FieldFacts, Fields};
use crate::guard::{Door, Guard};
use crate::overview::{self, Overview};
use crate::plan::Plan;
use crate::serve;
use crate::state::Console;
use crate::tokens::{self, Known};

/// How often it is looked whether to end.
const POLL: Duration = Duration::from_millis(100);
/// How long answers may take to end then.
const GOODBYE: Duration = Duration::from_millis(200);

/// Why the console could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A socket cannot be bound.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// A directory cannot be made or given away.
    #[error("{path}: {source}; the console needs this directory")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Privileges could not be given up.
    #[error(transparent)]
    Privilege(#[from] privilege::PrivilegeError),
    /// The tokens cannot be read.
    #[error(transparent)]
    Tokens(#[from] tokens::TokenError),
    /// The system gave no thread, or took a socket away.
    #[error("cannot serve: {0}")]
    Serve(std::io::Error),
}

impl Plan {
    /// Runs until `stop` is set. Call it before any thread is started. `fields` is the event reference.
    ///
    /// # Errors
    /// Why it cannot start or go on.
    pub fn run(self, fields: Vec<FieldFacts>, stop: &AtomicBool) -> Result<(), RunError> {
        let Self { settings, user, collector, analyzer, listen } = self;

        // As the user that started us: sockets, and the directory of the tokens.
        let directory = |path: &Path, source| RunError::Directory { path: path.to_owned(), source };
        let mut sockets = Vec::new();
        for address in &listen {
            sockets.push(address.bind()?);
            if let Some(path) = address.path() {
                privilege::give_socket(path, &user).map_err(|source| directory(path, source))?;
            }
        }
        if let Some(folder) = tokens::file(&settings.data).parent() {
            privilege::give_directory(folder, &user).map_err(|source| directory(folder, source))?;
        }

        privilege::give_up(&user)?;
        privilege::supervisor::end_with_it(Duration::ZERO).map_err(RunError::Serve)?;
        let is_network = |bound: &Bound| door(bound) == Door::Network;
        if sockets.iter().any(is_network) && tokens::list(&settings.data)?.is_empty() {
            tracing::warn!("other machines need a token, and there is none: make one with `tapline keys token NAME`");
        }
        let addresses: Vec<String> = sockets.iter().filter_map(address).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(RunError::Serve)?;
        runtime.block_on(async {
            let reader = Arc::new(Reader::new(settings.store()));
            let (sender, receiver) = watch::channel(Arc::new(Overview::default()));
            tokio::spawn(overview::watch(collector.clone(), analyzer, Arc::clone(&reader), sender));
            let console = Console::new(reader, Fields::new(fields), collector, receiver, addresses.clone());
            let (hosts, tokens) = (settings.hosts.clone().into(), Arc::new(Known::new(&settings.data)));
            let places = serve::places();
            for bound in sockets {
                let guard = Guard {
                    door: door(&bound),
                    hosts: Arc::clone(&hosts),
                    tokens: Arc::clone(&tokens),
                    console: console.clone(),
                };
                let serving = serve::serve(bound, serve::routes(guard), Arc::clone(&places));
                tokio::spawn(async move {
                    if let Err(error) = serving.await {
                        tracing::error!("the console is no longer served: {error}");
                    }
                });
            }
            tracing::info!(store = %settings.store().display(), "the page is at {}", addresses.join(" "));
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(POLL).await;
            }
        });
        runtime.shutdown_timeout(GOODBYE);
        Ok(())
    }
}

fn door(bound: &Bound) -> Door {
    match bound {
        Bound::Unix(_) => Door::Unix,
        Bound::Tcp(listener) => match listener.local_addr() {
            Ok(address) if address.ip().is_loopback() => Door::Loopback,
            _ => Door::Network,
        },
    }
}

/// Where the page can be opened.
fn address(bound: &Bound) -> Option<String> {
    match bound {
        Bound::Unix(_) => None,
        Bound::Tcp(listener) => listener.local_addr().ok().map(|address| format!("http://{address}/")),
    }
}
