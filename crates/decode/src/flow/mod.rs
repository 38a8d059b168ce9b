//! Flows: the table of those that are alive, and their events.

pub mod report;
pub(crate) mod table;
