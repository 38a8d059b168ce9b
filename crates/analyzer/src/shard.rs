//! Which worker a packet belongs to: all packets of a flow, both directions, its fragments and the ICMP errors about it go to the same.
//! Deliberately coarse: by the two addresses, so that a call's signalling and media between two hosts stay together too.

use packet::flow::{Endpoint, FlowKey};
use packet::net::{self, Dissected, Transport};
use packet::{LinkType, Packet};

/// A number that is the same for all packets that must meet in one worker.
///
/// What comes through a tunnel goes by the tunnel's ends: a fragment of the outer packet does not show what is inside.
pub fn of(link_type: LinkType, packet: &Packet<'_>) -> u64 {
    let dissected = net::dissect(link_type, packet.data, packet.original_length);
    if let Some(tunnel) = dissected.tunnels.outermost() {
        return addresses(Endpoint::new(tunnel.source, 0), Endpoint::new(tunnel.destination, 0));
    }
    if let Transport::Icmp(icmp) = dissected.transport
        && icmp.is_error()
    {
        // The quoted packet is the one the error is about; the sender of the error may be anybody on its way.
        let quoted = net::dissect_network(dissected.payload, dissected.payload_wire);
        if quoted.network.is_some() {
            return ends(&quoted);
        }
    }
    ends(&dissected)
}

fn ends(dissected: &Dissected<'_>) -> u64 {
    dissected
        .network
        .as_ref()
        .map_or(0, |network| addresses(Endpoint::new(network.source, 0), Endpoint::new(network.destination, 0)))
}

fn addresses(from: Endpoint, to: Endpoint) -> u64 {
    FlowKey::new(from, to, 0).0.hash_addresses()
}
