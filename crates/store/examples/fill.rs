//! Fills a store with realistic events and tells what one costs: `fill DIR EVENTS [HOURS]`. The events are spread evenly over the last
//! HOURS (default 24) and arrive when they happened, so that files are finished as in life.

#![allow(clippy::expect_used)]

#[path = "../testing/events.rs"]
mod events;

use std::time::{Duration, Instant, SystemTime};

use packet::Timestamp;

const BATCH: usize = 512;

/// CPU seconds of this thread and the kernel for it.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn main() {
    let mut words = std::env::args().skip(1);
    let (Some(directory), Some(count)) = (words.next(), words.next().and_then(|n| n.parse::<u64>().ok())) else {
        eprintln!("fill DIR EVENTS [HOURS]");
        std::process::exit(2);
    };
    let hours: u64 = words.next().and_then(|n| n.parse().ok()).unwrap_or(24);
    let now = Timestamp::from_system(SystemTime::now()).nanos();
    let span = hours * 3_600_000_000_000;
    let time = |number: u64| {
        Timestamp::from_nanos(now - span + (u128::from(span) * u128::from(number) / u128::from(count)) as u64)
    };
    let mut writer = store::Writer::open(store::Options::new(&directory), time(0)).expect("the store opens");
    let mut source = events::Events::new(7, 20_000);
    let (mut writing, mut upkeep, mut bytes) = (0.0, 0.0, 0);
    let begin = Instant::now();
    let mut last_flush = Instant::now();
    let mut number = 0;
    while number < count {
        let batch: Vec<_> =
            (number..count.min(number + BATCH as u64)).map(|number| source.next(time(number))).collect();
        number += batch.len() as u64;
        let lines = events::lines(&batch);
        let before = cpu();
        let stored = writer.write(batch.iter().zip(lines.iter().map(Vec::as_slice)), time(number)).expect("stored");
        bytes += stored.bytes;
        if last_flush.elapsed() > Duration::from_millis(200) {
            writer.flush().expect("flushed");
            last_flush = Instant::now();
        }
        let between = cpu();
        writer.step(time(number));
        writing += between - before;
        upkeep += cpu() - between;
    }
    let before = cpu();
    writer.flush().expect("flushed");
    while writer.step(time(number)) {
        std::thread::sleep(Duration::from_millis(5));
    }
    upkeep += cpu() - before;
    drop(writer);
    let on_disk: u64 = std::fs::read_dir(&directory)
        .map_or(0, |entries| entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|file| file.len()).sum());
    let each = |value: f64| value / count.max(1) as f64;
    println!(
        "events: {count}, JSON {:.0} bytes each, on disk {:.0} bytes each",
        each(bytes as f64),
        each(on_disk as f64)
    );
    println!("cpu_us_per_event: {:.3}", each(writing) * 1e6);
    println!("cpu_us_per_event_indexes: {:.3}", each(upkeep) * 1e6);
    println!("seconds: {:.1}", begin.elapsed().as_secs_f64());
}
