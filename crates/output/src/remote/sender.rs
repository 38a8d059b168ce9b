//! The thread that empties a backlog into a service: again and again until each document is kept, known or put aside as refused.
//! Sends one bulk at a time, in order; what is tried again are only the documents that the service did not take.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::backlog::{Backlog, Work};
use super::dead_letter::DeadLetters;
use super::{Document, Fate, Service};
use crate::counters::{Counters, add};

/// Pauses between attempts grow from here to [`PAUSE_MAX`], each shortened at random by up to half.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

pub(super) struct Sender {
    pub(super) name: &'static str,
    pub(super) service: Box<dyn Service>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) letters: DeadLetters,
}

impl Sender {
    pub(super) fn run(mut self, counters: &Counters) {
        while let Some(work) = self.backlog.next() {
            if !self.deliver(&work, counters) {
                return;
            }
            self.backlog.confirm(work.last_seq);
        }
    }

    /// Sends until every document has its fate; gives false when sending is over before.
    fn deliver(&mut self, work: &Work, counters: &Counters) -> bool {
        let mut left: Vec<Document<'_>> = work.documents.iter().flat_map(|documents| documents.iter()).collect();
        let mut pause = PAUSE_MIN;
        while !left.is_empty() {
            let before = left.len();
            let problem = match self.service.send(&left) {
                Ok(fates) => {
                    let (again, problem) = self.settle(&left, fates, counters);
                    left = again;
                    problem
                }
                Err(unavailable) => Some(unavailable.0),
            };
            let Some(problem) = problem else { break };
            add(&counters.failures, 1);
            add(&counters.events_retried, left.len() as u64);
            self.backlog.failing();
            if counters.failing.swap(1, Ordering::Relaxed) == 0 {
                tracing::warn!(output = self.name, "{problem}; events wait, trying again until it works");
            } else {
                tracing::debug!(output = self.name, "{problem}");
            }
            if left.len() < before {
                pause = PAUSE_MIN;
            }
            if !self.backlog.pause(shortened(pause)) {
                return false;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        if counters.failing.swap(0, Ordering::Relaxed) == 1 {
            tracing::info!(output = self.name, "works again");
        }
        true
    }

    /// Counts what is done with; gives what is to be sent again, and why.
    fn settle<'a>(
        &mut self,
        sent: &[Document<'a>],
        fates: Vec<Fate>,
        counters: &Counters,
    ) -> (Vec<Document<'a>>, Option<String>) {
        let (mut again, mut problem) = (Vec::new(), None);
        let (mut kept, mut bytes, mut known) = (0, 0, 0);
        let mut fates = fates.into_iter();
        for document in sent {
            // An answer that is too short says nothing of the rest.
            match fates.next().unwrap_or_else(|| Fate::Later("the answer was incomplete".to_owned())) {
                Fate::Kept => {
                    kept += 1;
                    bytes += document.json.len() as u64;
                }
                Fate::Known => known += 1,
                Fate::Later(reason) => {
                    problem.get_or_insert(reason);
                    again.push(*document);
                }
                Fate::Refused { status, reason } => match self.letters.add(self.name, document, status, &reason) {
                    Ok(true) => add(&counters.events_refused, 1),
                    Ok(false) => {
                        if counters.events_dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                            tracing::error!(
                                output = self.name,
                                "dead letters are full: refused events are dropped and counted; see `tapline output retry`"
                            );
                        }
                    }
                    Err(error) => {
                        problem.get_or_insert(format!("a refused event cannot be put aside: {error}"));
                        again.push(*document);
                    }
                },
            }
        }
        if let Err(error) = self.letters.flush() {
            tracing::error!(output = self.name, "dead letters: {error}");
        }
        add(&counters.events_written, kept);
        add(&counters.bytes_written, bytes);
        add(&counters.events_known, known);
        (again, problem)
    }
}

/// A pause between half of it and all of it, so that several analyzers do not come back in step.
fn shortened(pause: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    pause / 2 + pause.mul_f64(f64::from(nanos % 1000) / 2000.0)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::super::backlog::Bounds;
    use super::super::{Documents, Unavailable};
    use super::*;
    use packet::Timestamp;

    /// Answers as scripted, then takes everything.
    struct Scripted {
        answers: VecDeque<Result<Vec<Fate>, Unavailable>>,
        sent: Arc<Mutex<Vec<Vec<u64>>>>,
    }

    impl Service for Scripted {
        fn send(&mut self, documents: &[Document<'_>]) -> Result<Vec<Fate>, Unavailable> {
            self.sent.lock().unwrap().push(documents.iter().map(|document| document.time.nanos()).collect());
            self.answers.pop_front().unwrap_or_else(|| Ok(vec![Fate::Kept; documents.len()]))
        }
    }

    #[test]
    fn only_what_was_not_taken_is_sent_again_and_what_is_refused_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds { memory: 1 << 20, bulk_bytes: 1 << 20, bulk_time: Duration::ZERO };
        let backlog = Arc::new(Backlog::new(bounds, None));
        let mut documents = Documents::default();
        for number in 0..4 {
            let json = format!("{{\"_id\":\"{number:032x}\",\"type\":\"dns\"}}");
            documents.push(&Document { time: Timestamp::from_nanos(number), kind: "dns", key: "", json: &json });
        }
        assert!(backlog.push(&Arc::new(documents)).unwrap());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let refused = Fate::Refused { status: 400, reason: "no".to_owned() };
        let answers = VecDeque::from([
            Err(Unavailable("away".to_owned())),
            Ok(vec![Fate::Kept, Fate::Later("busy".to_owned()), refused, Fate::Known]),
            Ok(Vec::new()),
        ]);
        let letters = DeadLetters::open(folder.path().to_owned(), 1 << 20).unwrap();
        let service = Box::new(Scripted { answers, sent: Arc::clone(&sent) });
        let sender = Sender { name: "test", service, backlog: Arc::clone(&backlog), letters };
        let counters = Arc::new(Counters::default());
        let counting = Arc::clone(&counters);
        let thread = std::thread::spawn(move || sender.run(&counting));
        assert_eq!(backlog.end(Duration::from_secs(10)).unwrap(), 0);
        thread.join().unwrap();
        assert_eq!(*sent.lock().unwrap(), [vec![0, 1, 2, 3], vec![0, 1, 2, 3], vec![1], vec![1]]);
        let counters = counters.snapshot();
        assert_eq!((counters.events_written, counters.events_known, counters.events_refused), (2, 1, 1));
        assert_eq!((counters.failures, counters.failing, counters.events_dropped), (3, false, 0));
    }
}
