//! The collector: receives from probes, checks, publishes, archives, acknowledges, and answers the API.
//! Decodes no protocol, captures nothing, and never waits for a subscriber.
#![forbid(unsafe_code)]

mod check;
mod hook;
mod http;
mod ledger;
mod live;
mod osmo;
mod pipeline;
mod plan;
mod policy;
mod run;
mod session;
mod settings;
mod shared;
mod stored;
mod tls;

pub use check::{Checked, Refused, check as check_entry};
pub use plan::Plan;
pub use policy::{SourcePolicy, Store};
pub use run::RunError;
pub use settings::{Compression, Curve, Durability, OsmoPcap, Retention, Settings, V1Format};
pub use tls::TlsSettings;
