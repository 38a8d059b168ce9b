//! What all answers are made from: the store, the other programs, the limits, the counters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use store::Reader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::answer::Refusal;
use crate::fields::Fields;
use crate::metrics::Counters;
use crate::overview::Overview;

/// Questions that the store answers at once.
const QUESTIONS: usize = 4;
/// How long a question may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// Downloads at once.
const DOWNLOADS: usize = 4;
/// Short questions to the collector at once.
const PASSES: usize = 16;
/// Who may listen to events or the overview at once.
const LISTENERS: usize = 64;

/// Shared by all connections.
#[derive(Clone)]
pub(crate) struct Console(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) reader: Arc<Reader>,
    pub(crate) fields: Fields,
    pub(crate) collector: api::Client,
    pub(crate) overview: watch::Receiver<Arc<Overview>>,
    pub(crate) counters: Counters,
    /// Where it is reached, in the order of the configuration.
    pub(crate) addresses: Vec<String>,
    questions: Semaphore,
    downloads: Arc<Semaphore>,
    passes: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
}

impl std::ops::Deref for Console {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Console {
    pub(crate) fn new(
        reader: Arc<Reader>,
        fields: Fields,
        collector: api::Client,
        overview: watch::Receiver<Arc<Overview>>,
        addresses: Vec<String>,
    ) -> Self {
        Self(Arc::new(Inner {
            reader,
            fields,
            collector,
            overview,
            counters: Counters::default(),
            addresses,
            questions: Semaphore::new(QUESTIONS),
            downloads: Arc::new(Semaphore::new(DOWNLOADS)),
            passes: Arc::new(Semaphore::new(PASSES)),
            listeners: Arc::new(Semaphore::new(LISTENERS)),
        }))
    }

    /// Asks the store, in its turn, without holding up anything else.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, Refusal> {
        let Ok(turn) = tokio::time::timeout(PATIENCE, self.questions.acquire()).await else {
            return Err(too_many("questions are asked"));
        };
        let began = Instant::now();
        let reader = Arc::clone(&self.reader);
        let answer = tokio::task::spawn_blocking(move || question(&reader)).await;
        drop(turn);
        self.counters.question(began.elapsed());
        match answer {
            Ok(answer) => answer.map_err(Refusal::from),
            Err(error) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), "please report it")),
        }
    }

    /// A place among those who download.
    pub(crate) fn download(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.downloads).try_acquire_owned().map_err(|_| too_many("downloads are running"))
    }

    /// A place among those who ask the collector.
    pub(crate) fn pass(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.passes).try_acquire_owned().map_err(|_| too_many("questions are asked"))
    }

    /// A place among those who listen.
    pub(crate) fn listener(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.listeners).try_acquire_owned().map_err(|_| too_many("pages are open"))
    }

    /// How many listen.
    pub(crate) fn listening(&self) -> usize {
        LISTENERS - self.listeners.available_permits()
    }
}

fn too_many(what: &str) -> Refusal {
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, format!("too many {what} at once"), "try again in a moment")
}
