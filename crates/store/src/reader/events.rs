//! Pages of events, one event, and those related to it.

use std::time::Instant;

use event::EventId;
use packet::Timestamp;
use rusqlite::OptionalExtension;
use serde_json::Value;

use super::pool::{File, Pool};
use super::walk::{End, Place, Visit, Walk};
use super::{Ask, Mark};
use crate::answer::{Document, Events, Found, Related, Tail};
use crate::documents::document;
use crate::filter::{DocumentTest, Filter, condition};
use crate::format::{FileName, Refused};
use crate::reader::row::{COLUMNS, Row};
use crate::time::signed;
use crate::{Error, Time};

/// Rows a tail looks through per call at most, the newest ones.
const TAIL_ROWS_MAX: i64 = 5_000;

/// `time-file-row`, in hexadecimal digits: what `next` says.
fn cursor_text(place: Place) -> String {
    format!("{:x}-{:x}.{:x}-{:x}", place.time, place.name.start, place.name.number, place.row)
}

fn cursor(text: &str) -> Result<Place, Error> {
    let parse = || {
        let mut parts = text.split('-');
        let time = i64::from_str_radix(parts.next()?, 16).ok()?;
        let (start, number) = parts.next()?.split_once('.')?;
        let row = i64::from_str_radix(parts.next()?, 16).ok()?;
        let name =
            FileName { start: u64::from_str_radix(start, 16).ok()?, number: u32::from_str_radix(number, 16).ok()? };
        parts.next().is_none().then_some(Place { time, name, row })
    };
    parse().ok_or_else(|| Error::Cursor(text.chars().take(80).collect()))
}

/// A page of events without the one of this id.
pub(super) fn page(
    pool: &Pool,
    ask: &Ask<'_>,
    limit: usize,
    after: Option<&str>,
    without: Option<u128>,
) -> Result<Events, Error> {
    let limit = limit.clamp(1, 1000);
    let after = after.map(cursor).transpose()?;
    let (since, until) = ask.range.nanos();
    let walk = Walk::new(pool, ask.filter, (since, until), after, Instant::now() + ask.deadline)?;
    let mut events: Vec<Document> = Vec::new();
    let mut last: Option<Place> = None;
    let mut bytes = 0;
    let end = walk.run(true, Some(limit + 2), &mut |file, row, block| {
        if without == Some(row.id) {
            return Visit::On;
        }
        if events.len() == limit || bytes > super::ANSWER_BYTES_MAX {
            return Visit::Enough;
        }
        if let Some(document) = block.and_then(|block| document(row.id, block.line(row.row)?)) {
            bytes += document.get().len();
            events.push(document);
            last = Some(Place { time: row.time, name: file.name, row: row.row });
        }
        Visit::On
    });
    let next = match end {
        End::Whole => None,
        End::Enough => last,
        End::Deadline(from) => Some(Place::before_all(from)),
    };
    // What was given out already must not come again where the deadline came among events of one time.
    let next = match (end, last) {
        (End::Deadline(_), Some(last)) if next.is_some_and(|next| next > last) => Some(last),
        _ => next,
    };
    let bounds = end.bounds(since, last.map_or(since, |last| last.time));
    Ok(Events { events, next: next.map(cursor_text), bounds })
}

/// One event by id.
pub(super) fn one(pool: &Pool, id: EventId, time: Option<Timestamp>) -> Result<Option<Found>, Error> {
    let mut names = pool.names()?;
    names.reverse();
    if let Some(time) = time.map(signed) {
        for name in &names {
            if pool.state(*name).and_then(|state| state.times).is_some_and(|(min, max)| (min..=max).contains(&time))
                && let Some(found) = one_in(pool, *name, id, Some(time))
            {
                return Ok(Some(found));
            }
        }
    }
    Ok(names.iter().find_map(|name| one_in(pool, *name, id, None)))
}

fn one_in(pool: &Pool, name: FileName, id: EventId, time: Option<i64>) -> Option<Found> {
    let mut file = pool.take(name)?;
    match find(&mut file, id, time) {
        Ok(found) => {
            pool.give_back(file);
            found
        }
        Err(error) => {
            pool.refuse(name, &Refused::Sqlite(error));
            None
        }
    }
}

fn find(file: &mut File, id: EventId, time: Option<i64>) -> rusqlite::Result<Option<Found>> {
    let bytes = id.0.to_be_bytes();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let found = match time {
        Some(time) => file
            .connection
            .prepare_cached("SELECT row, time FROM event INDEXED BY event_time WHERE time = ?2 AND id = ?1")?
            .query_row((bytes, time), read)
            .optional()?,
        None => file
            .connection
            .prepare_cached("SELECT row, time FROM event WHERE id = ?1 LIMIT 1")?
            .query_row([bytes], read)
            .optional()?,
    };
    let Some((row, time)) = found else { return Ok(None) };
    let block = file.unpacker.block(&file.connection, row)?;
    let document = block.and_then(|block| document(id.0, block.line(row)?));
    Ok(document.map(|document| Found { document, time: Time::of(time) }))
}

/// The others of its call, else of its flow.
pub(super) fn related(
    pool: &Pool,
    found: &Found,
    ask: &Ask<'_>,
    limit: usize,
    after: Option<&str>,
) -> Result<Related, Error> {
    let value: Value = serde_json::from_str(found.document.get()).unwrap_or_default();
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let call = ["/sip/call_id", "/rtp/call_id", "/rtcp/call_id", "/call/id"].into_iter().find_map(text);
    let mut filter = ask.filter.clone();
    let (by, value) = match (call, text("/network/community_id")) {
        (Some(call), _) => {
            filter.calls.any = vec![call.clone()];
            (Some("call"), Some(call))
        }
        (None, Some(flow)) => {
            filter.flows.any = vec![flow.clone()];
            (Some("flow"), Some(flow))
        }
        (None, None) => {
            let bounds = End::Whole.bounds(ask.range.nanos().0, 0);
            return Ok(Related { by: None, value: None, events: Events { events: Vec::new(), next: None, bounds } });
        }
    };
    let id = serde_json::from_str::<Id<'_>>(found.document.get()).ok();
    let id = id.and_then(|id| u128::from_str_radix(id.id, 16).ok());
    Ok(Related { by, value, events: page(pool, &Ask { filter: &filter, ..*ask }, limit, after, id)? })
}

#[derive(serde::Deserialize)]
struct Id<'a> {
    id: &'a str,
}

/// The place after what is stored now.
pub(super) fn mark(pool: &Pool) -> Result<Mark, Error> {
    for name in pool.names()?.into_iter().rev() {
        let Some(file) = pool.take(name) else { continue };
        let row = file.connection.query_row("SELECT max(row) FROM event", [], |row| row.get::<_, Option<i64>>(0));
        pool.give_back(file);
        if let Ok(row) = row {
            return Ok(Mark { file: name.to_string(), row: row.unwrap_or(0) });
        }
    }
    Ok(Mark::default())
}

/// What was stored since.
pub(super) fn tail(pool: &Pool, mark: &Mark, filter: &Filter, limit: usize) -> Result<Tail, Error> {
    let since = FileName::parse(&mark.file);
    let documents = DocumentTest::new(filter);
    let mut events = std::collections::VecDeque::new();
    let (mut skipped, mut reached) = (0, mark.clone());
    for name in pool.names()? {
        if since.is_some_and(|since| name < since) {
            continue;
        }
        let row = if since == Some(name) { mark.row } else { 0 };
        let Some(mut file) = pool.take(name) else { continue };
        match tail_of(&mut file, row, filter, documents.as_ref()) {
            Ok((found, unseen, last)) => {
                pool.give_back(file);
                events.extend(found);
                skipped += unseen;
                reached = Mark { file: name.to_string(), row: last };
            }
            Err(error) => pool.refuse(name, &Refused::Sqlite(error)),
        }
        while events.len() > limit {
            events.pop_front();
            skipped += 1;
        }
    }
    Ok(Tail { events: events.into(), skipped, mark: reached })
}

/// Matching documents after a row, how many were not looked at, and the last row.
fn tail_of(
    file: &mut File,
    row: i64,
    filter: &Filter,
    documents: Option<&DocumentTest>,
) -> rusqlite::Result<(Vec<Document>, u64, i64)> {
    let last = file.connection.query_row("SELECT max(row) FROM event", [], |row| row.get::<_, Option<i64>>(0))?;
    let last = last.unwrap_or(0).max(row);
    let from = row.max(last - TAIL_ROWS_MAX);
    let condition = condition(filter, &file.names);
    let mut found = Vec::new();
    let sql = format!("SELECT {COLUMNS} FROM event WHERE row > ?1{} ORDER BY row", condition.sql);
    let mut statement = file.connection.prepare_cached(&sql)?;
    let values = std::iter::once(from.into()).chain(condition.values);
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        let row = Row::read(row)?;
        let Some(block) = file.unpacker.block(&file.connection, row.row)? else { continue };
        if documents.is_none_or(|test| test.fits(&block, row.row)) {
            found.extend(block.line(row.row).and_then(|line| document(row.id, line)));
        }
    }
    Ok((found, u64::try_from(from - row).unwrap_or(0), last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_back_and_nonsense_is_refused() {
        let place = Place { time: 1_795_460_400_123, name: FileName { start: 1_795_460_400, number: 3 }, row: 77 };
        assert_eq!(cursor(&cursor_text(place)).unwrap(), place);
        for text in ["", "1-2-3", "x", "1-2.3-4-5", "zz-1.1-1"] {
            assert!(cursor(text).is_err(), "{text}");
        }
    }
}
