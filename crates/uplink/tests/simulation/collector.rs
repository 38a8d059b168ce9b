//! The collector: sessions, what was received, and the disk, as `crates/collector` has them.

use crate::Wrong;
use crate::spool::Entry;
use crate::truth::{Check, Truth, check};
use std::collections::{BTreeMap, HashMap, VecDeque};
use uplink::{
    CollectorEvent, CollectorSession, Fault, HANDSHAKE_NANOS, HEARTBEAT_NANOS, Hello, Moment, Refusal, SILENCE_NANOS,
};

/// What was decided about a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Welcome { next_seq: u64, durable_seq: u64, credit: u64 },
    Refuse(u16),
}

/// A connection as the collector sees it. Beside the state machine stands what it ought to believe.
pub struct Serving {
    pub session: CollectorSession,
    pub began: u64,
    heard: u64,
    beat: u64,
    pub hello: Option<Hello>,
    pub decision: Option<Decision>,
    /// All bytes that came, and the events they gave.
    pub received: Vec<u8>,
    pub events: Vec<CollectorEvent>,
}

impl Serving {
    fn is_open(&self) -> bool {
        matches!(self.decision, Some(Decision::Welcome { .. })) && !self.said_bye()
    }

    fn said_bye(&self) -> bool {
        matches!(self.events.last(), Some(CollectorEvent::Bye(_)))
    }

    fn epoch(&self) -> u64 {
        self.hello.as_ref().map_or(0, epoch_of)
    }
}

fn epoch_of(hello: &Hello) -> u64 {
    u64::from_le_bytes(*hello.epoch.0.first_chunk().unwrap())
}

pub struct Collector {
    pub running: bool,
    pub sessions: BTreeMap<usize, Serving>,
    /// The wire that speaks for the probe's name.
    pub current: Option<usize>,
    pub credit: u64,
    /// Everything before was received, by epoch.
    received: HashMap<u64, u64>,
    /// Received and not yet durable.
    pub pending: VecDeque<(u64, Entry)>,
    /// The commit round that runs: its number and how many entries it makes durable.
    pub round: Option<(u64, usize)>,
    pub complete: Option<u64>,
}

impl Collector {
    pub fn new(credit: u64) -> Self {
        Self {
            running: true,
            sessions: BTreeMap::new(),
            current: None,
            credit,
            received: HashMap::new(),
            pending: VecDeque::new(),
            round: None,
            complete: None,
        }
    }

    pub fn accept(&mut self, wire: usize, now: Moment) {
        let serving = Serving {
            session: CollectorSession::new(now),
            began: now.monotonic,
            heard: now.monotonic,
            beat: now.monotonic,
            hello: None,
            decision: None,
            received: Vec::new(),
            events: Vec::new(),
        };
        self.sessions.insert(wire, serving);
    }

    /// Takes what arrived.
    pub fn receive(&mut self, wire: usize, bytes: &[u8], now: Moment) {
        let Some(serving) = self.sessions.get_mut(&wire) else { return };
        serving.heard = now.monotonic;
        serving.received.extend_from_slice(bytes);
        serving.session.input(bytes, now);
    }

    /// Works off what has arrived whole. The inner result is the session's, or that the connection is over.
    pub fn events(&mut self, wire: usize, now: Moment, wrong: Wrong, truth: &Truth) -> Check<Result<usize, Over>> {
        let mut count = 0;
        loop {
            let Some(serving) = self.sessions.get_mut(&wire) else { return Ok(Ok(count)) };
            let event = match serving.session.next_event(now) {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(Ok(count)),
                Err(fault) => return Ok(Err(Over::Fault(fault))),
            };
            serving.events.push(event.clone());
            count += 1;
            let epoch = serving.epoch();
            match event {
                CollectorEvent::Hello(hello) => serving.hello = Some(hello),
                CollectorEvent::Interfaces(_) => {}
                CollectorEvent::Entry(head, bytes) => {
                    truth.arrived(epoch, head.seq, head.last_seq, &bytes)?;
                    let entry =
                        Entry { seq: head.seq, last_seq: head.last_seq, set: truth.set(epoch, head.seq), bytes };
                    check!(
                        serving.session.set(entry.set) == Some(&crate::probe::set(entry.set)),
                        "entry {} came before its interface set {}",
                        entry.seq,
                        entry.set
                    );
                    // The claim: what an older connection brings late, the newer one may have brought.
                    let received = self.received.entry(epoch).or_default();
                    check!(
                        self.current != Some(wire) || *received == entry.seq || wrong != Wrong::Nothing,
                        "entry {} came out where {received} had to follow",
                        entry.seq
                    );
                    let claimed = self.current == Some(wire) && *received == entry.seq;
                    if !claimed && wrong != Wrong::TakesBothConnections {
                        return Ok(Err(Over::Replaced));
                    }
                    *received = entry.last_seq + 1;
                    self.pending.push_back((epoch, entry));
                }
                CollectorEvent::Statistics(statistics) => truth.acknowledged(epoch, statistics.acknowledged_seq)?,
                CollectorEvent::Bye(bye) => {
                    check!(bye.statistics.held == 0, "bye, although the probe holds {}", bye.statistics.held);
                    check!(
                        bye.statistics.acknowledged_seq == truth.durable_seq(epoch),
                        "bye after {}, durable are {}",
                        bye.statistics.acknowledged_seq,
                        truth.durable_seq(epoch)
                    );
                    self.complete = Some(epoch);
                    return Ok(Err(Over::Complete));
                }
            }
        }
    }

    /// Answers a hello. Gives the older connection of the same probe that has to end.
    pub fn decide(
        &mut self,
        wire: usize,
        refuse: Option<u16>,
        now: Moment,
        wrong: Wrong,
        truth: &Truth,
    ) -> Option<usize> {
        let serving = self.sessions.get(&wire)?;
        let hello = serving.hello.as_ref()?;
        let epoch = epoch_of(hello);
        let older = self.current.filter(|older| *older != wire);
        let in_use = older
            .and_then(|older| self.sessions.get(&older))
            .is_some_and(|older| older.epoch() != epoch && now.monotonic - older.session.last_heard() <= SILENCE_NANOS);
        let decision = match refuse {
            Some(code) => Decision::Refuse(code),
            None if in_use => Decision::Refuse(Refusal::NAME_IN_USE),
            None => {
                let durable_seq = truth.durable_seq(epoch);
                let oldest_seq = hello.oldest_seq;
                let next_seq = self.received.entry(epoch).or_insert(oldest_seq.max(durable_seq));
                if wrong == Wrong::ForgetsWhatIsNotDurable {
                    *next_seq = durable_seq;
                }
                Decision::Welcome { next_seq: *next_seq, durable_seq, credit: self.credit }
            }
        };
        let serving = self.sessions.get_mut(&wire)?;
        serving.decision = Some(decision);
        match decision {
            Decision::Welcome { next_seq, durable_seq, credit } => {
                serving.session.welcome(next_seq, durable_seq, credit, now);
                self.current = Some(wire);
                older
            }
            Decision::Refuse(code) => {
                serving.session.refuse(Refusal { code, text: "not now".to_owned() }, now);
                None
            }
        }
    }

    /// Tells the connected probe what is durable and what its credit is. Gives what was told and on which wire.
    pub fn acknowledge(&mut self, now: Moment, wrong: Wrong, truth: &Truth) -> Check<Option<(usize, u64, u64)>> {
        let Some(wire) = self.current else { return Ok(None) };
        let Some(serving) = self.sessions.get_mut(&wire).filter(|serving| serving.is_open()) else { return Ok(None) };
        let epoch = serving.epoch();
        let durable_seq = match wrong {
            Wrong::AcknowledgesReceived => self.received.get(&epoch).copied().unwrap_or(0),
            _ => truth.durable_seq(epoch),
        };
        truth.acknowledged(epoch, durable_seq)?;
        serving.session.acknowledge(durable_seq, self.credit, now);
        Ok(Some((wire, durable_seq, self.credit)))
    }

    /// The first entries of what is pending are on the disk.
    pub fn store(&mut self, count: usize, truth: &mut Truth) -> Check {
        for (epoch, entry) in self.pending.drain(..count) {
            truth.stored(epoch, &entry)?;
        }
        Ok(())
    }

    /// What was received and is not durable is lost, and known to be.
    pub fn roll_back(&mut self, truth: &Truth) {
        self.pending.clear();
        self.round = None;
        for (epoch, received) in &mut self.received {
            *received = truth.durable_seq(*epoch);
        }
    }

    /// The process is gone, with everything that is not on the disk.
    pub fn crash(&mut self) {
        self.running = false;
        self.sessions.clear();
        self.current = None;
        self.pending.clear();
        self.round = None;
        self.received.clear();
    }

    /// The process starts: it knows what is on its disk.
    pub fn start(&mut self, epochs: u64, truth: &Truth) {
        self.running = true;
        for epoch in 1..=epochs {
            if truth.durable_seq(epoch) > 0 {
                self.received.insert(epoch, truth.durable_seq(epoch));
            }
        }
    }

    /// Lets a session look at the clock: its timers go off when they should, and only then.
    pub fn tick(&mut self, wire: usize, now: Moment) -> Check<Result<(), Fault>> {
        let Some(serving) = self.sessions.get_mut(&wire) else { return Ok(Ok(())) };
        check!(serving.session.last_heard() == serving.heard, "heard at {}", serving.session.last_heard());
        let written = serving.session.output().len();
        let result = serving.session.tick(now);
        let silent = now.monotonic - serving.heard > SILENCE_NANOS;
        let slow = serving.hello.is_none() && now.monotonic - serving.began > HANDSHAKE_NANOS;
        check!(
            result.is_err() == (silent || slow),
            "the collector's timer: silent {silent}, slow {slow}, it says {result:?}"
        );
        let beats = serving.session.output().len() > written;
        let due = result.is_ok() && serving.is_open() && now.monotonic - serving.beat >= HEARTBEAT_NANOS;
        check!(beats == due, "the collector's heartbeat: sent {beats}, due {due}");
        if beats {
            serving.beat = now.monotonic;
        }
        Ok(result)
    }

    pub fn release(&mut self, wire: usize) -> Option<Serving> {
        if self.current == Some(wire) {
            self.current = None;
        }
        self.sessions.remove(&wire)
    }
}

/// Why a connection is over.
#[derive(Debug)]
pub enum Over {
    Fault(Fault),
    /// A newer connection of the same probe took its place, or the disk lost what it brought.
    Replaced,
    Complete,
}
