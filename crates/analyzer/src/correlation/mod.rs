//! What spans flows and protocols: calls out of their signalling and their media. Stands once between workers and outputs,
//! reads events and adds events; it sees no packet and changes no event that passes.
//!
//! It goes by packet time alone and is told events in the order in which they go out, so that what it adds is the same
//! for any number of workers.

mod calls;
pub mod fields;
mod stage;

pub use calls::{Calls, Limits};
pub use stage::Stage;
