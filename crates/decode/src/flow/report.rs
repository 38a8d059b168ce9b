//! Flow events, as Packetbeat has them: both sides' packets and bytes, from time to time and at the end.

use crate::context::{FlowInfo, put_community_id};
use event::{Event, Observer, Origin, Value, common};
use packet::flow::protocol;
use std::net::IpAddr;
use std::sync::Arc;

event::fields! {
    /// Fields of flow events.
    pub static TABLE;
    FLOW_ID: Keyword = "flow.id", "What all reports of one flow share.";
    FLOW_FINAL: Boolean = "flow.final", "Whether this is the last report of the flow.";
    FLOW_VLAN: Long = "flow.vlan", "VLAN identifiers, where the flow has any.";
    FLOW_ICMP_ERRORS: Long = "flow.icmp_errors.count", "ICMP errors that spoke of the flow.";
    FLOW_ICMP_TYPE: Long = "flow.icmp_errors.type", "Type of the last of them.";
    FLOW_ICMP_CODE: Long = "flow.icmp_errors.code", "Code of the last of them.";
}

/// The event about a flow as it is now.
pub(crate) fn event(
    flow: &FlowInfo,
    observer: &Arc<Observer>,
    ordinal: u32,
    is_final: bool,
    packetbeat: bool,
) -> Event {
    let last = flow.last();
    let origin = Origin {
        observer: observer.clone(),
        interface: flow.interface.clone(),
        first_packet: flow.began.packet,
        last_packet: last.packet,
    };
    let mut event = Event::new("flow", last.time, origin);
    event.ordinal = ordinal;
    event.partial = flow.is_partial;
    put_identity(&mut event, flow);
    event.put(&common::EVENT_KIND, "event");
    event.put(&common::EVENT_CATEGORY, Value::Words(&["network"]));
    event.put(&common::EVENT_DATASET, "flow");
    event.put(&common::EVENT_ACTION, "network_flow");
    let types: &[&'static str] = if is_final { &["connection", "end"] } else { &["connection"] };
    event.put(&common::EVENT_TYPE, types);
    event.put(&common::EVENT_START, flow.began.time);
    event.put(&common::EVENT_END, last.time);
    event.put(&common::EVENT_DURATION, last.time.since(flow.began.time));
    event.put(&FLOW_FINAL, is_final);
    event.put(&common::NETWORK_BYTES, flow.bytes[0] + flow.bytes[1]);
    event.put(&common::NETWORK_PACKETS, flow.packets[0] + flow.packets[1]);
    event.put(&common::SOURCE_BYTES, flow.bytes[0]);
    event.put(&common::SOURCE_PACKETS, flow.packets[0]);
    if flow.packets[1] > 0 {
        event.put(&common::DESTINATION_BYTES, flow.bytes[1]);
        event.put(&common::DESTINATION_PACKETS, flow.packets[1]);
    }
    if !packetbeat && flow.icmp_errors.0 > 0 {
        event.put(&FLOW_ICMP_ERRORS, flow.icmp_errors.0);
        event.put(&FLOW_ICMP_TYPE, flow.icmp_errors.1);
        event.put(&FLOW_ICMP_CODE, flow.icmp_errors.2);
    }
    event
}

fn put_identity(event: &mut Event, flow: &FlowInfo) {
    event.put(&common::SOURCE_IP, flow.first.address);
    event.put(&common::DESTINATION_IP, flow.second.address);
    if matches!(flow.protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
        event.put(&common::SOURCE_PORT, flow.first.port);
        event.put(&common::DESTINATION_PORT, flow.second.port);
    }
    for (mac, field) in flow.macs.into_iter().zip([&common::SOURCE_MAC, &common::DESTINATION_MAC]) {
        if let Some(mac) = mac {
            event.put(field, mac.0);
        }
    }
    event.put(&common::NETWORK_TYPE, if flow.first.address.is_ipv4() { "ipv4" } else { "ipv6" });
    match flow.transport() {
        Some(word) => event.put(&common::NETWORK_TRANSPORT, word),
        None => event.put_display(&common::NETWORK_TRANSPORT, flow.protocol),
    }
    put_community_id(event, flow);
    match flow.vlans.as_slice() {
        [] => {}
        [one] => event.put(&FLOW_VLAN, *one),
        several => event.put_list(&FLOW_VLAN, several.iter().copied()),
    }
    put_id(event, flow);
}

/// Longest flow id in bytes: head, Ethernet, two VLANs, IPv6, ports.
const ID_MAX: usize = 14 + 12 + 4 + 32 + 4;

/// Packetbeat's flow id: base64 without padding of which layers are known, where each stands, and their addresses.
fn put_id(event: &mut Event, flow: &FlowInfo) {
    let mut id = Id::new();
    if let [Some(a), Some(b)] = flow.macs {
        id.add(Id::ETHERNET, ordered(&a.0, &b.0));
    }
    match flow.vlans.as_slice() {
        [] => {}
        [one] => id.add(Id::VLAN, [&one.to_le_bytes(), &[]]),
        [outer, .., inner] => {
            id.add(Id::OUTER_VLAN, [&outer.to_le_bytes(), &[]]);
            id.add(Id::VLAN, [&inner.to_le_bytes(), &[]]);
        }
    }
    match (flow.first.address, flow.second.address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => id.add(Id::IPV4, ordered(&a.octets(), &b.octets())),
        (IpAddr::V6(a), IpAddr::V6(b)) => id.add(Id::IPV6, ordered(&a.octets(), &b.octets())),
        _ => {}
    }
    let (from, to) = (flow.first.port.to_le_bytes(), flow.second.port.to_le_bytes());
    match flow.protocol {
        protocol::TCP => id.add(Id::TCP, ordered(&from, &to)),
        protocol::UDP => id.add(Id::UDP, ordered(&from, &to)),
        _ => {}
    }
    let id = event.base64("", id.bytes(), false);
    event.put(&FLOW_ID, id);
}

/// Both directions must give the same id: the lower address of each layer stands first.
fn ordered<'a>(a: &'a [u8], b: &'a [u8]) -> [&'a [u8]; 2] {
    if a <= b { [a, b] } else { [b, a] }
}

struct Id {
    bytes: [u8; ID_MAX],
    length: usize,
}

impl Id {
    const ETHERNET: usize = 0;
    const OUTER_VLAN: usize = 1;
    const VLAN: usize = 2;
    const IPV4: usize = 4;
    const IPV6: usize = 6;
    const UDP: usize = 9;
    const TCP: usize = 10;
    /// A bit for each layer that is known, then for each of twelve where it stands behind this head.
    const HEAD: usize = 2 + 12;

    fn new() -> Self {
        let mut bytes = [0; ID_MAX];
        bytes[2..Self::HEAD].fill(0xff);
        Self { bytes, length: Self::HEAD }
    }

    fn add(&mut self, layer: usize, parts: [&[u8]; 2]) {
        self.bytes[layer / 8] |= 1 << (layer % 8);
        self.bytes[2 + layer] = (self.length - Self::HEAD) as u8;
        for part in parts {
            self.bytes[self.length..self.length + part.len()].copy_from_slice(part);
            self.length += part.len();
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// How far a flow's reports are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reports {
    /// Reports given so far: the ordinal of the next.
    pub(crate) given: u32,
    /// Number of the newest packet when the last was given.
    pub(crate) at: u64,
}
