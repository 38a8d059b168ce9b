//! Feed or capture files in, events out: inputs, workers, order, correlation across flows, outputs, and the sandbox around all of it.
//! Knows no protocol: decoding is `decode`'s, the shape of events `event`'s, where they go `output`'s.
#![forbid(unsafe_code)]

mod blocks;
pub mod capture_file;
pub mod collector;
pub mod correlation;
pub mod decoder;
pub mod engine;
pub mod files;
pub mod follow;
pub mod live;
pub mod log;
pub mod order;
mod plan;
pub mod pool;
pub mod position;
mod protocol_options;
mod render;
mod run;
pub mod sandbox;
mod settings;
pub mod shard;
pub mod status;
#[cfg(test)]
mod toy;
pub mod worker;

use std::sync::{Arc, OnceLock};

use event::Schema;
pub use plan::Plan;
pub use run::RunError;
pub use settings::{Sandbox, Settings};

/// The fields of everything that can come out: of all decoders, of flows and of calls.
///
/// # Panics
/// Never in a release that passed its tests: two tables that contradict each other are found by a test.
pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let others = [decode::flow::report::TABLE, correlation::fields::TABLE];
        let tables: Vec<_> = decode::protocols::ALL.iter().map(|protocol| protocol.fields).chain(others).collect();
        Schema::new(&tables).unwrap_or_else(|error| panic!("field tables: {error}"))
    })
}

/// Makes renderers that write JSON lines after tags and processors, one per worker.
pub fn json_renderer(settings: &Settings) -> Arc<dyn Fn() -> Box<dyn worker::Render> + Send + Sync> {
    render::json_renderer(settings, schema())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tables_of_decoders_and_calls_fit_together() {
        assert!(super::schema().fields().len() > 50);
    }
}
