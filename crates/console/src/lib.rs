//! The console: serves the page and the API of `docs/api.md` from the event store, and what collector and analyzer tell of themselves.
//! Writes nothing but tokens, decodes nothing, and keeps nothing that a restart would lose.
#![forbid(unsafe_code)]

mod answer;
mod events;
mod fields;
mod guard;
mod metrics;
mod numbers;
mod overview;
mod packets;
mod page;
mod plan;
mod question;
mod run;
mod serve;
mod settings;
mod state;
mod stream;
mod through;
pub mod tokens;

pub use fields::FieldFacts;
pub use plan::Plan;
pub use run::RunError;
pub use settings::Settings;
