//! The events of one answer as server-sent events, with the same bytes as on the conversation's topic.
//!
//! They come from the chat service. If its process ends, another one takes the answer over and publishes its end: the rest of the
//! events then comes from the topic.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};
use tracing::warn;
use turnpike_bus::{Bus, Delivery, Follower, From};
use turnpike_event::{Body as EventBody, Event, Record, frame_without_offset};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::chat::v1 as pb;
use turnpike_topic::{MessageId, Offset, Topic};

use crate::stream::{
    connections::Registration,
    control_frames,
    ending::Ending,
    hub::frame::Frame,
    sse::{self, COMMENT},
};

/// A comment is sent after this time without events.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long the end of an answer is awaited on the topic after its process was lost. Another process takes the answer over within
/// seconds.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct AnswerStream {
    bus: Bus,
    topic: Topic,
    registration: Registration,
    source: Source,
    /// The answer; `None` until its first event.
    answer: Option<MessageId>,
    /// The offset of the latest event.
    last: Option<Offset>,
    /// The client has an event without an offset. The topic may have this event too, under an offset that is not known here.
    unnumbered: bool,
}

enum Source {
    Service(Box<Streaming<pb::AnswerEvent>>),
    /// The topic, until this time.
    Topic(Box<Follower>, Instant),
    Ended,
}

/// What happens next.
enum Step {
    Sent(Result<Option<pb::AnswerEvent>, Status>),
    Published(Delivery),
    TimedOut,
    End(Ending),
    Quiet,
}

impl AnswerStream {
    pub(super) fn new(bus: Bus, topic: Topic, registration: Registration, events: Streaming<pb::AnswerEvent>) -> Self {
        let source = Source::Service(Box::new(events));
        registration.handle.names_topic(topic);
        Self { bus, topic, registration, source, answer: None, last: None, unnumbered: false }
    }

    /// The response. `first` is the first event, if it was taken already.
    pub(super) fn respond(mut self, first: Option<pb::AnswerEvent>) -> Response {
        let first = first.and_then(|event| self.forward(event));
        // A comment at once, so that proxies and clients see that the stream is open.
        let begin = stream::iter([Some(COMMENT), first].into_iter().flatten().map(Ok::<_, Infallible>));
        let rest = stream::unfold(self, async |mut events| {
            let bytes = events.next().await?;
            events.registration.handle.sends(&bytes);
            Some((Ok(bytes), events))
        });
        sse::response(Body::from_stream(begin.chain(rest)))
    }

    /// The next bytes; `None` ends the stream. If the future is dropped, the next call continues.
    async fn next(&mut self) -> Option<Bytes> {
        let quiet_until = Instant::now() + KEEP_ALIVE_INTERVAL;
        loop {
            match self.step(quiet_until).await? {
                Step::Sent(Ok(Some(event))) => match self.forward(event) {
                    Some(bytes) => return Some(bytes),
                    None => continue,
                },
                Step::Sent(ended) => {
                    let status = ended.err().unwrap_or_else(|| Status::unavailable("the stream ended"));
                    if self.answer.is_none() {
                        return Some(self.end_with(&Fault::from(&status)));
                    }
                    self.follow_topic(&status);
                }
                Step::Published(Delivery::Record(record)) => {
                    if let Some(bytes) = self.continue_with(record.map(Event::from_bytes)) {
                        return Some(bytes);
                    }
                }
                // The conversation was deleted.
                Step::Published(Delivery::Closed) => self.source = Source::Ended,
                Step::Published(Delivery::CaughtUp { .. } | Delivery::Reset { .. }) => {}
                Step::TimedOut => {
                    let fault =
                        Fault::new(Kind::Unavailable, "The end of the answer is not known; read its message later");
                    return Some(self.end_with(&fault));
                }
                // The client resumes on the topic, here after the restart or at another gateway.
                Step::End(Ending::Stopping) => self.source = Source::Ended,
                Step::End(ending) => return Some(self.end_with(&ending.into())),
                Step::Quiet => return Some(COMMENT),
            }
        }
    }

    /// `None`: the stream has ended.
    async fn step(&mut self, quiet_until: Instant) -> Option<Step> {
        if matches!(self.source, Source::Ended) {
            return None; // also if the connection must end
        }
        let (source, handle) = (&mut self.source, &self.registration.handle);
        let next = async {
            match source {
                Source::Service(events) => Some(Step::Sent(events.message().await)),
                Source::Topic(follower, until) => tokio::select! {
                    delivery = follower.next() => Some(Step::Published(delivery)),
                    () = sleep_until(*until) => Some(Step::TimedOut),
                },
                Source::Ended => None,
            }
        };
        tokio::select! {
            biased;
            ending = handle.ended() => Some(Step::End(ending)),
            step = next => step,
            () = sleep_until(quiet_until) => Some(Step::Quiet),
        }
    }

    /// An event of the chat service.
    fn forward(&mut self, sent: pb::AnswerEvent) -> Option<Bytes> {
        let event = Event::from_bytes(sent.event);
        if let EventBody::Chat(event) = &event.body {
            self.answer = self.answer.or(event.message_id());
            if event.ends_answer() {
                self.source = Source::Ended;
            }
        }
        match sent.offset.parse() {
            Ok(offset) => {
                self.last = Some(offset);
                Some(Frame::of(&self.topic, &Record { offset, is_final: false, event }).sse())
            }
            Err(_) => {
                self.unnumbered = true;
                Some(sse::event(&frame_without_offset(&self.topic, &event)))
            }
        }
    }

    /// Continues on the topic after the chat service has ended the stream before the end of the answer.
    fn follow_topic(&mut self, status: &Status) {
        let (topic, code) = (self.topic, status.code());
        warn!(%topic, ?code, "the chat service ended a stream before its answer; the topic is followed instead");
        let from = self.last.map_or(From::Start, From::After);
        let until = Instant::now() + TAKEOVER_TIMEOUT;
        self.source = Source::Topic(Box::new(self.bus.follow(self.topic, from)), until);
    }

    /// An event of the topic; `None` if it is not one for the client.
    fn continue_with(&mut self, record: Record) -> Option<Bytes> {
        let EventBody::Chat(event) = &record.event.body else { return None };
        if event.message_id() != self.answer || self.answer.is_none() {
            return None;
        }
        if event.ends_answer() {
            self.source = Source::Ended;
        } else if self.unnumbered {
            // The client may have it without its offset. The last event has the whole text.
            return None;
        }
        self.last = Some(record.offset);
        Some(Frame::of(&self.topic, &record).sse())
    }

    fn end_with(&mut self, fault: &Fault) -> Bytes {
        self.source = Source::Ended;
        sse::event(&control_frames::fault(None, Some(self.topic), fault))
    }
}
