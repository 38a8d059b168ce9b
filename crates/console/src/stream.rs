//! Answers that go on: Server-Sent Events, and bytes handed through. They end when the visitor goes, and hold their place until then.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Messages that may wait for a visitor.
const WAITING: usize = 64;

/// Where the messages of a stream are put.
pub(crate) struct Listener(mpsc::Sender<Bytes>);

impl Listener {
    /// Sends an event; false when nobody listens any more.
    pub(crate) async fn send(&self, name: &str, data: &impl serde::Serialize) -> bool {
        let Ok(data) = serde_json::to_string(data) else { return true };
        self.0.send(format!("event: {name}\ndata: {data}\n\n").into()).await.is_ok()
    }

    /// Sends a comment, which shows both sides that the other is there.
    pub(crate) async fn comment(&self) -> bool {
        self.0.send(Bytes::from_static(b": still here\n\n")).await.is_ok()
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.is_closed()
    }
}

/// A stream of Server-Sent Events, and where its messages are put.
pub(crate) fn events(place: OwnedSemaphorePermit) -> (Listener, Response) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let body = Body::new(Held { body: Messages(receiver), _place: place });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (Listener(sender), (headers, body).into_response())
}

struct Messages(mpsc::Receiver<Bytes>);

impl HttpBody for Messages {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|message| message.map(|message| Ok(http_body::Frame::data(message))))
    }
}

/// A body that keeps a place occupied until it ends.
pub(crate) struct Held<B> {
    pub(crate) body: B,
    pub(crate) _place: OwnedSemaphorePermit,
}

impl<B: HttpBody + Unpin> HttpBody for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }
}
