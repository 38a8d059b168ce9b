//! Divides the packets of streams among workers and puts what they give out back into one order, the same for any number of workers.
//! With one worker everything happens in the caller's thread, without a copy; with more, chunks of packets travel in bounded channels.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use decode::Clock;
use event::{Event, Place};
use packet::{Interface, Packet, Timestamp};

use crate::decoder::{Frame, Stream};
use crate::shard;
use crate::worker::{Parts, Take, Worker};

/// A chunk is handed over when it holds this many packets ...
const CHUNK_PACKETS: usize = 2048;
/// ... or bytes.
const CHUNK_BYTES: usize = 512 * 1024;
/// Chunks on their way at most: each holds one chunk of packets and what came out of it.
const CHUNKS_IN_FLIGHT: usize = 4;
/// More workers than this are of no use.
const WORKERS_MAX: usize = 256;
/// How many packets ahead a worker looks, and how much of them: headers and small messages whole.
const AHEAD: usize = 8;
const LINES_AHEAD: usize = 6;
const CACHE_LINE: usize = 64;
/// Stands for all workers.
const EVERY_WORKER: u16 = u16::MAX;
/// Emptied results that wait to be filled again, per worker: as many as may be on their way.
const ROOMS: usize = CHUNKS_IN_FLIGHT + 1;
/// What ended by time-out or end of input is handed over in parts of this many bytes: all flows may end at once.
const PART_BYTES: usize = 256 * 1024;

mod results;
use results::{Produced, Results, Rooms};

/// Takes what the workers give out, in order.
pub trait Sink {
    /// An event; `by_packet` is the packet that completed it, `None` if it ended by time-out or end of input.
    ///
    /// # Errors
    /// When it cannot be passed on; ends the work.
    fn event(&mut self, event: Event, by_packet: Option<u64>, text: &[u8]) -> io::Result<()>;

    /// Everything up to a mark that was set with [`Pool::mark`] has been given out. `oldest_needed` is the oldest packet of the marked
    /// stream that an open flow still needs.
    ///
    /// # Errors
    /// As above.
    fn reached(&mut self, mark: u64, oldest_needed: Option<u64>) -> io::Result<()> {
        let _ = (mark, oldest_needed);
        Ok(())
    }
}

/// The workers.
pub struct Pool {
    kind: Kind,
    clocks: Vec<Clock>,
}

enum Kind {
    Inline(Box<Worker>),
    Threads(Box<Threads>),
}

struct Threads {
    jobs: Vec<Sender<Arc<Chunk>>>,
    done: Vec<Receiver<Done>>,
    threads: Vec<JoinHandle<()>>,
    filling: Chunk,
    in_flight: VecDeque<Arc<Chunk>>,
    spare: Vec<Chunk>,
    rooms: Rooms,
    panics: u64,
}

#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    packets: Vec<Meta>,
    interfaces: Vec<Arc<[Interface]>>,
    streams: Vec<Arc<Stream>>,
    /// What happens after the packets, to the last of the streams.
    act: Option<Act>,
}

#[derive(Clone, Copy)]
struct Meta {
    number: u64,
    clock: Timestamp,
    time: Timestamp,
    offset: usize,
    length: u32,
    original_length: u32,
    interface: u32,
    worker: u16,
}

#[derive(Clone, Copy)]
enum Act {
    Advance(Timestamp),
    Lost(u64, Timestamp),
    Finish,
    Mark(u64),
}

/// What one worker made of one chunk, in this order.
enum Done {
    /// Some of what timed out.
    TimedOut(Results),
    /// The rest of what came out of it, but for what the end of input ended.
    Whole(Whole),
    /// Some of what that ended, in order of [`Place`]; after a [`Act::Finish`] only.
    Finished(Results),
    /// There is no more of that, and how often a decoder panicked; after a [`Act::Finish`] only.
    End(u64),
}

#[derive(Default)]
struct Whole {
    completed: Results,
    timed_out: Results,
    /// For a mark the oldest packet needed.
    oldest_needed: Option<u64>,
    panics: u64,
}

/// Gathers what comes out of a chunk.
struct Gathering<'d> {
    whole: Whole,
    /// Where in the chunk the packet stands that is being decoded.
    at: usize,
    done: &'d Sender<Done>,
    rooms: &'d Rooms,
}

impl Take for Gathering<'_> {
    fn take(&mut self, event: Event, by_packet: Option<u64>, text: &[u8]) {
        if by_packet.is_some() {
            self.whole.completed.push(event, self.at, by_packet, text);
            return;
        }
        self.whole.timed_out.push(event, self.at, None, text);
        if self.whole.timed_out.text.len() >= PART_BYTES {
            let full = std::mem::replace(&mut self.whole.timed_out, self.rooms.take());
            // If nobody receives any more, the worker ends with the next chunk.
            let _ = self.done.send(Done::TimedOut(full));
        }
    }
}

/// Hands over what the end of input ends.
struct Finishing<'d> {
    results: Results,
    done: &'d Sender<Done>,
    rooms: &'d Rooms,
}

impl Finishing<'_> {
    fn hand_over(&mut self) {
        let full = std::mem::replace(&mut self.results, self.rooms.take());
        // As above.
        let _ = self.done.send(Done::Finished(full));
    }
}

impl Take for Finishing<'_> {
    fn take(&mut self, event: Event, _: Option<u64>, text: &[u8]) {
        self.results.push(event, 0, None, text);
        if self.results.text.len() >= PART_BYTES {
            self.hand_over();
        }
    }
}

impl Pool {
    /// `workers` of them; 0 means as many as there are cores.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(workers: usize, parts: &Parts) -> io::Result<Self> {
        let workers = match workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            given => given.min(WORKERS_MAX),
        };
        let kind = if workers == 1 {
            Kind::Inline(Box::new(Worker::new(parts.clone())))
        } else {
            Kind::Threads(Box::new(Threads::start(workers, parts)?))
        };
        Ok(Self { kind, clocks: Vec::new() })
    }

    /// How often a decoder panicked.
    pub fn panics(&self) -> u64 {
        match &self.kind {
            Kind::Inline(worker) => worker.panics,
            Kind::Threads(threads) => threads.panics,
        }
    }

    fn clock(&mut self, stream: &Stream) -> &mut Clock {
        let index = stream.number as usize;
        if self.clocks.len() <= index {
            self.clocks.resize(index + 1, Clock::default());
        }
        &mut self.clocks[index]
    }

    /// Gives a packet of a stream to its worker; `packet.interface` indexes `interfaces`.
    ///
    /// # Errors
    /// When the sink ends the work.
    pub fn packet(
        &mut self,
        stream: &Arc<Stream>,
        interfaces: &Arc<[Interface]>,
        number: u64,
        packet: &Packet<'_>,
        sink: &mut dyn Sink,
    ) -> io::Result<()> {
        let Some(interface) = interfaces.get(packet.interface as usize) else { return Ok(()) };
        stream.see(number);
        let clock = self.clock(stream).see(packet.time);
        match &mut self.kind {
            Kind::Inline(worker) => {
                let mut direct = Direct { sink, result: Ok(()) };
                worker.packet(stream, &Frame { number, clock, interface, packet }, &mut direct);
                direct.result
            }
            Kind::Threads(threads) => {
                threads.add(stream, interfaces, interface, number, clock, packet);
                if threads.filling.packets.len() >= CHUNK_PACKETS || threads.filling.bytes.len() >= CHUNK_BYTES {
                    threads.submit(sink)?;
                }
                Ok(())
            }
        }
    }

    fn act(&mut self, stream: &Arc<Stream>, act: Act, sink: &mut dyn Sink) -> io::Result<()> {
        match &mut self.kind {
            Kind::Inline(worker) => {
                let mut direct = Direct { sink, result: Ok(()) };
                let needed = perform(worker, stream, act, &mut direct);
                direct.result?;
                if let Act::Mark(mark) = act { sink.reached(mark, needed) } else { Ok(()) }
            }
            Kind::Threads(threads) => {
                threads.begin(stream);
                threads.filling.act = Some(act);
                threads.submit(sink)
            }
        }
    }

    /// Moves a stream's time on without a packet, so that time-outs run when traffic stops.
    ///
    /// # Errors
    /// When the sink ends the work.
    pub fn advance(&mut self, stream: &Arc<Stream>, time: Timestamp, sink: &mut dyn Sink) -> io::Result<()> {
        let clock = self.clock(stream).set(time);
        self.act(stream, Act::Advance(clock), sink)
    }

    /// Notes packets of a stream that our own capture lost.
    ///
    /// # Errors
    /// When the sink ends the work.
    pub fn lost(&mut self, stream: &Arc<Stream>, packets: u64, sink: &mut dyn Sink) -> io::Result<()> {
        let clock = self.clock(stream).now();
        self.act(stream, Act::Lost(packets, clock), sink)
    }

    /// Ends a stream: gives out everything that is open in it, in order of [`Place`].
    ///
    /// # Errors
    /// When the sink ends the work.
    pub fn finish(&mut self, stream: &Arc<Stream>, sink: &mut dyn Sink) -> io::Result<()> {
        // Every worker knows how far time has come, not only the one that got the last packet.
        self.advance(stream, Timestamp::ZERO, sink)?;
        self.act(stream, Act::Finish, sink)
    }

    /// Sets a mark in a stream: the sink is told when everything before it has been given out.
    ///
    /// # Errors
    /// When the sink ends the work.
    pub fn mark(&mut self, stream: &Arc<Stream>, mark: u64, sink: &mut dyn Sink) -> io::Result<()> {
        self.act(stream, Act::Mark(mark), sink)
    }

    /// Waits for everything that is on its way.
    ///
    /// # Errors
    /// When the sink ends the work.
    pub fn flush(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        match &mut self.kind {
            Kind::Inline(_) => Ok(()),
            Kind::Threads(threads) => {
                threads.submit(sink)?;
                while !threads.in_flight.is_empty() {
                    threads.collect(sink)?;
                }
                Ok(())
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Kind::Threads(threads) = &mut self.kind {
            threads.jobs.clear();
            threads.done.clear();
            for thread in threads.threads.drain(..) {
                // A worker catches its decoders' panics; one of its own has been printed already.
                let _ = thread.join();
            }
        }
    }
}

fn perform(worker: &mut Worker, stream: &Arc<Stream>, act: Act, take: &mut dyn Take) -> Option<u64> {
    match act {
        Act::Advance(clock) => worker.advance(stream, clock, take),
        Act::Lost(packets, clock) => worker.lost(stream, packets, clock, take),
        Act::Finish => worker.finish(stream, take),
        Act::Mark(_) => return worker.oldest_needed(stream),
    }
    None
}

/// Passes events on at once; after the sink's first error nothing more.
struct Direct<'s> {
    sink: &'s mut dyn Sink,
    result: io::Result<()>,
}

impl Take for Direct<'_> {
    fn take(&mut self, event: Event, by_packet: Option<u64>, text: &[u8]) {
        if self.result.is_ok() {
            self.result = self.sink.event(event, by_packet, text);
        }
    }
}

impl Threads {
    fn start(workers: usize, parts: &Parts) -> io::Result<Self> {
        let mut threads = Self {
            jobs: Vec::new(),
            done: Vec::new(),
            threads: Vec::new(),
            filling: Chunk::default(),
            in_flight: VecDeque::new(),
            spare: Vec::new(),
            rooms: Rooms::new(workers * ROOMS),
            panics: 0,
        };
        for number in 0..workers {
            let (job_sender, jobs) = bounded(CHUNKS_IN_FLIGHT + 1);
            let (done_sender, done) = bounded(CHUNKS_IN_FLIGHT + 1);
            let (parts, rooms) = (parts.clone(), threads.rooms.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || work(number as u16, workers, &parts, &jobs, &done_sender, &rooms))?;
            threads.jobs.push(job_sender);
            threads.done.push(done);
            threads.threads.push(thread);
        }
        Ok(threads)
    }

    /// Makes `stream` the one that the chunk's next packets belong to.
    fn begin(&mut self, stream: &Arc<Stream>) {
        if self.filling.streams.last().is_none_or(|last| last.number != stream.number) {
            self.filling.streams.push(Arc::clone(stream));
        }
    }

    fn add(
        &mut self,
        stream: &Arc<Stream>,
        interfaces: &Arc<[Interface]>,
        interface: &Interface,
        number: u64,
        clock: Timestamp,
        packet: &Packet<'_>,
    ) {
        let chunk = &mut self.filling;
        let same = chunk.streams.last().is_some_and(|last| last.number == stream.number)
            && chunk.interfaces.last().is_some_and(|last| Arc::ptr_eq(last, interfaces));
        if !same {
            chunk.streams.push(Arc::clone(stream));
            while chunk.interfaces.len() + 1 < chunk.streams.len() {
                chunk.interfaces.push(Arc::from([]));
            }
            chunk.interfaces.push(Arc::clone(interfaces));
        }
        let shard = shard::of(interface.link_type, packet);
        let worker = if shard.everywhere { EVERY_WORKER } else { shard.worker(self.jobs.len()) };
        let offset = chunk.bytes.len();
        chunk.bytes.extend_from_slice(packet.data);
        chunk.packets.push(Meta {
            number,
            clock,
            time: packet.time,
            offset,
            length: packet.data.len() as u32,
            original_length: packet.original_length,
            interface: ((chunk.streams.len() - 1) as u32) << 20 | (packet.interface & 0xf_ffff),
            worker,
        });
    }

    fn submit(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        if self.filling.packets.is_empty() && self.filling.act.is_none() {
            return Ok(());
        }
        let next = self.spare.pop().unwrap_or_default();
        let chunk = Arc::new(std::mem::replace(&mut self.filling, next));
        for jobs in &self.jobs {
            jobs.send(Arc::clone(&chunk)).map_err(|_| gone())?;
        }
        self.in_flight.push_back(chunk);
        while self.in_flight.len() > CHUNKS_IN_FLIGHT {
            self.collect(sink)?;
        }
        Ok(())
    }

    /// Waits for the oldest chunk on its way and passes on what came out of it.
    fn collect(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let mut all = Vec::with_capacity(self.done.len());
        for done in &self.done {
            loop {
                match done.recv().map_err(|_| gone())? {
                    Done::TimedOut(mut results) => {
                        results.pass_on(sink)?;
                        self.rooms.give(results);
                    }
                    Done::Whole(whole) => {
                        all.push(whole);
                        break;
                    }
                    Done::Finished(_) | Done::End(_) => return Err(gone()),
                }
            }
        }
        self.panics = self.panics.max(all.iter().map(|whole| whole.panics).sum());
        let Some(chunk) = self.in_flight.pop_front() else { return Ok(()) };
        // Each worker's are in the order of the chunk's packets.
        let mut lists: Vec<_> =
            all.iter_mut().map(|whole| (whole.completed.produced.drain(..), whole.completed.text.as_slice())).collect();
        let at = |events: &std::vec::Drain<'_, Produced>| events.as_slice().first().map_or(usize::MAX, |next| next.at);
        while let Some((events, text)) = lists.iter_mut().min_by_key(|(events, _)| at(events))
            && let Some(next) = events.next()
        {
            sink.event(next.event, next.by_packet, text.get(next.text).unwrap_or_default())?;
        }
        drop(lists);
        for whole in &mut all {
            whole.timed_out.pass_on(sink)?;
            self.rooms.give(std::mem::take(&mut whole.completed));
            self.rooms.give(std::mem::take(&mut whole.timed_out));
        }
        match chunk.act {
            Some(Act::Mark(mark)) => sink.reached(mark, all.iter().filter_map(|whole| whole.oldest_needed).min())?,
            Some(Act::Finish) => self.collect_finished(sink)?,
            Some(Act::Advance(_) | Act::Lost(..)) | None => {}
        }
        if let Ok(mut chunk) = Arc::try_unwrap(chunk) {
            chunk.clear();
            self.spare.push(chunk);
        }
        Ok(())
    }

    /// Brings what the workers give out at the end of a stream into one order.
    fn collect_finished(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let part =
            |done| Finished { done, rooms: &self.rooms, events: Vec::new().into_iter(), text: Vec::new(), panics: 0 };
        let mut parts: Vec<Finished<'_>> = self.done.iter().map(part).collect();
        let mut heads = BinaryHeap::with_capacity(parts.len());
        let mut next = Vec::with_capacity(parts.len());
        for (number, part) in parts.iter_mut().enumerate() {
            let head = part.next()?;
            heads.extend(head.as_ref().map(|produced| Reverse((Place::of(&produced.event), number))));
            next.push(head);
        }
        while let Some(Reverse((_, number))) = heads.pop() {
            let (Some(part), Some(head)) = (parts.get_mut(number), next.get_mut(number)) else { continue };
            if let Some(produced) = head.take() {
                sink.event(produced.event, None, part.text.get(produced.text).unwrap_or_default())?;
            }
            *head = part.next()?;
            heads.extend(head.as_ref().map(|produced| Reverse((Place::of(&produced.event), number))));
        }
        let panics = parts.iter().map(|part| part.panics).sum();
        self.panics = self.panics.max(panics);
        Ok(())
    }
}

/// What a worker gives out in order of [`Place`], part by part.
struct Finished<'d> {
    done: &'d Receiver<Done>,
    rooms: &'d Rooms,
    events: std::vec::IntoIter<Produced>,
    text: Vec<u8>,
    panics: u64,
}

impl Finished<'_> {
    fn next(&mut self) -> io::Result<Option<Produced>> {
        loop {
            if let Some(produced) = self.events.next() {
                return Ok(Some(produced));
            }
            match self.done.recv().map_err(|_| gone())? {
                Done::Finished(results) => {
                    self.events = results.produced.into_iter();
                    let text = std::mem::replace(&mut self.text, results.text);
                    self.rooms.give(Results { produced: Vec::new(), text });
                }
                Done::End(panics) => {
                    self.panics = panics;
                    return Ok(None);
                }
                Done::TimedOut(_) | Done::Whole(_) => return Err(gone()),
            }
        }
    }
}

impl Chunk {
    fn clear(&mut self) {
        self.bytes.clear();
        self.packets.clear();
        self.interfaces.clear();
        self.streams.clear();
        self.act = None;
    }
}

/// Looks at a packet that comes soon: it was written by another core, and by its turn it will have come from there.
#[inline]
fn bring_near(packet: Option<&[u8]>) {
    let lines = packet.unwrap_or_default().iter().step_by(CACHE_LINE).take(LINES_AHEAD);
    std::hint::black_box(lines.fold(0, |sum: u8, byte| sum ^ byte));
}

fn gone() -> io::Error {
    io::Error::other("a worker ended unexpectedly; please report this")
}

fn work(number: u16, workers: usize, parts: &Parts, jobs: &Receiver<Arc<Chunk>>, done: &Sender<Done>, rooms: &Rooms) {
    let mut worker = Worker::new(parts.clone());
    worker.one_of = Some((number, workers));
    for chunk in jobs {
        let whole = Whole { completed: rooms.take(), ..Whole::default() };
        let mut gathering = Gathering { whole, at: 0, done, rooms };
        for (place, meta) in chunk.packets.iter().enumerate() {
            if meta.worker != number && meta.worker != EVERY_WORKER {
                continue;
            }
            gathering.at = place;
            if let Some(soon) = chunk.packets.get(place + AHEAD).filter(|soon| soon.worker == number) {
                bring_near(chunk.bytes.get(soon.offset..).and_then(|bytes| bytes.get(..soon.length as usize)));
            }
            let at = (meta.interface >> 20) as usize;
            let (Some(stream), Some(interfaces)) = (chunk.streams.get(at), chunk.interfaces.get(at)) else { continue };
            let index = meta.interface & 0xf_ffff;
            let Some(interface) = interfaces.get(index as usize) else { continue };
            let data = chunk.bytes.get(meta.offset..meta.offset + meta.length as usize).unwrap_or_default();
            let packet = Packet { time: meta.time, interface: index, original_length: meta.original_length, data };
            worker.packet(
                stream,
                &Frame { number: meta.number, clock: meta.clock, interface, packet: &packet },
                &mut gathering,
            );
        }
        let act = chunk.act.zip(chunk.streams.last());
        let mut finishing = None;
        match act {
            Some((Act::Finish, stream)) => finishing = Some(Arc::clone(stream)),
            Some((act, stream)) => gathering.whole.oldest_needed = perform(&mut worker, stream, act, &mut gathering),
            None => {}
        }
        drop(chunk);
        gathering.whole.panics = worker.panics;
        if done.send(Done::Whole(gathering.whole)).is_err() {
            return;
        }
        if let Some(stream) = finishing {
            let mut finishing = Finishing { results: rooms.take(), done, rooms };
            perform(&mut worker, &stream, Act::Finish, &mut finishing);
            finishing.hand_over();
            if done.send(Done::End(worker.panics)).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;
    use event::Observer;

    #[derive(Default)]
    struct Collected {
        completed: String,
        ended: Vec<String>,
        marks: Vec<(u64, Option<u64>)>,
    }
    impl Sink for Collected {
        fn event(&mut self, _: Event, by_packet: Option<u64>, text: &[u8]) -> io::Result<()> {
            let text = String::from_utf8_lossy(text).into_owned();
            match by_packet {
                Some(_) => self.completed.push_str(&text),
                None => self.ended.push(text),
            }
            Ok(())
        }
        fn reached(&mut self, mark: u64, oldest_needed: Option<u64>) -> io::Result<()> {
            self.marks.push((mark, oldest_needed));
            Ok(())
        }
    }

    fn run(workers: usize, hosts: &[u8], long: Option<usize>) -> (Collected, u64) {
        let mut pool = Pool::new(workers, &toy::parts()).unwrap();
        let observer = Arc::new(Observer { name: "s".into(), epoch: "e".into(), is_file: false });
        let stream = Arc::new(Stream::new(0, observer));
        let interfaces = toy::interfaces();
        let mut sink = Collected::default();
        for (number, host) in hosts.iter().enumerate() {
            let mut data = toy::packet(*host);
            if long == Some(number) {
                data.resize(100, 0);
            }
            let packet = Packet {
                time: Timestamp::from_nanos(number as u64),
                interface: 0,
                original_length: data.len() as u32,
                data: &data,
            };
            pool.packet(&stream, &interfaces, number as u64, &packet, &mut sink).unwrap();
        }
        pool.mark(&stream, 77, &mut sink).unwrap();
        pool.finish(&stream, &mut sink).unwrap();
        pool.flush(&mut sink).unwrap();
        sink.ended.sort();
        (sink, pool.panics())
    }

    #[test]
    fn what_comes_out_is_the_same_for_any_number_of_workers() {
        let hosts: Vec<u8> = (0..20_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 29) as u8).collect();
        let one = run(1, &hosts, None).0;
        assert!(one.completed.len() > 10_000 && !one.ended.is_empty());
        for workers in [2, 4, 7] {
            let more = run(workers, &hosts, None).0;
            assert_eq!(one.completed, more.completed, "{workers} workers");
            assert_eq!(one.ended, more.ended, "{workers} workers");
            assert_eq!(one.marks, more.marks, "{workers} workers");
        }
    }

    #[test]
    fn a_mark_tells_the_oldest_packet_still_needed() {
        let (sink, _) = run(1, &[1, 2, 2, 2, 1, 3], None);
        assert_eq!(sink.marks, [(77, Some(0))]);
    }

    #[test]
    fn a_panicking_decoder_is_counted_and_the_rest_goes_on() {
        for workers in [1, 3] {
            let (sink, panics) = run(workers, &[1, 1, 9, 1, 1, 1], Some(2));
            assert_eq!(panics, 1);
            assert!(sink.completed.contains("3-5") || sink.completed.contains("0-3"), "{}", sink.completed);
        }
    }
}
