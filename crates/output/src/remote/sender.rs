//! The thread that empties a backlog into a service: again and again until each document is kept, known or put aside, as refused or because its
//! place takes nothing for now.
//! Sends one bulk at a time, in order; what is tried again are only the documents that the service did not take.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use super::backlog::{Backlog, Work};
use super::dead_letter::DeadLetters;
use super::held::Tried;
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

/// What an answer leaves to do.
struct Left<'a> {
    /// To be sent again.
    again: Vec<Document<'a>>,
    /// What belongs to places that take nothing: by place, why and what.
    blocked: BTreeMap<String, (String, Vec<Document<'a>>)>,
    /// Why something is to be sent again.
    problem: Option<String>,
}

impl Sender {
    pub(super) fn run(mut self, counters: &Counters) {
        while let Some(work) = self.backlog.next() {
            if let Some(place) = &work.place {
                self.try_held(place, &work, counters);
                continue;
            }
            if !self.deliver(&work, counters) {
                return;
            }
            self.backlog.confirm(work.last_seq);
        }
    }

    /// Sends until every document has its fate; gives false when sending is over before.
    fn deliver(&mut self, work: &Work, counters: &Counters) -> bool {
        let mut left = documents_of(work);
        let mut pause = PAUSE_MIN;
        loop {
            left = self.queue_up(left);
            if left.is_empty() {
                break;
            }
            let before = left.len();
            let problem;
            (left, problem) = match self.service.send(&left) {
                Ok(fates) => {
                    let settled = self.settle(&left, fates, counters);
                    self.put_aside(settled)
                }
                Err(unavailable) => (left, Some(unavailable.0)),
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
            // It may be that these wait for the room of others that can be sent by now.
            if let Some(held) = self.backlog.held_work()
                && let Some(place) = &held.place
            {
                self.try_held(place, &held, counters);
            }
        }
        if counters.failing.swap(0, Ordering::Relaxed) == 1 {
            tracing::info!(output = self.name, "works again");
        }
        true
    }

    /// Sends once what was held for a place.
    fn try_held(&mut self, place: &str, work: &Work, counters: &Counters) {
        let sent = documents_of(work);
        let begun = Instant::now();
        let (rest, is_blocked) = match self.service.send(&sent) {
            Ok(fates) => {
                let settled = self.settle(&sent, fates, counters);
                let is_blocked = !settled.blocked.is_empty();
                let blocked = settled.blocked.into_values().flat_map(|(_, documents)| documents);
                (settled.again.into_iter().chain(blocked).collect(), is_blocked)
            }
            Err(unavailable) => {
                tracing::debug!(output = self.name, place, "{unavailable}");
                (sent.clone(), false)
            }
        };
        if !rest.is_empty() {
            add(&counters.failures, 1);
            add(&counters.events_retried, rest.len() as u64);
        }
        let tried = Tried { sent: sent.len(), rest: &rest, is_blocked, took: begun.elapsed() };
        self.backlog.tried(place, work.last_seq, &tried);
    }

    /// What belongs to a place of which something is held goes behind that, as far as there is room; gives the others.
    fn queue_up<'a>(&self, documents: Vec<Document<'a>>) -> Vec<Document<'a>> {
        if !self.backlog.holds_any() {
            return documents;
        }
        let mut places: BTreeMap<String, Vec<Document<'a>>> = BTreeMap::new();
        for document in documents {
            places.entry(self.service.place(&document)).or_default().push(document);
        }
        let mut left = Vec::new();
        for (place, documents) in places {
            let held = if self.backlog.holds(&place) { self.backlog.hold(&place, &documents, "") } else { 0 };
            left.extend(documents.into_iter().skip(held));
        }
        left
    }

    /// Puts what is blocked on disk; gives what is to be sent again, and why.
    fn put_aside<'a>(&self, settled: Left<'a>) -> (Vec<Document<'a>>, Option<String>) {
        let (mut again, mut problem) = (settled.again, settled.problem);
        for (place, (reason, documents)) in settled.blocked {
            let held = self.backlog.hold(&place, &documents, &reason);
            if held < documents.len() {
                problem
                    .get_or_insert_with(|| format!("{place}: {reason}; and there is no room to put its events aside"));
                again.extend(documents.into_iter().skip(held));
            }
        }
        (again, problem)
    }

    /// Counts what is done with; gives what is not.
    fn settle<'a>(&mut self, sent: &[Document<'a>], fates: Vec<Fate>, counters: &Counters) -> Left<'a> {
        let (mut again, mut blocked, mut problem) = (Vec::new(), BTreeMap::new(), None);
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
                Fate::Blocked(reason) => {
                    let place = blocked.entry(self.service.place(document));
                    place.or_insert_with(|| (reason, Vec::new())).1.push(*document);
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
        Left { again, blocked, problem }
    }
}

fn documents_of(work: &Work) -> Vec<Document<'_>> {
    work.documents.iter().flat_map(|documents| documents.iter()).collect()
}

/// A pause between half of it and all of it, so that several analyzers do not come back in step.
fn shortened(pause: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    pause / 2 + pause.mul_f64(f64::from(nanos % 1000) / 2000.0)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};
    use std::path::Path;
    use std::sync::Mutex;

    use super::super::backlog::Bounds;
    use super::super::dead_letter::Refusals;
    use super::super::disk::Disk;
    use super::super::{Documents, Unavailable};
    use super::*;
    use packet::Timestamp;

    /// Answers as scripted, then takes everything but what belongs to blocked places.
    #[derive(Default)]
    struct Scripted {
        answers: VecDeque<Result<Vec<Fate>, Unavailable>>,
        seen: Arc<Mutex<Seen>>,
    }

    #[derive(Default)]
    struct Seen {
        sent: Vec<Vec<u64>>,
        kept: Vec<u64>,
        blocked: BTreeSet<&'static str>,
    }

    impl Service for Scripted {
        fn send(&mut self, documents: &[Document<'_>]) -> Result<Vec<Fate>, Unavailable> {
            let mut seen = self.seen.lock().unwrap();
            seen.sent.push(documents.iter().map(|document| document.time.nanos()).collect());
            let mut fates = self.answers.pop_front().unwrap_or_else(|| Ok(vec![Fate::Kept; documents.len()]))?;
            for (document, fate) in documents.iter().zip(&mut fates) {
                if seen.blocked.contains(document.kind) {
                    *fate = Fate::Blocked("read-only".to_owned());
                } else if *fate == Fate::Kept {
                    seen.kept.push(document.time.nanos());
                }
            }
            Ok(fates)
        }

        fn place(&self, document: &Document<'_>) -> String {
            format!("index-{}", document.kind)
        }
    }

    /// One document of a kind for each number.
    fn documents(kind: &str, numbers: std::ops::Range<u64>) -> Arc<Documents> {
        let mut documents = Documents::default();
        for number in numbers {
            let json = format!("{{\"_id\":\"{number:032x}\",\"type\":\"{kind}\"}}");
            documents.push(&Document { time: Timestamp::from_nanos(number), kind, key: "", json: &json });
        }
        Arc::new(documents)
    }

    struct Running {
        backlog: Arc<Backlog>,
        counters: Arc<Counters>,
        seen: Arc<Mutex<Seen>>,
        refusals: Arc<Refusals>,
        thread: std::thread::JoinHandle<()>,
    }

    /// A sender at work on a directory, with so much room on disk.
    fn run(folder: &Path, disk: u64, service: Scripted) -> Running {
        let bounds = Bounds { memory: 1 << 20, bulk_bytes: 1 << 20, bulk_time: Duration::ZERO };
        let disk = (disk > 0).then(|| Disk::open("test", folder, disk).unwrap());
        let backlog = Arc::new(Backlog::new(bounds, disk));
        let counters = Arc::new(Counters::default());
        let letters = DeadLetters::open(folder.join("letters"), 1 << 20).unwrap();
        let (seen, refusals) = (Arc::clone(&service.seen), letters.refusals());
        let sender = Sender { name: "test", service: Box::new(service), backlog: Arc::clone(&backlog), letters };
        let counting = Arc::clone(&counters);
        Running { backlog, counters, seen, refusals, thread: std::thread::spawn(move || sender.run(&counting)) }
    }

    impl Running {
        fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
            for _ in 0..2000 {
                if condition(self) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            panic!("{what}: {:?} {:?}", self.backlog.on_disk(), self.counters.snapshot());
        }

        fn kept(&self) -> Vec<u64> {
            let mut kept = self.seen.lock().unwrap().kept.clone();
            kept.sort_unstable();
            kept
        }

        fn block(&self, kinds: &[&'static str]) {
            self.seen.lock().unwrap().blocked = kinds.iter().copied().collect();
        }

        fn end(self) -> u64 {
            let left = self.backlog.end(Duration::from_secs(10)).unwrap();
            self.thread.join().unwrap();
            left
        }
    }

    #[test]
    fn only_what_was_not_taken_is_sent_again_and_what_is_refused_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Fate::Refused { status: 400, reason: "no".to_owned() };
        let answers = VecDeque::from([
            Err(Unavailable("away".to_owned())),
            Ok(vec![Fate::Kept, Fate::Later("busy".to_owned()), refused, Fate::Known]),
            Ok(Vec::new()),
        ]);
        let running = run(folder.path(), 0, Scripted { answers, ..Scripted::default() });
        assert!(running.backlog.push(&documents("dns", 0..4)).unwrap());
        let (seen, counters) = (Arc::clone(&running.seen), Arc::clone(&running.counters));
        assert_eq!(running.end(), 0);
        assert_eq!(seen.lock().unwrap().sent, [vec![0, 1, 2, 3], vec![0, 1, 2, 3], vec![1], vec![1]]);
        let counters = counters.snapshot();
        assert_eq!((counters.events_written, counters.events_known, counters.events_refused), (2, 1, 1));
        assert_eq!((counters.failures, counters.failing, counters.events_dropped), (3, false, 0));
    }

    #[test]
    fn the_log_has_one_line_for_the_first_refused_event_and_counts_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Fate::Refused { status: 400, reason: "no".to_owned() };
        let answers = VecDeque::from([Ok(vec![refused.clone(); 4]), Ok(vec![Fate::Kept, refused])]);
        let running = run(folder.path(), 0, Scripted { answers, ..Scripted::default() });
        running.backlog.push(&documents("dns", 0..4)).unwrap();
        running.until("four to be refused", |running| running.counters.snapshot().events_refused == 4);
        running.backlog.push(&documents("dns", 4..6)).unwrap();
        let (refusals, counters) = (Arc::clone(&running.refusals), Arc::clone(&running.counters));
        assert_eq!(running.end(), 0);
        assert_eq!(counters.snapshot().events_refused, 5);
        assert_eq!(refusals.more(Instant::now(), false), None, "not yet");
        assert_eq!(refusals.more(Instant::now(), true), Some(4));
    }

    #[test]
    fn a_blocked_place_holds_up_no_other_and_gets_its_events_later_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let running = run(folder.path(), 1 << 20, Scripted::default());
        running.block(&["flow"]);
        for first in [0, 10, 20] {
            assert!(running.backlog.push(&documents("flow", first..first + 5)).unwrap());
            assert!(running.backlog.push(&documents("dns", first + 5..first + 10)).unwrap());
            running.until("the others to go on", |running| running.kept().len() as u64 == first / 2 + 5);
            running.until("all to be kept", |running| running.backlog.unkept().unwrap() == 0);
        }
        assert_eq!(running.backlog.on_disk().held_events, 15);
        assert!(!running.counters.snapshot().failing);
        // What comes later is not even sent before what is held.
        let sent = running.seen.lock().unwrap().sent.clone();
        assert!(!sent.iter().flatten().any(|number| (20..25).contains(number)), "{sent:?}");
        running.block(&[]);
        running.until("what was held to arrive", |running| running.backlog.on_disk().held_bytes == 0);
        let kept = running.seen.lock().unwrap().kept.clone();
        let flows: Vec<u64> = kept.iter().copied().filter(|number| number % 10 < 5).collect();
        assert_eq!(flows, [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24]);
        assert_eq!(running.kept(), (0..30).collect::<Vec<_>>(), "each once");
        assert_eq!(running.counters.snapshot().events_written, 30);
        assert_eq!(std::fs::read_dir(folder.path().join("held")).unwrap().count(), 0, "nothing is left behind");
        assert_eq!(running.end(), 0);
    }

    #[test]
    fn what_is_held_outlives_a_crash_and_one_place_does_not_wait_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let running = run(folder.path(), 1 << 20, Scripted::default());
        running.block(&["flow", "icmp"]);
        running.backlog.push(&documents("flow", 0..5)).unwrap();
        running.backlog.push(&documents("icmp", 5..10)).unwrap();
        running.until("all to be held", |running| running.backlog.on_disk().held_events == 10);
        // The program is killed: what is on disk now is all that the next one finds.
        let crashed = tempfile::tempdir().unwrap();
        for place in ["index-flow", "index-icmp"] {
            let copy = crashed.path().join("held").join(place);
            std::fs::create_dir_all(&copy).unwrap();
            for entry in std::fs::read_dir(folder.path().join("held").join(place)).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
        }
        assert_eq!(running.end(), 0);
        let service = Scripted::default();
        service.seen.lock().unwrap().blocked = BTreeSet::from(["icmp"]);
        let running = run(crashed.path(), 1 << 20, service);
        running.until("the flows", |running| running.kept() == [0, 1, 2, 3, 4]);
        assert_eq!(running.backlog.on_disk().held_events, 5);
        assert_eq!(running.end(), 0, "what is held is kept");
        let running = run(crashed.path(), 1 << 20, Scripted::default());
        running.until("the rest", |running| running.kept() == [5, 6, 7, 8, 9]);
        running.end();
    }

    #[test]
    fn without_room_for_more_a_blocked_place_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let disk = 4 * documents("flow", 0..10).bytes().len() as u64;
        let running = run(folder.path(), disk, Scripted::default());
        running.block(&["flow"]);
        running.backlog.push(&documents("flow", 0..10)).unwrap();
        running.until("some to be held", |running| running.backlog.on_disk().held_events == 10);
        running.backlog.push(&documents("flow", 10..40)).unwrap();
        running.backlog.push(&documents("dns", 40..50)).unwrap();
        running.until("waiting", |running| running.counters.snapshot().failing);
        assert_eq!(running.backlog.on_disk().held_events, 10);
        running.block(&[]);
        running.until("everything", |running| running.kept() == (0..50).collect::<Vec<_>>());
        assert!(running.backlog.on_disk().held_bytes <= disk / 2);
        assert_eq!(running.end(), 0);
    }
}
