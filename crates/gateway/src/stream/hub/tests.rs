//! Readers of a hub compared with a model of the published events. Readers join and leave, read slowly, and the topic is closed
//! or lost meanwhile. Each reader gets the event after its last one, or a reset.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use proptest::{prelude::*, sample::Index};
use tokio::{runtime::Runtime, sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;
use turnpike_topic::Offset;

use super::{
    members::Wake,
    model::{self, Model, Progress},
    topic_reader::{Batch, TopicReader},
    *,
};
use crate::stream::since::Since;

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

struct Reader {
    topic_reader: TopicReader,
    wake: Arc<Notify>,
    progress: Progress,
}

struct Scenario {
    hub: Hub,
    model: Model,
    readers: Vec<Reader>,
}

impl Scenario {
    fn new() -> Self {
        let bus = model::bus();
        Self {
            hub: Hub::new(bus.clone(), Tasks::default(), &CancellationToken::new(), Arc::new(|_, _| {})),
            model: Model::new(&bus),
            readers: Vec::new(),
        }
    }

    fn open(&mut self, since: Since) {
        let wake = Arc::new(Notify::new());
        let topic_reader = TopicReader::open(&self.hub, self.model.topic, since, &Wake::Task(wake.clone()));
        self.readers.push(Reader { topic_reader, wake, progress: Progress::new(since) });
    }

    fn resume(&mut self, index: &Index) {
        if self.readers.is_empty() {
            return;
        }
        let left = self.readers.swap_remove(index.index(self.readers.len()));
        self.open(left.progress.since());
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Publish { events, bytes } => {
                for _ in 0..*events {
                    self.model.publish(*bytes, false).await;
                }
            }
            Step::Close => self.model.publish(0, true).await,
            Step::Forget => self.model.forget().await,
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
            let read = async {
                loop {
                    match reader.take(10_000, &self.model).await {
                        Taken::Something => {}
                        Taken::Closed => break,
                        Taken::Nothing if reader.progress.is_complete(&self.model) && !self.model.closed => break,
                        Taken::Nothing => reader.wake.notified().await,
                    }
                }
            };
            let finished = timeout(DEADLINE, read).await;
            assert!(finished.is_ok(), "{:?} is never woken to read up to {:?}", reader.progress, self.model.head);
            assert!(reader.progress.caught_up, "a reader at the end has caught up");
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
                    self.progress.event(frame.offset, std::str::from_utf8(&frame.text()).expect("text"), model);
                }
            }
            Batch::Reset { reason, .. } => self.progress.reset(reason, model),
            Batch::CaughtUp { head } => self.progress.caught_up(head, model),
            Batch::Closed => return Taken::Closed,
            Batch::Nothing => return Taken::Nothing,
            Batch::Unavailable => panic!("the bus in memory is always available"),
        }
        Taken::Something
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
