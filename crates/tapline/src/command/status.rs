//! `tapline status`: how the collector (and an analyzer beside it) are doing, and the account of every packet.

use std::fmt::Write;

use api::{BalanceAnswer, BalanceRow, Client, CollectorUrl, StatusAnswer};

use crate::failure::{Failure, print};
use crate::place::Connect;

/// Show how collector and analyzer are doing
#[derive(clap::Args)]
pub struct Status {
    /// Show the account of every packet, per source and epoch
    #[arg(long)]
    balance: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Status {
    pub fn run(self) -> Result<(), Failure> {
        let runtime = super::runtime()?;
        if self.balance {
            let client = self.connect.client()?;
            let answer: BalanceAnswer = runtime.block_on(client.json("/api/v1/balance"))?;
            return print(&if self.json { json(&answer) } else { balance_text(&answer) });
        }
        let analyzer = self.connect.local()?.ask_analyzer()?;
        let ask = |client: Client| {
            let status: StatusAnswer = runtime.block_on(client.json("/api/v1/status"))?;
            Ok((client.url().clone(), status))
        };
        let collector = self.connect.client().and_then(ask);
        if self.json {
            let (at, status) = analyzer.as_ref().ok().cloned().unzip();
            let at = at.map(|url| url.to_string());
            let collector = collector.as_ref().ok().map(|(_, status)| status);
            print(&json(&serde_json::json!({
                "collector": collector, "analyzer": status, "analyzer_url": at, "analyzer_error": analyzer.err(),
            })))?;
        } else if collector.is_ok() || analyzer.is_ok() {
            let mut out = String::new();
            if let Ok((url, status)) = &collector {
                collector_text(&mut out, url, status);
            }
            match &analyzer {
                Ok((url, status)) => analyzer_text(&mut out, url, status),
                Err(problem) => out.push_str(&format!(
                    "analyzer     not reached: {problem}; start one, or say where it is with --data DIR or --config FILE\n"
                )),
            }
            print(&out)?;
        }
        collector.map(drop)
    }
}

fn json<T: serde::Serialize>(answer: &T) -> String {
    // A value without maps keyed by anything but text can always be written.
    let mut text = serde_json::to_string_pretty(answer).unwrap_or_default();
    text.push('\n');
    text
}

fn collector_text(out: &mut String, url: &CollectorUrl, status: &StatusAnswer) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "collector    {url} (version {})", status.version);
    let _ = writeln!(out, "connections  {}, subscriptions {}", status.connections, status.subscribers);
    let _ = writeln!(
        out,
        "received     {} packets in {} batches; {} archived",
        status.received_packets, status.received_batches, status.archived_packets
    );
    if let Some(error) = &status.archive_error {
        let _ = writeln!(out, "archive      CANNOT BE WRITTEN: {error}");
    }
}

fn analyzer_text(out: &mut String, url: &CollectorUrl, analyzer: &serde_json::Value) {
    let _ = writeln!(out, "analyzer     {url} (version {})", analyzer["version"].as_str().unwrap_or("unknown"));
    let number = |name: &str| analyzer["counters"][name].as_u64().unwrap_or(0);
    let _ = writeln!(out, "             {} packets, {} events", number("packets"), number("events"));
    for (name, count) in analyzer["events_by_type"].as_object().into_iter().flatten() {
        let _ = writeln!(out, "             {name:<10} {:>10}", count.as_u64().unwrap_or(0));
    }
    let fetched = [
        ("batches_fetched", "fetched from the archive"),
        ("batches_missing", "missing"),
        ("messages_bad", "made no sense"),
    ];
    for (name, what) in fetched.into_iter().filter(|(name, _)| number(name) > 0) {
        let _ = writeln!(out, "             {} batches {what}", number(name));
    }
    if let Some(sandbox) = analyzer["sandbox"].as_object() {
        let of = |name: &str| sandbox.get(name).and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned();
        let _ = writeln!(out, "sandbox      landlock {}, seccomp {}", of("landlock"), of("seccomp"));
    }
    for (name, output) in analyzer["outputs"].as_object().into_iter().flatten() {
        let _ = writeln!(out, "output       {name}: {}", output_text(output));
    }
}

/// What an output has done, and of what is not well only what there is.
fn output_text(output: &serde_json::Value) -> String {
    let number = |name: &str| output[name].as_u64().unwrap_or(0);
    let mut out = format!("{} events written", number("events_written"));
    let others = [
        ("events_refused", "refused"),
        ("held_events", "held"),
        ("events_dropped", "dropped"),
        ("spilled_events", "spilled"),
    ];
    for (name, what) in others.into_iter().filter(|(name, _)| number(name) > 0) {
        let _ = write!(out, ", {} {what}", number(name));
    }
    if output["failing"].as_bool().unwrap_or(false) {
        out.push_str(", FAILING");
    }
    out
}

/// The account as a table.
pub fn balance_text(answer: &BalanceAnswer) -> String {
    let mut out = format!(
        "{:<16} {:<8} {:<8} {:>12} {:>12} {:>11} {:>9} {:>10} {:>12} {:>12}  CLOSES\n",
        "SOURCE",
        "EPOCH",
        "STATE",
        "CAPTURED",
        "ARCHIVED",
        "NOT STORED",
        "DROPPED",
        "IN FLIGHT",
        "PUBLISHED",
        "KERNEL DROPS"
    );
    for row in &answer.balance {
        let _ = writeln!(
            out,
            "{:<16} {:<8} {:<8} {:>12} {:>12} {:>11} {:>9} {:>10} {:>12} {:>12}  {}",
            row.source,
            row.epoch.get(..8).unwrap_or(&row.epoch),
            row.state,
            row.captured_packets,
            row.archived_packets,
            row.not_stored_packets,
            row.dropped_packets,
            row.in_flight_packets,
            row.published_packets,
            row.kernel_dropped_packets + row.interface_dropped_packets,
            closes(row)
        );
        for (place, packets) in row.dropped.iter().filter(|(_, packets)| **packets > 0) {
            let _ = writeln!(out, "{:>34}dropped at {place}: {packets}", "");
        }
    }
    if answer.balance.is_empty() {
        out.push_str("(no source yet)\n");
    }
    out
}

fn closes(row: &BalanceRow) -> String {
    match (row.closes, row.remark.as_str()) {
        (true, "") => "yes".to_owned(),
        (true, remark) => format!("yes ({remark})"),
        (false, "") => "NO".to_owned(),
        (false, remark) => format!("NO: {remark}"),
    }
}

#[cfg(test)]
mod tests {
    use super::output_text;
    use serde_json::json;

    #[test]
    fn of_an_output_only_what_is_not_well_stands_beside_what_it_wrote() {
        let mut output = json!({
            "events_written": 7, "events_refused": 0, "held_events": 0, "events_dropped": 0, "spilled_events": 0, "failing": false
        });
        assert_eq!(output_text(&output), "7 events written");
        output["held_events"] = json!(3);
        assert_eq!(output_text(&output), "7 events written, 3 held");
        output["events_refused"] = json!(2);
        output["events_dropped"] = json!(4);
        output["spilled_events"] = json!(5);
        output["failing"] = json!(true);
        assert_eq!(output_text(&output), "7 events written, 2 refused, 3 held, 4 dropped, 5 spilled, FAILING");
        assert_eq!(output_text(&json!("strange")), "0 events written");
    }
}
