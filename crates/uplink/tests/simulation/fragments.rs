//! The same bytes give the same events, however they are cut into pieces.

use crate::collector::{Decision, Serving};
use crate::probe::Link;
use crate::random::Random;
use crate::truth::{Check, check};
use packet::{Epoch, Timestamp};
use uplink::{CollectorSession, Hello, MAJOR, MINOR, Moment, ProbeSession, Refusal};

const NOW: Moment = Moment { monotonic: 0, clock: Timestamp::ZERO };

/// The bytes in pieces of up to so many.
fn pieces<'a>(mut bytes: &'a [u8], longest: u64, random: &mut Random) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at((random.between(1, longest) as usize).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

pub fn probe(link: &Link, random: &mut Random) -> Check {
    let hello = Hello {
        major: MAJOR,
        minor: MINOR,
        source: "probe".parse().unwrap(),
        epoch: Epoch([0; 16]),
        oldest_seq: 0,
        next_seq: 0,
        clock: Timestamp::ZERO,
        sets: Vec::new(),
    };
    for longest in [1, 50, u64::from(u32::MAX)] {
        let mut session = ProbeSession::new(hello.clone(), NOW);
        let mut events = Vec::new();
        for piece in pieces(&link.received, longest, random) {
            if session.input(piece, NOW, &mut events).is_err() {
                break;
            }
        }
        check!(
            events == link.events,
            "the probe takes bytes in pieces of {longest} for {events:?}, not {:?}",
            link.events
        );
    }
    Ok(())
}

pub fn collector(serving: &Serving, random: &mut Random) -> Check {
    for longest in [7, 300, u64::from(u32::MAX)] {
        let mut session = CollectorSession::new(NOW);
        let mut events = Vec::new();
        let mut pieces = pieces(&serving.received, longest, random).into_iter();
        // The decision falls at any piece after the hello.
        let mut undecided = serving.decision;
        loop {
            while let Ok(Some(event)) = session.next_event(NOW) {
                events.push(event);
            }
            let next = pieces.next();
            if let Some(piece) = next {
                session.input(piece, NOW);
            }
            if !events.is_empty() && (next.is_none() || random.once_in(3)) {
                match undecided.take() {
                    Some(Decision::Welcome { next_seq, durable_seq, credit }) => {
                        session.welcome(next_seq, durable_seq, credit, NOW);
                        continue;
                    }
                    Some(Decision::Refuse(code)) => session.refuse(Refusal { code, text: String::new() }, NOW),
                    None => {}
                }
            }
            if next.is_none() {
                break;
            }
        }
        check!(
            events.starts_with(&serving.events),
            "the collector takes bytes in pieces of {longest} for {} events, not {}",
            events.len(),
            serving.events.len()
        );
    }
    Ok(())
}
