//! The embedded event store: SQLite files by time of arrival, written by one process, read by several.
//! Knows neither decoders nor HTTP: events come in, answers shaped like those of `docs/api.md` go out.
//!
//! The write side is [`Writer`], the read side [`Reader`] with a [`Filter`]. What stands in a file: `format.rs`; why it is so:
//! `docs/decisions/0007-the-store.md`.
#![forbid(unsafe_code)]

mod answer;
mod columns;
mod documents;
mod error;
mod filter;
mod format;
mod reader;
mod rollup;
mod time;
mod writer;

pub use answer::{
    Bounds, Call, Calls, Document, Events, FacetValue, Facets, FileFacts, Found, Histogram, Point, Related, Retention,
    Series, StoreFacts, Stream, Streams, Tail, Talker, Talkers,
};
pub use error::Error;
pub use filter::{Filter, FilterError, WORDS};
pub use reader::{Ask, By, DEADLINE, Mark, Reader};
pub use time::{Range, Time};
pub use writer::{Options, Stored, Writer};
