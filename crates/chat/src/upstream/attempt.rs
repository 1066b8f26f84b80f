//! One request, at one server after another until the first piece of an answer is there.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tracing::{info, warn};

use crate::upstream::{
    Inner, Upstreams,
    bounds::Bounds,
    chunk::{self, Tokens},
    error::{Failure, FailureKind},
    request::Call,
    response::Response,
    server::Server,
    stream::{EventStream, error_response},
};

/// Maximum length of a whole response. The largest are embeddings.
const WHOLE: usize = 32 << 20;
/// Maximum length of an error response.
const ERROR: usize = 256 << 10;

/// The answer of a server.
pub enum Answer {
    Stream(Box<EventStream>),
    Whole(Whole),
}

/// A whole response.
pub struct Whole {
    pub content_type: String,
    pub body: Bytes,
    /// As the server counted.
    pub usage: Option<Tokens>,
    pub model: Option<String>,
}

impl Upstreams {
    /// Sends a request to the servers in their order. Once the first piece of an answer is there, the answer stays with its server.
    pub(super) async fn open(&self, call: &Call) -> Result<Answer, Failure> {
        let inner = &*self.0;
        let started = inner.clock.now();
        let mut worst: Option<Failure> = None;
        let mut left_out: Option<Duration> = None;
        for server in self.order(call.model.as_deref()) {
            if worst.is_some() && inner.is_over(started) {
                break;
            }
            let permit = match server.breaker.admit(inner.clock.now()) {
                Ok(permit) => permit,
                Err(left) => {
                    left_out = Some(left_out.map_or(left, |other| other.min(left)));
                    continue;
                }
            };
            let failure = match inner.attempt(server, call, started).await {
                Ok(answer) => {
                    permit.succeeded();
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            warn!(server = server.name, cause = failure.cause, kind = ?failure.kind, "a request to a language model failed");
            metrics::counter!("turnpike_model_failures_total", "kind" => failure.kind.as_str()).increment(1);
            if failure.kind.counts() {
                if let Some(pause) = permit.failed(inner.clock.now()) {
                    info!(server = server.name, ?pause, "the server failed again and again and is left out");
                }
            } else {
                permit.succeeded();
            }
            if !failure.kind.falls_back() {
                return Err(failure);
            }
            if worst.as_ref().is_none_or(|worst| worst.kind <= failure.kind) {
                worst = Some(failure);
            }
        }
        Err(worst.unwrap_or_else(|| {
            let mut failure = Failure::new(FailureKind::Unreachable, "every server is left out");
            failure.retry_after = left_out;
            failure
        }))
    }
}

impl Inner {
    /// Whether no time is left for a request that started then.
    fn is_over(&self, started: Timestamp) -> bool {
        started.checked_add(self.timeouts.total).is_ok_and(|end| end <= self.clock.now())
    }

    /// At one server. A connection that ends before the response begins may be a kept one that the server closed just then; the
    /// request is then sent once more.
    async fn attempt(&self, server: &Server, call: &Call, started: Timestamp) -> Result<Answer, Failure> {
        match self.send(server, call, started).await {
            Err(failure) if failure.kind == FailureKind::Closed => self.send(server, call, started).await,
            Err(failure)
                if failure.refuses_stream_options() && call.strips_usage() && server.knows_stream_options() =>
            {
                server.forget_stream_options();
                self.send(server, call, started).await
            }
            sent => sent,
        }
    }

    async fn send(&self, server: &Server, call: &Call, started: Timestamp) -> Result<Answer, Failure> {
        let default = if call.model.is_none() { self.default_model(server).await } else { None };
        let body = call.body(default.as_deref(), server.knows_stream_options());
        // A whole answer comes at its end.
        let first = if call.is_stream { self.timeouts.first_token } else { self.timeouts.total };
        let mut bounds = Bounds::new(&self.clock, started, first, self.timeouts.total);
        let late = |expired| Failure::new(FailureKind::TimedOut, expired);
        let response = bounds.within(server.call(call.endpoint, body)).await.map_err(late)??;
        if !response.status.is_success() {
            return Err(bounds.within(refusal(response)).await.map_err(late)?);
        }
        let is_json = response.content_type.contains("json");
        if !call.is_stream || is_json {
            let whole = bounds.within(whole(response)).await.map_err(late)??;
            return match call.is_stream {
                false => Ok(Answer::Whole(whole)),
                true => Err(Failure::new(FailureKind::Broken, "the server sent no stream")),
            };
        }
        if !response.content_type.starts_with("text/event-stream") && !response.content_type.is_empty() {
            let cause = format!("the server sent {:?} instead of a stream", response.content_type);
            return Err(Failure::new(FailureKind::Broken, cause));
        }
        let next = self.timeouts.next_token;
        let stream = EventStream::new(call.endpoint, &server.name, response.body, bounds, next, &self.tasks);
        Ok(Answer::Stream(Box::new(stream.begin().await?)))
    }
}

/// The failure that an error response means.
async fn refusal(mut response: Response) -> Failure {
    match response.body.collect(ERROR).await {
        Ok(body) => Failure::of_response(response.error(body)),
        Err(cause) => Failure::new(FailureKind::Broken, format!("{}, and {cause}", response.status)),
    }
}

/// A whole response, which must be JSON and no error object.
async fn whole(mut response: Response) -> Result<Whole, Failure> {
    let broken = |cause: String| Failure::new(FailureKind::Broken, cause);
    let body = response.body.collect(WHOLE).await.map_err(broken)?;
    match chunk::whole(&body) {
        Err(error) => {
            Err(broken(format!("the response of the type {:?} is no answer: {error}", response.content_type)))
        }
        Ok(chunk::Answered::Error) => Err(Failure::of_response(error_response(&body))),
        Ok(chunk::Answered::Usage { usage, model }) => {
            Ok(Whole { content_type: response.content_type, body, usage, model })
        }
    }
}
