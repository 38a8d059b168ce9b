//! What a capture holds, in one screen: packets and time range, events by type and status, who talked most, anomalies.
//! Counts events as they come; their order does not matter here.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::net::IpAddr;

use analyzer::files::Report;
use event::{Event, common};
use packet::Timestamp;

use super::table::{address, number};

/// Addresses counted at most; more are summed up as "others".
const TALKERS_MAX: usize = 200_000;
/// Addresses shown.
const TALKERS_SHOWN: usize = 10;

/// The counts so far.
#[derive(Debug, Default)]
pub struct Summary {
    by_type: BTreeMap<(&'static str, String), u64>,
    talkers: HashMap<IpAddr, [u64; 2]>,
    others: [u64; 2],
    anomalies: BTreeMap<&'static str, u64>,
}

/// What is known of the packets themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packets {
    /// How many there were.
    pub count: u64,
    /// Their captured bytes.
    pub bytes: u64,
    /// Times of the earliest and the latest.
    pub times: Option<(Timestamp, Timestamp)>,
}

impl Packets {
    /// Adds what was read of a file.
    pub fn add(&mut self, report: &Report) {
        self.count += report.packets;
        self.bytes += report.bytes;
        if let Some((from, to)) = report.times {
            self.times = Some(self.times.map_or((from, to), |(a, b)| (a.min(from), b.max(to))));
        }
    }
}

impl Summary {
    /// Counts one event.
    pub fn count(&mut self, event: &Event) {
        let status = event.get_str(&common::STATUS).unwrap_or("").to_owned();
        *self.by_type.entry((event.event_type, status)).or_default() += 1;
        for anomaly in &event.anomalies {
            *self.anomalies.entry(anomaly.name).or_default() += 1;
        }
        if event.event_type == "flow" {
            let sides = [
                (&common::SOURCE_IP, &common::SOURCE_BYTES, &common::SOURCE_PACKETS),
                (&common::DESTINATION_IP, &common::DESTINATION_BYTES, &common::DESTINATION_PACKETS),
            ];
            for (ip, bytes, packets) in sides {
                let Some(ip) = address(event, ip) else { continue };
                self.talk(ip, number(event, bytes).unwrap_or(0), number(event, packets).unwrap_or(0));
            }
        }
    }

    fn talk(&mut self, ip: IpAddr, bytes: u64, packets: u64) {
        let full = self.talkers.len() >= TALKERS_MAX;
        let sums = match self.talkers.get_mut(&ip) {
            Some(sums) => sums,
            None if full => &mut self.others,
            None => self.talkers.entry(ip).or_default(),
        };
        sums[0] += bytes;
        sums[1] += packets;
    }

    /// The screen.
    pub fn text(&self, packets: &Packets) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "packets  {} ({} bytes)", packets.count, packets.bytes);
        if let Some((from, to)) = packets.times {
            let mut range = Vec::new();
            from.write_rfc3339(&mut range);
            range.extend_from_slice(b" .. ");
            to.write_rfc3339(&mut range);
            let seconds = to.nanos().saturating_sub(from.nanos()) as f64 / 1e9;
            let _ = writeln!(out, "time     {} ({seconds:.3} s)", String::from_utf8_lossy(&range));
        }
        let _ = writeln!(out, "\nevents   {}", self.by_type.values().sum::<u64>());
        for ((event_type, status), count) in &self.by_type {
            let _ = writeln!(out, "  {event_type:<10} {status:<14} {count:>10}");
        }
        let mut talkers: Vec<_> = self.talkers.iter().collect();
        talkers.sort_by_key(|(ip, sums)| (std::cmp::Reverse(**sums), **ip));
        if !talkers.is_empty() {
            let _ = writeln!(out, "\ntop talkers (bytes and packets sent)");
            for (ip, [bytes, packets]) in talkers.iter().take(TALKERS_SHOWN) {
                let _ = writeln!(out, "  {:<40} {bytes:>14} {packets:>10}", ip.to_string());
            }
            if self.others[1] > 0 {
                let _ =
                    writeln!(out, "  {:<40} {:>14} {:>10}", "(not counted one by one)", self.others[0], self.others[1]);
            }
        }
        if !self.anomalies.is_empty() {
            let _ = writeln!(out, "\nanomalies");
            for (name, count) in &self.anomalies {
                let _ = writeln!(out, "  {name:<40} {count:>10}");
            }
        }
        out
    }
}
