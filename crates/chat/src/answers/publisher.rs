//! Publishes the events of one answer in their order, and gives them to the callers in this process.
//!
//! One event is on its way to the bus at a time; deltas that come meanwhile are joined. If the bus does not take an event within
//! [`LATE`], the callers get it and all later ones without an offset, and the bus gets them when it is available again.

use std::{collections::VecDeque, future::pending, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use turnpike_bus::{Bus, PublishError, UNTIL_DROPPED};
use turnpike_event::{Body, ChatEvent, Event};
use turnpike_kit::{Clock, Retry};
use turnpike_topic::{Offset, Topic};

use super::log::{Entry, Log, Source};

/// How long the callers wait for the offset of an event.
const LATE: Duration = Duration::from_millis(300);

/// What happened to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The event is on the topic.
    Published(Offset),
    /// The conversation was deleted: its topic takes no more events.
    Closed,
}

pub(super) struct Publisher {
    bus: Bus,
    clock: Clock,
    topic: Topic,
    log: Log,
    source: Source,
    /// Not yet given to the bus.
    waiting: VecDeque<Event>,
    current: Option<Current>,
    /// The callers get events without an offset.
    detached: bool,
    /// Nothing is given to the bus: this instance may have lost its lease.
    held: bool,
}

struct Current {
    publishing: BoxFuture<'static, Option<Offset>>,
    event: Bytes,
    is_last: bool,
    late_at: Instant,
}

impl Publisher {
    pub(super) fn new(bus: Bus, clock: Clock, topic: Topic) -> Self {
        let log = Log::new();
        Self {
            bus,
            clock,
            topic,
            source: log.source(),
            log,
            waiting: VecDeque::new(),
            current: None,
            detached: false,
            held: false,
        }
    }

    pub(super) fn source(&self) -> Source {
        self.source.clone()
    }

    /// Adds an event; [`Publisher::drive`] publishes it.
    pub(super) fn push(&mut self, event: ChatEvent, at: Timestamp) {
        let event = Event { at, body: Body::Chat(event) };
        if self.detached {
            self.log.push(Entry { offset: None, event: event.to_bytes() }, is_last(&event));
        }
        if !self.waiting.back_mut().is_some_and(|last| join(last, &event)) {
            self.waiting.push_back(event);
        }
    }

    /// Gives the callers an event that is not for the topic.
    pub(super) fn tell_callers(&mut self, event: ChatEvent, at: Timestamp) {
        self.detached = true;
        let event = Event { at, body: Body::Chat(event) };
        self.log.push(Entry { offset: None, event: event.to_bytes() }, is_last(&event));
    }

    /// While held, nothing more is given to the bus.
    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
        if held {
            self.detach();
        }
    }

    pub(super) const fn is_held(&self) -> bool {
        self.held
    }

    /// The callers do not wait for the bus any more.
    pub(super) const fn is_detached(&self) -> bool {
        self.detached
    }

    /// Every event is published.
    pub(super) fn is_idle(&self) -> bool {
        self.current.is_none() && self.waiting.is_empty()
    }

    /// Publishes until something has happened. Waits forever while there is nothing to publish. Cancel-safe.
    pub(super) async fn drive(&mut self) -> Progress {
        loop {
            if self.current.is_none() {
                let next = if self.held { None } else { self.waiting.pop_front() };
                let Some(event) = next else { pending().await };
                let is_last = is_last(&event);
                let event = event.to_bytes();
                let publishing = Box::pin(publish(self.bus.clone(), self.clock.clone(), self.topic, event.clone()));
                self.current = Some(Current { publishing, event, is_last, late_at: Instant::now() + LATE });
            }
            let Some(current) = &mut self.current else { continue };
            let published = tokio::select! {
                biased;
                published = &mut current.publishing => published,
                () = sleep_until(current.late_at), if !self.detached => {
                    self.detach();
                    continue;
                }
            };
            let current = self.current.take();
            let Some(offset) = published else { return Progress::Closed };
            if let Some(current) = current.filter(|_| !self.detached) {
                self.log.push(Entry { offset: Some(offset), event: current.event }, current.is_last);
            }
            return Progress::Published(offset);
        }
    }

    /// From now on the callers get events without an offset, first those that they still lack.
    fn detach(&mut self) {
        if std::mem::replace(&mut self.detached, true) {
            return;
        }
        let current = self.current.iter().map(|current| (current.event.clone(), current.is_last));
        for (event, is_last) in current.chain(self.waiting.iter().map(|event| (event.to_bytes(), is_last(event)))) {
            self.log.push(Entry { offset: None, event }, is_last);
        }
    }
}

/// The last event of an answer.
fn is_last(event: &Event) -> bool {
    matches!(&event.body, Body::Chat(event) if event.ends_answer())
}

/// Appends a delta to another one of the same answer.
fn join(last: &mut Event, event: &Event) -> bool {
    let Body::Chat(ChatEvent::Delta { content, reasoning_content, .. }) = &mut last.body else { return false };
    let Body::Chat(ChatEvent::Delta { content: more, reasoning_content: more_reasoning, .. }) = &event.body else {
        return false;
    };
    content.push_str(more);
    reasoning_content.push_str(more_reasoning);
    true
}

/// Publishes an event, however long the bus is away; `None`: the topic is closed.
async fn publish(bus: Bus, clock: Clock, topic: Topic, event: Bytes) -> Option<Offset> {
    let mut retry = Retry::default();
    loop {
        match bus.publish_within(UNTIL_DROPPED, &topic, &event).await {
            Ok(offset) => return Some(offset),
            Err(PublishError::Closed { .. }) => return None,
            Err(error) => retry.pause(&clock, "an event of an answer cannot be published yet", error).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use turnpike_topic::{ConversationId, MessageId};
    use uuid::Uuid;

    use super::*;

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn publisher(bus: &Bus) -> Publisher {
        let topic = Topic::Conversation(ConversationId::from(Uuid::nil()));
        Publisher::new(bus.clone(), Clock::system(), topic)
    }

    fn delta(text: &str) -> ChatEvent {
        let message_id = MessageId::from(Uuid::nil());
        ChatEvent::Delta { message_id, content: text.into(), reasoning_content: String::new() }
    }

    fn text(entry: &Entry) -> String {
        match Event::from_bytes(entry.event.clone()).body {
            Body::Chat(ChatEvent::Delta { content, .. }) => content,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn callers_get_what_the_topic_has() {
        let bus = Bus::memory(turnpike_bus::Limits::default());
        let mut publisher = publisher(&bus);
        let mut tail = publisher.source().tail();
        publisher.push(delta("a"), AT);
        publisher.push(delta("b"), AT);
        let Progress::Published(offset) = publisher.drive().await else { panic!("the topic is open") };
        let entry = tail.next().await.expect("an event");
        assert_eq!((text(&entry).as_str(), entry.offset), ("ab", Some(offset)), "waiting deltas are joined");
        assert!(publisher.is_idle());
        bus.close(publisher.topic_for_test(), b"end").await.expect("it is open");
        publisher.push(delta("c"), AT);
        assert_eq!(publisher.drive().await, Progress::Closed);
    }

    #[tokio::test]
    async fn while_the_bus_is_away_callers_get_every_event_once_without_an_offset() {
        // Nothing listens there: the bus waits for it.
        let bus = Bus::redis("redis://127.0.0.1:1", turnpike_bus::Limits::default()).expect("a URL");
        let mut publisher = publisher(&bus);
        let mut tail = publisher.source().tail();
        publisher.push(delta("a"), AT);
        tokio::time::timeout(LATE * 10, async {
            tokio::select! {
                progress = publisher.drive() => panic!("{progress:?}"),
                entry = tail.next() => assert_eq!(entry.map(|entry| (text(&entry), entry.offset)), Some(("a".into(), None))),
            }
        })
        .await
        .expect("the caller does not wait for the bus");
        publisher.push(delta("b"), AT);
        publisher.push(delta("c"), AT);
        for expected in ["b", "c"] {
            assert_eq!(tail.next().await.map(|entry| text(&entry)).as_deref(), Some(expected));
        }
        assert_eq!(publisher.waiting.len(), 1, "the bus will get them as one delta");
        drop(publisher);
        assert_eq!(tail.next().await, None);
    }

    impl Publisher {
        fn topic_for_test(&self) -> &Topic {
            &self.topic
        }
    }
}
