//! Decoding: packets in, events and anomalies out. Owns no socket, thread, clock or global; times are packet times.
//! What spans flows or protocols goes through the engine's expectations, or happens behind the engine in the analyzer.
//!
//! A new protocol is one folder in `protocols/` and one line in `protocols/mod.rs`.
#![forbid(unsafe_code)]

pub mod clock;
pub mod config;
pub mod context;
pub mod decoder;
mod engine;
mod expect;
pub mod flow;
mod fragments;
pub mod options;
pub mod protocols;
pub mod stream;

pub use clock::Clock;
pub use config::{Config, ConfigError};
pub use engine::{Counters, Emit, Engine, Frame, Output};

use event::Schema;
use std::sync::OnceLock;

/// The schema of everything this crate can emit: the tables of all protocols and of flows.
///
/// # Panics
/// Never in a release that passed its tests: two tables that contradict each other are found by a test.
pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let tables: Vec<_> =
            protocols::ALL.iter().map(|protocol| protocol.fields).chain([flow::report::TABLE]).collect();
        Schema::new(&tables).unwrap_or_else(|error| panic!("field tables: {error}"))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tables_of_all_protocols_fit_together() {
        assert!(super::schema().fields().len() > 50);
    }
}
