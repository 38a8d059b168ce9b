//! The protocols. One line each: the fixtures, the fuzz target, the reference and the engine iterate over this list.

pub mod dns;
pub mod http;
pub mod icmp;
pub mod rtp;
mod sdp;
pub mod sip;

pub use crate::decoder::Protocol;

/// Every protocol, in the order in which they are asked whether they recognise a flow.
pub static ALL: &[&Protocol] = &[&icmp::PROTOCOL, &dns::PROTOCOL, &http::PROTOCOL, &sip::PROTOCOL, &rtp::PROTOCOL];
