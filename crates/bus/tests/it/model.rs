//! The bus against a simple model of itself, under random sequences of everything that can be done to a topic.

use std::{sync::LazyLock, time::Duration};

use proptest::{prelude::*, sample::Index};
use tokio::{runtime::Runtime, time::timeout};
use turnpike_bus::{Bus, Delivery, Follower, From, PublishError, ResetReason};
use turnpike_topic::{Offset, Topic};

use crate::{
    conformance::Backend,
    following::{event, is_caught_up, limits, number, topic, up_to},
};

#[derive(Clone, Debug)]
enum Op {
    Publish,
    Close,
    Forget,
    Read(Place, usize),
    Follow(Place),
    /// The follower that is there from the beginning may look at this many deliveries.
    Look(usize),
}

#[derive(Clone, Debug)]
enum Place {
    Start,
    Live,
    /// An offset that was given, moved a little.
    Near(Index, i64, i64),
}

fn any_place() -> impl Strategy<Value = Place> {
    prop_oneof![
        1 => Just(Place::Start),
        1 => Just(Place::Live),
        6 => (any::<Index>(), prop_oneof![8 => Just(0), 1 => -1..=1_i64], -4..=4_i64)
            .prop_map(|(index, epoch, n)| Place::Near(index, epoch, n)),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => Just(Op::Publish),
        1 => Just(Op::Close),
        1 => Just(Op::Forget),
        4 => (any_place(), 0..8_usize).prop_map(|(place, limit)| Op::Read(place, limit)),
        2 => any_place().prop_map(Op::Follow),
        2 => (1..6_usize).prop_map(Op::Look),
    ]
}

/// One life of the topic: what was published in it, in order.
struct Life {
    epoch: u64,
    events: Vec<u32>,
    closed: bool,
}

struct Model {
    max_events: usize,
    lives: Vec<Life>,
    alive: bool,
    given: Vec<Offset>,
}

impl Model {
    fn now(&self) -> Option<&Life> {
        self.lives.last().filter(|_| self.alive)
    }

    fn head(&self) -> Option<Offset> {
        self.now().map(|life| Offset { epoch: life.epoch, n: life.events.len() as u64 })
    }

    /// The number of the first event that is kept.
    fn first(&self) -> u64 {
        self.now().map_or(1, |life| life.events.len().saturating_sub(self.max_events) as u64 + 1)
    }

    fn offset(&self, index: &Index, epoch: i64, n: i64) -> Offset {
        match self.given.as_slice() {
            [] => Offset { epoch: 1_763_700_000_000, n: 1 },
            given => {
                let offset = index.get(given);
                let moved = |value: u64, by: i64| value.saturating_add_signed(by);
                Offset { epoch: moved(offset.epoch, epoch), n: moved(offset.n, n) }
            }
        }
    }

    fn gap(&self, after: Option<Offset>) -> Option<ResetReason> {
        let known = after.is_none_or(|a| self.head().is_some_and(|h| a.epoch == h.epoch && a.n <= h.n));
        match after.map_or(0, |after| after.n) + 1 {
            _ if !known => Some(ResetReason::Epoch),
            next if next < self.first() => Some(ResetReason::Trimmed),
            _ => None,
        }
    }

    /// What history gives behind an offset.
    fn rest(&self, after: Option<Offset>) -> Vec<(u64, u32)> {
        let Some(life) = self.now() else { return Vec::new() };
        let from = if self.gap(after).is_some() { self.first() } else { after.map_or(0, |after| after.n) + 1 };
        (1..).zip(life.events.iter().copied()).filter(|(n, _)| *n >= from).collect()
    }

    fn is_closed(&self) -> bool {
        self.now().is_some_and(|life| life.closed)
    }
}

struct Run {
    bus: Bus,
    topic: Topic,
    model: Model,
    published: u32,
    watched: Watched,
}

/// A follower that is there all the time, and what it may see next.
struct Watched {
    follower: Follower,
    seen: Option<Offset>,
    closed: bool,
}

impl Run {
    fn new(backend: Backend, max_events: usize) -> Self {
        let bus = backend.bus(limits(max_events as u64));
        let topic = topic();
        let watched = Watched { follower: bus.follow(topic, From::Start), seen: None, closed: false };
        let model = Model { max_events, lives: Vec::new(), alive: false, given: Vec::new() };
        Self { bus, topic, model, published: 0, watched }
    }

    async fn step(&mut self, op: Op) {
        match op {
            Op::Publish => self.append(false).await,
            Op::Close => self.append(true).await,
            Op::Forget => {
                self.bus.forget(&self.topic).await.expect("forgotten");
                self.model.alive = false;
            }
            Op::Read(place, limit) => self.read(place, limit).await,
            Op::Follow(place) => self.follow(place).await,
            Op::Look(count) => {
                for _ in 0..count {
                    // What does not come at once may come later.
                    match timeout(Duration::from_millis(2), self.watched.follower.next()).await {
                        Ok(delivery) => self.watch(delivery),
                        Err(_) => return,
                    }
                }
            }
        }
    }

    async fn append(&mut self, is_final: bool) {
        self.published += 1;
        let event = event(self.published);
        let result = if is_final {
            self.bus.close(&self.topic, &event).await
        } else {
            self.bus.publish(&self.topic, &event).await
        };
        if self.model.is_closed() {
            let closed_at = self.model.head();
            assert!(matches!(result, Err(PublishError::Closed { final_offset }) if Some(final_offset) == closed_at));
            return;
        }
        let offset = result.expect("appended");
        if !self.model.alive {
            assert!(self.model.lives.iter().all(|life| life.epoch < offset.epoch), "a later life has a later epoch");
            self.model.lives.push(Life { epoch: offset.epoch, events: Vec::new(), closed: false });
            self.model.alive = true;
        }
        let life = self.model.lives.last_mut().expect("alive");
        life.events.push(self.published);
        life.closed = is_final;
        assert_eq!(Some(offset), self.model.head());
        self.model.given.push(offset);
    }

    async fn read(&self, place: Place, limit: usize) {
        let after = match place {
            Place::Start | Place::Live => None,
            Place::Near(index, epoch, n) => Some(self.model.offset(&index, epoch, n)),
        };
        let page = self.bus.read(&self.topic, after, limit).await.expect("a page");
        let expected: Vec<_> = self.model.rest(after).into_iter().take(limit).collect();
        let records: Vec<_> = page.records.iter().map(|record| (record.offset.n, number(record))).collect();
        assert_eq!((page.gap, records), (self.model.gap(after), expected));
        assert_eq!(
            page.state.map(|state| (state.head(), state.first, state.closed)),
            self.model.head().map(|head| (head, self.model.first(), self.model.is_closed()))
        );
        assert!(
            page.records.iter().all(|record| Some(record.offset.epoch) == self.model.head().map(|head| head.epoch))
        );
    }

    /// A new follower sees what the model would replay, then that it has caught up, then the end if there is one.
    async fn follow(&self, place: Place) {
        let (from, after) = match place {
            Place::Start => (From::Start, None),
            Place::Live => (From::Live, self.model.head()),
            Place::Near(index, epoch, n) => {
                let offset = self.model.offset(&index, epoch, n);
                (From::After(offset), Some(offset))
            }
        };
        let mut follower = self.bus.follow(self.topic, from);
        let replayed = up_to(&mut follower, is_caught_up).await;
        let head = self.model.head();
        let mut expected = Vec::new();
        expected.extend(self.model.gap(after).map(|reason| Seen::Reset(reason, head)));
        expected.extend(self.model.rest(after).into_iter().map(|(n, event)| Seen::Event(n, event)));
        expected.push(Seen::CaughtUp(head));
        assert_eq!(replayed.iter().map(Seen::of).collect::<Vec<_>>(), expected);
        if self.model.is_closed() {
            assert_eq!(up_to(&mut follower, |_| true).await, [Delivery::Closed]);
        }
    }

    /// Whatever the follower missed, it sees each life in order, each event as it was, and is told of every gap.
    fn watch(&mut self, delivery: Delivery) {
        let watched = &mut self.watched;
        assert!(!watched.closed, "something after the end: {delivery:?}");
        match delivery {
            Delivery::Record(record) => {
                let Offset { epoch, n } = record.offset;
                let life = self.model.lives.iter().find(|life| life.epoch == epoch).expect("a life that was");
                assert_eq!(life.events[n as usize - 1], number(&record));
                match watched.seen {
                    Some(seen) => assert_eq!(record.offset, Offset { n: seen.n + 1, ..seen }, "after {seen}"),
                    None => assert!(n <= life.events.len() as u64),
                }
                watched.seen = Some(record.offset);
            }
            Delivery::Reset { .. } => watched.seen = None,
            Delivery::CaughtUp { head } => assert!(watched.seen.is_none() || watched.seen == head),
            Delivery::Closed => watched.closed = true,
        }
    }

    /// In the end the follower is where the topic is, if it did not reach the end of an earlier life.
    async fn finish(&mut self) {
        while !self.watched.closed && self.watched.seen != self.model.head() {
            let delivery = up_to(&mut self.watched.follower, |_| true).await.remove(0);
            self.watch(delivery);
        }
        if let Some(seen) = self.watched.seen.filter(|_| self.watched.closed) {
            let life = self.model.lives.iter().find(|life| life.epoch == seen.epoch).expect("a life that was");
            assert!(life.closed && seen.n == life.events.len() as u64, "closed at its end");
        }
    }
}

/// What of a delivery the model knows.
#[derive(Debug, PartialEq)]
enum Seen {
    Event(u64, u32),
    Reset(ResetReason, Option<Offset>),
    CaughtUp(Option<Offset>),
    Closed,
}

impl Seen {
    fn of(delivery: &Delivery) -> Self {
        match delivery {
            Delivery::Record(record) => Self::Event(record.offset.n, number(record)),
            Delivery::Reset { reason, head } => Self::Reset(*reason, *head),
            Delivery::CaughtUp { head } => Self::CaughtUp(*head),
            Delivery::Closed => Self::Closed,
        }
    }
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

fn check(backend: Backend, max_events: usize, ops: Vec<Op>) {
    RUNTIME.block_on(async {
        let mut run = Run::new(backend, max_events);
        for op in ops {
            run.step(op).await;
        }
        run.finish().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn memory_does_what_the_model_does(max in 1..12_usize, ops in prop::collection::vec(any_op(), 1..60)) {
        check(Backend::Memory, max, ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn redis_does_what_the_model_does(max in 1..12_usize, ops in prop::collection::vec(any_op(), 1..60)) {
        check(Backend::Redis, max, ops);
    }
}
