//! Counting over time: from the roll-ups where the filter allows it, exact to the nanosecond at the edges of the range; else by a walk.

use std::time::{Duration, Instant};

use super::pool::{File, Pool};
use super::walk::{End, Visit, Walk};
use crate::Error;
use crate::filter::{Filter, by_names};
use crate::format::{LEVELS, Refused, SECOND};

/// What a roll-up or an event adds.
pub(super) struct Count<'a> {
    /// The file, for its names.
    pub(super) file: &'a File,
    /// Numbers of type, source and status.
    pub(super) names: [usize; 3],
    /// A time within the same bucket as all of the events.
    pub(super) time: i64,
    pub(super) events: u64,
    pub(super) capture_loss: u64,
}

/// Gives the counts of all matching events of a range to `add`. `bucket` is the length in seconds within which times need not be told
/// apart; 0 if not at all.
pub(super) fn tally(
    pool: &Pool,
    filter: &Filter,
    range: (i64, i64),
    bucket: i64,
    deadline: Duration,
    add: &mut dyn FnMut(Count<'_>),
) -> Result<End, Error> {
    let deadline = Instant::now() + deadline;
    let levels: Vec<i64> = LEVELS.into_iter().filter(|level| bucket % level == 0).collect();
    if !filter.is_by_names() || levels.is_empty() {
        let walk = Walk::new(pool, filter, range, None, deadline)?;
        return Ok(walk.run(false, None, &mut |file, row, _| {
            add(Count { file, names: row.names, time: row.time, events: 1, capture_loss: row.capture_loss });
            Visit::On
        }));
    }
    let mut files = Vec::new();
    for name in pool.names()? {
        let within = |(min, max): (i64, i64)| min < range.1 && max >= range.0;
        if pool.state(name).and_then(|state| state.times).is_some_and(within) {
            files.extend(pool.take(name));
        }
    }
    let span = files.iter().filter_map(|file| file.state.times).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let mut end = End::Whole;
    if let Some((min, max)) = span {
        // Nothing is outside of what the files hold: a range without end costs nothing.
        let mut pieces = Vec::new();
        cover(range.0.max(min), range.1.min(max.saturating_add(1)), &levels, &mut pieces);
        let mut is_first = true;
        for piece in pieces.into_iter().rev() {
            if !is_first && Instant::now() >= deadline {
                end = End::Deadline(piece.until);
                break;
            }
            is_first = false;
            files = files
                .into_iter()
                .filter_map(|file| match piece.count(filter, &file, add) {
                    Ok(()) => Some(file),
                    Err(error) => {
                        pool.refuse(file.name, &Refused::Sqlite(error));
                        None
                    }
                })
                .collect();
        }
    }
    for file in files {
        pool.give_back(file);
    }
    Ok(end)
}

/// A part of a range: roll-ups of a level, or raw rows where that is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    level: i64,
    since: i64,
    until: i64,
}

/// Takes a range apart into pieces, oldest first, each of the coarsest level that fits.
fn cover(since: i64, until: i64, levels: &[i64], pieces: &mut Vec<Piece>) {
    if since >= until {
        return;
    }
    let Some((level, finer)) = levels.split_last() else {
        pieces.push(Piece { level: 0, since, until });
        return;
    };
    let length = level * SECOND;
    let first = since.saturating_add(length - 1) / length * length;
    let last = until / length * length;
    if first >= last {
        return cover(since, until, finer, pieces);
    }
    cover(since, first, finer, pieces);
    pieces.push(Piece { level: *level, since: first, until: last });
    cover(last, until, finer, pieces);
}

impl Piece {
    fn count(&self, filter: &Filter, file: &File, add: &mut dyn FnMut(Count<'_>)) -> rusqlite::Result<()> {
        if file.state.times.is_none_or(|(min, max)| min >= self.until || max < self.since) {
            return Ok(());
        }
        let condition = by_names(filter, &file.names);
        if condition.is_never {
            return Ok(());
        }
        let (sql, from, until) = if self.level == 0 {
            let sql = "SELECT time, type, source, status, 1, ifnull(capture_loss, 0) FROM event INDEXED BY event_time \
                       WHERE time >= ?1 AND time < ?2";
            (sql.to_owned(), self.since, self.until)
        } else {
            let sql = format!(
                "SELECT start * 1000000000, type, source, status, events, capture_loss FROM rollup \
                 WHERE level = {} AND start >= ?1 AND start < ?2",
                self.level
            );
            (sql, self.since / SECOND, self.until / SECOND)
        };
        let mut statement = file.connection.prepare_cached(&(sql + &condition.sql))?;
        let mut rows = statement.query([from, until])?;
        while let Some(row) = rows.next()? {
            let number = |at| row.get::<_, i64>(at).map(|number| u64::try_from(number).unwrap_or(0));
            let names = [number(1)? as usize, number(2)? as usize, number(3)? as usize];
            add(Count { file, names, time: row.get(0)?, events: number(4)?, capture_loss: number(5)? });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_covered_once_by_the_coarsest_pieces() {
        let mut pieces = Vec::new();
        let (since, until) = (3_595 * SECOND + 1, 7_275 * SECOND);
        cover(since, until, &LEVELS, &mut pieces);
        let levels: Vec<i64> = pieces.iter().map(|piece| piece.level).collect();
        assert_eq!(levels, [0, 3600, 60, 10, 0]);
        assert_eq!((pieces[0].since, pieces[4].until), (since, until));
        assert!(pieces.windows(2).all(|pair| pair[0].until == pair[1].since));
        pieces.clear();
        cover(1, 2, &LEVELS, &mut pieces);
        assert_eq!(pieces, [Piece { level: 0, since: 1, until: 2 }]);
    }
}
