//! Events: a page of them, one, those that belong to it, and what comes from now on.

use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use event::EventId;
use packet::Timestamp;
use store::{Ask, Filter, Found, Mark};

use crate::answer::Refusal;
use crate::question::{FILTER, RANGE, Said};
use crate::state::Console;
use crate::stream::{self, Listener};

/// How often a listener is told what is new.
const EVERY: Duration = Duration::from_millis(250);
/// Events that a listener is sent each time; together 100 a second.
const AT_ONCE: usize = 25;
/// How often a listener hears something at least.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// `GET /api/v1/events`.
pub(crate) async fn list(State(console): State<Console>, said: Said) -> Result<Response, Refusal> {
    said.only(&[FILTER, RANGE, &["limit", "after"]])?;
    let (filter, range, limit) = (said.filter(&console.fields)?, said.range()?, said.number("limit", 50, 1000)?);
    let after = said.text("after").map(str::to_owned);
    let answer = console.ask(move |reader| reader.events(&Ask::new(&filter, range), limit, after.as_deref())).await?;
    Ok(axum::Json(answer).into_response())
}

/// Finds an event by its id; `time`, its `@timestamp`, makes that quicker.
pub(crate) async fn find(console: &Console, id: &str, time: Option<Timestamp>) -> Result<Found, Refusal> {
    let digits = (id.len() == 32).then(|| u128::from_str_radix(id, 16).ok()).flatten();
    let Some(id) = digits.map(EventId) else {
        return Err(Refusal::bad(format!("`{id}` is no id of an event"), "ids have 32 hexadecimal digits"));
    };
    let found = console.ask(move |reader| reader.event(id, time)).await?;
    found.ok_or_else(|| Refusal::missing("there is no such event", "retention may have removed it"))
}

/// `GET /api/v1/events/ID`.
pub(crate) async fn one(
    State(console): State<Console>,
    Path(id): Path<String>,
    said: Said,
) -> Result<Response, Refusal> {
    said.only(&[&["time"]])?;
    let found = find(&console, &id, said.time("time")?).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], found.document.get().to_owned()).into_response())
}

/// `GET /api/v1/events/ID/related`.
pub(crate) async fn related(
    State(console): State<Console>,
    Path(id): Path<String>,
    said: Said,
) -> Result<Response, Refusal> {
    // Other words of the filter would be a question of their own.
    let words: Vec<&str> = FILTER.iter().copied().filter(|word| *word != "q").collect();
    said.only(&[&words, RANGE, &["limit", "after", "time"]])?;
    let found = find(&console, &id, said.time("time")?).await?;
    let (filter, range) = (said.filter(&console.fields)?, said.range_or("0")?);
    let limit = said.number("limit", 50, 1000)?;
    let after = said.text("after").map(str::to_owned);
    let answer =
        console.ask(move |reader| reader.related(&found, &Ask::new(&filter, range), limit, after.as_deref())).await?;
    Ok(axum::Json(answer).into_response())
}

/// `GET /api/v1/events/live`.
pub(crate) async fn live(State(console): State<Console>, said: Said) -> Result<Response, Refusal> {
    said.only(&[FILTER])?;
    let filter = said.filter(&console.fields)?;
    let place = console.listener()?;
    let mark = console.ask(|reader| reader.mark()).await?;
    let (listener, response) = stream::events(place);
    tokio::spawn(follow(console, filter, mark, listener));
    Ok(response)
}

async fn follow(console: Console, filter: Filter, mut mark: Mark, listener: Listener) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let filter = std::sync::Arc::new(filter);
    let mut said = Instant::now();
    while !listener.is_gone() {
        ticks.tick().await;
        let (asked, from) = (std::sync::Arc::clone(&filter), mark.clone());
        // A store that cannot be read now is asked again.
        let Ok(tail) = console.ask(move |reader| reader.tail(&from, &asked, AT_ONCE)).await else { continue };
        mark = tail.mark;
        for event in &tail.events {
            if !listener.send("event", event).await {
                return;
            }
        }
        if tail.skipped > 0 && !listener.send("skipped", &serde_json::json!({ "events": tail.skipped })).await {
            return;
        }
        if !tail.events.is_empty() || tail.skipped > 0 {
            said = Instant::now();
        } else if said.elapsed() >= COMMENT_EVERY {
            said = Instant::now();
            listener.comment().await;
        }
    }
}
