//! Retention and the memory limit, with a clock that the test advances.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use turnpike_topic::RoomId;
use uuid::Uuid;

use super::*;

const RETENTION: i64 = 1_000;
const ENDED_RETENTION: i64 = 100;
const MAX_MEMORY: u64 = 1 << 20;

struct Setup {
    memory: Memory,
    clock: Arc<AtomicI64>,
}

impl Setup {
    fn new() -> Self {
        let clock = Arc::new(AtomicI64::new(1_763_700_000_000));
        let shown = clock.clone();
        let now = move || Timestamp::from_millisecond(shown.load(Ordering::Relaxed)).expect("in range");
        let limits = Limits {
            retention: Duration::from_millis(RETENTION as u64),
            ended_retention: Duration::from_millis(ENDED_RETENTION as u64),
            max_memory: MAX_MEMORY,
            ..Limits::default()
        };
        Self { memory: Memory::new(limits, Box::new(now)), clock }
    }

    fn advance(&self, by: i64) {
        self.clock.fetch_add(by, Ordering::Relaxed);
    }

    fn publish(&self, topic: u128) -> Offset {
        self.append(topic, 1, false).expect("published")
    }

    fn close(&self, topic: u128) -> Offset {
        self.append(topic, 1, true).expect("closed")
    }

    fn append(&self, topic: u128, bytes: usize, is_final: bool) -> Result<Offset, PublishError> {
        let how = if is_final { Append::Final } else { Append::Next };
        self.memory.append(&name(topic), &vec![b'x'; bytes], how).map(Appended::offset)
    }

    fn exists(&self, topic: u128) -> bool {
        self.memory.read(&name(topic), None, 1).state.is_some()
    }
}

fn name(topic: u128) -> Topic {
    Topic::Room(RoomId::from(Uuid::from_u128(topic)))
}

#[test]
fn a_topic_is_kept_for_its_retention_after_its_latest_event() {
    let setup = Setup::new();
    let first = setup.publish(1);
    setup.advance(RETENTION - 1);
    assert_eq!(setup.publish(1), Offset { n: 2, ..first });
    setup.advance(RETENTION - 1);
    assert!(setup.exists(1));
    setup.advance(1);
    assert!(!setup.exists(1));
    assert_eq!(setup.publish(1), Offset { epoch: first.epoch + 2 * RETENTION as u64 - 1, n: 1 });
}

#[test]
fn expired_topics_that_are_not_used_are_removed_too() {
    let setup = Setup::new();
    for topic in 0..1_000 {
        setup.publish(topic);
    }
    setup.advance(RETENTION / 2);
    setup.publish(7); // is kept
    setup.advance(RETENTION / 2);
    for _ in 0..500 {
        setup.publish(1_000);
    }
    let (topics, entries, _) = setup.memory.topics.lock().sizes();
    assert_eq!((topics, entries), (2, 2), "topic 7 and the topic that was published to");
}

#[test]
fn a_topic_with_many_epochs_has_one_entry() {
    let setup = Setup::new();
    for _ in 0..100 {
        setup.publish(1);
        setup.memory.forget(&name(1));
    }
    setup.publish(1);
    setup.advance(RETENTION / 2);
    setup.publish(1);
    setup.advance(RETENTION / 2);
    for _ in 0..100 {
        setup.publish(1);
    }
    assert_eq!(setup.memory.topics.lock().sizes().1, 1);
}

#[test]
fn a_closed_topic_is_kept_for_a_shorter_time() {
    let setup = Setup::new();
    for topic in 0..100 {
        setup.publish(topic);
        setup.close(topic);
    }
    setup.publish(200);
    setup.advance(ENDED_RETENTION - 1);
    assert!(setup.exists(0));
    setup.advance(1);
    assert!(!setup.exists(0));
    for _ in 0..60 {
        setup.publish(201);
    }
    let (topics, entries, _) = setup.memory.topics.lock().sizes();
    assert_eq!((topics, entries), (2, 2), "only the open ones are left");
}

#[test]
fn when_the_memory_is_full_ended_topics_go_first_and_then_publishes_are_refused() {
    const LARGE: usize = 100_000;
    let setup = Setup::new();
    setup.publish(1);
    for topic in 10..15 {
        setup.append(topic, LARGE, true).expect("room");
    }
    for _ in 0..9 {
        setup.append(2, LARGE, false).expect("room, once the ended topics are gone");
    }
    assert!((10..14).all(|topic| !setup.exists(topic)), "the oldest ended topics were removed");
    assert!(setup.exists(1) && setup.exists(2), "open topics are kept");
    let refused = setup.append(2, 2 * LARGE, false);
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    let (_, _, bytes) = setup.memory.topics.lock().sizes();
    assert!(bytes <= MAX_MEMORY, "{bytes}");

    // A command must be able to end: then its topic can be removed.
    assert_eq!(setup.append(2, 2 * LARGE, true).expect("closed").n, 10);
    setup.append(3, 2 * LARGE, false).expect("room again");
    assert!(!setup.exists(2) && setup.exists(1));
    for topic in 1..=3 {
        setup.memory.forget(&name(topic));
    }
    assert_eq!(setup.memory.topics.lock().sizes(), (0, 0, 0), "every byte is given back");
}
