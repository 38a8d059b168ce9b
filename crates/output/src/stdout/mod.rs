//! JSON lines on standard output, for pipes and containers.
//! Ends quietly when the reader is gone, and waits for one that is slow, but never inside a system call: a program that is told to end must not
//! hang on a reader that has stopped.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use processors::Condition;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{EventBatch, Failure, OpenError, Output, Place, WhenFull, Written};

/// How long a reader may take nothing before that counts as a failed attempt.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes that a pipe which says it is ready takes without making the writer wait (`PIPE_BUF`).
const PIPE_BYTES: usize = 4096;

/// Settings of `[analyzer.output.stdout]`.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether events are written to standard output.
    pub enabled: bool,
    /// Which events go there; all unless said. The conditions are those of the processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// What its full queue means; `analyzer.when_full` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
}

impl Settings {
    pub(crate) fn directories(&self, _: &Place) -> Vec<PathBuf> {
        Vec::new()
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        Ok(())
    }

    pub(crate) fn open(&self, _: &Place) -> Result<Stdout, OpenError> {
        let wrong = |error: io::Error| OpenError {
            output: "stdout",
            message: format!("cannot write to standard output: {error}; give the program one, or set enabled = false"),
        };
        let to = io::stdout().as_fd().try_clone_to_owned().map_err(wrong)?;
        Stdout::new(to.into(), PATIENCE).map_err(wrong)
    }
}

/// The output.
pub struct Stdout {
    // Not the standard library's, which keeps bytes back in a buffer: then nobody knows how many of a batch were written.
    to: File,
    is_file: bool,
    /// Bytes of the batch being offered that are written. They cannot be taken back from a pipe, so the next attempt goes on behind them.
    done: usize,
    patience: Duration,
}

impl Stdout {
    fn new(to: File, patience: Duration) -> io::Result<Self> {
        let is_file = to.metadata()?.is_file();
        Ok(Self { to, is_file, done: 0, patience })
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_file {
            return self.to.write(bytes);
        }
        let timeout = Timespec::try_from(self.patience).map_err(|_| ErrorKind::InvalidInput)?;
        // Trouble, such as a reader that is gone, also makes it ready: the write then says what it is.
        if poll(&mut [PollFd::new(&self.to, PollFlags::OUT)], Some(&timeout))? == 0 {
            return Err(io::Error::new(ErrorKind::TimedOut, "the reader takes nothing"));
        }
        self.to.write(bytes.get(..PIPE_BYTES).unwrap_or(bytes))
    }
}

impl Output for Stdout {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn write(&mut self, batch: &EventBatch) -> Result<Written, Failure> {
        while let Some(rest) = batch.json().get(self.done..).filter(|rest| !rest.is_empty()) {
            let result = self.write_some(rest);
            match result.map_err(|error| (error.kind(), error)) {
                Ok(written) => self.done += written,
                Err((ErrorKind::Interrupted, _)) => {}
                Err((
                    ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::StorageFull | ErrorKind::QuotaExceeded,
                    error,
                )) => return Err(Failure::Retry(format!("standard output: {error}"))),
                Err((kind, error)) => {
                    if kind != ErrorKind::BrokenPipe {
                        tracing::error!("cannot write to standard output: {error}");
                    }
                    return Err(Failure::Closed);
                }
            }
        }
        self.done = 0;
        Ok(Written { events: batch.len() as u64, known: 0, bytes: batch.json_bytes() as u64 })
    }

    /// What a pipe took is its reader's; a file keeps it only when it is synced.
    fn flush(&mut self) -> Result<u64, Failure> {
        if self.is_file {
            self.to.sync_data().map_err(|error| Failure::Retry(format!("standard output: {error}")))?;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom};
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::Queue;

    fn batch(events: u64) -> EventBatch {
        let observer = Arc::new(event::Observer { name: "s".into(), epoch: "e".into(), is_file: false });
        let mut batch = EventBatch::new();
        for number in 0..events {
            let origin = event::Origin {
                observer: Arc::clone(&observer),
                interface: "".into(),
                first_packet: number,
                last_packet: number,
            };
            let event = event::Event::new("dns", packet::Timestamp::from_nanos(number), origin);
            batch.push_written(event, format!("{{\"number\":{number:020}}}\n").as_bytes());
        }
        batch
    }

    fn pipe(patience: Duration) -> (File, Stdout) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (reader.into(), Stdout::new(writer.into(), patience).unwrap())
    }

    #[test]
    fn a_reader_that_is_gone_ends_the_output() {
        let (reader, mut output) = pipe(PATIENCE);
        output.write(&batch(1)).unwrap();
        drop(reader);
        assert!(matches!(output.write(&batch(1)), Err(Failure::Closed)));
    }

    #[test]
    fn a_reader_that_stops_gets_every_byte_once_when_it_goes_on_and_holds_the_writer_up_no_longer_than_said() {
        let (mut reader, mut output) = pipe(Duration::from_millis(50));
        let batch = batch(10_000);
        let begun = Instant::now();
        for _ in 0..2 {
            assert!(matches!(output.write(&batch), Err(Failure::Retry(_))), "more than a pipe holds");
        }
        assert!(begun.elapsed() < Duration::from_secs(2));
        let length = batch.json_bytes();
        let reading = std::thread::spawn(move || {
            let mut found = vec![0; length];
            for part in found.chunks_mut(7_001) {
                reader.read_exact(part).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
            (found, reader)
        });
        while output.write(&batch).is_err() {}
        let (found, mut reader) = reading.join().unwrap();
        assert!(found == batch.json());
        drop(output);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_slow_reader_makes_the_queue_wait_and_misses_nothing() {
        let (mut reader, output) = pipe(PATIENCE);
        let queue = Queue::start(Box::new(output), 2, WhenFull::Wait, None).unwrap();
        let reading = std::thread::spawn(move || {
            let (mut found, mut block) = (Vec::new(), [0; 16 * 1024]);
            loop {
                match reader.read(&mut block).unwrap() {
                    0 => return found,
                    length => found.extend_from_slice(&block[..length]),
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let batch = Arc::new(batch(2_000));
        for number in 1..=20 {
            assert!(queue.send(number, &batch));
        }
        let counters = Arc::clone(queue.counters());
        queue.end();
        assert!(reading.join().unwrap() == batch.json().repeat(20));
        let counters = counters.snapshot();
        assert_eq!((counters.events_written, counters.events_dropped, counters.failures), (40_000, 0, 0));
    }

    #[test]
    fn a_reader_that_has_stopped_does_not_keep_the_program_from_ending() {
        let (reader, output) = pipe(Duration::from_millis(50));
        let queue = Queue::start(Box::new(output), 4, WhenFull::Wait, None).unwrap();
        queue.ending().store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(queue.send(1, &Arc::new(batch(10_000))));
        let counters = Arc::clone(queue.counters());
        let begun = Instant::now();
        queue.end();
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(counters.snapshot().events_dropped, 10_000);
        drop(reader);
    }

    #[test]
    fn a_full_disk_is_waited_for() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut output = Stdout::new(full, PATIENCE).unwrap();
        assert!(matches!(output.write(&batch(1)), Err(Failure::Retry(_))));
    }

    #[test]
    fn a_file_gets_whole_batches() {
        let mut file = tempfile::tempfile().unwrap();
        let mut output = Stdout::new(file.try_clone().unwrap(), PATIENCE).unwrap();
        let batch = batch(1000);
        output.write(&batch).unwrap();
        assert_eq!(output.flush().unwrap(), 0);
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut found = Vec::new();
        file.read_to_end(&mut found).unwrap();
        assert!(found == batch.json());
    }
}
