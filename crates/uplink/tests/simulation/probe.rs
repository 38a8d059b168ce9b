//! The probe: its spool, and one connection after the other, as `crates/probe` drives them.

use crate::Wrong;
use crate::random::Random;
use crate::spool::Spool;
use crate::truth::{Check, Truth, check};
use packet::{Epoch, Interface, InterfaceSet, LinkType};
use std::collections::VecDeque;
use uplink::{
    EntryHead, Fault, HANDSHAKE_NANOS, HEARTBEAT_NANOS, Hello, MAJOR, MINOR, Moment, ProbeEvent, ProbeSession,
    SILENCE_NANOS, Statistics,
};

const STATISTICS_EVERY: u64 = 1_000_000_000;

/// A connection as the probe sees it. Beside the state machine stands what it ought to believe.
pub struct Link {
    pub wire: usize,
    pub session: ProbeSession,
    pub began: u64,
    pub bye: bool,
    heard: u64,
    beat: u64,
    open: bool,
    credit: u64,
    in_flight: VecDeque<(u64, u64)>,
    announced: u32,
    stated: u64,
    /// Whether it sent an entry twice, on purpose.
    repeated: bool,
    /// All bytes that came, and the events they gave.
    pub received: Vec<u8>,
    pub events: Vec<ProbeEvent>,
}

pub struct Probe {
    pub spool: Spool,
    pub link: Option<Link>,
    pub running: bool,
    pub attempt: u32,
}

/// An interface set.
pub fn set(number: u32) -> InterfaceSet {
    let name = format!("port{number}");
    InterfaceSet {
        number,
        interfaces: vec![Interface { name, link_type: LinkType::ETHERNET, snaplen: 1000, filter: String::new() }],
    }
}

impl Probe {
    pub fn hello(&mut self, now: Moment) -> Hello {
        self.spool.sent = 0;
        let mut epoch = [0; 16];
        epoch[..8].copy_from_slice(&self.spool.epoch.to_le_bytes());
        Hello {
            major: MAJOR,
            minor: MINOR,
            source: "probe".parse().unwrap(),
            epoch: Epoch(epoch),
            oldest_seq: self.spool.oldest_seq(),
            next_seq: self.spool.next_seq,
            clock: now.clock,
            sets: (0..self.spool.sets).map(set).collect(),
        }
    }

    pub fn connect(&mut self, wire: usize, now: Moment) {
        let session = ProbeSession::new(self.hello(now), now);
        self.link = Some(Link {
            wire,
            session,
            began: now.monotonic,
            bye: false,
            heard: now.monotonic,
            beat: now.monotonic,
            open: false,
            credit: 0,
            in_flight: VecDeque::new(),
            announced: self.spool.sets,
            stated: now.monotonic,
            repeated: false,
            received: Vec::new(),
            events: Vec::new(),
        });
    }

    /// Takes what arrived. The inner result is the session's.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        acknowledgements: &mut VecDeque<(u64, u64)>,
        now: Moment,
        wrong: Wrong,
        truth: &Truth,
        random: &mut Random,
    ) -> Check<Result<Vec<ProbeEvent>, Fault>> {
        let Some(link) = &mut self.link else { return Ok(Ok(Vec::new())) };
        link.heard = now.monotonic;
        link.received.extend_from_slice(bytes);
        let mut events = Vec::new();
        let result = link.session.input(bytes, now, &mut events);
        link.events.extend_from_slice(&events);
        for event in &events {
            match event {
                ProbeEvent::Welcomed(welcome) => {
                    link.open = true;
                    link.credit = welcome.credit;
                    truth.acknowledged(self.spool.epoch, welcome.durable_seq)?;
                    let forget = if wrong == Wrong::ForgetsTooEarly { welcome.next_seq } else { welcome.durable_seq };
                    self.spool.acknowledge(forget, random);
                    self.spool.resume(welcome.next_seq);
                }
                ProbeEvent::Acknowledged(durable_seq) => {
                    let sent = acknowledgements.pop_front();
                    check!(
                        sent.is_some_and(|(seq, _)| seq == *durable_seq),
                        "the collector acknowledged {sent:?}, the probe took it for {durable_seq}"
                    );
                    link.credit = sent.map_or(0, |(_, credit)| credit);
                    while link.in_flight.front().is_some_and(|(last_seq, _)| last_seq < durable_seq) {
                        link.in_flight.pop_front();
                    }
                    truth.acknowledged(self.spool.epoch, *durable_seq)?;
                    self.spool.acknowledge(*durable_seq, random);
                }
            }
        }
        Ok(result.map(|()| events))
    }

    /// Sends what may be sent.
    pub fn fill(&mut self, draining: bool, now: Moment, wrong: Wrong, truth: &mut Truth) -> Check {
        let Some(link) = &mut self.link else { return Ok(()) };
        check!(link.session.is_open() == link.open, "the session takes itself for open: {}", link.session.is_open());
        if !link.open || link.bye {
            return Ok(());
        }
        while let Some(entry) = self.spool.entries.get(self.spool.sent)
            && link.session.output().len() < 16 * 1024
        {
            let length = entry.bytes.len() as u64;
            let in_flight: u64 = link.in_flight.iter().map(|(_, length)| length).sum();
            let allowed = link.in_flight.is_empty() || in_flight + length <= link.credit;
            let may = wrong == Wrong::IgnoresCredit || link.session.may_send(entry.bytes.len());
            check!(
                may <= allowed,
                "sent beyond credit: {in_flight} bytes are in flight, {length} more, credit is {}",
                link.credit
            );
            check!(may >= allowed, "not sent although credit allows: {in_flight} + {length} of {}", link.credit);
            if !may {
                break;
            }
            while link.announced <= entry.set {
                link.session.send_interfaces(set(link.announced), now);
                link.announced += 1;
            }
            let head = EntryHead { seq: entry.seq, last_seq: entry.last_seq, raw_length: entry.bytes.len() as u32 };
            link.session.send_entry(head, &entry.bytes, now);
            link.in_flight.push_back((entry.last_seq, length));
            truth.sent(self.spool.epoch, entry);
            self.spool.sent += match wrong {
                Wrong::SkipsAnEntry if entry.seq % 50 == 49 && self.spool.sent + 1 < self.spool.entries.len() => 2,
                Wrong::SendsTwice if entry.seq % 50 == 49 && !std::mem::replace(&mut link.repeated, true) => 0,
                _ => 1,
            };
            self.spool.settled_seq = self.spool.settled_seq.max(entry.last_seq + 1);
        }
        let statistics = Statistics {
            time: now.clock,
            acknowledged_seq: self.spool.acknowledged_seq,
            held: self.spool.entries.len() as u64,
            ..Statistics::default()
        };
        if draining && self.spool.entries.is_empty() {
            link.session.send_bye(statistics, now);
            link.bye = true;
        } else if now.monotonic - link.stated >= STATISTICS_EVERY {
            link.session.send_statistics(statistics, now);
            link.stated = now.monotonic;
        }
        Ok(())
    }

    /// Lets the session look at the clock: its timers go off when they should, and only then.
    pub fn tick(&mut self, now: Moment, wrong: Wrong) -> Check<Result<(), Fault>> {
        let Some(link) = &mut self.link else { return Ok(Ok(())) };
        let written = link.session.output().len();
        let result = if wrong == Wrong::NeverTicks { Ok(()) } else { link.session.tick(now) };
        let silent = now.monotonic - link.heard > SILENCE_NANOS;
        let slow = !link.open && now.monotonic - link.began > HANDSHAKE_NANOS;
        check!(
            result.is_err() == (silent || slow),
            "the probe's timer: silent {silent}, slow {slow}, it says {result:?}"
        );
        let beats = link.session.output().len() > written;
        let due = result.is_ok() && link.open && now.monotonic - link.beat >= HEARTBEAT_NANOS;
        check!(beats == due, "the probe's heartbeat: sent {beats}, due {due}");
        if beats {
            link.beat = now.monotonic;
        }
        Ok(result)
    }
}
