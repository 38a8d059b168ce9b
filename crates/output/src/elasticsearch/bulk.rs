//! The bulk API: the body of a request, and what its answer says of each document.

use std::fmt::Write;

use packet::Timestamp;

use super::settings::Settings;
use crate::remote::{Document, Fate};

const DAY_NANOS: u64 = 86_400 * 1_000_000_000;

/// Names of indices by type and day.
pub(super) struct Names {
    index: String,
    /// `-NAMESPACE` of data streams.
    namespace: Option<String>,
}

impl Names {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { index: settings.index.clone(), namespace: settings.data_stream.then(|| settings.namespace.clone()) }
    }

    /// The index or data stream of a document.
    pub(super) fn of(&self, document: &Document<'_>) -> String {
        let mut name = String::new();
        self.write(document, &mut name);
        name
    }

    fn write(&self, document: &Document<'_>, out: &mut String) {
        // Types are ours and plain words; what stands in a file for a second attempt may be anything.
        let kind = |out: &mut String| {
            let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '_' };
            out.extend(document.kind.chars().map(|c| plain(c.to_ascii_lowercase())));
        };
        match &self.namespace {
            Some(namespace) => {
                out.push_str("logs-");
                out.push_str(&self.index);
                out.push('.');
                kind(out);
                out.push('-');
                out.push_str(namespace);
            }
            None => {
                out.push_str(&self.index);
                out.push('-');
                kind(out);
                let (year, month, day) = date(document.time);
                // Writing into a String cannot fail.
                let _ = write!(out, "-{year:04}.{month:02}.{day:02}");
            }
        }
    }
}

/// The day of a time, UTC.
fn date(time: Timestamp) -> (i16, i8, i8) {
    let seconds = i64::try_from(time.nanos() / DAY_NANOS * 86_400).unwrap_or(0);
    let day = jiff::Timestamp::from_second(seconds).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC);
    (day.year(), day.month(), day.day())
}

/// Writes the body of a request: an action and a document on a line each.
pub(super) fn body(documents: &[Document<'_>], names: &Names) -> String {
    let bytes = documents.iter().map(|document| document.json.len() + 100).sum();
    let mut out = String::with_capacity(bytes);
    let mut name = String::new();
    let mut named = None;
    for document in documents {
        let wanted = (document.kind, document.time.nanos() / DAY_NANOS);
        if named != Some(wanted) {
            name.clear();
            names.write(document, &mut name);
            named = Some(wanted);
        }
        out.push_str("{\"create\":{\"_index\":\"");
        out.push_str(&name);
        out.push_str("\",\"_id\":\"");
        out.push_str(document.id());
        out.push_str("\"}}\n{");
        if let Some(namespace) = &names.namespace {
            let _ = write!(
                out,
                "\"data_stream\":{{\"type\":\"logs\",\"dataset\":\"{}.{}\",\"namespace\":\"{namespace}\"}},",
                names.index, document.kind
            );
        }
        out.push_str(document.members());
        out.push('\n');
    }
    out
}

#[derive(serde::Deserialize)]
struct Answer {
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(serde::Deserialize)]
struct Item {
    create: Outcome,
}

#[derive(serde::Deserialize)]
struct Outcome {
    status: u16,
    #[serde(default)]
    error: Option<Problem>,
}

#[derive(serde::Deserialize)]
struct Problem {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    caused_by: Option<Box<Problem>>,
}

/// What of an answer is needed: the rest of it, the server need not send.
/// An index whose shards are missing is not waited for: it would hold up the others.
pub(super) const PATH: &str = "/_bulk?timeout=10s&filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by";

/// The fate of each of `count` documents.
pub(super) fn fates(body: &[u8], count: usize) -> Result<Vec<Fate>, String> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| format!("the server's answer makes no sense: {error}"))?;
    if !answer.errors {
        return Ok(vec![Fate::Kept; count]);
    }
    if answer.items.len() != count {
        return Err(format!("the server answered for {} of {count} events", answer.items.len()));
    }
    Ok(answer.items.into_iter().map(|item| fate(item.create)).collect())
}

fn fate(outcome: Outcome) -> Fate {
    let status = outcome.status;
    let kind = outcome.error.as_ref().map_or("", |problem| problem.kind.as_str());
    match status {
        200..=299 => return Fate::Kept,
        409 => return Fate::Known,
        _ => {}
    }
    let reason = outcome.error.as_ref().map(Problem::text).unwrap_or_default();
    // What an administrator can mend without touching the event is tried again. Rights, blocks, closed and missing indices and shards are about this
    // index; that a node is too busy is not.
    let is_blocked = matches!(status, 401 | 403 | 404 | 500..=599)
        || matches!(kind, "cluster_block_exception" | "index_closed_exception" | "validation_exception");
    if is_blocked {
        Fate::Blocked(format!("status {status}: {reason}"))
    } else if status == 429 {
        Fate::Later(format!("status {status} for an event: {reason}"))
    } else {
        Fate::Refused { status, reason }
    }
}

impl Problem {
    fn text(&self) -> String {
        let mut text = format!("{}: {}", self.kind, self.reason);
        let mut deeper = self.caused_by.as_deref();
        while let Some(problem) = deeper {
            let _ = write!(text, "; {}: {}", problem.kind, problem.reason);
            deeper = problem.caused_by.as_deref();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_goes_to_the_index_of_its_own_day() {
        let json = r#"{"_id":"0123456789abcdef0123456789abcdef","type":"dns"}"#;
        let second = |second: u64| Timestamp::from_nanos(second * 1_000_000_000);
        let document = Document { time: second(1_798_761_599), kind: "dns", key: "", json };
        let next_day = Document { time: second(1_798_761_600), ..document };
        let text = body(&[document, next_day], &Names::new(&Settings::default()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            r#"{"create":{"_index":"tapline-dns-2026.12.31","_id":"0123456789abcdef0123456789abcdef"}}"#
        );
        assert_eq!(lines[1], r#"{"type":"dns"}"#);
        assert!(lines[2].contains("tapline-dns-2027.01.01"));
        let stream = Settings { data_stream: true, ..Settings::default() };
        let text = body(&[document], &Names::new(&stream));
        assert!(text.starts_with(r#"{"create":{"_index":"logs-tapline.dns-default","_id":"#));
        assert!(
            text.contains(
                r#"{"data_stream":{"type":"logs","dataset":"tapline.dns","namespace":"default"},"type":"dns"}"#
            )
        );
    }

    #[test]
    fn an_answer_tells_the_fate_of_each() {
        assert_eq!(fates(br#"{"errors":false}"#, 2).unwrap(), [Fate::Kept, Fate::Kept]);
        let answer = br#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":409,"error":{"type":"v","reason":"r"}}},
            {"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"queue full"}}},
            {"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"no","caused_by":{"type":"c","reason":"why"}}}},
            {"create":{"status":403,"error":{"type":"cluster_block_exception","reason":"read-only"}}},
            {"create":{"status":429,"error":{"type":"cluster_block_exception","reason":"disk usage exceeded flood-stage watermark"}}},
            {"create":{"status":400,"error":{"type":"index_closed_exception","reason":"closed"}}},
            {"create":{"status":503,"error":{"type":"unavailable_shards_exception","reason":"primary shard is not active"}}}]}"#;
        let fates = fates(answer, 8).unwrap();
        assert_eq!(fates[..2], [Fate::Kept, Fate::Known]);
        assert!(matches!(&fates[2], Fate::Later(reason) if reason.contains("queue full")));
        let refused = Fate::Refused { status: 400, reason: "document_parsing_exception: no; c: why".to_owned() };
        assert_eq!(fates[3], refused);
        assert!(fates[4..].iter().all(|fate| matches!(fate, Fate::Blocked(_))), "{fates:?}");
        assert!(super::fates(answer, 4).is_err() && super::fates(b"<html>", 1).is_err());
    }
}
