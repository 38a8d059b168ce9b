//! One schedule: time moves from event to event, things go wrong at random, and in the end everything has to be durable.

use crate::Wrong;
use crate::collector::{Collector, Decision, Over};
use crate::fragments;
use crate::probe::Probe;
use crate::random::Random;
use crate::spool::Spool;
use crate::truth::{Check, Truth, check};
use crate::wire::{Arrival, Cut, Side, Wire};
use packet::Timestamp;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use uplink::{Fault, Moment, ProbeEvent, Refusal, backoff};

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;
/// How often the ends look at the clock.
const PROBE_TICK: u64 = 100 * MILLI;
const COLLECTOR_TICK: u64 = 500 * MILLI;
/// A collector that takes longer to decide may cost the probe its patience.
const QUICK_DECISION: u64 = 300 * MILLI;
/// How far a clock offset may be off: a heartbeat waits behind the entries that are on their way.
const CLOCK_TOLERANCE: u64 = 2 * SECOND;

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    ProbeTick,
    CollectorTick,
    Produce,
    Connect,
    Arrive(usize, Side),
    Decide(usize),
    RoundDone(u64),
    Credit,
    Trouble,
    ProbeStart,
    CollectorStart,
    /// From now on nothing goes wrong any more.
    Calm,
    /// Nothing more is captured: the probe says bye when all is acknowledged.
    Drain,
}

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Cut,
    /// The probe takes another way; what it sent before arrives late.
    Detour,
    Stall,
    ProbeCrash,
    CollectorCrash,
    DiskLoss,
    Refusal,
    SlowDecision,
    SpoolFull,
}

const TROUBLES: [Trouble; 9] = [
    Trouble::Cut,
    Trouble::Detour,
    Trouble::Stall,
    Trouble::ProbeCrash,
    Trouble::CollectorCrash,
    Trouble::DiskLoss,
    Trouble::Refusal,
    Trouble::SlowDecision,
    Trouble::SpoolFull,
];

pub struct World {
    random: Random,
    trace: bool,
    wrong: Wrong,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    wires: Vec<Wire>,
    probe: Probe,
    collector: Collector,
    truth: Truth,
    troubles: Vec<Trouble>,
    /// Refuse or delay the next decision.
    refusal: Option<u16>,
    slow_decision: bool,
    connecting: bool,
    calm: bool,
    draining: bool,
    deadline: u64,
    longest_delay: u64,
    capacity: usize,
    /// The clocks of the two, as of time 0.
    clocks: (u64, u64),
}

/// What a schedule came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub events: u64,
    pub connections: usize,
    pub seconds: u64,
}

impl World {
    pub fn new(seed: u64, wrong: Wrong, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let troubles: Vec<Trouble> = TROUBLES.into_iter().filter(|_| random.once_in(2)).collect();
        let clock = |random: &mut Random| 1_700_000_000 * SECOND + random.between(0, 7200 * SECOND);
        let clocks = (clock(&mut random), clock(&mut random));
        let lasting = random.once_in(2);
        let credit = random.one_of(&[0, 400, 4000, 100_000]);
        let mut world = Self {
            trace,
            wrong,
            now: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            wires: Vec::new(),
            probe: Probe { spool: Spool::new(lasting), link: None, running: true, attempt: 0 },
            collector: Collector::new(credit),
            truth: Truth::default(),
            troubles,
            refusal: None,
            slow_decision: false,
            connecting: false,
            calm: false,
            draining: false,
            deadline: u64::MAX,
            longest_delay: random.one_of(&[1, 20, 300]) * MILLI,
            capacity: random.one_of(&[4096, 65536]),
            clocks,
            random,
        };
        world.say(|world| format!("troubles {:?}, lasting spool {lasting}, credit {credit}", world.troubles));
        let calm = world.random.between(0, 50) * SECOND;
        for (after, event) in [
            (1, Event::Connect),
            (2, Event::ProbeTick),
            (3, Event::CollectorTick),
            (4, Event::Produce),
            (5, Event::Trouble),
            (6, Event::Credit),
            (calm, Event::Calm),
        ] {
            world.schedule(after, event);
        }
        world.connecting = true;
        world
    }

    /// Runs to the end.
    pub fn run(mut self) -> Check<Outcome> {
        let mut events = 0;
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = at;
            events += 1;
            check!(at < self.deadline, "not everything is durable in time: {}", self.state());
            self.happen(event).map_err(|problem| format!("at {:.6} s: {problem}", at as f64 / 1e9))?;
            if self.collector.complete == Some(self.probe.spool.epoch) {
                return self.finished(events);
            }
        }
        Err("nothing is left to happen".to_owned())
    }

    fn finished(&self, events: u64) -> Check<Outcome> {
        let spool = &self.probe.spool;
        check!(spool.entries.is_empty(), "the epoch is complete and the probe holds entries: {}", self.state());
        let durable = self.truth.durable_seq(spool.epoch);
        check!(durable == spool.next_seq, "{durable} are durable, {} were there", spool.next_seq);
        Ok(Outcome { events, connections: self.wires.len(), seconds: self.now / SECOND })
    }

    fn state(&self) -> String {
        let spool = &self.probe.spool;
        format!(
            "epoch {}: next seq {}, oldest held {}, durable {}, pending at the collector {}, {} connections",
            spool.epoch,
            spool.next_seq,
            spool.oldest_seq(),
            self.truth.durable_seq(spool.epoch),
            self.collector.pending.len(),
            self.wires.len()
        )
    }

    fn say(&self, text: impl FnOnce(&Self) -> String) {
        if self.trace {
            println!("{:>12.6} s  {}", self.now as f64 / 1e9, text(self));
        }
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((self.now + after, self.scheduled, event)));
    }

    fn moment(&self, side: Side) -> Moment {
        let clock = if side == Side::Probe { self.clocks.0 } else { self.clocks.1 };
        Moment { monotonic: self.now, clock: Timestamp::from_nanos(clock + self.now) }
    }

    fn happen(&mut self, event: Event) -> Check {
        match event {
            Event::ProbeTick => self.probe_tick()?,
            Event::CollectorTick => self.collector_tick()?,
            Event::Produce => self.produce()?,
            Event::Connect => self.connect(),
            Event::Arrive(wire, to) => self.arrive(wire, to)?,
            Event::Decide(wire) => self.decide(wire)?,
            Event::RoundDone(round) => self.round_done(round)?,
            Event::Credit => self.change_credit()?,
            Event::Trouble if !self.calm => self.trouble()?,
            Event::Trouble => {}
            Event::ProbeStart => {
                self.say(|_| "probe starts".to_owned());
                self.probe.running = true;
                self.probe.attempt = 0;
                self.schedule(1, Event::Connect);
                self.connecting = true;
            }
            Event::CollectorStart => {
                self.say(|_| "collector starts".to_owned());
                self.collector.start(self.probe.spool.epoch, &self.truth);
            }
            Event::Calm => {
                self.calm = true;
                self.longest_delay = self.longest_delay.min(50 * MILLI);
                self.collector.credit = self.random.one_of(&[0, 400, 4000]);
                let drain = self.random.between(0, 12) * SECOND;
                self.schedule(drain, Event::Drain);
                self.say(|world| format!("calm from now on; {}", world.state()));
            }
            Event::Drain => {
                self.draining = true;
                // Silence, the longest wait and a handshake, and a round for each entry should there be no credit.
                self.deadline = self.now + 40 * SECOND + self.probe.spool.entries.len() as u64 * 500 * MILLI;
                self.say(|_| "nothing more is captured".to_owned());
            }
        }
        self.begin_round();
        Ok(())
    }

    /// Hands the network what both ends have to send on a connection.
    fn pump(&mut self, wire: usize) {
        for from in [Side::Probe, Side::Collector] {
            let output = match from {
                Side::Probe => self.probe.link.as_mut().filter(|link| link.wire == wire).map(|it| it.session.output()),
                Side::Collector => self.collector.sessions.get_mut(&wire).map(|it| it.session.output()),
            };
            let Some(output) = output.filter(|output| !output.is_empty()) else { continue };
            let (now, delay) = (self.now, self.longest_delay);
            for at in self.wires[wire].write(from.other(), output, now, delay, &mut self.random) {
                self.schedule(at - now, Event::Arrive(wire, from.other()));
            }
        }
    }

    /// One end closes its socket.
    fn close(&mut self, wire: usize, by: Side) -> Check {
        self.pump(wire);
        match by {
            Side::Probe => {
                if let Some(link) = self.probe.link.take_if(|link| link.wire == wire) {
                    fragments::probe(&link, &mut self.random)?;
                    if self.now - link.began > 10 * SECOND {
                        self.probe.attempt = 0;
                    }
                }
            }
            Side::Collector => {
                if let Some(serving) = self.collector.release(wire) {
                    fragments::collector(&serving, &mut self.random)?;
                }
            }
        }
        if let Some(at) = self.wires[wire].close(by, self.now) {
            self.schedule(at - self.now, Event::Arrive(wire, by.other()));
        }
        if by == Side::Probe {
            self.connect_again();
        }
        Ok(())
    }

    /// A state machine gave up a connection: only with reason.
    fn fault(&mut self, wire: usize, at: Side, fault: &Fault) -> Check {
        self.say(|_| format!("connection {wire}: {at:?} gives up: {fault}"));
        match fault {
            Fault::Silent(_) => {
                check!(
                    self.wires[wire].touched,
                    "a timer of the {at:?} went off on healthy connection {wire}: {fault}"
                );
            }
            Fault::Refused(refusal) => {
                let sent = self.wires[wire].refused;
                check!(sent == Some(refusal.code), "refused with code {sent:?}, the probe took it for {refusal}");
            }
            other => return Err(format!("connection {wire}: to the {at:?} {other}")),
        }
        self.close(wire, at)
    }

    fn connect_again(&mut self) {
        if self.probe.running && !self.connecting {
            let wait = backoff::wait_ms(self.probe.attempt, self.random.next());
            self.probe.attempt += 1;
            self.connecting = true;
            self.schedule(wait * MILLI, Event::Connect);
        }
    }

    fn connect(&mut self) {
        self.connecting = false;
        if !self.probe.running || self.probe.link.is_some() {
            return;
        }
        if !self.collector.running {
            return self.connect_again();
        }
        let wire = self.wires.len();
        self.wires.push(Wire::new(self.capacity));
        let (probe, collector) = (self.moment(Side::Probe), self.moment(Side::Collector));
        self.probe.connect(wire, probe);
        self.collector.accept(wire, collector);
        self.say(|world| {
            format!(
                "connection {wire}: hello, epoch {} from {}",
                world.probe.spool.epoch,
                world.probe.spool.oldest_seq()
            )
        });
        self.pump(wire);
    }

    fn arrive(&mut self, wire: usize, to: Side) -> Check {
        let arrival = match self.wires[wire].arrive(to, self.now) {
            Err(later) => {
                self.schedule(later - self.now, Event::Arrive(wire, to));
                return Ok(());
            }
            Ok(None) => return Ok(()),
            Ok(Some(arrival)) => arrival,
        };
        match (arrival, to) {
            (Arrival::Close, Side::Probe) if self.probe.link.as_ref().is_some_and(|link| link.wire == wire) => {
                let told = self.wires[wire].refused.is_none() || self.wires[wire].touched;
                check!(told, "connection {wire} was refused and the probe was not told");
                self.say(|_| format!("connection {wire}: the probe sees it closed"));
                self.close(wire, to)?;
            }
            (Arrival::Close, Side::Collector) if self.collector.sessions.contains_key(&wire) => {
                self.say(|_| format!("connection {wire}: the collector sees it closed"));
                self.close(wire, to)?;
            }
            (Arrival::Close, _) => {}
            (Arrival::Bytes(bytes), Side::Probe) => self.probe_reads(wire, &bytes)?,
            (Arrival::Bytes(bytes), Side::Collector) => {
                let now = self.moment(to);
                self.collector.receive(wire, &bytes, now);
                self.collector_events(wire)?;
            }
        }
        self.pump(wire);
        Ok(())
    }

    fn probe_reads(&mut self, wire: usize, bytes: &[u8]) -> Check {
        if self.probe.link.as_ref().is_none_or(|link| link.wire != wire) {
            return Ok(());
        }
        let now = self.moment(Side::Probe);
        let acknowledgements = &mut self.wires[wire].acknowledgements;
        let result = self.probe.receive(bytes, acknowledgements, now, self.wrong, &self.truth, &mut self.random)?;
        match result {
            Err(fault) => self.fault(wire, Side::Probe, &fault),
            Ok(events) => {
                for event in events {
                    self.say(|_| match event {
                        ProbeEvent::Welcomed(it) => format!(
                            "connection {wire}: welcome, next seq {}, durable seq {}, credit {}",
                            it.next_seq, it.durable_seq, it.credit
                        ),
                        ProbeEvent::Acknowledged(seq) => format!("connection {wire}: acknowledged before {seq}"),
                    });
                }
                self.fill()
            }
        }
    }

    fn fill(&mut self) -> Check {
        let now = self.moment(Side::Probe);
        let before = self.probe.spool.sent;
        self.probe.fill(self.draining, now, self.wrong, &mut self.truth)?;
        let Some(wire) = self.probe.link.as_ref().map(|link| link.wire) else { return Ok(()) };
        for entry in self.probe.spool.entries.range(before..self.probe.spool.sent) {
            self.say(|_| {
                format!("connection {wire}: entry {} to {}, {} bytes", entry.seq, entry.last_seq, entry.bytes.len())
            });
        }
        self.pump(wire);
        Ok(())
    }

    fn collector_events(&mut self, wire: usize) -> Check {
        let now = self.moment(Side::Collector);
        let greeted = |world: &Self| world.collector.sessions.get(&wire).is_some_and(|it| it.hello.is_some());
        let before = greeted(self);
        match self.collector.events(wire, now, self.wrong, &self.truth)? {
            Ok(_) => {}
            Err(Over::Fault(fault)) => return self.fault(wire, Side::Collector, &fault),
            Err(over) => {
                self.say(|_| format!("connection {wire}: the collector ends it: {over:?}"));
                return self.close(wire, Side::Collector);
            }
        }
        if greeted(self) && !before {
            let slow = std::mem::take(&mut self.slow_decision) && !self.calm;
            let longest = if slow { 12 * SECOND } else { QUICK_DECISION };
            self.wires[wire].touched |= slow;
            let after = self.random.between(1, longest);
            self.schedule(after, Event::Decide(wire));
        }
        Ok(())
    }

    fn decide(&mut self, wire: usize) -> Check {
        let now = self.moment(Side::Collector);
        if !self.collector.sessions.contains_key(&wire) {
            return Ok(());
        }
        let refusal = self.refusal.take().filter(|_| !self.calm);
        let older = self.collector.decide(wire, refusal, now, self.wrong, &self.truth);
        let decision = self.collector.sessions.get(&wire).and_then(|serving| serving.decision);
        self.say(|_| format!("connection {wire}: the collector decides: {decision:?}"));
        if let Some(older) = older
            && self.wrong != Wrong::TakesBothConnections
        {
            self.say(|_| format!("connection {older}: connection {wire} takes its place"));
            self.close(older, Side::Collector)?;
        }
        match decision {
            Some(Decision::Refuse(code)) => {
                self.wires[wire].refused = Some(code);
                self.close(wire, Side::Collector)?;
            }
            _ => self.collector_events(wire)?,
        }
        self.pump(wire);
        Ok(())
    }

    fn begin_round(&mut self) {
        if self.collector.running && self.collector.round.is_none() && !self.collector.pending.is_empty() {
            let round = self.scheduled + 1;
            self.collector.round = Some((round, self.collector.pending.len()));
            let longest = if self.calm { 200 } else { self.random.one_of(&[5, 200, 3000]) };
            let after = self.random.between(1, longest) * MILLI;
            self.schedule(after, Event::RoundDone(round));
        }
    }

    fn round_done(&mut self, round: u64) -> Check {
        let Some((_, count)) = self.collector.round.take_if(|(running, _)| *running == round) else { return Ok(()) };
        self.collector.store(count, &mut self.truth)?;
        self.say(|_| format!("{count} entries are durable"));
        self.acknowledge()
    }

    fn acknowledge(&mut self) -> Check {
        let now = self.moment(Side::Collector);
        if let Some((wire, durable_seq, credit)) = self.collector.acknowledge(now, self.wrong, &self.truth)? {
            self.wires[wire].acknowledgements.push_back((durable_seq, credit));
            self.pump(wire);
        }
        Ok(())
    }

    fn change_credit(&mut self) -> Check {
        if self.calm {
            return self.acknowledge();
        }
        self.collector.credit = self.random.one_of(&[0, 0, 100, 1000, 10_000, 1_000_000]);
        self.say(|world| format!("credit is {}", world.collector.credit));
        let after = self.random.between(100, 8000) * MILLI;
        self.schedule(after, Event::Credit);
        self.acknowledge()
    }

    fn produce(&mut self) -> Check {
        if self.draining {
            return Ok(());
        }
        if self.probe.running {
            self.probe.spool.push(&mut self.random);
            self.fill()?;
        }
        let slowest = self.random.one_of(&[10, 300, 300, 1500]);
        let after = self.random.between(1, slowest) * MILLI;
        self.schedule(after, Event::Produce);
        Ok(())
    }

    fn probe_tick(&mut self) -> Check {
        self.schedule(PROBE_TICK, Event::ProbeTick);
        let Some(wire) = self.probe.link.as_ref().map(|link| link.wire) else { return Ok(()) };
        let now = self.moment(Side::Probe);
        if let Err(fault) = self.probe.tick(now, self.wrong)? {
            return self.fault(wire, Side::Probe, &fault);
        }
        if let Some(link) = &self.probe.link {
            self.knows_clock(wire, Side::Probe, link.began, link.session.clock_offset_nanos())?;
        }
        self.fill()
    }

    fn collector_tick(&mut self) -> Check {
        self.schedule(COLLECTOR_TICK, Event::CollectorTick);
        let now = self.moment(Side::Collector);
        let wires: Vec<usize> = self.collector.sessions.keys().copied().collect();
        for wire in wires {
            if let Err(fault) = self.collector.tick(wire, now)? {
                self.fault(wire, Side::Collector, &fault)?;
            } else if let Some(serving) = self.collector.sessions.get(&wire) {
                self.knows_clock(wire, Side::Collector, serving.began, serving.session.clock_offset_nanos())?;
            }
            self.pump(wire);
        }
        Ok(())
    }

    /// On a healthy connection each end soon knows the other's clock.
    fn knows_clock(&self, wire: usize, side: Side, began: u64, offset: Option<i64>) -> Check {
        if self.wires[wire].touched || self.now - began < 8 * SECOND {
            return Ok(());
        }
        let mut expected = self.clocks.1 as i64 - self.clocks.0 as i64;
        if side == Side::Collector {
            expected = -expected;
        }
        check!(
            offset.is_some_and(|offset| offset.abs_diff(expected) < CLOCK_TOLERANCE),
            "the {side:?} takes the other's clock to be off by {offset:?} ns, it is by {expected}"
        );
        Ok(())
    }

    fn trouble(&mut self) -> Check {
        let after = self.random.between(300, 9000) * MILLI;
        self.schedule(after, Event::Trouble);
        if self.troubles.is_empty() {
            return Ok(());
        }
        let trouble = self.random.one_of(&self.troubles);
        let wire = self.probe.link.as_ref().map(|link| link.wire);
        self.say(|_| format!("trouble: {trouble:?}"));
        match (trouble, wire) {
            (Trouble::Cut, Some(wire)) => {
                let side = self.random.one_of(&[Side::Probe, Side::Collector]);
                let how = self.random.one_of(&[Cut::Told, Cut::HalfOpen(side), Cut::Dead, Cut::OneWay(side)]);
                self.cut(wire, how);
            }
            (Trouble::Detour, Some(wire)) => {
                let until = self.now + self.random.between(100, 4000) * MILLI;
                self.wires[wire].stall(Side::Collector, until);
                self.close(wire, Side::Probe)?;
            }
            (Trouble::Stall, Some(wire)) => {
                let longest = self.random.one_of(&[2, 9, 20]);
                let until = self.now + self.random.between(1, longest) * SECOND;
                let sides = self.random.one_of(&[(true, false), (false, true), (true, true)]);
                for (stalled, to) in [(sides.0, Side::Probe), (sides.1, Side::Collector)] {
                    if stalled {
                        self.wires[wire].stall(to, until);
                    }
                }
                self.say(|_| format!("connection {wire} stalls until {until}"));
            }
            (Trouble::ProbeCrash, _) if self.probe.running => {
                if let Some(wire) = wire {
                    // The system says that the process is gone; or the whole machine went.
                    let how = self.random.one_of(&[Cut::HalfOpen(Side::Collector), Cut::Dead]);
                    self.cut(wire, how);
                }
                self.probe.running = false;
                self.probe.link = None;
                self.probe.spool.crash();
                let after = self.random.between(1, 4000) * MILLI;
                self.schedule(after, Event::ProbeStart);
            }
            (Trouble::CollectorCrash, _) if self.collector.running => {
                // What the running round had on the disk is there afterwards; an entry that was torn is not.
                let count = self.collector.round.map_or(0, |(_, count)| count as u64);
                let stored = self.random.between(0, count) as usize;
                self.collector.store(stored, &mut self.truth)?;
                let how = self.random.one_of(&[Cut::HalfOpen(Side::Probe), Cut::Dead]);
                for wire in 0..self.wires.len() {
                    self.cut(wire, how);
                }
                self.collector.crash();
                let after = self.random.between(1, 4000) * MILLI;
                self.schedule(after, Event::CollectorStart);
            }
            (Trouble::DiskLoss, _) if self.collector.running => {
                self.collector.roll_back(&self.truth);
                if let Some(wire) = self.collector.current {
                    self.close(wire, Side::Collector)?;
                }
            }
            (Trouble::Refusal, _) => self.refusal = Some(self.random.one_of(&[Refusal::LIMIT, Refusal::GOING_DOWN])),
            (Trouble::SlowDecision, _) => self.slow_decision = true,
            (Trouble::SpoolFull, _) if self.probe.running => {
                self.probe.spool.drop_some(self.wrong, &mut self.random);
            }
            _ => {}
        }
        Ok(())
    }

    fn cut(&mut self, wire: usize, how: Cut) {
        self.say(|_| format!("connection {wire} is cut: {how:?}"));
        for (to, at) in self.wires[wire].cut(how, self.now, &mut self.random) {
            self.schedule(at - self.now, Event::Arrive(wire, to));
        }
    }
}
