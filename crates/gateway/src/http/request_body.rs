//! Whether the body of a request was read to its end.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
};
use http_body::{Frame, SizeHint};

/// Tells whether there is more of a body than was read. The server closes a connection with an unread body after the response, so
/// the response has to say so: a client that sent its next request on the connection would get no response (RFC 9112, section 9.6).
pub(super) struct Unread(Option<Arc<AtomicBool>>);

impl Unread {
    /// Watches the body of a request.
    pub(super) fn watch(request: Request) -> (Request, Self) {
        if http_body::Body::is_end_stream(request.body()) {
            return (request, Self(None));
        }
        let unread = Arc::new(AtomicBool::new(true));
        let request = request.map(|body| Body::new(Watched { body, unread: unread.clone() }));
        (request, Self(Some(unread)))
    }

    pub(super) fn is_some(&self) -> bool {
        self.0.as_ref().is_some_and(|unread| unread.load(Ordering::Relaxed))
    }
}

struct Watched {
    body: Body,
    unread: Arc<AtomicBool>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.unread.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
