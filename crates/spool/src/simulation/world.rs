//! One schedule: a probe's capture, sender and keeper, a collector, a disk; kills, losses of power and trouble at any of the disk's operations.

use super::disk::{Platter, Simulated, Trouble};
use super::random::Random;
use super::truth::{Run, source};
use crate::keeper::{Bounds, Keeper};
use crate::spool::{Ending, Limits, Mode, Spool, WhenFull};
use packet::batch::DropReason;
use packet::{Epoch, Interface, LinkType, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What is wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    Nothing,
    /// The disk says that it has synced and has not.
    SyncLies,
    /// The sender takes what is received for durable.
    ForgetsEarly,
    /// The sender sends an entry that it was told to be received.
    SendsAgain,
}

/// Everything but the keeper.
pub struct Sides {
    pub spool: Arc<Spool>,
    runs: BTreeMap<[u8; 16], Run>,
    present: Epoch,
    connected: Option<Epoch>,
    random: Random,
    wrong: Wrong,
    /// The collector is there; the link works.
    reachable: bool,
    /// New batches come.
    capturing: bool,
    started: bool,
    troubled: bool,
    tracing: bool,
    pub fault: Option<String>,
}

impl Sides {
    pub fn say(&self, text: impl FnOnce() -> String) {
        if self.tracing {
            println!("{}", text());
        }
    }

    fn check(&mut self, outcome: Result<(), String>) {
        if let Err(text) = outcome {
            self.say(|| format!("FAULT: {text}"));
            self.fault.get_or_insert(text);
        }
    }

    fn run(&mut self, epoch: Epoch) -> &mut Run {
        self.runs.entry(epoch.0).or_default()
    }

    /// Something happens, or nothing.
    pub fn meanwhile(&mut self) {
        if !self.started {
            return;
        }
        match self.random.below(12) {
            0..=2 if self.capturing => self.push(),
            3 => self.connect(),
            4..=6 => self.send(),
            7 => self.commit(),
            8 => self.acknowledge(),
            9 if self.random.percent(10) => self.disconnect(),
            10 => self.statement(),
            _ => {}
        }
        self.bounds();
    }

    fn push(&mut self) {
        let (packets, length) = (self.random.below(20) as u32, 20 + self.random.below(900) as usize);
        let epoch = self.present;
        let made = self.run(epoch).make(epoch, packets, length);
        self.say(|| format!("push {} with {packets} packets, {length} bytes", made.header.name.seq));
        if made.header.name.seq == 7 {
            let set = self.spool.add_set(vec![interface("b")]);
            assert_eq!(set, 1);
        }
        self.spool.sealed(packets);
        self.spool.push(made.header, length * 3, made.frame);
    }

    fn connect(&mut self) {
        if self.connected.is_some() || !self.reachable {
            return;
        }
        let hello = self.spool.hello(Timestamp::ZERO);
        let run = self.runs.entry(hello.epoch.0).or_default();
        let (next_seq, durable_seq) = (run.next_seq(), run.durable_seq());
        let mut outcome = Ok(());
        if hello.oldest_seq > durable_seq {
            outcome = Err(format!("{} is forgotten and was not durable", durable_seq));
        }
        for (at, set) in hello.sets.iter().enumerate() {
            if set.number as usize != at || set.interfaces != [interface(if at == 0 { "a" } else { "b" })] {
                outcome = Err(format!("set {at} is not as it was: {set:?}"));
            }
        }
        self.say(|| {
            format!(
                "connect as {} from {}: go on with {next_seq}, durable {durable_seq}",
                hello.epoch, hello.oldest_seq
            )
        });
        self.check(outcome);
        self.spool.acknowledge(if self.wrong == Wrong::ForgetsEarly { next_seq } else { durable_seq });
        self.spool.resume(if self.wrong == Wrong::SendsAgain { next_seq.saturating_sub(1) } else { next_seq });
        self.connected = Some(hello.epoch);
    }

    fn send(&mut self) {
        let Some(epoch) = self.connected else { return };
        let Some(next) = self.spool.next() else { return self.leave() };
        // Between asking and sending there may be a drop.
        if self.capturing && self.random.percent(20) {
            self.push();
        }
        if !self.spool.mark_sent(&next.head) {
            return;
        }
        self.say(|| format!("send {} to {}", next.head.seq, next.head.last_seq));
        if self.random.percent(3) {
            // It does not arrive.
            return self.disconnect();
        }
        let set = next.set.map(|set| self.spool.set(set).is_some());
        let run = self.runs.entry(epoch.0).or_default();
        let outcome = match (&next.frame, &next.gap) {
            _ if set == Some(false) => Err(format!("the set of {} is not known", next.head.seq)),
            (Some(frame), _) => run.batch(next.set.unwrap_or(0), next.head.raw_length, next.head.seq, frame),
            (None, Some(gap)) if (gap.name.seq, gap.last_seq) == (next.head.seq, next.head.last_seq) => {
                if gap.reason != DropReason::BufferFull && !self.troubled {
                    Err(format!("nothing was wrong with the disk, and yet {:?}", gap.reason))
                } else {
                    run.gap(gap, self.troubled)
                }
            }
            _ => Err("an entry that is none".to_owned()),
        };
        self.check(outcome);
    }

    /// If the epoch is at its end, it is left.
    fn leave(&mut self) {
        let ending = self.spool.ending();
        let Some(epoch) = self.connected.filter(|epoch| ending != Ending::NotYet && *epoch != self.present) else {
            return;
        };
        self.statement();
        let next_seq = self.spool.lock().head().next_seq;
        let run = self.runs.entry(epoch.0).or_default();
        let outcome = if run.next_seq() < run.promised {
            Err(format!("{epoch} ends at {} and {} was promised", run.next_seq(), run.promised))
        } else if run.durable_seq() < next_seq {
            Err(format!("{epoch} is left with {} durable", run.durable_seq()))
        } else if run.ended.is_some_and(|ended| (ending == Ending::Complete) != ended) {
            Err(format!("{epoch} ends as {ending:?}, and that it ended in order is {:?}", run.ended))
        } else {
            Ok(())
        };
        self.say(|| format!("leave {epoch}: {ending:?}"));
        self.check(outcome);
        assert!(self.spool.leave());
        self.connected = None;
    }

    fn commit(&mut self) {
        let Some(epoch) = self.connected else { return };
        if self.random.percent(5) {
            let run = self.runs.entry(epoch.0).or_default();
            run.received.truncate(run.durable);
            self.say(|| "the collector crashes".to_owned());
            return self.disconnect();
        }
        let random = self.random.next();
        let run = self.run(epoch);
        let open = (run.received.len() - run.durable) as u64;
        run.durable += (random % (open + 1)) as usize;
    }

    fn acknowledge(&mut self) {
        let Some(epoch) = self.connected else { return };
        let durable_seq = self.run(epoch).durable_seq();
        self.say(|| format!("acknowledge {durable_seq}"));
        self.spool.acknowledge(durable_seq);
    }

    fn disconnect(&mut self) {
        self.say(|| "disconnect".to_owned());
        self.connected = None;
    }

    /// What the probe states must be what the collector has.
    fn statement(&mut self) {
        let Some(epoch) = self.connected else { return };
        // What has arrived is known to the probe with the next connection.
        let Some(stated) = self.spool.statement(Timestamp::ZERO) else { return };
        let run = self.runs.entry(epoch.0).or_default();
        if run.doubtful {
            return;
        }
        let (archived, gaps) = run.before(stated.acknowledged_seq);
        let dropped: u64 = stated.drops.iter().map(|drop| drop.packets).sum();
        let accounted = archived + dropped + stated.held;
        let mut outcome = Ok(());
        if accounted != stated.captured {
            outcome = Err(format!("{epoch}: {archived} archived, accounted {accounted}: {stated:?}"));
        }
        for (reason, packets) in gaps {
            if stated.drops.iter().find(|drop| drop.reason == reason).is_none_or(|drop| drop.packets < packets) {
                outcome = Err(format!("{epoch}: gap records say {packets} for {reason:?}: {stated:?}"));
            }
        }
        self.check(outcome);
    }

    fn bounds(&mut self) {
        let mut state = self.spool.lock();
        let present = state.present();
        let gaps = present.memory.iter().filter(|held| held.packets() == 0).count() as u64 + 1;
        let (cost, ahead) = (present.memory_cost, present.ahead_bytes);
        drop(state);
        if cost > self.spool.limits.memory + gaps * 256 || ahead > 4 << 20 {
            self.check(Err(format!("memory holds {cost} and {ahead} bytes")));
        }
    }
}

fn interface(name: &str) -> Interface {
    Interface { name: name.to_owned(), link_type: LinkType::ETHERNET, snaplen: 262_144, filter: String::new() }
}

/// Runs one schedule; a description of what was wrong, if something was.
pub fn schedule(seed: u64, wrong: Wrong, tracing: bool) -> Result<(), String> {
    let mut random = Random::new(seed);
    let limits = Limits {
        memory: 2_000 + random.below(20_000),
        full: if random.percent(50) { WhenFull::Oldest } else { WhenFull::Newest },
        waits: false,
        mode: if random.percent(50) { Mode::Disk } else { Mode::Memory },
    };
    let bounds = Bounds { disk: 10_000 + random.below(150_000), sync_nanos: [0, 500, 3_000][random.below(3) as usize] };
    let healthy = random.percent(40);
    let mut platter = Platter::new(seed);
    platter.lies = wrong == Wrong::SyncLies;
    let platter = Arc::new(Mutex::new(platter));
    let epoch = |life: u64| Epoch([life as u8 + 1; 16]);
    let spool = |life: u64| {
        let spool = Spool::new(source(), epoch(life), limits);
        spool.add_set(vec![interface("a")]);
        Arc::new(spool)
    };
    let sides = Arc::new(Mutex::new(Sides {
        spool: spool(0),
        runs: BTreeMap::new(),
        present: epoch(0),
        connected: None,
        random: Random::new(seed ^ 0x51DE),
        wrong,
        reachable: true,
        capturing: true,
        started: false,
        troubled: false,
        tracing,
        fault: None,
    }));
    sides.lock().unwrap().say(|| format!("{limits:?} {bounds:?} healthy {healthy}"));
    let lives = 1 + random.below(5);
    let mut now = 0;
    for life in 0..lives {
        let last = life + 1 == lives;
        {
            let mut sides = sides.lock().unwrap();
            (sides.spool, sides.present, sides.connected, sides.started) = (spool(life), epoch(life), None, false);
            sides.say(|| format!("--- life {life}"));
        }
        let shared = sides.lock().unwrap().spool.clone();
        let disk = Simulated { platter: platter.clone(), sides: sides.clone() };
        let remarks = sides.clone();
        let report = move |text: &str| remarks.lock().unwrap().say(|| format!("    report: {text}"));
        let mut keeper = match Keeper::open(shared.clone(), Box::new(disk), bounds, Box::new(report)) {
            Ok(keeper) => keeper,
            Err(error) if healthy => return Err(format!("the directory cannot be opened: {error}")),
            Err(_) => continue,
        };
        sides.lock().unwrap().started = true;
        let orderly = random.percent(30);
        if !last && !orderly {
            platter.lock().unwrap().dies_in = Some(random.below(1_500));
        }
        for _ in 0..100 + random.below(400) {
            if random.percent(2) {
                let mut sides = sides.lock().unwrap();
                sides.reachable = random.percent(50);
                if !sides.reachable {
                    sides.disconnect();
                }
            }
            if !healthy && random.percent(2) {
                let mut platter = platter.lock().unwrap();
                platter.trouble =
                    [Trouble::Full, Trouble::Failing, Trouble::Syncing, Trouble::Reading][random.below(4) as usize];
                platter.lasts = 1 + random.below(40);
                platter.troubled = true;
                let mut sides = sides.lock().unwrap();
                sides.troubled = true;
                sides.say(|| format!("--- trouble {:?} for {}", platter.trouble, platter.lasts));
            }
            if platter.lock().unwrap().dies_in == Some(0) {
                break;
            }
            now += random.below(if healthy { 1_000 } else { 400_000_000 });
            keeper.step(now, &mut || {});
            sides.lock().unwrap().meanwhile();
            if healthy && platter.lock().unwrap().segment_bytes() > bounds.disk + 1_024 {
                return Err(format!("{} bytes on the disk", platter.lock().unwrap().segment_bytes()));
            }
            if let Some(fault) = sides.lock().unwrap().fault.take() {
                return Err(fault);
            }
        }
        if last {
            platter.lock().unwrap().trouble = Trouble::None;
            return drain(&sides, &shared, &mut keeper, now);
        }
        let power = !orderly && random.percent(50);
        if orderly {
            sides.lock().unwrap().capturing = false;
            sides.lock().unwrap().started = false;
            keeper.finish(now);
            sides.lock().unwrap().capturing = true;
        }
        let doubtful = keeper.doubtful();
        let mut state = shared.lock();
        let present = state.present();
        let mut sides = sides.lock().unwrap();
        let promised = if power { present.synced_seq } else { present.written_seq };
        // A disk that fails at the very end may have noted it or not.
        let uncertain = orderly && platter.lock().unwrap().troubled;
        let ended = orderly && keeper.has_ended();
        let run = sides.run(epoch(life));
        (run.promised, run.ended) = (promised, (!uncertain).then_some(ended));
        if ended
            && healthy
            && promised < run.made.len() as u64
            && limits.full == WhenFull::Oldest
            && present.written_seq < present.next_seq
            && !keeper.is_full()
        {
            return Err("an orderly end left something unwritten".to_owned());
        }
        for run in sides.runs.values_mut() {
            // The gap record that was sent may not have come to the disk, and what it stood for may be readable again.
            run.doubtful |= run.received.iter().any(|it| it.gap.is_some_and(|gap| gap.0 == DropReason::Corrupt));
        }
        for epoch in doubtful {
            sides.run(epoch).doubtful = true;
        }
        sides.say(|| format!("--- end of life {life}: orderly {orderly}, power lost {power}, promised {promised}"));
        drop(state);
        drop(sides);
        drop(keeper);
        let mut platter = platter.lock().unwrap();
        platter.dies_in = None;
        if random.percent(70) {
            platter.trouble = Trouble::None;
        }
        if power {
            platter.lose_power();
        }
    }
    Ok(())
}

/// Nothing goes wrong any more: everything must arrive.
fn drain(sides: &Arc<Mutex<Sides>>, spool: &Arc<Spool>, keeper: &mut Keeper, mut now: u64) -> Result<(), String> {
    {
        let mut sides = sides.lock().unwrap();
        (sides.reachable, sides.capturing) = (true, false);
    }
    for _ in 0..20_000 {
        now += 20_000_000_000;
        keeper.step(now, &mut || {});
        let mut sides = sides.lock().unwrap();
        sides.connect();
        sides.send();
        sides.commit();
        sides.acknowledge();
        sides.statement();
        if let Some(fault) = sides.fault.take() {
            return Err(fault);
        }
        if spool.is_empty() && spool.lock().epochs.len() == 1 {
            let present = sides.present;
            let stated = spool.statistics(Timestamp::ZERO);
            let run = sides.run(present);
            let (archived, gaps) = run.before(u64::MAX);
            let dropped: u64 = stated.drops.iter().map(|drop| drop.packets).sum();
            if run.next_seq() != run.made.len() as u64
                || archived + gaps.values().sum::<u64>() != stated.captured
                || dropped + archived != stated.captured
            {
                return Err(format!("at the end: {archived} archived, {gaps:?}, {stated:?}"));
            }
            return Ok(());
        }
    }
    let mut state = spool.lock();
    let head = state.head();
    Err(format!(
        "not everything arrived although nothing goes wrong any more: old {}, {} to {}, flown {}, wanted {:?}, memory from {}, written {}, lease {}, {} bytes ahead",
        head.old,
        head.held_from,
        head.next_seq,
        head.flown_seq,
        head.wanted(),
        head.memory_from(),
        head.written_seq,
        head.lease_seq,
        head.ahead_bytes
    ))
}
