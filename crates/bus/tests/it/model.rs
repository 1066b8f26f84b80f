//! The bus behaves as a simple model of it, for random sequences of operations on one topic.

use std::{sync::LazyLock, time::Duration};

use proptest::{prelude::*, sample::Index};
use tokio::{runtime::Runtime, time::timeout};
use turnpike_bus::{Bus, Delivery, Follower, From, PublishError, ResetReason, TIMEOUT};
use turnpike_topic::{Offset, Topic};

use crate::{
    backend::Backend,
    harness::{event, is_caught_up, limits, number, topic, up_to},
};

#[derive(Clone, Debug)]
enum Op {
    Publish,
    Open,
    Close,
    Forget,
    Read(Point, usize),
    Follow(Point),
    /// The follower that exists from the beginning takes this many deliveries.
    Look(usize),
}

#[derive(Clone, Debug)]
enum Point {
    Start,
    Live,
    /// An offset that was given, moved a little.
    Near(Index, i64, i64),
}

fn any_point() -> impl Strategy<Value = Point> {
    prop_oneof![
        1 => Just(Point::Start),
        1 => Just(Point::Live),
        6 => (any::<Index>(), prop_oneof![8 => Just(0), 1 => -1..=1_i64], -4..=4_i64)
            .prop_map(|(index, epoch, n)| Point::Near(index, epoch, n)),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => Just(Op::Publish),
        2 => Just(Op::Open),
        1 => Just(Op::Close),
        1 => Just(Op::Forget),
        4 => (any_point(), 0..8_usize).prop_map(|(point, limit)| Op::Read(point, limit)),
        2 => any_point().prop_map(Op::Follow),
        2 => (1..6_usize).prop_map(Op::Look),
    ]
}

/// One epoch of the topic: its events, in order.
struct Epoch {
    began: u64,
    events: Vec<u32>,
    closed: bool,
}

struct Model {
    max_events: usize,
    epochs: Vec<Epoch>,
    exists: bool,
    given: Vec<Offset>,
}

impl Model {
    fn now(&self) -> Option<&Epoch> {
        self.epochs.last().filter(|_| self.exists)
    }

    fn head(&self) -> Option<Offset> {
        self.now().map(|epoch| Offset { epoch: epoch.began, n: epoch.events.len() as u64 })
    }

    /// The number of the first event that is kept.
    fn first(&self) -> u64 {
        self.now().map_or(1, |epoch| epoch.events.len().saturating_sub(self.max_events) as u64 + 1)
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

    /// The history after an offset.
    fn rest(&self, after: Option<Offset>) -> Vec<(u64, u32)> {
        let Some(epoch) = self.now() else { return Vec::new() };
        let from = if self.gap(after).is_some() { self.first() } else { after.map_or(0, |after| after.n) + 1 };
        (1..).zip(epoch.events.iter().copied()).filter(|(n, _)| *n >= from).collect()
    }

    fn is_closed(&self) -> bool {
        self.now().is_some_and(|epoch| epoch.closed)
    }
}

struct Run {
    bus: Bus,
    topic: Topic,
    model: Model,
    published: u32,
    watched: Watched,
}

/// The follower that exists from the beginning, and what it has got.
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
        let model = Model { max_events, epochs: Vec::new(), exists: false, given: Vec::new() };
        Self { bus, topic, model, published: 0, watched }
    }

    async fn step(&mut self, op: Op) {
        match op {
            Op::Publish | Op::Close | Op::Open => self.append(op).await,
            Op::Forget => {
                self.bus.forget(&self.topic).await.expect("forgotten");
                self.model.exists = false;
            }
            Op::Read(point, limit) => self.read(point, limit).await,
            Op::Follow(point) => self.follow(point).await,
            Op::Look(count) => {
                for _ in 0..count {
                    // A delivery that does not come at once may come later.
                    match timeout(Duration::from_millis(2), self.watched.follower.next()).await {
                        Ok(delivery) => self.watch(delivery),
                        Err(_) => return,
                    }
                }
            }
        }
    }

    async fn append(&mut self, op: Op) {
        self.published += 1;
        let event = event(self.published);
        let result = match op {
            Op::Open => self.bus.open_within(TIMEOUT, &self.topic, &event).await,
            Op::Close => self.bus.close(&self.topic, &event).await.map(Some),
            _ => self.bus.publish(&self.topic, &event).await.map(Some),
        };
        if self.model.is_closed() {
            let closed_at = self.model.head();
            assert!(matches!(result, Err(PublishError::Closed { final_offset }) if Some(final_offset) == closed_at));
            return;
        }
        let Some(offset) = result.expect("appended") else {
            assert!(
                self.model.exists && matches!(op, Op::Open),
                "{op:?} of a topic that exists: {}",
                self.model.exists
            );
            return;
        };
        assert!(!(self.model.exists && matches!(op, Op::Open)), "an opener appended an event to a topic that exists");
        if !self.model.exists {
            assert!(
                self.model.epochs.iter().all(|earlier| earlier.began < offset.epoch),
                "a later epoch has a greater number"
            );
            self.model.epochs.push(Epoch { began: offset.epoch, events: Vec::new(), closed: false });
            self.model.exists = true;
        }
        let epoch = self.model.epochs.last_mut().expect("the topic exists");
        epoch.events.push(self.published);
        epoch.closed = matches!(op, Op::Close);
        assert_eq!(Some(offset), self.model.head());
        self.model.given.push(offset);
    }

    async fn read(&self, point: Point, limit: usize) {
        let after = match point {
            Point::Start | Point::Live => None,
            Point::Near(index, epoch, n) => Some(self.model.offset(&index, epoch, n)),
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

    /// A new follower gets the history of the model, then `CaughtUp`, then `Closed` if the topic is closed.
    async fn follow(&self, point: Point) {
        let (from, after) = match point {
            Point::Start => (From::Start, None),
            Point::Live => (From::Live, self.model.head()),
            Point::Near(index, epoch, n) => {
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

    /// The follower gets the events of each epoch in order, and a reset for every gap.
    fn watch(&mut self, delivery: Delivery) {
        let watched = &mut self.watched;
        assert!(!watched.closed, "something after the end: {delivery:?}");
        match delivery {
            Delivery::Record(record) => {
                let Offset { epoch, n } = record.offset;
                let known = self.model.epochs.iter().find(|known| known.began == epoch).expect("an epoch of the model");
                assert_eq!(known.events[n as usize - 1], number(&record));
                match watched.seen {
                    Some(seen) => assert_eq!(record.offset, Offset { n: seen.n + 1, ..seen }, "after {seen}"),
                    None => assert!(n <= known.events.len() as u64),
                }
                watched.seen = Some(record.offset);
            }
            Delivery::Reset { .. } => watched.seen = None,
            Delivery::CaughtUp { head } => assert!(watched.seen.is_none() || watched.seen == head),
            Delivery::Closed => watched.closed = true,
        }
    }

    /// In the end the follower has reached the head of the topic, or the final event of an earlier epoch.
    async fn finish(&mut self) {
        while !self.watched.closed && self.watched.seen != self.model.head() {
            let delivery = up_to(&mut self.watched.follower, |_| true).await.remove(0);
            self.watch(delivery);
        }
        if let Some(seen) = self.watched.seen.filter(|_| self.watched.closed) {
            let epoch =
                self.model.epochs.iter().find(|epoch| epoch.began == seen.epoch).expect("an epoch of the model");
            assert!(epoch.closed && seen.n == epoch.events.len() as u64, "closed at its end");
        }
    }
}

/// A delivery, as far as the model predicts it.
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
