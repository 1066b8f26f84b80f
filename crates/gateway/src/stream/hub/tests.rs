//! Readers of a hub compared with a model of the published events. Readers join and leave, read slowly, and the topic is closed
//! or lost meanwhile. Each reader gets the event after its last one, or a reset.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use jiff::Timestamp;
use proptest::{prelude::*, sample::Index};
use tokio::{runtime::Runtime, sync::Notify, time::timeout};
use turnpike_bus::{Limits, ResetReason};
use turnpike_event::{Body, CommandEvent, Event, Json};
use turnpike_topic::{CommandId, Offset, Topic};
use uuid::Uuid;

use super::{
    frame::Frame,
    members::Wake,
    topic_reader::{Batch, TopicReader},
    *,
};
use crate::stream::since::Since;

/// The events in history: more than a ring holds, so that some readers need history, and some events are lost even there.
const HISTORY_EVENTS: u64 = 600;

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
enum Step {
    Publish {
        events: usize,
        bytes: usize,
    },
    Close,
    Forget,
    Open(From),
    /// A reader takes `bytes` bytes, `times` times.
    Take {
        reader: Index,
        times: usize,
        bytes: usize,
    },
    /// A connection breaks, and a new one resumes at its position.
    Resume(Index),
    /// The follower runs.
    Yield(usize),
}

#[derive(Clone, Debug)]
enum From {
    Start,
    Live,
    /// After an event that was published.
    After(Index),
    /// At an offset of a known epoch, so many events after a published one: mostly ahead of the head.
    Ahead(Index, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let from = prop_oneof![
        Just(From::Start),
        Just(From::Live),
        any::<Index>().prop_map(From::After),
        (any::<Index>(), 1..400_u64).prop_map(|(index, by)| From::Ahead(index, by)),
    ];
    let step = prop_oneof![
        6 => (1..150_usize, 0..2_000_usize).prop_map(|(events, bytes)| Step::Publish { events, bytes }),
        1 => Just(Step::Close),
        1 => Just(Step::Forget),
        4 => from.prop_map(Step::Open),
        9 => (any::<Index>(), 1..6_usize, 1..100_000_usize)
            .prop_map(|(reader, times, bytes)| Step::Take { reader, times, bytes }),
        4 => any::<Index>().prop_map(Step::Resume),
        6 => (1..8_usize).prop_map(Step::Yield),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The published events, in order.
#[derive(Default)]
struct Model {
    texts: BTreeMap<(u64, u64), String>,
    /// `None`: the topic does not exist.
    head: Option<Offset>,
    closed: bool,
}

impl Model {
    /// The first event of an epoch in history. A reader can still have older events of an earlier epoch.
    fn first(&self, epoch: u64) -> u64 {
        let last = self.texts.range((epoch, 0)..=(epoch, u64::MAX)).next_back();
        last.map_or(1, |((_, n), _)| n.saturating_sub(HISTORY_EVENTS) + 1)
    }

    /// Whether the next event of a reader is lost for this reason.
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
            (Expected::FirstInHistory, _) => true,
        }
    }
}

struct Reader {
    topic_reader: TopicReader,
    wake: Arc<Notify>,
    expected: Expected,
    /// Since the latest reset.
    caught_up: bool,
}

/// The next frame that a reader may get.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    /// The event after this one.
    After(Offset),
    /// The first event of an epoch.
    First,
    /// The first event in history, after a reset.
    FirstInHistory,
    /// Any event that is published later.
    Any,
}

struct Scenario {
    bus: Bus,
    hub: Hub,
    topic: Topic,
    model: Model,
    readers: Vec<Reader>,
    number: u32,
}

impl Scenario {
    fn new() -> Self {
        let bus = Bus::memory(Limits { max_events: HISTORY_EVENTS, ..Limits::default() });
        let hub = Hub::new(bus.clone(), Tasks::default());
        let topic = Topic::Response(CommandId::from(Uuid::now_v7()));
        Self { bus, hub, topic, model: Model::default(), readers: Vec::new(), number: 0 }
    }

    async fn publish(&mut self, bytes: usize, close: bool) {
        if self.model.closed {
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
        self.model.texts.insert((offset.epoch, offset.n), turnpike_event::frame(&self.topic, &record));
        (self.model.head, self.model.closed) = (Some(offset), close);
    }

    async fn forget(&mut self) {
        self.bus.forget(&self.topic).await.expect("in memory");
        (self.model.head, self.model.closed) = (None, false);
    }

    fn open(&mut self, since: Since) {
        let wake = Arc::new(Notify::new());
        let topic_reader = TopicReader::open(&self.hub, self.topic, since, &Wake::Task(wake.clone()));
        let expected = match since {
            Since::After(offset) => Expected::After(offset),
            // if the topic has lost its beginning, a reset comes first
            Since::Start => Expected::First,
            Since::Live => Expected::Any,
        };
        self.readers.push(Reader { topic_reader, wake, expected, caught_up: false });
    }

    fn resume(&mut self, index: &Index) {
        if self.readers.is_empty() {
            return;
        }
        let left = self.readers.swap_remove(index.index(self.readers.len()));
        self.open(match left.expected {
            Expected::After(offset) => Since::After(offset),
            Expected::First | Expected::FirstInHistory => Since::Start,
            Expected::Any => Since::Live,
        });
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Publish { events, bytes } => {
                for _ in 0..*events {
                    self.publish(*bytes, false).await;
                }
            }
            Step::Close => self.publish(0, true).await,
            Step::Forget => self.forget().await,
            Step::Open(From::Start) => self.open(Since::Start),
            Step::Open(From::Live) => self.open(Since::Live),
            Step::Open(From::After(index)) => {
                let known: Vec<_> = self.model.texts.keys().collect();
                if !known.is_empty() {
                    let &(epoch, n) = *index.get(&known);
                    self.open(Since::After(Offset { epoch, n }));
                }
            }
            Step::Open(From::Ahead(index, by)) => {
                let known: Vec<_> = self.model.texts.keys().collect();
                if !known.is_empty() {
                    let &(epoch, n) = *index.get(&known);
                    self.open(Since::After(Offset { epoch, n: n + by }));
                }
            }
            Step::Resume(index) => self.resume(index),
            Step::Take { reader, times, bytes } => {
                if let Some(reader) = reader.get_mut_or_none(&mut self.readers) {
                    for _ in 0..*times {
                        reader.take(*bytes, &self.model).await;
                    }
                }
            }
            Step::Yield(times) => {
                for _ in 0..*times {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// All readers read to the end, woken by the hub alone.
    async fn read_to_the_end(&mut self) {
        for reader in &mut self.readers {
            let end = self.model.head;
            let read = async {
                loop {
                    match reader.take(10_000, &self.model).await {
                        Taken::Something => {}
                        Taken::Closed => break,
                        Taken::Nothing if reader.is_at(end) && reader.caught_up && !self.model.closed => break,
                        Taken::Nothing => reader.wake.notified().await,
                    }
                }
            };
            let finished = timeout(DEADLINE, read).await;
            assert!(finished.is_ok(), "a reader at {:?} is never woken to read up to {end:?}", reader.expected);
            assert!(reader.caught_up, "a reader at the end has caught up");
        }
        self.readers.clear();
        assert_eq!(self.hub.topics(), 0, "without readers, the topic is not followed");
    }
}

trait GetMutOrNone {
    fn get_mut_or_none<'a, T>(&self, all: &'a mut [T]) -> Option<&'a mut T>;
}

impl GetMutOrNone for Index {
    fn get_mut_or_none<'a, T>(&self, all: &'a mut [T]) -> Option<&'a mut T> {
        (!all.is_empty()).then(|| self.get_mut(all))
    }
}

#[derive(PartialEq)]
enum Taken {
    Something,
    Nothing,
    Closed,
}

impl Reader {
    async fn take(&mut self, bytes: usize, model: &Model) -> Taken {
        match self.topic_reader.take(bytes).await {
            Batch::Frames(frames) => {
                assert!(!frames.is_empty(), "a batch has frames");
                for frame in frames {
                    self.read(&frame, model);
                }
                Taken::Something
            }
            Batch::Reset { reason, .. } => {
                assert!(
                    model.is_lost(self.expected, reason),
                    "no reset ({reason:?}) at {:?} without a loss",
                    self.expected
                );
                (self.expected, self.caught_up) = (Expected::FirstInHistory, false);
                Taken::Something
            }
            Batch::CaughtUp { head } => {
                assert!(!self.caught_up, "caught up is reported once");
                self.caught_up = true;
                let published = |at: Offset| model.texts.contains_key(&(at.epoch, at.n));
                assert!(head.is_none_or(published), "caught up at {head:?}, where no event was published");
                match (self.expected, head) {
                    (Expected::After(last), _) => assert_eq!(Some(last), head, "caught up is at the head"),
                    (Expected::Any, Some(head)) => self.expected = Expected::After(head),
                    (Expected::First | Expected::FirstInHistory | Expected::Any, None) => {
                        self.expected = Expected::First;
                    }
                    (Expected::First | Expected::FirstInHistory, Some(head)) => {
                        assert!(head.n < model.first(head.epoch), "events up to {head} are missing");
                    }
                }
                Taken::Something
            }
            Batch::Closed => Taken::Closed,
            Batch::Nothing => Taken::Nothing,
            Batch::Unavailable => panic!("the bus in memory is always available"),
        }
    }

    fn read(&mut self, frame: &Frame, model: &Model) {
        let Offset { epoch, n } = frame.offset;
        assert_eq!(
            model.texts.get(&(epoch, n)).map(String::as_str),
            std::str::from_utf8(&frame.text()).ok(),
            "as it was published"
        );
        match self.expected {
            Expected::After(before) => {
                assert_eq!(frame.offset, Offset { n: before.n + 1, ..before }, "the next event, without a gap");
            }
            Expected::First => assert_eq!(n, 1, "the first event"),
            Expected::FirstInHistory => assert!(n <= model.first(epoch), "a reset skips no event in history"),
            Expected::Any => {}
        }
        self.expected = Expected::After(frame.offset);
    }

    /// Whether this reader has everything.
    fn is_at(&self, head: Option<Offset>) -> bool {
        match (self.expected, head) {
            (Expected::After(last), Some(head)) => last == head,
            (Expected::After(_), None) => false, // a reset must follow
            (Expected::First | Expected::FirstInHistory, head) => head.is_none() && self.caught_up,
            (Expected::Any, _) => false, // caught_up must follow
        }
    }
}

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_reader_gets_every_event_once_or_a_reset(steps in steps()) {
        RUNTIME.block_on(async {
            let mut scenario = Scenario::new();
            for step in &steps {
                scenario.step(step).await;
            }
            scenario.read_to_the_end().await;
        });
    }
}
