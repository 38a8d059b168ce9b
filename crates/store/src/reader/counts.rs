//! Histogram, facets and the busiest addresses.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::pool::Pool;
use super::tally::tally;
use super::walk::{End, Visit, Walk};
use super::{Ask, By};
use crate::answer::{FacetValue, Facets, Histogram, Series, Talker, Talkers};
use crate::columns::address;
use crate::filter::{each_value, path, value};
use crate::format::{Refused, SECOND};
use crate::{Error, Range, Time};

/// Lengths of buckets in seconds; beyond the last, multiples of it.
const ROUND: [i64; 19] =
    [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800];
/// Different values of a facet that are counted; further ones are left out of the answer.
const VALUES_MAX: usize = 200_000;
/// A value longer than this is no facet.
const VALUE_BYTES_MAX: usize = 512;

/// The shortest round length with at most `buckets` buckets, and the beginning of the first.
fn bucket_of(since: i64, until: i64, buckets: i64) -> (i64, i64, i64) {
    let count = |seconds: i64| {
        let first = since / (seconds * SECOND);
        (first, (until - 1) / (seconds * SECOND) - first + 1)
    };
    let weeks = (1..).map(|weeks| weeks * 604_800i64).take(15_000);
    for seconds in ROUND.into_iter().chain(weeks) {
        let (first, number) = count(seconds);
        if number <= buckets {
            return (seconds, first, number);
        }
    }
    let (first, number) = count(8_000_000_000);
    (8_000_000_000, first, number)
}

/// Events over time.
pub(super) fn histogram(pool: &Pool, ask: &Ask<'_>, buckets: usize, by: By) -> Result<Histogram, Error> {
    let (mut since, mut until) = ask.range.nanos();
    if ask.range.since == Range::ALL.since || ask.range.until == Range::ALL.until {
        let times = pool.names()?.into_iter().filter_map(|name| pool.state(name)?.times);
        let (min, max) = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((0, 0));
        since = if ask.range.since == Range::ALL.since { min } else { since };
        until = if ask.range.until == Range::ALL.until { max.saturating_add(1) } else { until };
    }
    if since >= until {
        return Err(Error::Question("the range is empty: since must be before until".to_owned()));
    }
    let (seconds, first, number) = bucket_of(since, until, i64::try_from(buckets.clamp(1, 500)).unwrap_or(120));
    let number = usize::try_from(number).unwrap_or(0);
    let mut series: HashMap<String, Vec<u64>> = HashMap::new();
    let mut capture_loss = vec![0u64; number];
    let mut total = 0;
    let end = tally(pool, ask.filter, (since, until), seconds, ask.deadline, &mut |count| {
        let Ok(bucket) = usize::try_from(count.time / (seconds * SECOND) - first) else { return };
        let Some(loss) = capture_loss.get_mut(bucket) else { return };
        *loss += count.capture_loss;
        total += count.events;
        let [kind, source, status] = count.names;
        let [types, sources, statuses] = &count.file.names;
        let name = match by {
            By::Type => types.get(kind),
            By::Source => sources.get(source),
            By::Status => statuses.get(status),
        };
        let name = name.map_or("", String::as_str);
        if !series.contains_key(name) {
            series.insert(name.to_owned(), vec![0; number]);
        }
        if let Some(place) = series.get_mut(name).and_then(|counts| counts.get_mut(bucket)) {
            *place += count.events;
        }
    })?;
    let mut series: Vec<Series> = series.into_iter().map(|(name, counts)| Series { name, counts }).collect();
    series.sort_by_cached_key(|series| (std::cmp::Reverse(series.counts.iter().sum::<u64>()), series.name.clone()));
    let times = (0..number as i64).map(|at| Time::of((first + at).saturating_mul(seconds * SECOND))).collect();
    Ok(Histogram {
        since: Time::of(since),
        until: Time::of(until),
        bucket_seconds: seconds.unsigned_abs(),
        times,
        series,
        capture_loss,
        total,
        bounds: end.bounds(since, since),
    })
}

/// The most frequent values.
pub(super) fn facets(pool: &Pool, ask: &Ask<'_>, field: &str, prefix: &str, limit: usize) -> Result<Facets, Error> {
    let range = ask.range.nanos();
    let prefix = prefix.to_lowercase();
    let begins = |text: &str| {
        text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(&prefix))
            || (!prefix.is_ascii() && text.to_lowercase().starts_with(&prefix))
    };
    let mut counts: HashMap<String, u64> = HashMap::new();
    let end = match field {
        "type" | "source" | "status" => {
            let kind = ["type", "source", "status"].iter().position(|name| *name == field).unwrap_or(0);
            tally(pool, ask.filter, range, 0, ask.deadline, &mut |count| {
                let number = count.names.get(kind).copied().unwrap_or(0);
                let name = count.file.names.get(kind).and_then(|names| names.get(number)).map_or("", String::as_str);
                if name.is_empty() || !begins(name) {
                    return;
                }
                match counts.get_mut(name) {
                    Some(sum) => *sum += count.events,
                    None => {
                        counts.insert(name.to_owned(), count.events);
                    }
                }
            })?
        }
        "ip" => {
            let mut by_address: HashMap<[u8; 16], u64> = HashMap::new();
            let end = rows(pool, ask, &mut |row| {
                for ip in row.client.0.into_iter().chain(row.server.0.filter(|ip| Some(*ip) != row.client.0)) {
                    if by_address.len() < VALUES_MAX || by_address.contains_key(&ip) {
                        *by_address.entry(ip).or_default() += 1;
                    }
                }
            })?;
            let texts = by_address.into_iter().map(|(ip, count)| (address(ip).to_string(), count));
            counts.extend(texts.filter(|(text, _)| begins(text)));
            end
        }
        "port" => {
            let mut by_port: HashMap<u16, u64> = HashMap::new();
            let end = rows(pool, ask, &mut |row| {
                for port in row.client.1.into_iter().chain(row.server.1.filter(|port| Some(*port) != row.client.1)) {
                    *by_port.entry(port).or_default() += 1;
                }
            })?;
            let texts = by_port.into_iter().map(|(port, count)| (port.to_string(), count));
            counts.extend(texts.filter(|(text, _)| begins(text)));
            end
        }
        field => {
            let path = path(field);
            let walk = Walk::new(pool, ask.filter, range, None, Instant::now() + ask.deadline)?;
            walk.run(true, None, &mut |_, row, block| {
                let Some(document) = block.and_then(|block| value(block, row.row)) else { return Visit::On };
                let mut seen: Vec<String> = Vec::new();
                each_value(&document, &path, &mut |text| {
                    // A value that stands in a document twice is one event.
                    if text.len() > VALUE_BYTES_MAX || !begins(text) || seen.iter().any(|seen| seen == text) {
                        return;
                    }
                    seen.push(text.to_owned());
                });
                for text in seen {
                    if counts.len() < VALUES_MAX || counts.contains_key(&text) {
                        *counts.entry(text).or_default() += 1;
                    }
                }
                Visit::On
            })
        }
    };
    let mut values: Vec<FacetValue> = counts.into_iter().map(|(value, count)| FacetValue { value, count }).collect();
    values.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
    values.truncate(limit.clamp(1, 100));
    Ok(Facets { field: field.to_owned(), values, bounds: end.bounds(range.0, range.0) })
}

fn rows(pool: &Pool, ask: &Ask<'_>, each: &mut dyn FnMut(&super::row::Row)) -> Result<End, Error> {
    let walk = Walk::new(pool, ask.filter, ask.range.nanos(), None, Instant::now() + ask.deadline)?;
    Ok(walk.run(false, None, &mut |_, row, _| {
        each(row);
        Visit::On
    }))
}

/// The busiest addresses, from the roll-ups.
pub(super) fn talkers(pool: &Pool, range: Range, limit: usize, deadline: Duration) -> Result<Talkers, Error> {
    let deadline = Instant::now() + deadline;
    let (since, until) = range.nanos();
    let mut sums: HashMap<[u8; 16], (u64, u64)> = HashMap::new();
    let mut end = End::Whole;
    for name in pool.names()?.into_iter().rev() {
        let Some(times) = pool.state(name).and_then(|state| state.times) else { continue };
        if times.0 >= until || times.1 < since {
            continue;
        }
        if Instant::now() >= deadline {
            end = End::Deadline(times.1.saturating_add(1).min(until));
            break;
        }
        let Some(file) = pool.take(name) else { continue };
        let read = || -> rusqlite::Result<()> {
            let sql = "SELECT ip, events, bytes FROM talker WHERE start >= ?1 AND start < ?2";
            let mut statement = file.connection.prepare_cached(sql)?;
            let minute = |time: i64| time / SECOND - (time / SECOND).rem_euclid(60);
            let mut rows = statement.query([minute(since), until / SECOND + i64::from(until % SECOND > 0)])?;
            while let Some(row) = rows.next()? {
                let (events, bytes) = sums.entry(row.get(0)?).or_default();
                *events += u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
                *bytes += u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
            }
            Ok(())
        };
        let mut read = read;
        match read() {
            Ok(()) => pool.give_back(file),
            Err(error) => pool.refuse(name, &Refused::Sqlite(error)),
        }
    }
    let mut talkers: Vec<_> = sums.into_iter().map(|(ip, (events, bytes))| (bytes, events, ip)).collect();
    talkers.sort_unstable_by(|a, b| b.cmp(a));
    talkers.truncate(limit.clamp(1, 1000));
    let talker = |(bytes, events, ip): (u64, u64, [u8; 16])| Talker { ip: address(ip).to_string(), events, bytes };
    Ok(Talkers { talkers: talkers.into_iter().map(talker).collect(), bounds: end.bounds(since, since) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_round_and_no_more_than_asked() {
        let quarter = 900 * SECOND;
        assert_eq!(bucket_of(5 * SECOND, 5 * SECOND + quarter, 120), (10, 0, 91));
        assert_eq!(bucket_of(0, 1, 1), (1, 0, 1));
        assert_eq!(bucket_of(0, 86_400 * SECOND, 120).0, 900);
        let (_, first, number) = bucket_of(0, i64::MAX, 1);
        assert!(first == 0 && number <= 2, "292 years, all that nanoseconds can say");
        for buckets in 1..500 {
            let (seconds, _, number) = bucket_of(1_795_460_400 * SECOND + 7, 1_795_563_400 * SECOND, buckets);
            assert!(
                number <= buckets && (number as f64) >= buckets as f64 / 3.1 - 2.0 || seconds == 1,
                "{buckets}: {number}"
            );
        }
    }
}
