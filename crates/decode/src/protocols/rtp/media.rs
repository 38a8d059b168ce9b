//! The streams of one flow: finds the stream of each packet, closes intervals and ends what fell silent. Knows no engine:
//! what becomes an event is handed out as a value.

use std::sync::Arc;

use packet::Timestamp;

use super::header::Header;
use super::payload;
use super::reports::RoundTrips;
use super::rtcp;
use super::stream::{Arrival, Stream, Summary};
use crate::protocols::sdp::Announced;

/// How many streams of one flow are kept at a time.
const STREAMS_MAX: usize = 32;
/// How long after a drop the capture's counters tell of it.
const KNOWN_LATE_NS: u64 = 1_000_000_000;

/// How many packets our own capture lost between two times.
pub(crate) type OwnLoss<'a> = &'a dyn Fn(Timestamp, Timestamp) -> u64;

/// Something to make an event of.
#[derive(Debug)]
pub(crate) enum Found {
    /// A stretch of a stream.
    Stretch {
        /// Which way it goes.
        up: bool,
        /// Its source.
        ssrc: u32,
        /// The source before it.
        previous: Option<u32>,
        /// What was announced of it.
        announced: Option<Arc<Announced>>,
        /// What is to be said.
        summary: Box<Summary>,
    },
    /// The packet at hand is RTCP.
    Compound,
}

#[derive(Debug)]
struct Held {
    up: bool,
    previous: Option<u32>,
    /// What was announced when it began, or first after that: a later call on the same ports is not its own.
    announced: Option<Arc<Announced>>,
    stream: Stream,
}

/// The media of one flow.
#[derive(Debug, Default)]
pub(crate) struct Media {
    /// What was said of the packets that go up (0) and down (1).
    announced: [Option<Arc<Announced>>; 2],
    held: Vec<Held>,
    latest: usize,
    /// Round trips out of RTCP.
    pub(crate) trips: RoundTrips,
    /// Whether its keys were agreed on in the flow itself.
    pub(crate) encrypted: bool,
    /// Packets that are neither RTP nor RTCP.
    pub(crate) foreign: u64,
    /// Streams given up because there were too many.
    pub(crate) evicted: u64,
}

impl Media {
    /// Signalling said what the packets that go `up` (or down) are.
    pub(crate) fn announce(&mut self, up: bool, announced: Arc<Announced>) {
        let place = &mut self.announced[usize::from(!up)];
        if place.as_ref() != Some(&announced) {
            *place = Some(announced);
            for at in 0..self.held.len() {
                let known = self.held.get(at).and_then(|held| self.announced(held.up)).cloned();
                let Some(held) = self.held.get_mut(at) else { break };
                let call =
                    |announced: &Option<Arc<Announced>>| announced.as_ref().map(|announced| announced.call_id.clone());
                if held.announced.is_none() || call(&held.announced) == call(&known) {
                    held.announced = known;
                    held.stream.forget_codec();
                }
            }
        }
    }

    /// What was said of packets that go `up`, or else of those that come back: the ends of a call agree on payload types.
    pub(crate) fn announced(&self, up: bool) -> Option<&Arc<Announced>> {
        let [upward, downward] = &self.announced;
        if up { upward.as_ref().or(downward.as_ref()) } else { downward.as_ref().or(upward.as_ref()) }
    }

    /// Takes in a packet. What it completes goes to `found`. True if it opened an interval: then [`Media::deadline`] has changed.
    #[inline]
    pub(crate) fn packet(
        &mut self,
        up: bool,
        wire: usize,
        arrival: &Arrival<'_>,
        interval_ns: u64,
        own_loss: OwnLoss<'_>,
        found: &mut Vec<Found>,
    ) -> bool {
        if Header::may_be_rtcp(arrival.bytes) && rtcp::recognise(arrival.bytes, wire) {
            found.push(Found::Compound);
            return false;
        }
        let Ok(header) = Header::parse(arrival.bytes, wire) else {
            self.foreign += 1;
            // A DTLS handshake: what follows is SRTP.
            self.encrypted |= arrival.bytes.first().is_some_and(|first| matches!(first, 20..=63));
            return false;
        };
        let place = match self.held.get(self.latest) {
            Some(held) if held.stream.ssrc == header.ssrc && held.up == up => Some(self.latest),
            _ => self.held.iter().position(|held| held.stream.ssrc == header.ssrc && held.up == up),
        };
        let place = match place {
            Some(place) => place,
            None if self.may_begin(up, &header) => self.begin(up, &header, arrival, interval_ns, own_loss, found),
            None => {
                self.foreign += 1;
                return false;
            }
        };
        self.latest = place;
        let Some(held) = self.held.get_mut(place) else { return false };
        if interval_ns > 0 && arrival.time.since(held.stream.interval_start()) >= interval_ns {
            close(held, arrival.time, interval_ns, own_loss, found);
        }
        let opened = held.stream.interval_is_empty();
        if opened {
            held.stream.open_interval(arrival.number);
        }
        let signalled = held.announced.as_ref().map_or(&[][..], |announced| &announced.mappings);
        held.stream.receive(&header, arrival, signalled);
        opened
    }

    /// Numbers that no codec has are RTCP that cannot be read (RFC 5761 4), unless somebody announced them.
    fn may_begin(&self, up: bool, header: &Header) -> bool {
        let announced = |announced: &Arc<Announced>| {
            announced.mappings.iter().any(|mapping| mapping.payload_type == header.payload_type)
        };
        !payload::is_unassigned(header.payload_type) || self.announced(up).is_some_and(announced)
    }

    #[cold]
    fn begin(
        &mut self,
        up: bool,
        header: &Header,
        arrival: &Arrival<'_>,
        interval_ns: u64,
        own_loss: OwnLoss<'_>,
        found: &mut Vec<Found>,
    ) -> usize {
        if self.held.len() >= STREAMS_MAX {
            let oldest =
                self.held.iter().enumerate().min_by_key(|(_, held)| held.stream.last_time()).map_or(0, |(at, _)| at);
            self.evicted += 1;
            let held = self.held.swap_remove(oldest);
            // One packet of a source among very many is damage rather than a stream.
            if held.stream.packets() > 1 {
                end(held, interval_ns, own_loss, found);
            }
        }
        let before = self.held.iter().filter(|held| held.up == up).max_by_key(|held| held.stream.last_time());
        let previous = before.map(|held| held.stream.ssrc);
        let announced = self.announced(up).cloned();
        self.held.push(Held { up, previous, announced, stream: Stream::new(header, arrival.time, arrival.number) });
        self.held.len() - 1
    }

    /// Time went on: intervals that are over are closed, streams silent for `timeout_ns` are ended.
    pub(crate) fn tick(
        &mut self,
        now: Timestamp,
        interval_ns: u64,
        timeout_ns: u64,
        own_loss: OwnLoss<'_>,
        found: &mut Vec<Found>,
    ) {
        let mut at = 0;
        while let Some(held) = self.held.get_mut(at) {
            if now.since(held.stream.last_time()) >= timeout_ns {
                end(self.held.swap_remove(at), interval_ns, own_loss, found);
                continue;
            }
            if interval_ns > 0
                && now.since(held.stream.interval_start()) >= interval_ns
                && !held.stream.interval_is_empty()
            {
                close(held, now, interval_ns, own_loss, found);
            }
            at += 1;
        }
    }

    /// When [`Media::tick`] has something to do next.
    pub(crate) fn deadline(&self, interval_ns: u64, timeout_ns: u64) -> Option<Timestamp> {
        let due = |held: &Held| {
            let silent = held.stream.last_time().plus_nanos(timeout_ns);
            if interval_ns == 0 || held.stream.interval_is_empty() {
                return silent;
            }
            silent.min(held.stream.interval_start().plus_nanos(interval_ns))
        };
        self.held.iter().map(due).min()
    }

    /// Nothing more comes.
    pub(crate) fn finish(&mut self, interval_ns: u64, own_loss: OwnLoss<'_>, found: &mut Vec<Found>) {
        for held in self.held.drain(..) {
            end(held, interval_ns, own_loss, found);
        }
    }
}

/// Intervals begin a whole number of intervals after the stream did.
fn close(held: &mut Held, now: Timestamp, interval_ns: u64, own_loss: OwnLoss<'_>, found: &mut Vec<Found>) {
    let began = held.stream.interval_start();
    let start = began.plus_nanos(now.since(began) / interval_ns * interval_ns);
    let was_empty = held.stream.interval_is_empty();
    let summary = held.stream.close_interval(start, own_loss(began, start));
    if !was_empty {
        found.push(Found::Stretch {
            up: held.up,
            ssrc: held.stream.ssrc,
            previous: held.previous,
            announced: held.announced.clone(),
            summary: Box::new(summary),
        });
    }
}

fn end(mut held: Held, interval_ns: u64, own_loss: OwnLoss<'_>, found: &mut Vec<Found>) {
    let (last, whole) = {
        let until = held.stream.last_time().plus_nanos(KNOWN_LATE_NS);
        held.stream.finish((own_loss(held.stream.interval_start(), until), own_loss(held.stream.first_time(), until)))
    };
    for summary in last.filter(|_| interval_ns > 0).into_iter().chain([whole]) {
        found.push(Found::Stretch {
            up: held.up,
            ssrc: held.stream.ssrc,
            previous: held.previous,
            announced: held.announced.clone(),
            summary: Box::new(summary),
        });
    }
}
