//! Which packets are meant: a filter expression, sources and a range of time, as `grab`, `live` and `replay` take them.
//! Checks them before anything is asked or opened.

use api::moment;
use archive::{Filter, PacketNumbers, Query};
use packet::{Epoch, SourceName, Timestamp};

use crate::failure::Failure;

/// The arguments.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Selection {
    /// Which packets: a pcap filter expression; `community-id ID` and `sent-by ADDRESS:PORT` are two more primitives
    #[arg(value_name = "QUERY")]
    query: Vec<String>,
    /// Only packets of this source; may be given several times
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<String>,
    /// Packets from this time on: RFC 3339, a Unix time, or -15m, -2h, -1d
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    since: Option<String>,
    /// Packets before this time
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    until: Option<String>,
    /// Only packets of this run of a probe, as events and `tapline status` name it
    #[arg(long, value_name = "EPOCH")]
    epoch: Option<Epoch>,
    /// Only packets with these numbers within the epoch, as events state them, such as 4-9,12
    #[arg(long, value_name = "NUMBERS", requires = "epoch")]
    packets: Option<PacketNumbers>,
}

impl Selection {
    /// The filter expression.
    pub fn expression(&self) -> String {
        self.query.join(" ")
    }

    /// Everything, checked.
    pub fn query(&self) -> Result<Query, Failure> {
        let filter = Filter::new(&self.expression()).map_err(Failure::usage)?;
        let sources = self.sources.iter().map(|name| name.parse::<SourceName>().map_err(Failure::usage));
        let time = |text: &Option<String>| -> Result<Option<Timestamp>, Failure> {
            text.as_deref().map(moment::parse_now).transpose().map_err(Failure::usage)
        };
        let query = Query {
            filter,
            sources: sources.collect::<Result<_, _>>()?,
            since: time(&self.since)?,
            until: time(&self.until)?,
            epoch: self.epoch,
            numbers: self.packets.clone(),
        };
        if let (Some(since), Some(until)) = (query.since, query.until)
            && since >= until
        {
            return Err(Failure::usage("--since is not before --until: no packet can be meant"));
        }
        Ok(query)
    }

    /// Whether the range of time has an end.
    pub fn is_bounded(&self) -> bool {
        self.until.is_some()
    }
}
