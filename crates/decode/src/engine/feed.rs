//! From the pieces of a stream to the decoder of its flow, or to those that may recognise it.
//! Puts no stream together; that is [`crate::stream`]'s.

use super::recognise::{Active, Decision, Sampled, decide_stream, one_sided};
use super::{Emit, Flow, Slot};
use crate::context::{Common, Context, FlowInfo, PacketInfo};
use crate::decoder::{Close, FlowDecoder, Side, Verdict};
use crate::stream::{Piece, Trail};

/// Brings pieces of a stream to the flow's decoder, or to those that may recognise it.
pub(super) struct Feed<'a> {
    pub(super) active: &'a [Active],
    pub(super) ports: &'a [(u8, u8)],
    pub(super) common: &'a mut Common,
    pub(super) out: &'a mut dyn Emit,
    pub(super) packet: PacketInfo,
    pub(super) gap_bytes: &'a mut u64,
}

impl Feed<'_> {
    #[inline]
    pub(super) fn pieces(&mut self, flow: &mut Flow, side: Side, pieces: &[Piece], payload: &[u8]) {
        // Nobody misses bytes that nobody decodes.
        if !pieces.is_empty() && !matches!(flow.slot, Slot::Unknown(_)) {
            self.run(flow, side, pieces, payload, true);
        }
    }

    pub(super) fn pieces_at_end(&mut self, flow: &mut Flow, side: Side, pieces: &[Piece]) {
        self.run(flow, side, pieces, &[], false);
    }

    fn run(&mut self, flow: &mut Flow, side: Side, pieces: &[Piece], payload: &[u8], completing: bool) {
        for piece in pieces {
            match piece {
                Piece::Fresh(from, to) => {
                    let bytes = payload.get(*from..*to).unwrap_or_default();
                    self.data(flow, side, bytes, completing);
                }
                Piece::Held(bytes) => self.data(flow, side, bytes, completing),
                Piece::Gap(length) => {
                    *self.gap_bytes += length;
                    self.gap(flow, side, *length, completing);
                }
            }
        }
    }

    fn context<'c>(&'c mut self, info: &'c mut FlowInfo, packet: PacketInfo, completing: bool) -> Context<'c> {
        Context { flow: info, packet, common: self.common, out: self.out, completing }
    }

    fn data(&mut self, flow: &mut Flow, side: Side, bytes: &[u8], completing: bool) {
        if bytes.is_empty() {
            return;
        }
        let packet = self.packet;
        match &mut flow.slot {
            Slot::Empty(_) | Slot::Unknown(_) => {}
            Slot::Decoder(decoder, number) => {
                let mut context =
                    Context { flow: &mut flow.info, packet, common: self.common, out: self.out, completing };
                if decoder.data(&mut context, side, bytes) == Verdict::GiveBack {
                    decoder.finish(&mut context);
                    flow.refused |= 1 << *number;
                    flow.slot = Slot::Undecided(None);
                }
            }
            Slot::Undecided(_) => self.sample(flow, side, bytes, completing),
        }
    }

    /// Keeps the first bytes of a stream until somebody recognises them.
    fn sample(&mut self, flow: &mut Flow, side: Side, bytes: &[u8], completing: bool) {
        let Slot::Undecided(sampled) = &mut flow.slot else { return };
        // Most streams show with their first bytes what they are, or that nobody knows them: those are not copied.
        let mut sampled = sampled.take();
        if let Some(sampled) = &mut sampled {
            sampled.push(side, self.packet, bytes);
        }
        loop {
            let sides: [&[u8]; 2] = match &sampled {
                Some(sampled) => [&sampled.sides[0], &sampled.sides[1]],
                None => one_sided(side, bytes),
            };
            match decide_stream(flow, self.active, self.ports, self.common, sides, self.packet.time) {
                Decision::Nobody => {
                    flow.slot = Slot::Unknown(Trail::default());
                    return;
                }
                Decision::Later => {
                    let packet = self.packet;
                    flow.slot = Slot::Undecided(Some(sampled.unwrap_or_else(|| {
                        let mut sampled = Box::<Sampled>::default();
                        sampled.push(side, packet, bytes);
                        sampled
                    })));
                    return;
                }
                Decision::Protocol(number, announced) => {
                    let mut decoder = self.active[number].factory.decoder(&flow.info, announced);
                    let newest = (side, self.packet, bytes);
                    let kept = sampled.iter().flat_map(|sampled| &sampled.pieces);
                    let kept = kept.map(|(side, packet, bytes)| (*side, *packet, bytes.as_slice()));
                    let pieces = kept.chain(sampled.is_none().then_some(newest));
                    if self.replay(flow, &mut decoder, pieces, completing) {
                        flow.slot = Slot::decoder(decoder, number);
                        return;
                    }
                    flow.refused |= 1 << number;
                }
            }
        }
    }

    fn replay<'p>(
        &mut self,
        flow: &mut Flow,
        decoder: &mut Box<dyn FlowDecoder>,
        pieces: impl Iterator<Item = (Side, PacketInfo, &'p [u8])>,
        completing: bool,
    ) -> bool {
        for (side, packet, bytes) in pieces {
            let mut context = self.context(&mut flow.info, packet, completing);
            if decoder.data(&mut context, side, bytes) == Verdict::GiveBack {
                decoder.finish(&mut context);
                return false;
            }
        }
        true
    }

    fn gap(&mut self, flow: &mut Flow, side: Side, length: u64, completing: bool) {
        let packet = self.packet;
        match &mut flow.slot {
            Slot::Empty(_) | Slot::Unknown(_) => {}
            Slot::Undecided(sampled) => {
                // What was not recognised before the hole will not be by what stands behind it, put together.
                *sampled = None;
            }
            Slot::Decoder(decoder, number) => {
                let mut context =
                    Context { flow: &mut flow.info, packet, common: self.common, out: self.out, completing };
                if decoder.gap(&mut context, side, length) == Verdict::GiveBack {
                    decoder.finish(&mut context);
                    flow.refused |= 1 << *number;
                    flow.slot = Slot::Undecided(None);
                }
            }
        }
    }

    pub(super) fn closed(&mut self, flow: &mut Flow, how: Close) {
        let packet = self.packet;
        if let Slot::Decoder(decoder, _) = &mut flow.slot {
            let mut context =
                Context { flow: &mut flow.info, packet, common: self.common, out: self.out, completing: true };
            decoder.closed(&mut context, how);
        }
    }
}
