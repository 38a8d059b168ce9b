//! Walks through matching events, newest first, in windows of time that hold about as many events as can be looked through quickly.
//! Every question that roll-ups cannot answer is a walk; the deadline is kept between windows and within long ones.

use std::time::Instant;

use super::pool::{File, Pool};
use super::row::{COLUMNS, Row};
use crate::answer::Bounds;
use crate::columns::hash;
use crate::documents::Block;
use crate::filter::{Condition, DocumentTest, Filter, by_names, condition};
use crate::format::{FileName, LEVELS, Refused, SECOND};
use crate::{Error, Time};

/// Events an index may give for a file; where there are more, walking by time finds enough of them soon.
const HITS_MAX: usize = 20_000;
/// An event found by an index costs as much as so many that are walked by.
const HIT_WEIGHT: u64 = 32;
/// Candidates of the first window: the first page is there at once.
const WINDOW_FIRST: u64 = 512;
/// Candidates of later windows.
const WINDOW_MAX: u64 = 20_000;

/// Where a walk begins: below this place in the order of time, file and row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) time: i64,
    pub(super) name: FileName,
    pub(super) row: i64,
}

impl Place {
    /// The place before all events of a time: a walk from here begins below that time.
    pub(super) fn before_all(time: i64) -> Self {
        Self { time, name: FileName { start: 0, number: 0 }, row: 0 }
    }

    fn is_before_all(&self) -> bool {
        self.name.number == 0
    }
}

/// What a visitor says after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    On,
    Enough,
}

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All of the range was looked through.
    Whole,
    /// The visitor had enough.
    Enough,
    /// The deadline came; complete from this time on.
    Deadline(i64),
}

impl End {
    pub(super) fn bounds(self, since: i64, last: i64) -> Bounds {
        match self {
            Self::Whole => Bounds { complete: true, searched_from: Time::of(since) },
            Self::Enough => Bounds { complete: true, searched_from: Time::of(last) },
            Self::Deadline(from) => Bounds { complete: false, searched_from: Time::of(from) },
        }
    }
}

/// How one file is looked through.
struct Source {
    file: File,
    condition: Condition,
    by_names: Condition,
    /// Times and rows found by an index, oldest first; none if the file is walked by time.
    hits: Option<Vec<(i64, i64)>>,
}

/// A walk through all files of a directory.
pub(super) struct Walk<'a> {
    pool: &'a Pool,
    deadline: Instant,
    since: i64,
    until: i64,
    after: Option<Place>,
    sources: Vec<Source>,
    documents: Option<DocumentTest>,
    /// Minutes still to come of the hour that was looked at last, oldest first: begin in seconds and candidates.
    minutes: Vec<(i64, u64)>,
}

impl<'a> Walk<'a> {
    /// A walk through `since <= time < until`, below `after` if that is given.
    pub(super) fn new(
        pool: &'a Pool,
        filter: &Filter,
        (since, until): (i64, i64),
        after: Option<Place>,
        deadline: Instant,
    ) -> Result<Self, Error> {
        let until =
            after.map_or(until, |after| until.min(after.time.saturating_add(i64::from(!after.is_before_all()))));
        let mut walk = Self {
            pool,
            deadline,
            since,
            until,
            after,
            sources: Vec::new(),
            documents: DocumentTest::new(filter),
            minutes: Vec::new(),
        };
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        for name in pool.names()?.into_iter().rev() {
            let within = |times: Option<(i64, i64)>| times.is_some_and(|(min, max)| min < until && max >= since);
            if !pool.state(name).is_some_and(|state| within(state.times)) {
                continue;
            }
            let Some(file) = pool.take(name) else { continue };
            let (condition, by_names) = (condition(filter, &file.names), by_names(filter, &file.names));
            if condition.is_never {
                pool.give_back(file);
                continue;
            }
            let mut source = Source { file, condition, by_names, hits: None };
            // Where time has run out for indexes, walking by time still gives the newest.
            let found = if Instant::now() < half { source.find_hits(filter, since, until) } else { Ok(()) };
            match found {
                Ok(()) if source.hits.as_ref().is_some_and(Vec::is_empty) => pool.give_back(source.file),
                Ok(()) => walk.sources.push(source),
                Err(error) => pool.refuse(name, &Refused::Sqlite(error)),
            }
        }
        Ok(walk)
    }

    /// Gives matching events to `visit`, newest first, with the block of their document if `with_document` or the filter needs it. With
    /// `limit` no more than about so many are wanted.
    pub(super) fn run(
        mut self,
        with_document: bool,
        limit: Option<usize>,
        visit: &mut dyn FnMut(&mut File, &Row, Option<&Block>) -> Visit,
    ) -> End {
        let mut wanted = WINDOW_FIRST;
        let mut is_first = true;
        let with_document = with_document || self.documents.is_some();
        let sql_limit = if self.documents.is_some() { None } else { limit };
        let end = loop {
            if !is_first && Instant::now() >= self.deadline {
                break End::Deadline(self.until);
            }
            let Some((from, until)) = self.window(wanted) else { break End::Whole };
            wanted = (wanted * 4).min(WINDOW_MAX);
            let mut found: Vec<(Place, usize, Row)> = Vec::new();
            let mut index = 0;
            while let Some(source) = self.sources.get_mut(index) {
                match source.rows(from, until, self.after, sql_limit) {
                    Ok(rows) => {
                        let name = source.file.name;
                        found.extend(
                            rows.into_iter().map(|row| (Place { time: row.time, name, row: row.row }, index, row)),
                        );
                        index += 1;
                    }
                    Err(error) => {
                        let gone = self.sources.remove(index);
                        self.pool.refuse(gone.file.name, &Refused::Sqlite(error));
                    }
                }
            }
            found.sort_unstable_by_key(|(place, ..)| std::cmp::Reverse(*place));
            match self.visit(&found, with_document, is_first, visit) {
                Some(end) => break end,
                None => self.until = from,
            }
            is_first = false;
        };
        for source in self.sources {
            self.pool.give_back(source.file);
        }
        end
    }

    fn visit(
        &mut self,
        found: &[(Place, usize, Row)],
        with_document: bool,
        is_first: bool,
        visit: &mut dyn FnMut(&mut File, &Row, Option<&Block>) -> Visit,
    ) -> Option<End> {
        for (number, (place, index, row)) in found.iter().enumerate() {
            if number % 64 == 63 && !is_first && Instant::now() >= self.deadline {
                return Some(End::Deadline(place.time.saturating_add(1)));
            }
            let Some(Source { file, .. }) = self.sources.get_mut(*index) else { continue };
            let block = if with_document {
                match file.unpacker.block(&file.connection, row.row) {
                    Ok(Some(block)) => Some(block),
                    Ok(None) => continue,
                    Err(error) => {
                        self.pool.refuse(file.name, &Refused::Sqlite(error));
                        continue;
                    }
                }
            } else {
                None
            };
            if let (Some(test), Some(block)) = (&self.documents, &block)
                && !test.fits(block, row.row)
            {
                continue;
            }
            if visit(file, row, block.as_deref()) == Visit::Enough {
                return Some(End::Enough);
            }
        }
        None
    }

    /// The next window: from and until; none when nothing is left. `self.until` is where the last one began.
    fn window(&mut self, wanted: u64) -> Option<(i64, i64)> {
        while self.minutes.last().is_none_or(|(start, _)| start * SECOND >= self.until) {
            if self.minutes.pop().is_none() && !self.next_hour() {
                return None;
            }
        }
        let (newest, count) = *self.minutes.last()?;
        if count > 2 * wanted {
            // A minute too full for one window: a part of it. Its end is popped with the last part.
            let parts = i64::try_from(count / wanted).unwrap_or(i64::MAX).max(1);
            let length = (60 * SECOND / parts).max(1000);
            let until = self.until.min((newest + 60) * SECOND);
            let from = (until - length).max(newest * SECOND).max(self.since);
            return (from < until).then_some((from, until));
        }
        let mut sum = 0;
        let mut from = newest;
        while let Some((start, count)) = self.minutes.last()
            && (sum == 0 || sum + count <= wanted)
        {
            sum += count;
            from = *start;
            self.minutes.pop();
        }
        let from = (from * SECOND).max(self.since);
        (from < self.until).then_some((from, self.until))
    }

    /// Reads the minutes of the next older hour that has candidates; false if there is none.
    fn next_hour(&mut self) -> bool {
        let before = self.until;
        let hour = self.sources.iter().filter_map(|source| source.newest_hour(before).ok().flatten()).max();
        let Some(hour) = hour.filter(|hour| (hour + LEVELS[2]).saturating_mul(SECOND) > self.since) else {
            return false;
        };
        let mut minutes: std::collections::BTreeMap<i64, u64> = std::collections::BTreeMap::new();
        for source in &self.sources {
            // A file that fails here fails again when its rows are read, and is left out then.
            let _ = source.minutes(hour, &mut |start, count| *minutes.entry(start).or_default() += count);
        }
        let (since, until) = (self.since, self.until);
        let within = |start: i64| start * SECOND < until && (start + 60) * SECOND > since;
        self.minutes = minutes.into_iter().filter(|(start, _)| within(*start)).collect();
        if self.minutes.is_empty() {
            // The hour has only minutes outside the range: go on below it.
            self.until = self.until.min(hour * SECOND);
            return self.until > self.since && self.next_hour();
        }
        true
    }
}

impl Source {
    /// Where the filter names an address, flow or call and the file has indexes, finds its events by them.
    fn find_hits(&mut self, filter: &Filter, since: i64, until: i64) -> rusqlite::Result<()> {
        if !self.file.state.sealed {
            return Ok(());
        }
        let mut tests: Vec<(&str, Vec<rusqlite::types::Value>)> = Vec::new();
        let integer = |text: &String| vec![hash(text).into()];
        if !filter.calls.any.is_empty() {
            tests.extend(filter.calls.any.iter().map(|call| ("event_call WHERE call = ?3", integer(call))));
        } else if !filter.flows.any.is_empty() {
            tests.extend(filter.flows.any.iter().map(|flow| ("event_flow WHERE flow = ?3", integer(flow))));
        } else if !filter.ips.any.is_empty() {
            for network in &filter.ips.any {
                let first = network.first.octets().to_vec();
                if network.first == network.last {
                    tests.push(("event_client WHERE client_ip = ?3", vec![first.clone().into()]));
                    tests.push(("event_server WHERE server_ip = ?3", vec![first.into()]));
                } else {
                    let both = vec![first.into(), network.last.octets().to_vec().into()];
                    tests.push(("event_client WHERE client_ip BETWEEN ?3 AND ?4", both.clone()));
                    tests.push(("event_server WHERE server_ip BETWEEN ?3 AND ?4", both));
                }
            }
        } else {
            return Ok(());
        }
        let mut hits = Vec::new();
        for (test, values) in tests {
            let sql = format!(
                "SELECT time, row FROM event INDEXED BY {test} AND time >= ?1 AND time < ?2 LIMIT {}",
                HITS_MAX + 1 - hits.len()
            );
            let mut statement = self.file.connection.prepare(&sql)?;
            let mut all: Vec<rusqlite::types::Value> = vec![since.into(), until.into()];
            all.extend(values);
            let mut rows = statement.query(rusqlite::params_from_iter(all))?;
            while let Some(row) = rows.next()? {
                hits.push((row.get(0)?, row.get(1)?));
            }
            if hits.len() > HITS_MAX {
                return Ok(());
            }
        }
        hits.sort_unstable();
        hits.dedup();
        self.hits = Some(hits);
        Ok(())
    }

    /// Begin in seconds of the newest hour before a time that has candidates.
    fn newest_hour(&self, before: i64) -> rusqlite::Result<Option<i64>> {
        if let Some(hits) = &self.hits {
            let below = hits.partition_point(|(time, _)| *time < before);
            let newest = below.checked_sub(1).and_then(|at| hits.get(at));
            return Ok(newest.map(|(time, _)| time / SECOND - (time / SECOND).rem_euclid(LEVELS[2])));
        }
        let sql = format!(
            "SELECT start FROM rollup WHERE level = 3600 AND start < ?1{} ORDER BY start DESC LIMIT 1",
            self.by_names.sql
        );
        // The first second that is not wholly before.
        let limit = before / SECOND + i64::from(before % SECOND > 0);
        let mut statement = self.file.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([limit])?;
        rows.next()?.map(|row| row.get(0)).transpose()
    }

    fn minutes(&self, hour: i64, add: &mut dyn FnMut(i64, u64)) -> rusqlite::Result<()> {
        if let Some(hits) = &self.hits {
            let below = |seconds: i64| hits.partition_point(|(time, _)| *time < seconds.saturating_mul(SECOND));
            for (time, _) in hits.get(below(hour)..below(hour + LEVELS[2])).unwrap_or_default() {
                add(time / SECOND - (time / SECOND).rem_euclid(60), HIT_WEIGHT);
            }
            return Ok(());
        }
        let sql = format!(
            "SELECT start, sum(events) FROM rollup WHERE level = 60 AND start >= ?1 AND start < ?2{} GROUP BY start",
            self.by_names.sql
        );
        let mut statement = self.file.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([hour, hour + LEVELS[2]])?;
        while let Some(row) = rows.next()? {
            add(row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0));
        }
        Ok(())
    }

    /// The matching rows of a window, as far as columns tell.
    fn rows(&self, from: i64, until: i64, after: Option<Place>, limit: Option<usize>) -> rusqlite::Result<Vec<Row>> {
        // Of the moment at which the walk begins only what lies below its place.
        let (time, row) = match after {
            Some(after) if after.name == self.file.name => (after.time, after.row),
            Some(after) if after.name < self.file.name => (after.time, i64::MIN),
            Some(after) => (after.time, i64::MAX),
            None => (i64::MAX, i64::MAX),
        };
        let is_below = |at: i64, of: i64| at < time || (at == time && of < row);
        let mut found = Vec::new();
        let conditions = &self.condition.sql;
        let connection = &self.file.connection;
        if let Some(hits) = &self.hits {
            let below = |end: i64| hits.partition_point(|(time, _)| *time < end);
            let sql = format!("SELECT {COLUMNS} FROM event WHERE row = ?1{conditions}");
            let mut statement = connection.prepare_cached(&sql)?;
            for (at, hit) in hits.get(below(from)..below(until)).unwrap_or_default().iter().rev() {
                if limit.is_some_and(|limit| found.len() >= limit) {
                    break;
                }
                if !is_below(*at, *hit) {
                    continue;
                }
                let values = std::iter::once((*hit).into()).chain(self.condition.values.iter().cloned());
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                if let Some(row) = rows.next()? {
                    found.push(Row::read(row)?);
                }
            }
            return Ok(found);
        }
        let limit = limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
        let sql = format!(
            "SELECT {COLUMNS} FROM event INDEXED BY event_time WHERE time >= ?1 AND time < ?2 AND (time < ?3 OR row < ?4){conditions} \
             ORDER BY time DESC, row DESC{limit}"
        );
        let place = [from.into(), until.into(), time.into(), row.into()];
        let values = place.into_iter().chain(self.condition.values.iter().cloned());
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            found.push(Row::read(row)?);
        }
        Ok(found)
    }
}
