//! Getting packets back: which batches can hold a match, reading them, filtering each packet, and merging everything in
//! the order of time. Bounded in memory whatever it matches. What form the packets are written in is `dump`'s.

use crate::batches::Loaded;
use crate::filter::{Filter, Matcher};
use crate::index::{BatchEntry, Index};
use crate::layout::{Archive, SegmentFile};
use crate::numbers::PacketNumbers;
use packet::batch::{DropPlace, DropReason, Item};
use packet::{BatchName, Entry, Epoch, GapRecord, InterfaceSet, LinkType, Packet, SourceName, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of matching packets kept at once; beyond, batches are dropped and read again when their turn comes.
const BUFFER_BYTES: usize = 64 << 20;
/// Segments kept open at once.
const SEGMENTS_OPEN: usize = 64;
/// Candidates kept from the first look at the indexes; beyond, an index is read again when its segment's turn comes.
const CANDIDATES_KEPT: usize = 200_000;
/// Gap records kept for the summary; all are counted.
const GAPS_KEPT: usize = 10_000;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Which packets.
    pub filter: Filter,
    /// Of which sources; none named means all.
    pub sources: Vec<SourceName>,
    /// Packets from this time on.
    pub since: Option<Timestamp>,
    /// Packets before this time.
    pub until: Option<Timestamp>,
    /// Only packets of this run of a probe.
    pub epoch: Option<Epoch>,
    /// Only packets with these numbers within their epoch.
    pub numbers: Option<PacketNumbers>,
}

impl Query {
    fn covers(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }

    fn touches(&self, earliest: Timestamp, latest: Timestamp) -> bool {
        self.since.is_none_or(|since| latest >= since) && self.until.is_none_or(|until| earliest < until)
    }

    fn means(&self, number: u64) -> bool {
        self.numbers.as_ref().is_none_or(|numbers| numbers.contains(number))
    }

    /// Whether anything in an entry of the log, a gap record too, can be meant.
    fn touches_entry(&self, index: &Index, entry: &BatchEntry) -> bool {
        let is_epoch = |epoch| index.sections.get(entry.section as usize).is_some_and(|section| section.epoch == epoch);
        self.touches(entry.time_min, entry.time_max)
            && self.epoch.is_none_or(is_epoch)
            && self.numbers.as_ref().is_none_or(|numbers| numbers.touches(entry.first_packet, entry.packets))
    }
}

/// Why a query ended early.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The archive cannot be read.
    #[error("reading the archive: {path}: {error}")]
    Read {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It was cancelled.
    #[error("the query was cancelled")]
    Cancelled,
}

/// How far a query is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Segments that were looked at.
    pub segments: u64,
    /// Bytes of all those segments.
    pub archive_bytes: u64,
    /// Bytes of indexes read.
    pub index_bytes: u64,
    /// Bytes of the batches that may hold a match, as stored.
    pub bytes_total: u64,
    /// Bytes of batches read so far. Can exceed the total when batches had to be read twice.
    pub bytes_read: u64,
    /// Batches that may hold a match.
    pub batches_total: u64,
    /// Batches read so far.
    pub batches_read: u64,
    /// Packets in the batches that may hold a match: no more can be found.
    pub packets_total: u64,
    /// Packets given out so far.
    pub packets_found: u64,
    /// Batches that could not be read: damaged, or removed by retention meanwhile.
    pub batches_failed: u64,
    /// Gap records within the range of time.
    pub gaps: u64,
    /// Packets lost in them, of any kind.
    pub gap_packets: u64,
}

/// Where packets come from: an interface set of an epoch of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Place among the origins of one query, from 0.
    pub id: usize,
    /// The source.
    pub source: SourceName,
    /// The run of its probe.
    pub epoch: Epoch,
    /// The interfaces.
    pub set: InterfaceSet,
}

/// A packet that matches.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The packet; its interface is an index into the origin's set.
    pub packet: Packet<'a>,
    /// Its number within the epoch.
    pub number: u64,
    /// Sequence number of its batch.
    pub seq: u64,
    /// Where it comes from.
    pub origin: &'a Origin,
}

/// A segment with candidates.
struct Plan {
    file: SegmentFile,
    /// None when they were too many to keep.
    candidates: Option<Vec<BatchEntry>>,
}

/// A batch still to be read, or to be read again. Ordered by the time of the next packet in it.
struct Pending {
    time: Timestamp,
    segment: usize,
    entry: BatchEntry,
    /// Matching packets of it that were given out already.
    skip: usize,
}

/// A matching packet in a batch that was read.
struct Place {
    time: Timestamp,
    original_length: u32,
    interface: u32,
    /// Position in the batch.
    position: u32,
    at: usize,
    length: usize,
}

/// A batch that was read, with the packets that match in order of time.
struct Active {
    segment: usize,
    entry: BatchEntry,
    origin: usize,
    bytes: Vec<u8>,
    places: Vec<Place>,
    next: usize,
}

type OnProgress = Box<dyn FnMut(&Progress) + Send>;
type ByTime<T> = BinaryHeap<Reverse<(Timestamp, usize, u64, T)>>;

/// The packets that match, in the order of time.
pub struct QueryResult {
    query: Query,
    plans: Vec<Plan>,
    /// Segments not yet begun: (earliest packet time, place in `plans`), the next one last.
    waiting: Vec<(Timestamp, usize)>,
    pending: Vec<Option<Pending>>,
    pending_order: ByTime<usize>,
    free: Vec<usize>,
    active: Vec<Option<Active>>,
    active_order: ByTime<usize>,
    buffered: usize,
    buffer_bytes: usize,
    open: HashMap<usize, Loaded>,
    matchers: HashMap<LinkType, Matcher>,
    origins: Vec<Arc<Origin>>,
    origin_of: HashMap<(usize, u32), usize>,
    gaps: Vec<GapRecord>,
    progress: Progress,
    on_progress: Option<OnProgress>,
    cancelled: Option<Arc<AtomicBool>>,
    /// The batch whose packet was given out last; its buffer is still borrowed.
    given: Option<usize>,
}

impl fmt::Debug for QueryResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryResult")
            .field("query", &self.query)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl Archive {
    /// Looks into the indexes for what can match. The packets are read when they are asked for.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn query(&self, query: Query) -> Result<QueryResult, QueryError> {
        self.query_cancellable(query, None)
    }

    /// Like [`Archive::query`]; the query ends with [`QueryError::Cancelled`] once `cancelled` is true.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn query_cancellable(
        &self,
        query: Query,
        cancelled: Option<Arc<AtomicBool>>,
    ) -> Result<QueryResult, QueryError> {
        let mut result = QueryResult {
            query,
            plans: Vec::new(),
            waiting: Vec::new(),
            pending: Vec::new(),
            pending_order: BinaryHeap::new(),
            free: Vec::new(),
            active: Vec::new(),
            active_order: BinaryHeap::new(),
            buffered: 0,
            buffer_bytes: BUFFER_BYTES,
            open: HashMap::new(),
            matchers: HashMap::new(),
            origins: Vec::new(),
            origin_of: HashMap::new(),
            gaps: Vec::new(),
            progress: Progress::default(),
            on_progress: None,
            cancelled,
            given: None,
        };
        let read = |path: &std::path::Path, error| QueryError::Read { path: path.into(), error };
        let sources = if result.query.sources.is_empty() {
            self.sources().map_err(|error| read(self.root(), error))?
        } else {
            result.query.sources.clone()
        };
        for source in sources {
            for file in self.segments(&source).map_err(|error| read(self.root(), error))? {
                result.check_cancelled()?;
                result.plan(file)?;
            }
        }
        result.waiting.sort_unstable_by(|a, b| b.cmp(a));
        Ok(result)
    }
}

impl QueryResult {
    fn check_cancelled(&self) -> Result<(), QueryError> {
        match &self.cancelled {
            Some(cancelled) if cancelled.load(Ordering::Relaxed) => Err(QueryError::Cancelled),
            _ => Ok(()),
        }
    }

    /// Calls `each` after every batch that was read.
    pub fn on_progress(&mut self, each: impl FnMut(&Progress) + Send + 'static) {
        self.on_progress = Some(Box::new(each));
    }

    /// How far it is; before the first packet was asked for, the estimate.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// What was lost within the range of time and the sources asked for, whatever the filter: the first 10,000 records.
    pub fn gaps(&self) -> &[GapRecord] {
        &self.gaps
    }

    /// The origins of the packets given out so far.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.origins.iter().map(Arc::as_ref)
    }

    /// Limits the bytes of packets kept in memory (default 64 MiB).
    pub fn limit_buffer(&mut self, bytes: usize) {
        self.buffer_bytes = bytes;
    }

    /// Which batches of a segment can hold a match.
    fn plan(&mut self, file: SegmentFile) -> Result<(), QueryError> {
        self.progress.segments += 1;
        self.progress.archive_bytes += file.bytes;
        if let Some(summary) = crate::batches::summary(&file)
            && (summary.entries == 0 || !self.query.touches(summary.time_min, summary.time_max))
        {
            self.progress.index_bytes += crate::index::HEADER_BYTES as u64;
            return Ok(());
        }
        let loaded = match Loaded::open(file) {
            Ok(loaded) => loaded,
            // Removed by retention since it was listed.
            Err((_, error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err((path, error)) => return Err(QueryError::Read { path, error }),
        };
        self.progress.index_bytes += loaded.index_bytes;
        self.note_gaps(&loaded);
        let candidates = self.candidates(&loaded);
        let Some(earliest) = candidates.iter().map(|entry| entry.time_min).min() else { return Ok(()) };
        for entry in &candidates {
            self.progress.bytes_total += u64::from(entry.length);
            self.progress.batches_total += 1;
            self.progress.packets_total = self.progress.packets_total.saturating_add(entry.packets);
        }
        let keep = self.progress.batches_total as usize <= CANDIDATES_KEPT;
        let number = self.plans.len();
        self.waiting.push((earliest, number));
        self.plans.push(Plan { file: loaded.segment.clone(), candidates: keep.then_some(candidates) });
        if self.open.len() < SEGMENTS_OPEN {
            self.open.insert(number, loaded.without_postings());
        }
        Ok(())
    }

    fn candidates(&self, loaded: &Loaded) -> Vec<BatchEntry> {
        self.query
            .filter
            .narrow()
            .candidates(&loaded.index)
            .iter()
            .filter_map(|number| loaded.index.batches.get(number as usize))
            .filter(|entry| !entry.is_gap() && entry.packets > 0 && self.query.touches_entry(&loaded.index, entry))
            .copied()
            .collect()
    }

    fn note_gaps(&mut self, loaded: &Loaded) {
        for entry in loaded.index.batches.iter().filter(|entry| entry.is_gap()) {
            if !self.query.touches_entry(&loaded.index, entry) {
                continue;
            }
            self.progress.gaps += 1;
            self.progress.gap_packets = self.progress.gap_packets.saturating_add(entry.packets);
            let section = loaded.index.sections.get(entry.section as usize);
            if let (Some(section), true) = (section, self.gaps.len() < GAPS_KEPT) {
                self.gaps.push(gap_record(&loaded.segment.source, section.epoch, entry));
            }
        }
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    /// When it was cancelled, or the archive cannot be read. A damaged or removed batch is left out and counted in
    /// [`Progress::batches_failed`].
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Found<'_>>, QueryError> {
        if let Some(place) = self.given.take() {
            self.requeue(place);
        }
        self.fill()?;
        let Some(Reverse((_, _, _, place))) = self.active_order.pop() else { return Ok(None) };
        self.given = Some(place);
        self.progress.packets_found += 1;
        let Some(active) = self.active.get_mut(place).and_then(Option::as_mut) else { return Ok(None) };
        let at = active.next;
        active.next += 1;
        let (Some(found), Some(origin)) = (active.places.get(at), self.origins.get(active.origin)) else {
            return Ok(None);
        };
        let packet = Packet {
            time: found.time,
            interface: found.interface,
            original_length: found.original_length,
            data: active.bytes.get(found.at..found.at + found.length).unwrap_or(&[]),
        };
        let number = active.entry.first_packet.saturating_add(found.position.into());
        Ok(Some(Found { packet, number, seq: active.entry.seq, origin }))
    }

    /// How many packets match. Batches whose every packet is known to match are not read.
    ///
    /// # Errors
    /// As [`QueryResult::next`].
    pub fn count(mut self) -> Result<u64, QueryError> {
        let mut counted = 0u64;
        if self.query.filter.is_any() && self.query.numbers.is_none() {
            for number in 0..self.plans.len() {
                self.check_cancelled()?;
                let Some(candidates) = self.plans.get_mut(number).and_then(|plan| plan.candidates.as_mut()) else {
                    continue;
                };
                let query = &self.query;
                candidates.retain(|entry| {
                    let whole = query.covers(entry.time_min) && query.covers(entry.time_max);
                    counted = counted.saturating_add(if whole { entry.packets } else { 0 });
                    !whole
                });
            }
        }
        while self.next()?.is_some() {
            counted = counted.saturating_add(1);
        }
        Ok(counted)
    }

    /// Reads batches until nothing unread can come before the next packet.
    fn fill(&mut self) -> Result<(), QueryError> {
        loop {
            let next = self.active_order.peek().map(|Reverse((time, ..))| *time);
            if let Some((earliest, number)) = self.waiting.last().copied()
                && next.is_none_or(|next| earliest <= next)
                && self.pending_order.peek().is_none_or(|Reverse((time, ..))| earliest <= *time)
            {
                self.waiting.pop();
                self.begin(number)?;
                continue;
            }
            // Whole keys are compared: of two with the same time the one dropped for want of memory must not come back at once.
            let key = |Reverse((time, segment, offset, _)): &Reverse<(Timestamp, usize, u64, usize)>| {
                (*time, *segment, *offset)
            };
            let next = self.active_order.peek().map(key);
            match self.pending_order.peek().map(key) {
                Some(first) if next.is_none_or(|next| first < next) => {
                    let Some(Reverse((_, _, _, place))) = self.pending_order.pop() else { return Ok(()) };
                    if let Some(pending) = self.pending.get_mut(place).and_then(Option::take) {
                        self.free.push(place);
                        self.read(&pending)?;
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    /// Puts the candidates of a segment among the pending.
    fn begin(&mut self, number: usize) -> Result<(), QueryError> {
        let candidates = match self.plans.get_mut(number).and_then(|plan| plan.candidates.take()) {
            Some(candidates) => candidates,
            None => {
                let Some(loaded) = self.load(number)? else { return Ok(()) };
                // Postings are dropped from what stays open: this reads the index anew.
                let path = loaded.segment.path.clone();
                match Loaded::open(loaded.segment.clone()) {
                    Ok(whole) => {
                        self.progress.index_bytes += whole.index_bytes;
                        self.candidates(&whole)
                    }
                    Err((_, error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    Err((_, error)) => return Err(QueryError::Read { path, error }),
                }
            }
        };
        for entry in candidates {
            self.push_pending(Pending { time: entry.time_min, segment: number, entry, skip: 0 });
        }
        Ok(())
    }

    fn push_pending(&mut self, pending: Pending) {
        let key = (pending.time, pending.segment, pending.entry.offset);
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.pending.push(None);
                self.pending.len() - 1
            }
        };
        if let Some(slot) = self.pending.get_mut(place) {
            *slot = Some(pending);
            self.pending_order.push(Reverse((key.0, key.1, key.2, place)));
        }
    }

    /// The segment, opened anew if it was closed meanwhile; none if it is gone.
    fn load(&mut self, number: usize) -> Result<Option<&Loaded>, QueryError> {
        if !self.open.contains_key(&number) {
            if self.open.len() >= SEGMENTS_OPEN {
                self.open.clear();
            }
            let Some(plan) = self.plans.get(number) else { return Ok(None) };
            match Loaded::open(plan.file.clone()) {
                Ok(loaded) => {
                    self.progress.index_bytes += loaded.index_bytes;
                    self.open.insert(number, loaded.without_postings());
                }
                Err((_, error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err((path, error)) => return Err(QueryError::Read { path, error }),
            }
        }
        Ok(self.open.get(&number))
    }

    /// Reads a batch and keeps what matches in it.
    fn read(&mut self, pending: &Pending) -> Result<(), QueryError> {
        self.check_cancelled()?;
        self.progress.bytes_read += u64::from(pending.entry.length);
        self.progress.batches_read += 1;
        let read = match self.read_raw(pending)? {
            Some((raw, origin)) => self.keep(pending, &raw, origin),
            None => None,
        };
        if read.is_none() {
            self.progress.batches_failed += 1;
        }
        if let Some(each) = &mut self.on_progress {
            each(&self.progress);
        }
        Ok(())
    }

    fn read_raw(&mut self, pending: &Pending) -> Result<Option<(Vec<u8>, usize)>, QueryError> {
        let section = pending.entry.section;
        let known = self.origin_of.get(&(pending.segment, section)).copied();
        let Some(loaded) = self.load(pending.segment)? else { return Ok(None) };
        let Ok(raw) = loaded.raw(&pending.entry) else { return Ok(None) };
        if let Some(origin) = known {
            return Ok(Some((raw, origin)));
        }
        let Some(described) = loaded.index.sections.get(section as usize).copied() else { return Ok(None) };
        let Ok(interfaces) = loaded.interfaces(&described) else { return Ok(None) };
        let source = loaded.segment.source.clone();
        let set = InterfaceSet { number: described.interface_set, interfaces };
        let same =
            |origin: &Arc<Origin>| origin.source == source && origin.epoch == described.epoch && origin.set == set;
        let origin = match self.origins.iter().position(same) {
            Some(origin) => origin,
            None => {
                let id = self.origins.len();
                self.origins.push(Arc::new(Origin { id, source, epoch: described.epoch, set }));
                id
            }
        };
        self.origin_of.insert((pending.segment, section), origin);
        Ok(Some((raw, origin)))
    }

    /// None when the batch is damaged.
    fn keep(&mut self, pending: &Pending, raw: &[u8], origin: usize) -> Option<()> {
        let link_type = self.origins.get(origin)?.set.link_type();
        let filter = &self.query.filter;
        let matcher = self.matchers.entry(link_type).or_insert_with(|| filter.matcher(link_type));
        let Ok(Entry::Batch(batch)) = Entry::parse(raw) else { return None };
        let (mut bytes, mut places, mut position) = (Vec::new(), Vec::new(), 0u32);
        for item in batch.items() {
            let Item::Packet(packet) = item.ok()? else { continue };
            let number = pending.entry.first_packet.saturating_add(position.into());
            if self.query.covers(packet.time) && self.query.means(number) && matcher.accepts(&packet) {
                let at = bytes.len();
                bytes.extend_from_slice(packet.data);
                places.push(Place {
                    time: packet.time,
                    original_length: packet.original_length,
                    interface: packet.interface,
                    position,
                    at,
                    length: packet.data.len(),
                });
            }
            position += 1;
        }
        places.sort_by_key(|place| (place.time, place.position));
        let Some(first) = places.get(pending.skip) else { return Some(()) };
        let key = (first.time, pending.segment, pending.entry.offset);
        self.buffered += held(&bytes, &places);
        let active =
            Active { segment: pending.segment, entry: pending.entry, origin, bytes, places, next: pending.skip };
        let place = match self.active.iter().position(Option::is_none) {
            Some(place) => place,
            None => {
                self.active.push(None);
                self.active.len() - 1
            }
        };
        *self.active.get_mut(place)? = Some(active);
        self.active_order.push(Reverse((key.0, key.1, key.2, place)));
        self.evict();
        Some(())
    }

    /// Puts a batch back in its place after a packet of it was given out.
    fn requeue(&mut self, place: usize) {
        let Some(active) = self.active.get_mut(place) else { return };
        let next = active.as_ref().and_then(|active| {
            let next = active.places.get(active.next)?;
            Some(Reverse((next.time, active.segment, active.entry.offset, place)))
        });
        match next {
            Some(next) => self.active_order.push(next),
            None => {
                if let Some(done) = active.take() {
                    self.buffered -= held(&done.bytes, &done.places);
                }
            }
        }
    }

    /// Drops the batches whose turn comes last until the rest fits; they are read again then.
    fn evict(&mut self) {
        while self.buffered > self.buffer_bytes && self.active_order.len() > 1 {
            let mut order = std::mem::take(&mut self.active_order).into_vec();
            let Some((last, _)) = order.iter().enumerate().min_by_key(|(_, key)| *key) else { return };
            let Reverse((time, _, _, place)) = order.swap_remove(last);
            self.active_order = order.into();
            let Some(active) = self.active.get_mut(place).and_then(Option::take) else { return };
            self.buffered -= held(&active.bytes, &active.places);
            self.push_pending(Pending { time, segment: active.segment, entry: active.entry, skip: active.next });
        }
    }
}

fn held(bytes: &Vec<u8>, places: &Vec<Place>) -> usize {
    bytes.capacity() + places.capacity() * size_of::<Place>()
}

fn gap_record(source: &SourceName, epoch: Epoch, entry: &BatchEntry) -> GapRecord {
    GapRecord {
        name: BatchName { source: source.clone(), epoch, seq: entry.seq },
        last_seq: entry.last_seq,
        place: DropPlace::from_code(entry.gap as u16).unwrap_or(DropPlace::Archive),
        reason: DropReason::from_code((entry.gap >> 16) as u16).unwrap_or(DropReason::Corrupt),
        first_packet: entry.first_packet,
        packets: entry.packets,
        captured_bytes: entry.captured_bytes,
        time_min: entry.time_min,
        time_max: entry.time_max,
    }
}

/// Packets found, by source: for a summary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets per source.
    pub packets: BTreeMap<SourceName, u64>,
}

impl Tally {
    /// Counts a packet.
    pub fn add(&mut self, found: &Found<'_>) {
        match self.packets.get_mut(&found.origin.source) {
            Some(count) => *count += 1,
            None => {
                self.packets.insert(found.origin.source.clone(), 1);
            }
        }
    }
}
