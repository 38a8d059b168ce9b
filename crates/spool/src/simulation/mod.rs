//! Seeded simulation: thousands of schedules against a naive model. `TAPLINE_SEED=N` replays one with a trace, `TAPLINE_SEEDS=N` runs more.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod disk;
mod random;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Wrong, schedule};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64, wrong: Wrong, tracing: bool) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| schedule(seed, wrong, tracing))).unwrap_or_else(|_| Err("a panic".to_owned()))
}

#[test]
fn every_schedule() {
    if let Some(seed) = number("TAPLINE_SEED") {
        run(seed, Wrong::Nothing, true).unwrap();
        return;
    }
    let mut failed = Vec::new();
    for seed in 0..number("TAPLINE_SEEDS").unwrap_or(3_000) {
        if let Err(problem) = run(seed, Wrong::Nothing, false) {
            println!("seed {seed}: {problem}");
            failed.push(seed);
        }
    }
    assert!(
        failed.is_empty(),
        "{} seeds failed; replay with TAPLINE_SEED={} cargo test -p tapline-spool every_schedule -- --nocapture",
        failed.len(),
        failed[0]
    );
}

#[test]
fn what_is_wrong_on_purpose_is_caught() {
    for wrong in [Wrong::SyncLies, Wrong::ForgetsEarly, Wrong::SendsAgain] {
        let caught = (0..500).any(|seed| run(seed, wrong, false).is_err());
        assert!(caught, "{wrong:?} was not caught by any of 500 schedules");
    }
}
