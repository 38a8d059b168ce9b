//! Feed or capture files in, events out: inputs, workers, order, correlation across flows, outputs, and the sandbox around all of it.
//! Knows no protocol: decoding is `decode`'s, the shape of events `event`'s, where they go `output`'s.
#![forbid(unsafe_code)]

pub mod capture_file;
pub mod decoder;
pub mod files;
pub mod follow;
pub mod live;
pub mod log;
pub mod order;
pub mod pool;
pub mod position;
pub mod processors;
pub mod sandbox;
pub mod shard;
pub mod status;
#[cfg(test)]
mod toy;
pub mod worker;
