//! For tests: the published events of a topic, and what a reader may get next.

use std::collections::BTreeMap;

use jiff::Timestamp;
use turnpike_bus::{Bus, Limits, ResetReason};
use turnpike_event::{Body, CommandEvent, Event, Json};
use turnpike_topic::{CommandId, Offset, Topic};
use uuid::Uuid;

use crate::stream::since::Since;

/// The events in history: more than a ring holds, so that some readers need history, and some events are lost even there.
pub(crate) const HISTORY_EVENTS: u64 = 600;

/// A bus with a short history.
pub(crate) fn bus() -> Bus {
    Bus::memory(Limits { max_events: HISTORY_EVENTS, ..Limits::default() })
}

/// A topic and its published events, in order.
pub(crate) struct Model {
    bus: Bus,
    pub(crate) topic: Topic,
    pub(crate) texts: BTreeMap<(u64, u64), String>,
    /// `None`: the topic does not exist.
    pub(crate) head: Option<Offset>,
    pub(crate) closed: bool,
    number: u32,
}

impl Model {
    pub(crate) fn new(bus: &Bus) -> Self {
        let topic = Topic::Response(CommandId::from(Uuid::now_v7()));
        Self { bus: bus.clone(), topic, texts: BTreeMap::new(), head: None, closed: false, number: 0 }
    }

    pub(crate) async fn publish(&mut self, bytes: usize, close: bool) {
        if self.closed {
            return;
        }
        self.number += 1;
        let body = Body::Command(CommandEvent::Response {
            command_id: CommandId::from(Uuid::nil()),
            sequence_number: self.number,
            is_final: close,
            response: Json::parse(format!(r#"{{"padding":"{}"}}"#, "x".repeat(bytes))).expect("JSON"),
        });
        let event = Event { at: Timestamp::UNIX_EPOCH, body };
        let published = match close {
            true => self.bus.close(&self.topic, &event.to_bytes()).await,
            false => self.bus.publish(&self.topic, &event.to_bytes()).await,
        };
        let offset = published.expect("the topic is open");
        let record = turnpike_event::Record { offset, is_final: close, event };
        self.texts.insert((offset.epoch, offset.n), turnpike_event::frame(&self.topic, &record));
        (self.head, self.closed) = (Some(offset), close);
    }

    /// The topic is lost with all of its events.
    pub(crate) async fn forget(&mut self) {
        self.bus.forget(&self.topic).await.expect("in memory");
        (self.head, self.closed) = (None, false);
    }

    /// The first event of an epoch in history. A reader can still have older events of an earlier epoch.
    fn first(&self, epoch: u64) -> u64 {
        let last = self.texts.range((epoch, 0)..=(epoch, u64::MAX)).next_back();
        last.map_or(1, |((_, n), _)| n.saturating_sub(HISTORY_EVENTS) + 1)
    }

    /// Whether the next event of a reader is lost for this reason. A loss is not undone, so a client that reads later may ask, too.
    fn is_lost(&self, expected: Expected, reason: ResetReason) -> bool {
        match (expected, reason) {
            (Expected::After(at), ResetReason::Epoch) => {
                self.head.is_none_or(|head| head.epoch != at.epoch || head.n < at.n)
            }
            (Expected::After(at), ResetReason::Trimmed) => at.n + 1 < self.first(at.epoch),
            (Expected::First, ResetReason::Trimmed) => self.head.is_some_and(|head| self.first(head.epoch) > 1),
            // the reader has no event that could be lost
            (Expected::First | Expected::Any, ResetReason::Epoch) | (Expected::Any, ResetReason::Trimmed) => false,
            // events can be lost again after a reset
            (Expected::FirstInHistory | Expected::Ahead(_), _) => true,
        }
    }
}

/// The next frame that a reader may get.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Expected {
    /// The event after this one.
    After(Offset),
    /// The event after this one, which was not published when the reader began. So a reset may come.
    Ahead(Offset),
    /// The first event of an epoch.
    First,
    /// The first event in history, after a reset.
    FirstInHistory,
    /// Any event that is published later.
    Any,
}

/// What one reader of the topic has got. Panics if it gets anything that it must not get.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) expected: Expected,
    /// Since the latest reset.
    pub(crate) caught_up: bool,
}

impl Progress {
    pub(crate) fn new(since: Since) -> Self {
        let expected = match since {
            Since::After(offset) => Expected::After(offset),
            // if the topic has lost its beginning, a reset comes first
            Since::Start => Expected::First,
            Since::Live => Expected::Any,
        };
        Self { expected, caught_up: false }
    }

    /// A position at which a new reader continues.
    pub(crate) fn since(&self) -> Since {
        match self.expected {
            Expected::After(offset) | Expected::Ahead(offset) => Since::After(offset),
            Expected::First | Expected::FirstInHistory => Since::Start,
            Expected::Any => Since::Live,
        }
    }

    pub(crate) fn event(&mut self, offset: Offset, text: &str, model: &Model) {
        let Offset { epoch, n } = offset;
        assert_eq!(model.texts.get(&(epoch, n)).map(String::as_str), Some(text), "as it was published");
        match self.expected {
            Expected::After(before) | Expected::Ahead(before) => {
                assert_eq!(offset, Offset { n: before.n + 1, ..before }, "the next event, without a gap");
            }
            Expected::First => assert_eq!(n, 1, "the first event"),
            Expected::FirstInHistory => assert!(n <= model.first(epoch), "a reset skips no event in history"),
            Expected::Any => {}
        }
        self.expected = Expected::After(offset);
    }

    pub(crate) fn reset(&mut self, reason: ResetReason, model: &Model) {
        assert!(model.is_lost(self.expected, reason), "no reset ({reason:?}) at {:?} without a loss", self.expected);
        (self.expected, self.caught_up) = (Expected::FirstInHistory, false);
    }

    pub(crate) fn caught_up(&mut self, head: Option<Offset>, model: &Model) {
        assert!(!self.caught_up, "caught up is reported once");
        self.caught_up = true;
        let published = |at: Offset| model.texts.contains_key(&(at.epoch, at.n));
        assert!(head.is_none_or(published), "caught up at {head:?}, where no event was published");
        match (self.expected, head) {
            (Expected::After(last) | Expected::Ahead(last), _) => {
                assert_eq!(Some(last), head, "caught up is at the head");
                self.expected = Expected::After(last);
            }
            (Expected::Any, Some(head)) => self.expected = Expected::After(head),
            (Expected::First | Expected::FirstInHistory | Expected::Any, None) => self.expected = Expected::First,
            (Expected::First | Expected::FirstInHistory, Some(head)) => {
                assert!(head.n < model.first(head.epoch), "events up to {head} are missing");
            }
        }
    }

    /// Whether this reader has everything.
    pub(crate) fn is_complete(&self, model: &Model) -> bool {
        self.caught_up
            && match (self.expected, model.head) {
                (Expected::After(last), Some(head)) => last == head,
                (Expected::After(_) | Expected::Ahead(_), _) => false, // a reset must follow
                (Expected::First | Expected::FirstInHistory, head) => head.is_none(),
                (Expected::Any, _) => false, // caught_up must follow
            }
    }
}
