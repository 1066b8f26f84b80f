//! The events of one stream, to its one end.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tracing::warn;
use turnpike_kit::{OnExit, Tasks};

use crate::upstream::{
    Endpoint,
    body::Body,
    bounds::{Bounds, Expired},
    chunk::{Chunk, Meaning, meaning},
    error::{ErrorResponse, FAILED, Failure, FailureKind, TIMEOUT, UpstreamError},
    sse::{Event, Scanner, TooLong},
};

/// Maximum length of an event.
const EVENT: usize = 16 << 20;
/// What is held back until the first piece of the answer is there; servers begin with at most a few hundred bytes.
const HELD: usize = 64 << 10;
/// How long the usage and the end of a stream may take after its reason to stop.
const AFTER_FINISH: Duration = Duration::from_secs(5);
/// How long a connection is read to its end after the last event, so that it can be used again.
const DRAIN: Duration = Duration::from_secs(1);

/// An event, and what it means.
pub type Item = (Event, Box<Chunk>);

/// The events of a stream. It ends after the last event of the answer, or after one error.
pub struct EventStream {
    endpoint: Endpoint,
    server: String,
    body: Option<Body>,
    scanner: Scanner,
    bounds: Bounds,
    next_token: Duration,
    tasks: Tasks,
    /// Read, and not yet returned.
    held: VecDeque<Item>,
    /// A piece of the answer was received.
    begun: bool,
    /// The reason to stop was received.
    finished: bool,
}

/// The error that ends a stream.
#[derive(Debug)]
pub struct Broken {
    pub error: UpstreamError,
    /// The server's own error event.
    pub event: Option<Event>,
}

/// Why a stream cannot be read further.
enum Trouble {
    Expired(Expired),
    Closed(String),
    TooLong(TooLong),
    Garbage,
    Error(Event),
    EndedEarly,
}

impl EventStream {
    pub fn new(
        endpoint: Endpoint,
        server: &str,
        body: Body,
        bounds: Bounds,
        next_token: Duration,
        tasks: &Tasks,
    ) -> Self {
        Self {
            endpoint,
            server: server.to_owned(),
            body: Some(body),
            scanner: Scanner::new(EVENT),
            bounds,
            next_token,
            tasks: tasks.clone(),
            held: VecDeque::new(),
            begun: false,
            finished: false,
        }
    }

    /// The model that answers, as the first event says.
    pub fn model(&self) -> Option<&str> {
        self.held.iter().find_map(|(_, chunk)| chunk.model.as_deref())
    }

    /// Reads until the first piece of the answer is there. Until then another server can be asked.
    pub async fn begin(mut self) -> Result<Self, Failure> {
        let mut size = 0;
        loop {
            match poll_fn(|cx| self.poll_read(cx)).await {
                Ok(Some((event, chunk))) => {
                    size += event.raw.len();
                    let is_content = chunk.is_content;
                    self.held.push_back((event, chunk));
                    if is_content || size > HELD {
                        return Ok(self);
                    }
                }
                Ok(None) => return Ok(self), // an empty answer
                Err(trouble) => return Err(trouble.to_failure()),
            }
        }
    }

    /// The next event of the answer; `None` after the last one. Nothing is lost if the caller stops waiting.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Item, Broken>>> {
        if let Some(event) = self.held.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        let trouble = match ready!(self.poll_read(cx)) {
            Ok(next) => return Poll::Ready(next.map(Ok)),
            Err(trouble) => trouble,
        };
        self.body = None;
        // The answer itself is complete.
        if self.finished && !matches!(trouble, Trouble::Error(_)) {
            return Poll::Ready(None);
        }
        let failure = trouble.to_failure();
        warn!(server = self.server, cause = failure.cause, "an answer of a language model broke off");
        metrics::counter!("turnpike_model_answers_broken_total").increment(1);
        let event = if let Trouble::Error(event) = trouble { Some(event) } else { None };
        let code = if failure.kind == FailureKind::TimedOut { TIMEOUT } else { FAILED };
        Poll::Ready(Some(Err(Broken { error: UpstreamError::new(code), event })))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Item>, Trouble>> {
        loop {
            if self.body.is_none() {
                return Poll::Ready(Ok(None));
            }
            match self.scanner.next() {
                Ok(Some(event)) => return Poll::Ready(self.read(event)),
                Ok(None) => {}
                Err(too_long) => return Poll::Ready(Err(Trouble::TooLong(too_long))),
            }
            let Some(body) = &mut self.body else { continue };
            match body.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => self.scanner.push(&data),
                Poll::Ready(Some(Err(cause))) => return Poll::Ready(Err(Trouble::Closed(cause))),
                Poll::Ready(None) => {
                    let last = self.scanner.finish();
                    let read = last.map(|event| self.read(event));
                    self.body = None;
                    return Poll::Ready(match read {
                        Some(Ok(Some(event))) if self.finished => Ok(Some(event)),
                        Some(Err(trouble)) => Err(trouble),
                        Some(Ok(None)) => Ok(None),
                        _ if self.finished => Ok(None),
                        _ => Err(Trouble::EndedEarly),
                    });
                }
                Poll::Pending => {
                    return match self.bounds.poll_expired(cx) {
                        Poll::Ready(expired) => Poll::Ready(Err(Trouble::Expired(expired))),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Reads one event; `None` is the end.
    fn read(&mut self, event: Event) -> Result<Option<Item>, Trouble> {
        match meaning(self.endpoint, &event.name, &event.data) {
            Meaning::Done => {
                self.end();
                Ok(None)
            }
            Meaning::Error => Err(Trouble::Error(event)),
            Meaning::Garbage => Err(Trouble::Garbage),
            Meaning::Chunk(chunk) => {
                self.finished |= chunk.finish_reason.is_some();
                self.begun |= chunk.is_content;
                if self.begun {
                    self.bounds.allow(if self.finished { AFTER_FINISH } else { self.next_token });
                }
                if chunk.is_last {
                    self.end();
                }
                Ok(Some((event, chunk)))
            }
        }
    }

    /// Lets the connection be used again if the server ends the response properly.
    fn end(&mut self) {
        let Some(Body::Http(incoming)) = self.body.take() else { return };
        let mut body = Body::Http(incoming);
        self.tasks.spawn("end of a stream", OnExit::Continue, async move {
            let ended = async { while let Some(Ok(_)) = poll_fn(|cx| body.poll_data(cx)).await {} };
            let _ = tokio::time::timeout(DRAIN, ended).await;
        });
    }
}

impl Trouble {
    fn to_failure(&self) -> Failure {
        match self {
            Self::Expired(expired) => Failure::new(FailureKind::TimedOut, expired),
            Self::Closed(cause) => Failure::new(FailureKind::Broken, cause),
            Self::TooLong(too_long) => Failure::new(FailureKind::Broken, too_long),
            Self::Garbage => Failure::new(FailureKind::Broken, "an event of the stream is not JSON"),
            Self::EndedEarly => Failure::new(FailureKind::Broken, "the stream ended before the answer did"),
            Self::Error(event) => Failure::of_response(error_response(&event.data)),
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("server", &self.server).finish_non_exhaustive()
    }
}

/// The error response that an error object with the status 200 stands for: its `code` is a status with many servers.
pub fn error_response(body: &Bytes) -> ErrorResponse {
    #[derive(serde::Deserialize)]
    struct Wire {
        #[serde(default)]
        code: Option<serde_json::Value>,
        #[serde(default)]
        error: Option<Inner>,
    }
    #[derive(serde::Deserialize)]
    struct Inner {
        #[serde(default)]
        code: Option<serde_json::Value>,
    }
    let wire: Option<Wire> = serde_json::from_slice(body).ok();
    let code = wire.and_then(|wire| wire.error.and_then(|inner| inner.code).or(wire.code));
    let status = code.and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()));
    let status = status.and_then(|status| u16::try_from(status).ok()).filter(|status| (400..600).contains(status));
    let status = status.and_then(|status| http::StatusCode::from_u16(status).ok());
    ErrorResponse {
        status: status.unwrap_or(http::StatusCode::BAD_GATEWAY),
        content_type: "application/json".to_owned(),
        retry_after: None,
        body: body.clone(),
    }
}
