//! Which protocol a flow is: announced by another flow, by its port, or by what its first bytes look like.
//! Decodes nothing.

use super::{Flow, Slot};
use crate::config::Profile;
use crate::context::{Common, PacketInfo};
use crate::decoder::{Announced, Factory, Protocol, Recognition, Sample, Side};
use crate::stream::Trail;
use packet::Timestamp;
use packet::flow::protocol;
use std::sync::Arc;

/// Bytes of each side that are kept while a stream is not recognised.
const SAMPLE_BYTES: usize = 4096;
/// Datagrams after which an unrecognised flow is no longer looked at.
const SAMPLE_DATAGRAMS: u64 = 8;

/// A protocol as configured.
pub(super) struct Active {
    pub(super) protocol: &'static Protocol,
    pub(super) factory: Arc<dyn Factory>,
}

/// Stands for no protocol in the table of ports.
pub(super) const NO_PROTOCOL: u8 = u8::MAX;

/// The first bytes of a stream that nobody has recognised yet, in the order they came.
#[derive(Default)]
pub(super) struct Sampled {
    pub(super) pieces: Vec<(Side, PacketInfo, Vec<u8>)>,
    pub(super) sides: [Vec<u8>; 2],
}

impl Sampled {
    pub(super) fn push(&mut self, side: Side, packet: PacketInfo, bytes: &[u8]) {
        self.pieces.push((side, packet, bytes.to_vec()));
        self.sides[side.index()].extend_from_slice(bytes);
    }
}

fn factory_at<'a>(active: &'a [Active], flow: &Flow, number: u8) -> Option<(usize, &'a Active)> {
    let number = usize::from(number);
    active.get(number).filter(|_| flow.refused & 1 << number == 0).map(|one| (number, one))
}

/// What was announced about a flow, if its protocol is active and has not given it back.
fn announced<'c>(flow: &Flow, active: &[Active], common: &'c Common, now: Timestamp) -> Option<(usize, &'c Announced)> {
    let expectation = common.expectations.find(flow.info.first, flow.info.second, now)?;
    let number = active.iter().position(|one| one.protocol.name == expectation.protocol)?;
    (flow.refused & 1 << number == 0).then_some((number, &expectation.announced))
}

/// The protocol that stands for one of a flow's ports: the second side's first, for it is the server's more often.
fn by_port(flow: &Flow, active: &[Active], ports: &[(u8, u8)], stream: bool) -> Option<usize> {
    let at = |port: u16| {
        let (datagrams, streams) = ports.get(usize::from(port)).copied().unwrap_or((NO_PROTOCOL, NO_PROTOCOL));
        factory_at(active, flow, if stream { streams } else { datagrams }).map(|(number, _)| number)
    };
    at(flow.info.second.port).or_else(|| at(flow.info.first.port))
}

pub(super) fn decide_datagrams(
    flow: &mut Flow,
    active: &[Active],
    ports: &[(u8, u8)],
    common: &Common,
    side: Side,
    payload: &[u8],
    now: Timestamp,
) {
    if flow.info.protocol != protocol::UDP {
        let stands_for = |one: &Active| one.protocol.ip_protocols.contains(&flow.info.protocol);
        flow.slot = match active.iter().position(stands_for) {
            Some(number) if flow.refused & 1 << number == 0 => {
                Slot::decoder(active[number].factory.decoder(&flow.info, None), number)
            }
            _ => Slot::Unknown(Trail::default()),
        };
        return;
    }
    if let Some((number, announced)) = announced(flow, active, common, now) {
        flow.slot = Slot::decoder(active[number].factory.decoder(&flow.info, Some(announced)), number);
        return;
    }
    if let Some(number) = by_port(flow, active, ports, false) {
        flow.slot = Slot::decoder(active[number].factory.decoder(&flow.info, None), number);
        return;
    }
    if common.profile == Profile::Packetbeat {
        flow.slot = Slot::Unknown(Trail::default());
        return;
    }
    let sample = Sample {
        stream: false,
        side,
        bytes: payload,
        ports: (flow.info.endpoint(side).port, flow.info.endpoint(side.other()).port),
    };
    let mut later = None;
    for (number, one) in active.iter().enumerate() {
        if !one.protocol.datagrams || flow.refused & 1 << number != 0 {
            continue;
        }
        match one.protocol.recognise.map(|recognise| recognise(&sample)) {
            Some(Recognition::Yes) => {
                flow.slot = Slot::decoder(one.factory.decoder(&flow.info, None), number);
                return;
            }
            Some(Recognition::Maybe) => later = later.or(Some(number)),
            Some(Recognition::No) | None => {}
        }
    }
    if let Some(number) = later {
        // A decoder on trial: it says nothing until it is sure, and gives the flow back if it never is.
        flow.slot = Slot::decoder(active[number].factory.decoder(&flow.info, None), number);
    } else if flow.info.packets[0] + flow.info.packets[1] > SAMPLE_DATAGRAMS {
        flow.slot = Slot::Unknown(Trail::default());
    }
}

/// Whose a stream is.
pub(super) enum Decision<'c> {
    /// Of this number among the active protocols, with what another flow announced of it.
    Protocol(usize, Option<&'c Announced>),
    /// More bytes will show it.
    Later,
    Nobody,
}

/// The first bytes of a stream where only one side has sent any.
pub(super) const fn one_sided(side: Side, bytes: &[u8]) -> [&[u8]; 2] {
    match side {
        Side::First => [bytes, &[]],
        Side::Second => [&[], bytes],
    }
}

pub(super) fn decide_stream<'c>(
    flow: &Flow,
    active: &[Active],
    ports: &[(u8, u8)],
    common: &'c Common,
    sides: [&[u8]; 2],
    now: Timestamp,
) -> Decision<'c> {
    if let Some((number, announced)) = announced(flow, active, common, now) {
        return Decision::Protocol(number, Some(announced));
    }
    if let Some(number) = by_port(flow, active, ports, true) {
        return Decision::Protocol(number, None);
    }
    if common.profile == Profile::Packetbeat {
        return Decision::Nobody;
    }
    let mut maybe = false;
    for side in [Side::First, Side::Second] {
        let bytes = sides[side.index()];
        if bytes.is_empty() {
            continue;
        }
        let ports = (flow.info.endpoint(side).port, flow.info.endpoint(side.other()).port);
        let sample = Sample { stream: true, side, bytes, ports };
        for (number, one) in active.iter().enumerate() {
            if !one.protocol.streams || flow.refused & 1 << number != 0 {
                continue;
            }
            match one.protocol.recognise.map(|recognise| recognise(&sample)) {
                Some(Recognition::Yes) => return Decision::Protocol(number, None),
                Some(Recognition::Maybe) if bytes.len() < SAMPLE_BYTES => maybe = true,
                _ => {}
            }
        }
    }
    if maybe { Decision::Later } else { Decision::Nobody }
}
