//! The balance: pairs what a probe counted with what the archive counted at the same sequence number.
//! Counts nothing itself; every term comes from where it happens.

use api::BalanceRow;
use archive::EpochState;
use packet::{Epoch, SourceName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use uplink::Statistics;

/// Commit points kept per epoch: a probe's statement is at most a few seconds old.
const POINTS: usize = 1024;
/// Epochs kept per source beside those that are open.
const EPOCHS: usize = 64;

/// The archive's counts at a commit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Point {
    next_seq: u64,
    archived: u64,
    not_stored: u64,
}

/// What a probe stated, paired with the archive's counts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Statement {
    nanos: u64,
    captured: u64,
    held: u64,
    acknowledged: u64,
    drops: BTreeMap<String, u64>,
    kernel: u64,
    interface: u64,
    /// The archive at the same sequence number; none if that moment is no longer known.
    archive: Option<Point>,
}

/// One epoch's account.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Account {
    #[serde(skip)]
    points: VecDeque<Point>,
    statement: Option<Statement>,
    #[serde(skip)]
    published: u64,
    #[serde(skip)]
    connected: bool,
    complete: bool,
    /// When it was last heard of: the order of a source's epochs.
    touched_nanos: u64,
    now: Point,
    gap_packets: BTreeMap<String, u64>,
}

/// All accounts.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accounts: BTreeMap<SourceName, BTreeMap<Epoch, Account>>,
}

impl Ledger {
    fn account(&mut self, source: &SourceName, epoch: Epoch, now_nanos: u64) -> &mut Account {
        let accounts = self.accounts.entry(source.clone()).or_default();
        if accounts.len() > EPOCHS && !accounts.contains_key(&epoch) {
            let oldest = accounts.iter().filter(|(_, a)| !a.connected).min_by_key(|(_, a)| a.touched_nanos);
            if let Some(oldest) = oldest.map(|(epoch, _)| *epoch) {
                accounts.remove(&oldest);
            }
        }
        let account = accounts.entry(epoch).or_default();
        account.touched_nanos = account.touched_nanos.max(now_nanos);
        account
    }

    /// The archive's account of an epoch after a commit, or at start.
    pub(crate) fn committed(&mut self, source: &SourceName, epoch: Epoch, state: &EpochState, now_nanos: u64) {
        let account = self.account(source, epoch, now_nanos);
        let point =
            Point { next_seq: state.next_seq, archived: state.archived_packets, not_stored: state.not_stored_packets };
        if account.points.back().is_none_or(|last| last.next_seq < point.next_seq) {
            account.points.push_back(point.clone());
            if account.points.len() > POINTS {
                account.points.pop_front();
            }
        }
        account.now = point;
        account.gap_packets = state.gap_packets.clone();
        account.complete |= state.complete;
    }

    pub(crate) fn connected(&mut self, source: &SourceName, epoch: Epoch, connected: bool, now_nanos: u64) {
        self.account(source, epoch, now_nanos).connected = connected;
    }

    pub(crate) fn published(&mut self, source: &SourceName, epoch: Epoch, packets: u64, now_nanos: u64) {
        self.account(source, epoch, now_nanos).published += packets;
    }

    pub(crate) fn complete(&mut self, source: &SourceName, epoch: Epoch, now_nanos: u64) {
        self.account(source, epoch, now_nanos).complete = true;
    }

    /// What a probe states about itself.
    pub(crate) fn stated(&mut self, source: &SourceName, epoch: Epoch, statistics: &Statistics, now_nanos: u64) {
        let account = self.account(source, epoch, now_nanos);
        let at = |point: &&Point| point.next_seq == statistics.acknowledged_seq;
        let archive = match statistics.acknowledged_seq {
            0 => Some(Point::default()),
            _ => account.points.iter().rev().find(at).cloned(),
        };
        let mut drops = BTreeMap::new();
        for drop in &statistics.drops {
            *drops.entry(EpochState::gap_name(drop.place, drop.reason)).or_default() += drop.packets;
        }
        account.statement = Some(Statement {
            nanos: statistics.time.nanos(),
            captured: statistics.captured,
            held: statistics.held,
            acknowledged: statistics.acknowledged,
            drops,
            kernel: statistics.dropped_by_kernel,
            interface: statistics.dropped_by_interface,
            archive,
        });
    }

    /// All rows: by source, its newest epoch first.
    pub(crate) fn rows(&self) -> Vec<BalanceRow> {
        let mut rows = Vec::new();
        for (source, accounts) in &self.accounts {
            let mut epochs: Vec<_> = accounts.iter().collect();
            epochs.sort_by_key(|(_, account)| std::cmp::Reverse((account.connected, account.touched_nanos)));
            rows.extend(epochs.into_iter().map(|(epoch, account)| row(source, *epoch, account)));
        }
        rows
    }

    /// Writes the accounts so that the next run knows them.
    pub(crate) fn save(&self, path: &Path) -> std::io::Result<()> {
        let accounts: BTreeMap<String, BTreeMap<String, &Account>> = self
            .accounts
            .iter()
            .map(|(source, accounts)| {
                let epochs = accounts.iter().map(|(epoch, account)| (epoch.to_string(), account)).collect();
                (source.to_string(), epochs)
            })
            .collect();
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(&accounts)?)?;
        std::fs::rename(&new, path)
    }

    /// Reads what [`Ledger::save`] wrote; what cannot be read is begun anew.
    pub(crate) fn load(path: &Path) -> Self {
        let mut ledger = Self::default();
        let Ok(bytes) = std::fs::read(path) else { return ledger };
        let Ok(accounts) = serde_json::from_slice::<BTreeMap<String, BTreeMap<String, Account>>>(&bytes) else {
            tracing::warn!("{} cannot be read: probes will state their counts again", path.display());
            return ledger;
        };
        for (source, epochs) in accounts {
            let Ok(source) = source.parse::<SourceName>() else { continue };
            for (epoch, account) in epochs {
                if let Ok(epoch) = epoch.parse() {
                    ledger.accounts.entry(source.clone()).or_default().insert(epoch, account);
                }
            }
        }
        ledger
    }
}

fn row(source: &SourceName, epoch: Epoch, account: &Account) -> BalanceRow {
    let mut row = BalanceRow {
        source: source.to_string(),
        epoch: epoch.to_string(),
        state: match (account.connected, account.complete) {
            (_, true) => "complete",
            (true, false) => "open",
            (false, false) => "unclean",
        }
        .to_owned(),
        published_packets: account.published,
        archived_packets_now: account.now.archived,
        durable_seq: account.now.next_seq,
        connected: account.connected,
        dropped: account.gap_packets.clone(),
        ..BalanceRow::default()
    };
    let Some(statement) = &account.statement else {
        row.remark = "the probe has not stated its counts yet".to_owned();
        row.archived_packets = account.now.archived;
        row.not_stored_packets = account.now.not_stored;
        row.dropped_packets = row.dropped.values().sum();
        return row;
    };
    row.counted_nanos = statement.nanos;
    row.captured_packets = statement.captured;
    row.in_flight_packets = statement.held;
    row.kernel_dropped_packets = statement.kernel;
    row.interface_dropped_packets = statement.interface;
    // The probe's own count includes what its gap records say.
    row.dropped = statement.drops.clone();
    row.dropped_packets = row.dropped.values().sum();
    let Some(archive) = &statement.archive else {
        row.remark = format!(
            "the probe's counts of {} refer to a moment this collector no longer knows; the next ones will not",
            packet::Timestamp::from_nanos(statement.nanos)
        );
        return row;
    };
    row.archived_packets = archive.archived;
    row.not_stored_packets = archive.not_stored;
    let accounted = archive.archived + archive.not_stored + row.dropped_packets + statement.held;
    if accounted == statement.captured {
        row.closes = true;
    } else {
        row.remark = format!(
            "{} captured, but {accounted} accounted for ({} archived, {} not stored, {} dropped, {} held); the probe counts {} acknowledged",
            statement.captured,
            archive.archived,
            archive.not_stored,
            row.dropped_packets,
            statement.held,
            statement.acknowledged
        );
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Timestamp;

    fn state(next_seq: u64, archived_packets: u64) -> EpochState {
        EpochState { next_seq, archived_packets, ..EpochState::default() }
    }

    fn stated(captured: u64, held: u64, acknowledged_seq: u64) -> Statistics {
        Statistics { time: Timestamp::from_nanos(1), captured, held, acknowledged_seq, ..Statistics::default() }
    }

    #[test]
    fn the_account_is_taken_at_the_moment_the_probe_knew() {
        let (source, epoch) = ("gw".parse().unwrap(), Epoch([1; 16]));
        let mut ledger = Ledger::default();
        ledger.committed(&source, epoch, &state(5, 500), 1);
        ledger.committed(&source, epoch, &state(9, 900), 2);
        ledger.stated(&source, epoch, &stated(730, 230, 5), 3);
        let row = &ledger.rows()[0];
        assert!(row.closes, "{}", row.remark);
        assert_eq!((row.archived_packets, row.in_flight_packets, row.archived_packets_now), (500, 230, 900));
    }

    #[test]
    fn one_packet_too_many_or_too_few_is_seen() {
        let (source, epoch) = ("gw".parse().unwrap(), Epoch([1; 16]));
        let mut ledger = Ledger::default();
        ledger.committed(&source, epoch, &state(5, 500), 1);
        for captured in [729, 731] {
            ledger.stated(&source, epoch, &stated(captured, 230, 5), 3);
            let row = &ledger.rows()[0];
            assert!(!row.closes && !row.remark.is_empty());
        }
    }

    #[test]
    fn accounts_survive_a_restart() {
        let (source, epoch) = ("gw".parse().unwrap(), Epoch([1; 16]));
        let mut ledger = Ledger::default();
        ledger.committed(&source, epoch, &state(5, 500), 1);
        ledger.stated(&source, epoch, &stated(500, 0, 5), 3);
        ledger.complete(&source, epoch, 4);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("balance.json");
        ledger.save(&path).unwrap();
        let again = Ledger::load(&path);
        assert_eq!(again.rows(), ledger.rows());
        assert!(again.rows()[0].closes);
    }
}
