//! Flow events, as Packetbeat has them: both sides' packets and bytes, from time to time and at the end.

use crate::context::FlowInfo;
use event::{Event, Observer, Origin, Value, common};
use packet::flow::protocol;
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
    flow: &mut FlowInfo,
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
    put_identity(&mut event, flow);
    event.put(&common::EVENT_KIND, "event");
    event.put(&common::EVENT_CATEGORY, Value::list(["network"]));
    event.put(&common::EVENT_DATASET, "flow");
    event.put(&common::EVENT_ACTION, "network_flow");
    let types: &[&'static str] = if is_final { &["connection", "end"] } else { &["connection"] };
    event.put(&common::EVENT_TYPE, Value::list(types.iter().copied()));
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

fn put_identity(event: &mut Event, flow: &mut FlowInfo) {
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
    event.put_text(&common::NETWORK_COMMUNITY_ID, flow.community_id().as_str());
    match flow.vlans.as_slice() {
        [] => {}
        [one] => event.put(&FLOW_VLAN, *one),
        several => event.put(&FLOW_VLAN, Value::list(several.iter().copied())),
    }
    put_id(event, flow);
}

/// Packetbeat's flow id: base64 without padding of which layers are known, where each stands, and their addresses.
fn put_id(event: &mut Event, flow: &FlowInfo) {
    const ETHERNET: u16 = 1;
    const OUTER_VLAN: u16 = 1 << 1;
    const VLAN: u16 = 1 << 2;
    const IPV4: u16 = 1 << 4;
    const IPV6: u16 = 1 << 6;
    const UDP: u16 = 1 << 9;
    const TCP: u16 = 1 << 10;
    let mut layers = [(0u16, 0u8); 6];
    let mut count = 0;
    let mut data = Vec::with_capacity(64);
    let mut add = |flag: u16, bytes: &[u8], data: &mut Vec<u8>| {
        if let Some(layer) = layers.get_mut(count) {
            *layer = (flag, data.len() as u8);
            count += 1;
        }
        data.extend_from_slice(bytes);
    };
    // Both directions must give the same id: the lower address of each layer stands first.
    let ordered = |a: &[u8], b: &[u8]| if a <= b { [a, b].concat() } else { [b, a].concat() };
    if let [Some(a), Some(b)] = flow.macs {
        add(ETHERNET, &ordered(&a.0, &b.0), &mut data);
    }
    match flow.vlans.as_slice() {
        [] => {}
        [one] => add(VLAN, &one.to_le_bytes(), &mut data),
        [outer, .., inner] => {
            add(OUTER_VLAN, &outer.to_le_bytes(), &mut data);
            add(VLAN, &inner.to_le_bytes(), &mut data);
        }
    }
    match (flow.first.address, flow.second.address) {
        (std::net::IpAddr::V4(a), std::net::IpAddr::V4(b)) => add(IPV4, &ordered(&a.octets(), &b.octets()), &mut data),
        (std::net::IpAddr::V6(a), std::net::IpAddr::V6(b)) => add(IPV6, &ordered(&a.octets(), &b.octets()), &mut data),
        _ => {}
    }
    let ports = ordered(&flow.first.port.to_le_bytes(), &flow.second.port.to_le_bytes());
    match flow.protocol {
        protocol::TCP => add(TCP, &ports, &mut data),
        protocol::UDP => add(UDP, &ports, &mut data),
        _ => {}
    }
    let flags = layers.iter().fold(0, |flags, (flag, _)| flags | flag);
    let mut id = Vec::with_capacity(17 + data.len());
    id.extend_from_slice(&flags.to_le_bytes());
    for bit in 0..12 {
        let at = layers.iter().take(count).find(|(flag, _)| *flag == 1 << bit).map_or(0xff, |(_, at)| *at);
        id.push(at);
    }
    id.extend_from_slice(&data);
    let text = base64(&id);
    event.put_text(&FLOW_ID, &text);
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 3);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (at, byte)| word | u32::from(*byte) << (16 - 8 * at));
        for digit in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(word >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

/// How far a flow's reports are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reports {
    /// Reports given so far: the ordinal of the next.
    pub(crate) given: u32,
    /// Number of the newest packet when the last was given.
    pub(crate) at: u64,
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_that_of_rfc_4648_without_padding() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        {
            assert_eq!(super::base64(bytes.as_bytes()), text);
        }
    }
}
