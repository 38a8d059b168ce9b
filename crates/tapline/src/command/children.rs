//! The processes that `tapline up` runs: started in groups of their own, their log lines passed on with their name, ended by process id.
//! Decides nothing about order or reasons; that is `up`'s. They end by themselves once nobody reads their log lines any more.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How often a process that should end is looked at.
const POLL: Duration = Duration::from_millis(20);

/// A running program of ours.
pub struct Child {
    /// What it is called in messages.
    pub name: &'static str,
    process: Process,
    log: Option<JoinHandle<()>>,
}

impl Child {
    /// Starts it. Ctrl-C on the terminal does not reach it: the supervisor ends it in its turn.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &'static str, mut command: Command, stdin: Stdio) -> std::io::Result<Self> {
        let mut process = command
            .env(privilege::supervisor::VARIABLE, "1")
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let log = process.stderr.take().map(|stderr| {
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                    let mut text = format!("{name}: ").into_bytes();
                    text.extend_from_slice(&line);
                    text.push(b'\n');
                    // If standard error is gone there is nobody to tell; the child must not stand still for it.
                    let _ = std::io::stderr().write_all(&text);
                }
            })
        });
        Ok(Self { name, process, log })
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Asks it to end and waits; after `patience` it is killed. Gives how it ended and whether it had to be killed.
    pub fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let since = Instant::now();
        while since.elapsed() < patience {
            if let Some(status) = self.ended() {
                self.join_log();
                return Some(status);
            }
            std::thread::sleep(POLL);
        }
        tracing::warn!("{} did not end within {} s and is killed", self.name, patience.as_secs());
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.join_log();
        None
    }

    /// Waits for its last log lines.
    pub fn join_log(&mut self) {
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself in the meantime.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.end(Duration::from_secs(2));
        }
    }
}
