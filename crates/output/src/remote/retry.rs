//! Sends the events of a dead-letter file again. What is taken leaves the file; what is refused again stays, with the new reason.
//! An analyzer may be adding to the file meanwhile: nothing of that is lost.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use super::dead_letter::Letter;
use super::{Document, Fate, Service};

/// Events in one request.
const AT_ONCE: usize = 1000;
/// How often in a row nothing may be taken before giving up, and the pause after the first attempt; it grows.
const ATTEMPTS: u32 = 8;
const PAUSE: Duration = if cfg!(test) { Duration::from_millis(1) } else { Duration::from_millis(100) };

/// What became of the events of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retried {
    /// Taken.
    pub kept: u64,
    /// The service had them already.
    pub known: u64,
    /// Refused again, or not taken now: still in the file.
    pub left: u64,
    /// Lines that are no dead letters: still in the file.
    pub strange: u64,
}

/// Sends what is in the file. The file is renamed to `FILE.retrying` while that goes on; an interrupted attempt is repeated by giving that name.
///
/// # Errors
/// When a file cannot be read or written; nothing is lost then.
pub fn retry(service: &mut dyn Service, path: &Path) -> io::Result<(Retried, Option<String>)> {
    let working = if path.extension().is_some_and(|extension| extension == "retrying") {
        path.to_owned()
    } else {
        let mut name = path.as_os_str().to_owned();
        name.push(".retrying");
        let working = std::path::PathBuf::from(name);
        if working.exists() {
            return Err(io::Error::other(format!(
                "{} is there from an earlier attempt: retry that first",
                working.display()
            )));
        }
        std::fs::rename(path, &working)?;
        working
    };
    let original = working.with_extension("");
    let mut reader = BufReader::new(File::open(&working)?);
    let mut left = Vec::new();
    let mut retried = Retried::default();
    let mut problem = None;
    let mut letters: Vec<Letter> = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        let length = reader.read_line(&mut line)?;
        if length > 0 {
            match serde_json::from_str(&line) {
                Ok(letter) => letters.push(letter),
                Err(_) => {
                    retried.strange += 1;
                    left.extend_from_slice(line.trim_end().as_bytes());
                    left.push(b'\n');
                }
            }
        }
        if letters.len() >= AT_ONCE || length == 0 && !letters.is_empty() {
            send(service, &mut letters, &mut retried, &mut left, &mut problem)?;
        }
        if length == 0 {
            break;
        }
    }
    if !left.is_empty() {
        let mut file = OpenOptions::new().append(true).create(true).open(&original)?;
        file.write_all(&left)?;
        file.sync_all()?;
    }
    std::fs::remove_file(&working)?;
    Ok((retried, problem))
}

fn send(
    service: &mut dyn Service,
    letters: &mut Vec<Letter>,
    retried: &mut Retried,
    left: &mut Vec<u8>,
    problem: &mut Option<String>,
) -> io::Result<()> {
    let fates = fates(service, letters, problem);
    let mut fates = fates.into_iter();
    for letter in letters.iter_mut() {
        match fates.next() {
            Some(Fate::Kept) => {
                retried.kept += 1;
                continue;
            }
            Some(Fate::Known) => {
                retried.known += 1;
                continue;
            }
            Some(Fate::Refused { status, reason }) => (letter.status, letter.reason) = (status, reason),
            Some(Fate::Later(_) | Fate::Blocked(_)) | None => {}
        }
        retried.left += 1;
        serde_json::to_writer(&mut *left, letter)?;
        left.push(b'\n');
    }
    letters.clear();
    Ok(())
}

/// The fate of each letter, after a few attempts.
fn fates(service: &mut dyn Service, letters: &[Letter], problem: &mut Option<String>) -> Vec<Fate> {
    let mut fates = vec![Fate::Later(String::new()); letters.len()];
    let mut attempts = 0;
    let is_open = |fate: &Fate| matches!(fate, Fate::Later(_) | Fate::Blocked(_));
    // Once the service is away, the rest is only copied.
    while problem.is_none() {
        let due: Vec<usize> = fates.iter().enumerate().filter(|(_, fate)| is_open(fate)).map(|(at, _)| at).collect();
        let documents: Vec<Document<'_>> = due.iter().filter_map(|at| letters.get(*at)).map(Letter::document).collect();
        let failed = match service.send(&documents) {
            Ok(found) => {
                if found.iter().any(|fate| !is_open(fate)) {
                    attempts = 0;
                }
                let mut later = None;
                for (at, fate) in due.into_iter().zip(found) {
                    if let Fate::Later(reason) | Fate::Blocked(reason) = &fate {
                        later.get_or_insert_with(|| reason.clone());
                    }
                    if let Some(place) = fates.get_mut(at) {
                        *place = fate;
                    }
                }
                later
            }
            Err(unavailable) => Some(unavailable.0),
        };
        let Some(failed) = failed else { break };
        attempts += 1;
        if attempts == ATTEMPTS {
            *problem = Some(failed);
            break;
        }
        std::thread::sleep(PAUSE * attempts);
    }
    fates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{DeadLetters, Unavailable};
    use packet::Timestamp;

    /// Takes events at even times, if it is there.
    struct Even(bool);

    impl Service for Even {
        fn send(&mut self, documents: &[Document<'_>]) -> Result<Vec<Fate>, Unavailable> {
            let refused = Fate::Refused { status: 400, reason: "odd".to_owned() };
            let fate =
                |document: &Document<'_>| if document.time.nanos() % 2 == 0 { Fate::Kept } else { refused.clone() };
            if self.0 { Ok(documents.iter().map(fate).collect()) } else { Err(Unavailable("away".to_owned())) }
        }
        fn place(&self, _: &Document<'_>) -> String {
            String::new()
        }
    }

    #[test]
    fn what_is_taken_leaves_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut letters = DeadLetters::open(folder.path().to_owned(), 1 << 20).unwrap();
        for number in 0..2500 {
            let json = format!("{{\"_id\":\"{number:032x}\",\"type\":\"dns\"}}");
            let document = Document { time: Timestamp::from_nanos(number), kind: "dns", key: "", json: &json };
            assert!(letters.add("x", &document, 400, "first").unwrap());
        }
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"half a li").unwrap();
        let away = retry(&mut Even(false), &path).unwrap();
        assert_eq!(away, (Retried { left: 2500, strange: 1, ..Retried::default() }, Some("away".to_owned())));
        let (retried, problem) = retry(&mut Even(true), &path).unwrap();
        assert_eq!((retried, problem), (Retried { kept: 1250, known: 0, left: 1250, strange: 1 }, None));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1251);
        assert_eq!(text.lines().filter(|line| line.contains("\"reason\":\"odd\"")).count(), 1250);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
    }
}
