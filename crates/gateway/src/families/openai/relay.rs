//! Passes the response of a model's server on, as it arrives.

use std::{future::pending, io, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::chat::v1::{self as pb, forward_part::Part};

use super::error::OpenAiError;
use crate::stream::{
    connections::{Handle, Registration},
    ending::Ending,
    sse::{self, COMMENT},
};

/// The head of a response and the rest of it.
pub(super) type Answered = (pb::ForwardHead, Streaming<pb::ForwardPart>);

/// A comment is sent after this time without data.
pub(super) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

pub(super) const EVENTS: &str = "text/event-stream";

/// The response to a request whose response has begun at the model's server.
pub(super) async fn respond(registration: Registration, (head, mut parts): Answered) -> Response {
    let status = StatusCode::from_u16(head.status.try_into().unwrap_or_default()).unwrap_or(StatusCode::BAD_GATEWAY);
    let is_events = head.content_type.starts_with(EVENTS);
    if !status.is_success() && !head.content_type.starts_with("application/json") {
        let fault =
            Fault::new(Kind::Unavailable, format!("The model's server answered with the status {}", head.status));
        return OpenAiError::with_status(status, fault.code_is("UPSTREAM_ERROR")).into_response();
    }
    let mut response = if is_events {
        sse::response(rest(Vec::new(), Relay::new(registration, parts, true)))
    } else {
        let first = tokio::select! {
            first = parts.message() => first,
            ending = revoked(&registration.handle) => return OpenAiError::from(ending).into_response(),
        };
        let first = match first {
            Ok(first) => bytes_of(first),
            Err(status) => return OpenAiError::from(status).into_response(),
        };
        // A response that has arrived in one part is sent with its length.
        let body = match parts.message().now_or_never() {
            Some(Ok(None)) => Body::from(first),
            Some(Ok(second)) => rest(vec![first, bytes_of(second)], Relay::new(registration, parts, false)),
            Some(Err(status)) => return OpenAiError::from(status).into_response(),
            None => rest(vec![first], Relay::new(registration, parts, false)),
        };
        Response::new(body)
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::try_from(head.content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    if head.retry_after > 0 {
        headers.insert(header::RETRY_AFTER, head.retry_after.into());
    }
    response
}

fn bytes_of(part: Option<pb::ForwardPart>) -> Bytes {
    match part.and_then(|part| part.part) {
        Some(Part::Body(bytes)) => bytes,
        _ => Bytes::new(),
    }
}

/// A body of these bytes, and of what arrives.
fn rest(begin: Vec<Bytes>, relay: Relay) -> Body {
    let begin = stream::iter(begin.into_iter().map(Ok));
    let rest = stream::unfold(relay, async |mut relay| relay.next_counted().await.map(|bytes| (bytes, relay)));
    Body::from_stream(begin.chain(rest))
}

/// Waits until the caller's session ends. A gateway that stops gives responses time to end.
pub(super) async fn revoked(handle: &Handle) -> Ending {
    match handle.ended().await {
        Ending::Stopping => pending().await,
        ending => ending,
    }
}

/// The body of a response.
pub(super) struct Relay {
    registration: Registration,
    /// `None`: it has ended.
    parts: Option<Streaming<pb::ForwardPart>>,
    is_events: bool,
    /// The last bytes are the end of an event, so that another event or a comment may follow.
    between_events: bool,
}

enum Step {
    Part(Result<Option<pb::ForwardPart>, Status>),
    End(Ending),
    Quiet,
}

impl Relay {
    pub(super) fn new(registration: Registration, parts: Streaming<pb::ForwardPart>, is_events: bool) -> Self {
        Self { registration, parts: Some(parts), is_events, between_events: true }
    }

    /// As [`Relay::next`], for the registry of connections.
    pub(super) async fn next_counted(&mut self) -> Option<io::Result<Bytes>> {
        let next = self.next().await?;
        if let Ok(bytes) = &next {
            self.registration.handle.sends(bytes);
        }
        Some(next)
    }

    /// The next bytes; `None` ends the body. An error breaks the connection off, so that the client does not take half a response
    /// for the whole.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let quiet_until = Instant::now() + KEEP_ALIVE_INTERVAL;
        let parts = self.parts.as_mut()?;
        loop {
            let step = tokio::select! {
                biased;
                ending = revoked(&self.registration.handle) => Step::End(ending),
                part = parts.message() => Step::Part(part),
                () = sleep_until(quiet_until), if self.is_events && self.between_events => Step::Quiet,
            };
            match step {
                Step::Part(Ok(Some(pb::ForwardPart { part: Some(Part::Body(bytes)) }))) if !bytes.is_empty() => {
                    self.between_events = bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n");
                    return Some(Ok(bytes));
                }
                Step::Part(Ok(Some(_))) => {}
                Step::Part(Ok(None)) => {
                    self.parts = None;
                    return None;
                }
                Step::Part(Err(status)) => return Some(self.fail(status.into())),
                Step::End(ending) => return Some(self.fail(ending.into())),
                Step::Quiet => return Some(Ok(COMMENT)),
            }
        }
    }

    /// Ends the body before the end of the response.
    fn fail(&mut self, error: OpenAiError) -> io::Result<Bytes> {
        self.parts = None;
        if !self.is_events {
            return Err(io::Error::other("the response was interrupted"));
        }
        // An event that is not complete is ended, so that the error is an event of its own.
        let end = if self.between_events { "" } else { "\n\n" };
        Ok(format!("{end}{}", error.event()).into())
    }
}
