//! What the configuration does to every event before it goes out: fields and events taken away, renamed, added; and the conditions
//! under which. Names and meanings are Packetbeat's. Deliberately has no scripts, look-ups or clocks: an event and the configuration
//! alone decide what comes out.
#![forbid(unsafe_code)]

mod add_fields;
mod add_tags;
mod chain;
mod condition;
mod find;
mod literal;
mod names;
mod network;
mod processor;
mod range;
mod rename;
mod select;
mod truncate_fields;

pub use add_fields::AddFields;
pub use add_tags::AddTags;
pub use chain::Processors;
pub use condition::Condition;
pub use processor::{DropEvent, Processor};
pub use rename::{CopyFields, FromTo, Rename};
pub use select::{DropFields, IncludeFields, Selected};
pub use truncate_fields::TruncateFields;

#[cfg(test)]
mod testing;
