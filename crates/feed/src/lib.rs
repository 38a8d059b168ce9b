//! The feed: what the collector publishes over ZeroMQ, and how it is subscribed to. The only crate that knows ZeroMQ.
//! Version 2 carries whole entries of the log; version 1 is osmo-pcap's, one packet per message.
//!
//! The messages are laid out in `docs/formats/feed.md`.
#![forbid(unsafe_code)]

pub mod curve;
mod endpoint;
mod publisher;
mod subscriber;
pub mod v1;
pub mod v2;

pub use endpoint::{Endpoint, EndpointError};
pub use publisher::{Publisher, PublisherOptions};
pub use subscriber::{Message, Subscriber};

/// Why the feed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Keys that cannot be used.
    #[error(transparent)]
    Curve(#[from] curve::CurveError),
    /// ZeroMQ refused.
    #[error("feed {endpoint}: {error}{}", hint(.error))]
    Socket {
        /// Which endpoint.
        endpoint: String,
        /// What ZeroMQ said.
        error: zmq::Error,
    },
}

fn hint(error: &zmq::Error) -> &'static str {
    match error {
        zmq::Error::EADDRINUSE => "; another program has it: choose another port, or end that program",
        zmq::Error::EACCES => "; this user may not bind there",
        zmq::Error::ENOENT => "; its directory does not exist",
        zmq::Error::ENODEV => "; this machine has no such address: choose one that `ip address` shows",
        _ => "",
    }
}
