//! The bus within one process.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use turnpike_event::{Event, Offset, Record, Topic};

use crate::{
    Limits, PublishError, Status, TopicState,
    feeds::{Feeds, Signal, Subscription},
    history::{Found, judge},
    limits::MAX_PAGE_BYTES,
};

pub(crate) struct Memory {
    limits: Limits,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    topics: Mutex<Topics>,
    feeds: Arc<Feeds>,
    status: watch::Sender<Status>,
}

#[derive(Default)]
struct Topics {
    logs: HashMap<Topic, Log>,
    /// Every log once, in the order in which they would expire had nothing been published since they were put here.
    expiry: VecDeque<Expiry>,
    newest_epoch: u64,
}

/// When to look whether a life of a topic is over. The topic may have been forgotten since, and born again.
struct Expiry {
    at: u64,
    topic: Topic,
    epoch: u64,
}

/// One topic. Its events are kept as bytes, so that they come out as they would from Redis.
struct Log {
    state: TopicState,
    records: VecDeque<Bytes>,
    /// Milliseconds since 1970.
    expires: u64,
}

/// How many expired topics one publish removes: more than it can add, so the rest is never more than a while behind.
const SWEEP: usize = 2;

impl Memory {
    pub(crate) fn new(limits: Limits, now: Box<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        Self { limits, now, topics: Mutex::default(), feeds: Feeds::at_once(), status: watch::Sender::new(Status::Up) }
    }

    pub(crate) fn append(&self, topic: &Topic, event: &Event, is_final: bool) -> Result<Offset, PublishError> {
        let mut record = Record { offset: Offset { epoch: 0, n: 0 }, is_final, event: event.clone() };
        let now = self.now_ms();
        let mut topics = self.lock();
        self.sweep(&mut topics, now);
        self.expire(&mut topics, topic, now);

        let expires = now + self.limits.retention_ms();
        let state = match topics.logs.get(topic) {
            Some(Log { state, .. }) if state.closed => return Err(PublishError::Closed { final_offset: state.head() }),
            Some(Log { state, .. }) => *state,
            None => TopicState { epoch: now.max(topics.newest_epoch + 1), n: 0, first: 1, closed: false },
        };
        record.offset = Offset { epoch: state.epoch, n: state.n + 1 };
        let bytes = record.to_bytes();
        if state.n == 0 {
            topics.newest_epoch = state.epoch;
            topics.expiry.push_back(Expiry { at: expires, topic: *topic, epoch: state.epoch });
        }
        let log = topics.logs.entry(*topic).or_insert(Log { state, records: VecDeque::new(), expires });
        log.expires = expires;
        log.state.n += 1;
        log.state.closed = is_final;
        log.records.push_back(bytes.clone());
        while log.records.len() as u64 > self.limits.max_events() {
            log.records.pop_front();
            log.state.first += 1;
        }
        // Announced under the lock: followers hear of events in their order.
        self.feeds.tell(topic, Signal::Record(bytes));
        Ok(record.offset)
    }

    pub(crate) fn read(&self, topic: &Topic, after: Option<Offset>, limit: usize) -> Found {
        let now = self.now_ms();
        let mut topics = self.lock();
        self.expire(&mut topics, topic, now);
        let Some(Log { state, records, .. }) = topics.logs.get(topic) else { return Found::default() };
        let (_, from) = judge(after, Some(state));
        let mut bytes = 0;
        let entries = (from..=state.n)
            .zip(records.range((from - state.first) as usize..))
            .take(limit)
            .take_while(|(_, record)| {
                let is_first = bytes == 0;
                bytes += record.len();
                is_first || bytes <= MAX_PAGE_BYTES
            })
            .map(|(n, record)| (n, record.clone()))
            .collect();
        Found { state: Some(*state), before: None, entries }
    }

    pub(crate) fn forget(&self, topic: &Topic) {
        self.lock().logs.remove(topic);
        self.feeds.tell(topic, Signal::Look);
    }

    pub(crate) fn join(&self, topic: Topic) -> Subscription {
        self.feeds.join(topic)
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Removes the topic if its time is over.
    fn expire(&self, topics: &mut Topics, topic: &Topic, now: u64) {
        if topics.logs.get(topic).is_some_and(|log| log.expires <= now) {
            topics.logs.remove(topic);
            self.feeds.tell(topic, Signal::Look);
        }
    }

    /// Removes some of the topics whose time is over.
    fn sweep(&self, topics: &mut Topics, now: u64) {
        for _ in 0..SWEEP {
            let Some(due) = topics.expiry.pop_front_if(|next| next.at <= now) else { return };
            self.expire(topics, &due.topic, now);
            if let Some(log) = topics.logs.get(&due.topic).filter(|log| log.state.epoch == due.epoch) {
                let at = log.expires;
                topics.expiry.push_back(Expiry { at, ..due });
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from((self.now)().as_millisecond()).unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().expect("no panic while it is held")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicI64, Ordering},
        time::Duration,
    };

    use turnpike_event::{Body, RoomId};
    use uuid::Uuid;

    use super::*;

    const RETENTION: i64 = 1_000;

    struct Setup {
        memory: Memory,
        clock: Arc<AtomicI64>,
    }

    impl Setup {
        fn new() -> Self {
            let clock = Arc::new(AtomicI64::new(1_763_700_000_000));
            let shown = clock.clone();
            let now = move || Timestamp::from_millisecond(shown.load(Ordering::Relaxed)).expect("in range");
            let limits = Limits { retention: Duration::from_millis(RETENTION as u64), ..Limits::default() };
            Self { memory: Memory::new(limits, Box::new(now)), clock }
        }

        fn push_clock(&self, by: i64) {
            self.clock.fetch_add(by, Ordering::Relaxed);
        }

        fn publish(&self, topic: u128) -> Offset {
            let event =
                Event { at: Timestamp::UNIX_EPOCH, traceparent: None, body: Body::Unknown(Bytes::from_static(b"x")) };
            self.memory.append(&name(topic), &event, false).expect("open")
        }

        fn lives(&self, topic: u128) -> bool {
            self.memory.read(&name(topic), None, 1).state.is_some()
        }
    }

    fn name(topic: u128) -> Topic {
        Topic::Room(RoomId::from(Uuid::from_u128(topic)))
    }

    #[test]
    fn a_topic_lives_as_long_as_its_retention_after_its_latest_event() {
        let setup = Setup::new();
        let first = setup.publish(1);
        setup.push_clock(RETENTION - 1);
        assert_eq!(setup.publish(1), Offset { n: 2, ..first });
        setup.push_clock(RETENTION - 1);
        assert!(setup.lives(1));
        setup.push_clock(1);
        assert!(!setup.lives(1));
        assert_eq!(setup.publish(1), Offset { epoch: first.epoch + 2 * RETENTION as u64 - 1, n: 1 });
    }

    #[test]
    fn topics_that_nobody_asks_for_are_removed_too() {
        let setup = Setup::new();
        for topic in 0..1_000 {
            setup.publish(topic);
        }
        setup.push_clock(RETENTION / 2);
        setup.publish(7); // lives on
        setup.push_clock(RETENTION / 2);
        for _ in 0..500 {
            setup.publish(1_000);
        }
        let topics = setup.memory.lock();
        assert_eq!(topics.logs.len(), 2, "the one that lives on, and the one that was published to");
        assert_eq!(topics.expiry.len(), 2);
    }

    #[test]
    fn a_topic_that_is_born_again_and_again_is_remembered_once() {
        let setup = Setup::new();
        for _ in 0..100 {
            setup.publish(1);
            setup.memory.forget(&name(1));
        }
        setup.publish(1);
        setup.push_clock(RETENTION / 2);
        setup.publish(1);
        setup.push_clock(RETENTION / 2);
        for _ in 0..100 {
            setup.publish(1);
        }
        assert_eq!(setup.memory.lock().expiry.len(), 1);
    }
}
