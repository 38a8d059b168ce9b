//! RTP streams and RTCP: who sends what to whom, how much of it arrived and how evenly. Looks into no payload but telephone
//! events, and lets none of it out.
//!
//! A flow is media because SDP announced it or because its packets look like it; until that is certain its streams are
//! counted but nothing is said, so that the first packets count too.

mod document;
mod dtmf;
pub mod fields;
mod header;
mod media;
mod payload;
mod quality;
mod recognise;
mod reports;
mod rtcp;
mod sequence;
mod stream;
mod timing;

use std::sync::Arc;

use packet::Timestamp;
use serde::Deserialize;

use crate::config::{self, Profile};
use crate::context::{Context, FlowInfo, Seen};
use crate::decoder::{self, Announced as Given, FlowDecoder, Protocol, Recognition, Sample, Side, Verdict};
use crate::options::{Flag, Span};
use crate::protocols::sdp::Announced;

use document::{Around, Belongs};
use media::{Found, Media};
use payload::Codec;
use recognise::Recogniser;
use stream::{Arrival, Sight};

/// RTP and RTCP for the registry.
pub(crate) static PROTOCOL: Protocol = Protocol {
    name: "rtp",
    fields: fields::TABLE,
    datagrams: true,
    streams: false,
    ip_protocols: &[],
    ports: &[],
    in_packetbeat: false,
    recognise: Some(recognise),
    configure,
};

/// `[analyzer.protocols.rtp]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// How often a stream that goes on is reported; 0: only at its end.
    interval: Span,
    /// Silence after which a stream has ended.
    stream_timeout: Span,
    /// Whether keys are shown.
    send_dtmf: Flag,
    /// Whether there are events about RTCP.
    rtcp: Flag,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interval: Span::seconds(10),
            stream_timeout: Span::seconds(60),
            send_dtmf: Flag(false),
            rtcp: Flag(true),
        }
    }
}

fn configure(table: toml::Table, _: Profile) -> Result<Arc<dyn decoder::Factory>, String> {
    let options: Options = config::options(table)?;
    let timeout_ns = options.stream_timeout.nanos().ok_or("stream_timeout: a stream has to end some time")?;
    let settings = Settings {
        interval_ns: options.interval.nanos().unwrap_or(0),
        timeout_ns,
        keys_shown: options.send_dtmf.0,
        rtcp: options.rtcp.0,
    };
    Ok(Arc::new(Factory { settings }))
}

/// One datagram proves nothing, but says whether a look at those that follow is worth it.
fn recognise(sample: &Sample<'_>) -> Recognition {
    let bytes = sample.bytes;
    let plausible = match bytes.first() {
        Some(128..=191) => header::Header::parse(bytes, bytes.len())
            .is_ok_and(|header| !payload::is_unassigned(header.payload_type) || header::Header::may_be_rtcp(bytes)),
        // STUN with its magic cookie: media may follow (RFC 8489 5).
        Some(0..=3) => bytes.get(4..8) == Some(&[0x21, 0x12, 0xa4, 0x42]),
        _ => false,
    };
    if plausible && !sample.stream { Recognition::Maybe } else { Recognition::No }
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    interval_ns: u64,
    timeout_ns: u64,
    keys_shown: bool,
    rtcp: bool,
}

struct Factory {
    settings: Settings,
}

impl decoder::Factory for Factory {
    fn decoder(&self, _: &FlowInfo, given: Option<&Given>) -> Box<dyn FlowDecoder> {
        Box::new(Decoder {
            settings: self.settings,
            media: Media::default(),
            // To whom the announcement speaks is looked up with the first packet.
            recogniser: given.is_none().then(Recogniser::default),
            announcements: None,
            due: None,
            found: Vec::new(),
        })
    }
}

/// The media of one flow.
struct Decoder {
    settings: Settings,
    media: Media,
    /// While it is not certain that this is media.
    recogniser: Option<Recogniser>,
    /// How many announcements there had been when they were last looked at.
    announcements: Option<u64>,
    due: Option<Timestamp>,
    found: Vec<Found>,
}

impl FlowDecoder for Decoder {
    fn datagram(&mut self, context: &mut Context<'_>, side: Side, payload: &[u8], wire_length: usize) -> Verdict {
        let up = side == Side::First;
        if self.announcements != Some(context.announcements()) {
            self.look_up(context);
        }
        if let Some(recogniser) = &mut self.recogniser {
            match recogniser.look(up, payload, wire_length) {
                recognise::Verdict::Media => self.recogniser = None,
                recognise::Verdict::Undecided => {}
                recognise::Verdict::Other => return Verdict::GiveBack,
            }
        }
        let packet = context.packet;
        let arrival = Arrival {
            time: packet.time,
            number: packet.number,
            bytes: payload,
            sight: Sight { identification: packet.identification, place: packet.path },
        };
        let own_loss = |from, to| context.capture_loss(from, to);
        let Settings { interval_ns, timeout_ns, .. } = self.settings;
        if self.media.packet(up, wire_length, &arrival, interval_ns, &own_loss, &mut self.found) {
            self.due = self.media.deadline(interval_ns, timeout_ns);
        }
        if !self.found.is_empty() {
            self.tell(context, Some((side, payload)));
        }
        Verdict::Continue
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.due
    }

    fn expire(&mut self, context: &mut Context<'_>, now: Timestamp) {
        let Settings { interval_ns, timeout_ns, .. } = self.settings;
        let own_loss = |from, to| context.capture_loss(from, to);
        self.media.tick(now, interval_ns, timeout_ns, &own_loss, &mut self.found);
        self.tell(context, None);
        self.due = self.media.deadline(interval_ns, timeout_ns);
    }

    fn finish(&mut self, context: &mut Context<'_>) {
        let own_loss = |from, to| context.capture_loss(from, to);
        self.media.finish(self.settings.interval_ns, &own_loss, &mut self.found);
        self.tell(context, None);
    }
}

impl Decoder {
    /// Asks what was announced about both ends of the flow.
    #[cold]
    fn look_up(&mut self, context: &Context<'_>) {
        self.announcements = Some(context.announcements());
        for side in [Side::First, Side::Second] {
            let Some(given) = context.announced(context.flow.endpoint(side.other()), "rtp") else { continue };
            if let Ok(announced) = given.downcast::<Announced>() {
                self.media.announce(side == Side::First, announced);
                self.recogniser = None;
            }
        }
    }

    /// Makes events of what was found; as long as nothing is certain there is nothing to say.
    fn tell(&mut self, context: &mut Context<'_>, packet: Option<(Side, &[u8])>) {
        let mut found = std::mem::take(&mut self.found);
        for found in found.drain(..) {
            match found {
                _ if self.recogniser.is_some() => {}
                Found::Stretch { up, ssrc, previous, announced, summary } => {
                    let side = if up { Side::First } else { Side::Second };
                    // The first interval and the whole begin with the same packet.
                    let began = Seen { time: summary.start, packet: summary.first, ordinal: u32::from(summary.whole) };
                    let mut event = context.event("rtp", began, side);
                    event.origin.last_packet = summary.last;
                    event.capture_loss = summary.counts.own_loss;
                    let announced = announced.as_deref();
                    let belongs = Belongs {
                        call_id: announced.map(|announced| &*announced.call_id).filter(|id| !id.is_empty()),
                        signalled_by: announced.map(|announced| announced.protocol),
                    };
                    document::write_stream(&mut event, ssrc, previous, &summary, belongs, self.settings.keys_shown);
                    context.emit(event);
                }
                Found::Compound => {
                    if let Some((side, payload)) = packet.filter(|_| self.settings.rtcp) {
                        self.compound(context, side, payload);
                    }
                }
            }
        }
        self.found = found;
    }

    fn compound(&mut self, context: &mut Context<'_>, side: Side, payload: &[u8]) {
        let began = context.begin();
        let mut event = context.event("rtcp", began, side);
        // A report is about what comes from the other side.
        let announced = self.media.announced(side == Side::Second).cloned();
        let announced = announced.as_deref();
        let clock_rate = announced
            .and_then(|announced| Codec::of(announced.preferred?, &announced.mappings).map(|codec| codec.clock_rate));
        let around = Around {
            time: context.packet.time,
            clock_rate,
            encrypted: self.media.encrypted || announced.is_some_and(|announced| announced.secure),
            call_id: announced.map(|announced| &*announced.call_id).filter(|id| !id.is_empty()),
        };
        let compound = rtcp::Compound::parse(payload);
        document::write_compound(&mut event, &compound, &around, &mut self.media.trips);
        context.emit(event);
    }
}
