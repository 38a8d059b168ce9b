//! Answers in numbers: histogram, facets, streams, calls, what the store holds, and the reference of fields.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use store::Ask;

use crate::answer::Refusal;
use crate::question::{FILTER, RANGE, Said};
use crate::state::Console;

/// `GET /api/v1/histogram`.
pub(crate) async fn histogram(State(console): State<Console>, said: Said) -> Result<Response, Refusal> {
    said.only(&[FILTER, RANGE, &["buckets", "by"]])?;
    let (filter, range) = (said.filter(&console.fields)?, said.range()?);
    let (buckets, by) = (said.number("buckets", 120, 500)?, said.text("by").unwrap_or("type").parse()?);
    let answer = console.ask(move |reader| reader.histogram(&Ask::new(&filter, range), buckets, by)).await?;
    Ok(axum::Json(answer).into_response())
}

/// `GET /api/v1/facets`.
pub(crate) async fn facets(State(console): State<Console>, said: Said) -> Result<Response, Refusal> {
    said.only(&[FILTER, RANGE, &["field", "prefix", "limit"]])?;
    let (filter, range) = (said.filter(&console.fields)?, said.range()?);
    let Some(field) = said.text("field") else {
        return Err(Refusal::bad("field is missing", "type, source, status, ip, port, or a field of /api/v1/fields"));
    };
    let is_known = ["type", "source", "status", "ip", "port"].contains(&field) || console.fields.knows(field);
    if !is_known {
        return Err(Refusal::bad(format!("`{field}` is no field"), "fields are listed by /api/v1/fields"));
    }
    let (field, prefix) = (field.to_owned(), said.text("prefix").unwrap_or("").to_owned());
    let limit = said.number("limit", 10, 100)?;
    let answer = console.ask(move |reader| reader.facets(&Ask::new(&filter, range), &field, &prefix, limit)).await?;
    Ok(axum::Json(answer).into_response())
}

/// `GET /api/v1/streams`.
pub(crate) async fn streams(State(console): State<Console>, said: Said) -> Result<Response, Refusal> {
    said.only(&[FILTER, RANGE, &["limit"]])?;
    let (filter, range, limit) = (said.filter(&console.fields)?, said.range()?, said.number("limit", 200, 1000)?);
    let answer = console.ask(move |reader| reader.streams(&Ask::new(&filter, range), limit)).await?;
    Ok(axum::Json(answer).into_response())
}

/// `GET /api/v1/calls`.
pub(crate) async fn calls(State(console): State<Console>, said: Said) -> Result<Response, Refusal> {
    said.only(&[FILTER, RANGE, &["limit"]])?;
    let (filter, range, limit) = (said.filter(&console.fields)?, said.range()?, said.number("limit", 100, 1000)?);
    let answer = console.ask(move |reader| reader.calls(&Ask::new(&filter, range), limit)).await?;
    Ok(axum::Json(answer).into_response())
}

/// `GET /api/v1/talkers`.
pub(crate) async fn talkers(State(console): State<Console>, said: Said) -> Result<Response, Refusal> {
    said.only(&[RANGE, &["limit"]])?;
    let (range, limit) = (said.range()?, said.number("limit", 10, 100)?);
    let answer = console.ask(move |reader| reader.talkers(range, limit)).await?;
    Ok(axum::Json(answer).into_response())
}

/// `GET /api/v1/store`.
pub(crate) async fn store(State(console): State<Console>, said: Said) -> Result<Response, Refusal> {
    said.only(&[])?;
    let answer = console.ask(|reader| reader.facts()).await?;
    Ok(axum::Json(answer).into_response())
}

/// `GET /api/v1/fields`.
pub(crate) async fn fields(State(console): State<Console>, said: Said) -> Result<Response, Refusal> {
    said.only(&[])?;
    Ok(axum::Json(serde_json::json!({ "fields": &*console.fields.list })).into_response())
}
