//! Which packets are meant: a filter expression, sources and a range of time, as `grab`, `live` and `replay` take them.
//! Checks them before anything is asked or opened.

use archive::{Filter, Query};
use packet::{SourceName, Timestamp};

use crate::failure::Failure;
use crate::moment;

/// The arguments.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Selection {
    /// Which packets: a pcap filter expression; `community-id ID` is one more primitive
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
