//! `/api/topics/{topic}/events`: the frames of a topic as server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use tokio::{sync::Notify, time::Instant};
use turnpike_fault::{Fault, Kind};
use turnpike_topic::Topic;
use utoipa::IntoParams;

use super::{
    connections::{Connections, Registration, StreamTo, Target},
    control_frames,
    ending::Ending,
    hub::{members::Wake, topic_reader::Batch},
    reader::{self, Reader},
    rooms::Rooms,
    since::{InvalidSince, Since},
    topics::Topics,
};
use crate::http::{
    Answer,
    extract::{Id, Query},
    problem::ProblemBody,
};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Resume {
    /// `start` (if absent), `live`, or an offset; `Last-Event-ID` counts before it.
    #[param(pattern = "^(start|live|[0-9]{1,19}-[0-9]{1,19})$")]
    since: Option<String>,
}

/// The bytes that are taken at once.
const TURN_BYTES: usize = 32 << 10;
/// The delay before history that could not be read is read again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// A comment is sent after this time without events, so that proxies do not close the stream.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// A comment, which clients ignore.
pub(crate) const COMMENT: Bytes = Bytes::from_static(b": \n\n");

/// Follow a topic as server-sent events.
///
/// `id` is the offset, so a browser resumes by itself. The stream ends after the topic's final event. A client that has the final
/// event, or requests `live` on a topic that has ended, gets 204, so that an `EventSource` stops reconnecting.
#[utoipa::path(get, path = "/api/topics/{topic}/events", tag = "topics",
    params(("topic" = String, Path, example = "response:0198c1d2-7a3b-7c4d-8e5f-0123456789ab"), Resume,
        ("Last-Event-ID" = Option<String>, Header, pattern = "^(start|live|[0-9]{1,19}-[0-9]{1,19})$")),
    responses((status = 200, description = "The topic's frames", content_type = "text/event-stream"),
        (status = 204, description = "The topic has ended, and the client has its final event"),
        (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn follow(
    State(connections): State<Connections>,
    State(topics): State<Topics>,
    State(rooms): State<Rooms>,
    StreamTo(caller, origin): StreamTo,
    Id(topic): Id<Topic>,
    Query(resume): Query<Resume>,
    headers: HeaderMap,
) -> Answer<Response> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).filter(|id| !id.is_empty());
    let since = match last.or(resume.since.as_deref()) {
        None => Since::Start,
        Some(text) => text.parse().map_err(|invalid: InvalidSince| {
            Fault::new(Kind::Validation, "The query is not valid").field("since", invalid.to_string())
        })?,
    };
    // An event stream is registered like a socket: it counts against the same limit and ends for the same reasons.
    let registration = connections.register(&caller, origin).map_err(Fault::from)?;
    let wake = Arc::new(Notify::new());
    registration.attach(Target::Stream(wake.clone()));
    registration.handle.names_topic(topic);
    let reader = reader::open(&topics, &caller, topic, since, &Wake::Task(wake.clone())).await?;
    let reader = match topic {
        Topic::Room(room) => {
            let Registration { id, handle, .. } = &registration;
            reader.with(Box::new(rooms.enter(room, registration.user_id(), *id, handle, false)))
        }
        _ => reader,
    };
    if reader.is_finished() {
        // EventSource reconnects after the end of any other response (HTML standard, section 9.2.3).
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let retry = Bytes::from_static(b"retry: 1000\n\n");
    let events = EventStream { reader, registration, wake, done: false };
    let first = stream::iter([Ok::<_, Infallible>(retry)]);
    let rest = stream::unfold(events, async |mut events| {
        let bytes = events.next().await?;
        events.registration.handle.sends(&bytes);
        Some((Ok(bytes), events))
    });
    Ok(response(Body::from_stream(futures_util::StreamExt::chain(first, rest))))
}

/// A response whose body is a stream of events.
pub(crate) fn response(events: Body) -> Response {
    let mut response = Response::new(events);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no")); // nginx would buffer the events
    response
}

struct EventStream {
    reader: Reader,
    registration: Registration,
    wake: Arc<Notify>,
    done: bool,
}

impl EventStream {
    /// The next bytes; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        let quiet_until = Instant::now() + KEEP_ALIVE_INTERVAL;
        loop {
            if self.done {
                return None;
            }
            match self.registration.handle.ending() {
                None => {}
                // EventSource reconnects with its last id, here or at another gateway.
                Some(Ending::Stopping) => return None,
                Some(ending) => {
                    self.done = true;
                    return Some(event(&control_frames::fault(None, None, &ending.into())));
                }
            }
            let topic = self.reader.topic();
            let pause = match self.reader.take(TURN_BYTES).await {
                Batch::Frames(frames) => {
                    let parts: Vec<Bytes> = frames.iter().map(|frame| frame.sse()).collect();
                    return Some(if let [only] = parts.as_slice() { only.clone() } else { parts.concat().into() });
                }
                Batch::CaughtUp { head } => {
                    return Some(event(&control_frames::caught_up(topic, head)));
                }
                Batch::Reset { reason, head } => return Some(event(&control_frames::reset(topic, reason, head))),
                Batch::Closed => {
                    self.done = true;
                    return Some(event(&control_frames::closed(topic)));
                }
                Batch::Nothing => quiet_until,
                Batch::Unavailable => Instant::now() + RETRY_DELAY,
            };
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(pause.min(quiet_until)) => if Instant::now() >= quiet_until {
                    return Some(COMMENT);
                },
            }
        }
    }
}

/// A frame without an offset has no id, so that the browser keeps its last id.
pub(crate) fn event(frame: &str) -> Bytes {
    format!("data: {frame}\n\n").into()
}
