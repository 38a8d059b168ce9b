//! The walk from a packet's link header to its innermost transport payload. One step per layer; which header follows is a
//! value, so that depth is a loop with a limit and not recursion. Does not verify checksums.

use super::*;
use crate::LinkType;

/// Which tunnels are walked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Follow {
    /// All that are known.
    #[default]
    All,
    /// Only IP directly in IP; GRE, VXLAN and the like remain payload.
    IpInIp,
}

/// Dissects a packet that begins with the header of `link_type` and was `original_length` bytes long on the wire.
pub fn dissect(link_type: LinkType, data: &[u8], original_length: u32) -> Dissected<'_> {
    dissect_following(link_type, data, original_length, Follow::All)
}

/// Like [`dissect`], walking only into the tunnels that `follow` says.
pub fn dissect_following(link_type: LinkType, data: &[u8], original_length: u32, follow: Follow) -> Dissected<'_> {
    let _ = (link_type, data, original_length, follow);
    todo!()
}

/// Dissects bytes that begin with an IP header, such as the packet that an ICMP error quotes. `wire_length` is how many
/// bytes there were; a quoted packet is usually cut, which is then noted as [`Anomaly::BadIpLength`] and harmless.
pub fn dissect_network(bytes: &[u8], wire_length: u32) -> Dissected<'_> {
    let _ = (bytes, wire_length);
    todo!()
}

/// Goes on where `first`, the dissection of one of the fragments, had to stop: `payload` is the IP payload put together.
/// Link, tunnels and addresses are those of `first`, tunnels within the payload are walked into.
pub fn dissect_reassembled<'a>(first: &Dissected<'_>, payload: &'a [u8], follow: Follow) -> Dissected<'a> {
    let _ = (first, payload, follow);
    todo!()
}
