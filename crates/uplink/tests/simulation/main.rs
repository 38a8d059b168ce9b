//! A seeded simulation of probe and collector around the two state machines: no socket, no thread, no clock.
//!
//! A seed gives one schedule, always the same. `TAPLINE_SEED=N` runs that one and prints what happens;
//! `TAPLINE_SEEDS=N` sets how many are tried.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod collector;
mod fragments;
mod probe;
mod random;
mod spool;
mod truth;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use truth::Check;
use world::{Outcome, World};

/// How many schedules are tried when nobody says otherwise.
const SEEDS: u64 = 2000;

/// What one of the models does wrong on purpose, to see that the checks notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing.
    Nothing,
    /// Collector: acknowledges what is received and not durable.
    AcknowledgesReceived,
    /// Collector: a new connection goes on after what is durable, although more was received.
    ForgetsWhatIsNotDurable,
    /// Collector: an older connection still counts when a newer one has its place.
    TakesBothConnections,
    /// Probe: forgets what the welcome names as received.
    ForgetsTooEarly,
    /// Probe: lets a gap record take the place of what was sent on an older connection.
    DropsWhatWasSent,
    /// Probe: leaves an entry out.
    SkipsAnEntry,
    /// Probe: sends an entry twice on one connection.
    SendsTwice,
    /// Probe: sends without asking.
    IgnoresCredit,
    /// Probe: never looks at the clock.
    NeverTicks,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs one schedule. A panic counts as a failed check.
fn run(seed: u64, wrong: Wrong, trace: bool) -> Check<Outcome> {
    catch_unwind(AssertUnwindSafe(|| World::new(seed, wrong, trace).run()))
        .unwrap_or_else(|_| Err("it panicked, see above".to_owned()))
}

#[test]
fn every_schedule_ends_with_everything_durable_once() {
    let one = number("TAPLINE_SEED");
    let seeds = one.map_or(0..number("TAPLINE_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let mut sum = Outcome::default();
    for seed in seeds.clone() {
        match run(seed, Wrong::Nothing, one.is_some()) {
            Ok(outcome) => {
                sum.events += outcome.events;
                sum.connections += outcome.connections;
                sum.seconds += outcome.seconds;
            }
            Err(problem) => panic!(
                "seed {seed}: {problem}\nto see how it came about:\n    TAPLINE_SEED={seed} cargo test -p tapline-uplink --test simulation every_schedule -- --nocapture"
            ),
        }
    }
    println!(
        "{} schedules: {} events, {} connections, {} simulated seconds",
        seeds.count(),
        sum.events,
        sum.connections,
        sum.seconds
    );
}

#[test]
fn a_seed_always_gives_the_same_schedule() {
    for seed in 0..20 {
        assert_eq!(run(seed, Wrong::Nothing, false), run(seed, Wrong::Nothing, false));
    }
}

/// The wrong model must be caught within so many seeds, by a check that says one of these things.
#[track_caller]
fn caught(wrong: Wrong, seeds: u64, expected: &[&str]) {
    let found = (0..seeds).find_map(|seed| run(seed, wrong, false).err().map(|problem| (seed, problem)));
    let (seed, problem) = found.unwrap_or_else(|| panic!("{wrong:?} was not noticed in {seeds} schedules"));
    println!("{wrong:?}: seed {seed}: {problem}");
    assert!(expected.iter().any(|text| problem.contains(text)), "{wrong:?} was taken for something else: {problem}");
}

#[test]
fn a_collector_that_acknowledges_too_early_is_caught() {
    caught(Wrong::AcknowledgesReceived, 20, &["acknowledged before it was durable"]);
}

#[test]
fn a_collector_that_forgets_what_is_not_yet_durable_is_caught() {
    caught(Wrong::ForgetsWhatIsNotDurable, 50, &["stored twice", "does not follow"]);
}

#[test]
fn a_collector_that_takes_both_connections_of_a_source_is_caught() {
    caught(Wrong::TakesBothConnections, 100, &["stored twice", "were never stored"]);
}

#[test]
fn a_probe_that_forgets_before_it_is_durable_is_caught() {
    caught(Wrong::ForgetsTooEarly, 100, &["acknowledged before it was durable", "does not follow"]);
}

#[test]
fn a_probe_that_drops_what_was_sent_is_caught() {
    caught(Wrong::DropsWhatWasSent, 100, &["came out altered", "does not follow", "were there"]);
}

#[test]
fn a_probe_that_does_not_keep_the_order_is_caught() {
    caught(Wrong::SkipsAnEntry, 20, &["does not follow"]);
    caught(Wrong::SendsTwice, 20, &["does not follow"]);
}

#[test]
fn a_probe_that_ignores_credit_is_caught() {
    caught(Wrong::IgnoresCredit, 20, &["sent beyond credit"]);
}

#[test]
fn a_probe_that_never_looks_at_the_clock_is_caught() {
    caught(Wrong::NeverTicks, 50, &["the probe's timer", "the probe's heartbeat"]);
}
