//! Sums per time, type, source and status, and the busiest addresses, gathered for one transaction and added to those in the file.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use crate::format::{LEVELS, SECOND};

/// Of each transaction only so many addresses are counted: the busiest. Bounds cost and size under a scan of addresses.
const TALKERS_MAX: usize = 64;

#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    events: i64,
    bytes: i64,
    timed: i64,
    duration: i64,
    capture_loss: i64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.events = self.events.saturating_add(other.events);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.timed = self.timed.saturating_add(other.timed);
        self.duration = self.duration.saturating_add(other.duration);
        self.capture_loss = self.capture_loss.saturating_add(other.capture_loss);
    }
}

/// What one event adds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) time: i64,
    /// Numbers of type, source and status.
    pub(crate) names: [i64; 3],
    pub(crate) bytes: Option<i64>,
    pub(crate) duration: Option<i64>,
    pub(crate) capture_loss: i64,
    pub(crate) addresses: [Option<[u8; 16]>; 2],
    /// Whether its bytes count for its addresses.
    pub(crate) is_final_flow: bool,
}

/// The sums of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// By begin of the finest level in seconds, and names.
    sums: HashMap<(i64, [i64; 3]), Sums>,
    talkers: HashMap<(i64, [u8; 16]), (i64, i64)>,
}

impl Gathered {
    pub(crate) fn clear(&mut self) {
        self.sums.clear();
        self.talkers.clear();
    }

    pub(crate) fn add(&mut self, entry: &Entry) {
        let seconds = entry.time / SECOND;
        let start = seconds - seconds.rem_euclid(LEVELS[0]);
        self.sums.entry((start, entry.names)).or_default().add(&Sums {
            events: 1,
            bytes: entry.bytes.unwrap_or(0),
            timed: entry.duration.is_some().into(),
            duration: entry.duration.unwrap_or(0),
            capture_loss: entry.capture_loss,
        });
        let minute = seconds - seconds.rem_euclid(60);
        let [client, server] = entry.addresses;
        let bytes = if entry.is_final_flow { entry.bytes.unwrap_or(0) } else { 0 };
        for ip in client.into_iter().chain(server.filter(|server| Some(*server) != client)) {
            let (events, sum) = self.talkers.entry((minute, ip)).or_default();
            *events += 1;
            *sum = sum.saturating_add(bytes);
        }
    }

    /// Adds the sums to those in the file.
    pub(crate) fn store(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut upsert = connection.prepare_cached(
            "INSERT INTO rollup VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO UPDATE SET
             events = events + excluded.events, bytes = bytes + excluded.bytes, timed = timed + excluded.timed,
             duration = duration + excluded.duration, capture_loss = capture_loss + excluded.capture_loss",
        )?;
        for level in LEVELS {
            let mut coarse: HashMap<(i64, [i64; 3]), Sums> = HashMap::new();
            for ((start, names), sums) in &self.sums {
                coarse.entry((start - start.rem_euclid(level), *names)).or_default().add(sums);
            }
            for ((start, [kind, source, status]), sums) in coarse {
                let Sums { events, bytes, timed, duration, capture_loss } = sums;
                upsert.execute(params![
                    level,
                    start,
                    kind,
                    source,
                    status,
                    events,
                    bytes,
                    timed,
                    duration,
                    capture_loss
                ])?;
            }
        }
        let mut talkers: Vec<_> =
            self.talkers.iter().map(|((start, ip), (events, bytes))| (*bytes, *events, *start, ip)).collect();
        if talkers.len() > TALKERS_MAX {
            talkers.select_nth_unstable_by(TALKERS_MAX, |a, b| b.cmp(a));
            talkers.truncate(TALKERS_MAX);
        }
        let mut upsert = connection.prepare_cached(
            "INSERT INTO talker VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET events = events + excluded.events,
             bytes = bytes + excluded.bytes",
        )?;
        for (bytes, events, start, ip) in talkers {
            upsert.execute(params![start, ip, events, bytes])?;
        }
        Ok(())
    }
}
