//! `tapline sources`: who captures for this collector.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use api::SourcesAnswer;

use crate::failure::{Failure, print};
use crate::place::Connect;

/// List the sources of a collector
#[derive(clap::Args)]
pub struct Sources {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Sources {
    pub fn run(self) -> Result<(), Failure> {
        let client = self.connect.client()?;
        let answer: SourcesAnswer = super::runtime()?.block_on(client.json("/api/v1/sources"))?;
        if self.json {
            let mut text = serde_json::to_string_pretty(&answer).map_err(Failure::failed)?;
            text.push('\n');
            return print(&text);
        }
        print(&text(&answer))
    }
}

fn text(answer: &SourcesAnswer) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mut out = format!(
        "{:<20} {:<10} {:<24} {:>12} {:>14} {:>12}  INTERFACES\n",
        "SOURCE", "CONNECTED", "FROM", "PACKETS", "BYTES", "LAST BATCH"
    );
    for row in &answer.sources {
        let last = match row.last_batch_nanos {
            0 => "never".to_owned(),
            nanos => format!("{:.1} s ago", now.saturating_sub(nanos) as f64 / 1e9),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:<20} {:<10} {:<24} {:>12} {:>14} {:>12}  {}",
            row.name,
            if row.connected { "yes" } else { "no" },
            row.peer,
            row.received_packets,
            row.received_bytes,
            last,
            row.interfaces.join(" ")
        );
    }
    if answer.sources.is_empty() {
        out.push_str("(no source yet)\n");
    }
    out
}
