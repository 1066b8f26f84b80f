//! Readers of a hub against what was published: whoever comes and goes, however slowly they read, whatever becomes of the topic
//! meanwhile, what a reader gets goes on where it was, or a reset says that it does not.

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
    topic_reader::{Batch, TopicReader},
    *,
};
use crate::stream::since::Since;

/// More than a ring holds, so that some readers find what they missed only in history; and not everything there either.
const KEPT: u64 = 600;

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
enum Step {
    Publish {
        events: usize,
        bytes: usize,
    },
    Close,
    Forget,
    Enter(Place),
    /// A reader takes so often, so many bytes each time.
    Take {
        reader: Index,
        times: usize,
        bytes: usize,
    },
    /// A connection is lost, and a new one goes on where it was.
    Resume(Index),
    /// The follower gets a turn.
    Yield(usize),
}

#[derive(Clone, Debug)]
enum Place {
    Start,
    Live,
    /// After an event that was published.
    After(Index),
    /// At an offset of a known epoch, this far behind one that was published: mostly ahead of the head.
    Ahead(Index, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = prop_oneof![
        Just(Place::Start),
        Just(Place::Live),
        any::<Index>().prop_map(Place::After),
        (any::<Index>(), 1..400_u64).prop_map(|(index, by)| Place::Ahead(index, by)),
    ];
    let step = prop_oneof![
        6 => (1..150_usize, 0..2_000_usize).prop_map(|(events, bytes)| Step::Publish { events, bytes }),
        1 => Just(Step::Close),
        1 => Just(Step::Forget),
        4 => place.prop_map(Step::Enter),
        9 => (any::<Index>(), 1..6_usize, 1..100_000_usize)
            .prop_map(|(reader, times, bytes)| Step::Take { reader, times, bytes }),
        4 => any::<Index>().prop_map(Step::Resume),
        6 => (1..8_usize).prop_map(Step::Yield),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What was published, in order.
#[derive(Default)]
struct Truth {
    texts: BTreeMap<(u64, u64), String>,
    /// The life that the topic is in.
    head: Option<Offset>,
    closed: bool,
}

impl Truth {
    /// The first event that is kept of a life; of one that is over, of which something may still be read.
    fn first(&self, epoch: u64) -> u64 {
        let last = self.texts.range((epoch, 0)..=(epoch, u64::MAX)).next_back();
        last.map_or(1, |((_, n), _)| n.saturating_sub(KEPT) + 1)
    }

    /// Whether a reader at this place can't go on where it is.
    fn is_gone(&self, place: Reading, reason: ResetReason) -> bool {
        match (place, reason) {
            (Reading::After(at), ResetReason::Epoch) => {
                self.head.is_none_or(|head| head.epoch != at.epoch || head.n < at.n)
            }
            (Reading::After(at), ResetReason::Trimmed) => at.n + 1 < self.first(at.epoch),
            (Reading::First, ResetReason::Trimmed) => self.head.is_some_and(|head| self.first(head.epoch) > 1),
            // it has read nothing that could go
            (Reading::First | Reading::Live, ResetReason::Epoch) | (Reading::Live, ResetReason::Trimmed) => false,
            // what was kept when it was told so is gone since
            (Reading::Kept, _) => true,
        }
    }
}

struct Reader {
    topic_reader: TopicReader,
    wake: Arc<Notify>,
    place: Reading,
    /// Of this connection, since the last reset of it.
    caught_up: bool,
}

/// What a reader can rely on about the next frame.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reading {
    /// It is the one after this.
    After(Offset),
    /// It is the first one of a life.
    First,
    /// It is the first one that is kept, as a reset has said.
    Kept,
    /// It is one that came after the reader.
    Live,
}

struct World {
    bus: Bus,
    hub: Hub,
    topic: Topic,
    truth: Truth,
    readers: Vec<Reader>,
    number: u32,
}

impl World {
    fn new() -> Self {
        let bus = Bus::memory(Limits { max_events: KEPT, ..Limits::default() });
        let hub = Hub::new(bus.clone(), Tasks::default());
        let topic = Topic::Response(CommandId::from(Uuid::now_v7()));
        Self { bus, hub, topic, truth: Truth::default(), readers: Vec::new(), number: 0 }
    }

    async fn publish(&mut self, bytes: usize, close: bool) {
        if self.truth.closed {
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
        self.truth.texts.insert((offset.epoch, offset.n), turnpike_event::frame(&self.topic, &record));
        (self.truth.head, self.truth.closed) = (Some(offset), close);
    }

    async fn forget(&mut self) {
        self.bus.forget(&self.topic).await.expect("in memory");
        (self.truth.head, self.truth.closed) = (None, false);
    }

    fn enter(&mut self, since: Since) {
        let wake = Arc::new(Notify::new());
        let topic_reader = TopicReader::open(&self.hub, self.topic, since, &wake);
        let place = match since {
            Since::After(offset) => Reading::After(offset),
            // who comes to a topic that has lost its beginning is told so
            Since::Start => Reading::First,
            Since::Live => Reading::Live,
        };
        self.readers.push(Reader { topic_reader, wake, place, caught_up: false });
    }

    fn resume(&mut self, index: &Index) {
        if self.readers.is_empty() {
            return;
        }
        let gone = self.readers.swap_remove(index.index(self.readers.len()));
        self.enter(match gone.place {
            Reading::After(offset) => Since::After(offset),
            Reading::First | Reading::Kept => Since::Start,
            Reading::Live => Since::Live,
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
            Step::Enter(Place::Start) => self.enter(Since::Start),
            Step::Enter(Place::Live) => self.enter(Since::Live),
            Step::Enter(Place::After(index)) => {
                let known: Vec<_> = self.truth.texts.keys().collect();
                if !known.is_empty() {
                    let &(epoch, n) = *index.get(&known);
                    self.enter(Since::After(Offset { epoch, n }));
                }
            }
            Step::Enter(Place::Ahead(index, by)) => {
                let known: Vec<_> = self.truth.texts.keys().collect();
                if !known.is_empty() {
                    let &(epoch, n) = *index.get(&known);
                    self.enter(Since::After(Offset { epoch, n: n + by }));
                }
            }
            Step::Resume(index) => self.resume(index),
            Step::Take { reader, times, bytes } => {
                if let Some(reader) = reader.get_mut_or_none(&mut self.readers) {
                    for _ in 0..*times {
                        reader.take(*bytes, &self.truth).await;
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

    /// Everybody reads to the end, woken only by the hub.
    async fn settle(&mut self) {
        for reader in &mut self.readers {
            let end = self.truth.head;
            let read = async {
                loop {
                    match reader.take(10_000, &self.truth).await {
                        Taken::Something => {}
                        Taken::Closed => break,
                        Taken::Nothing if reader.is_at(end) && reader.caught_up && !self.truth.closed => break,
                        Taken::Nothing => reader.wake.notified().await,
                    }
                }
            };
            let place = timeout(DEADLINE, read).await;
            assert!(place.is_ok(), "a reader at {:?} is never woken to read up to {end:?}", reader.place);
            assert!(reader.caught_up, "nobody reaches an end without being told so");
        }
        self.readers.clear();
        assert_eq!(self.hub.topics(), 0, "with its last reader a topic is no longer followed");
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
    async fn take(&mut self, bytes: usize, truth: &Truth) -> Taken {
        match self.topic_reader.take(bytes).await {
            Batch::Frames(frames) => {
                assert!(!frames.is_empty(), "no empty batches: they would look like progress");
                for frame in frames {
                    self.read(&frame, truth);
                }
                Taken::Something
            }
            Batch::Reset { reason, .. } => {
                assert!(truth.is_gone(self.place, reason), "no reset ({reason:?}) at {:?} without a loss", self.place);
                (self.place, self.caught_up) = (Reading::Kept, false);
                Taken::Something
            }
            Batch::CaughtUp { head } => {
                assert!(!self.caught_up, "said once");
                self.caught_up = true;
                let published = |at: Offset| truth.texts.contains_key(&(at.epoch, at.n));
                assert!(head.is_none_or(published), "caught up at {head:?}, where no event was published");
                match (self.place, head) {
                    (Reading::After(place), _) => assert_eq!(Some(place), head, "caught up is at the head"),
                    (Reading::Live, Some(head)) => self.place = Reading::After(head),
                    (Reading::First | Reading::Kept | Reading::Live, None) => self.place = Reading::First,
                    (Reading::First | Reading::Kept, Some(head)) => {
                        assert!(head.n < truth.first(head.epoch), "what is kept up to {head} was not given");
                    }
                }
                Taken::Something
            }
            Batch::Closed => Taken::Closed,
            Batch::Nothing => Taken::Nothing,
            Batch::Unavailable => panic!("memory is always there"),
        }
    }

    fn read(&mut self, frame: &Frame, truth: &Truth) {
        let Offset { epoch, n } = frame.offset;
        assert_eq!(
            truth.texts.get(&(epoch, n)).map(String::as_str),
            Some(frame.text().as_str()),
            "as it was published"
        );
        match self.place {
            Reading::After(before) => {
                assert_eq!(frame.offset, Offset { n: before.n + 1, ..before }, "no hole, no double");
            }
            Reading::First => assert_eq!(n, 1, "from the start is from the start"),
            Reading::Kept => assert!(n <= truth.first(epoch), "a reset skips nothing that is kept"),
            Reading::Live => {}
        }
        self.place = Reading::After(frame.offset);
    }

    /// Whether there is nothing that this reader has yet to get.
    fn is_at(&self, head: Option<Offset>) -> bool {
        match (self.place, head) {
            (Reading::After(place), Some(head)) => place == head,
            (Reading::After(_), None) => false, // it has yet to be told that what it read is gone
            (Reading::First | Reading::Kept, head) => head.is_none() && self.caught_up,
            (Reading::Live, _) => false, // it has yet to be told where it is
        }
    }
}

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_reader_gets_every_event_once_or_is_told(steps in steps()) {
        RUNTIME.block_on(async {
            let mut world = World::new();
            for step in &steps {
                world.step(step).await;
            }
            world.settle().await;
        });
    }
}
