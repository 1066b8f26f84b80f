//! The data in Redis, and changes to it by other programs.

use prost::Message;
use redis::{Value, aio::MultiplexedConnection};
use turnpike_bus::{Bus, Delivery, From, Limits, PublishError, Record, ResetReason};
use turnpike_testkit::redis_url;
use turnpike_topic::{Offset, Topic};

use crate::{
    harness::{caught_up, event, limits, next, number, numbers, publish, record, soon, topic, up_to},
    redis_commands::ask,
};

/// A record as Redis has it, encoded by prost: `turnpike.event.v1.Record` with its event left as bytes.
fn stored(record: &Record) -> Vec<u8> {
    #[derive(Clone, PartialEq, Message)]
    struct Stored {
        #[prost(bytes = "bytes", tag = "1")]
        event: bytes::Bytes,
        #[prost(fixed64, tag = "2")]
        epoch: u64,
        #[prost(fixed64, tag = "3")]
        n: u64,
        #[prost(bool, tag = "4")]
        r#final: bool,
    }
    let Offset { epoch, n } = record.offset;
    Stored { event: record.event.clone(), epoch, n, r#final: record.is_final }.encode_to_vec()
}

struct Setup {
    bus: Bus,
    topic: Topic,
    /// A connection besides those of the bus.
    redis: MultiplexedConnection,
}

impl Setup {
    async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Self {
        let client = redis::Client::open(redis_url()).expect("a URL");
        let redis = client.get_multiplexed_async_connection().await.expect("a connection");
        Self { bus: Bus::redis(&redis_url(), limits).expect("a URL"), topic: topic(), redis }
    }

    fn stream(&self) -> String {
        format!("topic:{{{}}}", self.topic)
    }

    fn head(&self) -> String {
        format!("topic:{{{}}}:head", self.topic)
    }

    async fn delete(&mut self, key: &str) {
        assert_eq!(ask::<i64>(&self.redis, &format!("DEL {key}")).await, 1, "{key} was there");
    }

    /// Appends as a publish does, but sends no message.
    async fn append_without_message(&mut self, number: u32) -> Offset {
        let head = self.bus.read(&self.topic, None, 0).await.expect("a page").state.expect("a topic").head();
        let record = Record { offset: Offset { n: head.n + 1, ..head }, is_final: false, event: event(number) };
        self.place(&record).await;
        record.offset
    }

    async fn place(&mut self, record: &Record) {
        let Offset { epoch, n } = record.offset;
        redis::pipe()
            .atomic()
            .cmd("XADD")
            .arg(self.stream())
            .arg(record.offset.to_string())
            .arg("r")
            .arg(&stored(record)[..])
            .arg("i")
            .arg("x")
            .cmd("HSET")
            .arg(self.head())
            .arg("epoch")
            .arg(epoch)
            .arg("n")
            .arg(n)
            .query_async::<()>(&mut self.redis)
            .await
            .expect("placed");
    }
}

#[tokio::test]
async fn stream_and_channel_carry_the_bytes_of_the_record() {
    let setup = Setup::new().await;
    let Topic::Response(command_id) = setup.topic else { panic!("a response topic") };
    let mut listener = redis::Client::open(redis_url()).expect("a URL").get_async_pubsub().await.expect("a connection");
    listener.subscribe(format!("response:{command_id}")).await.expect("subscribed");

    let before: (u64, u64) = ask(&setup.redis, "TIME").await;
    let first = setup.bus.publish(&setup.topic, &event(1)).await.expect("published");
    let after: (u64, u64) = ask(&setup.redis, "TIME").await;
    let last = setup.bus.close(&setup.topic, &event(2)).await.expect("closed");
    let ms = |(seconds, micros): (u64, u64)| seconds * 1000 + micros / 1000;
    assert!((ms(before)..=ms(after)).contains(&first.epoch), "the epoch is the time at which it began");

    let expected = [
        Record { offset: first, is_final: false, event: event(1) },
        Record { offset: last, is_final: true, event: event(2) },
    ];
    let entries: Vec<(String, Vec<Vec<u8>>)> = ask(&setup.redis, &format!("XRANGE {} - +", setup.stream())).await;
    let mut messages = listener.into_on_message();
    for (record, (id, fields)) in expected.iter().zip(&entries) {
        assert_eq!(*id, record.offset.to_string());
        assert_eq!((&fields[0][..], &fields[1][..]), (&b"r"[..], &stored(record)[..]));
        let message = soon("a message", futures_util::StreamExt::next(&mut messages)).await.expect("a message");
        assert_eq!(message.get_payload_bytes(), &stored(record)[..]);
    }
    assert_eq!(entries.len(), 2);
    let head: Vec<String> = ask(&setup.redis, &format!("HMGET {} epoch n closed", setup.head())).await;
    assert_eq!(head, [first.epoch.to_string(), "2".to_owned(), "2".to_owned()]);
}

#[tokio::test]
async fn both_keys_expire_with_the_retention_and_each_publish_prolongs_it() {
    let setup = Setup::with(Limits { retention: std::time::Duration::from_secs(1_000), ..Limits::default() }).await;
    publish(&setup.bus, &setup.topic, [1]).await;
    for key in [setup.stream(), setup.head()] {
        let left: u64 = ask(&setup.redis, &format!("PTTL {key}")).await;
        assert!((980_000..=1_000_000).contains(&left), "{key} expires in {left} ms");
        ask::<()>(&setup.redis, &format!("PEXPIRE {key} 500000")).await;
    }
    publish(&setup.bus, &setup.topic, [2]).await;
    for key in [setup.stream(), setup.head()] {
        assert!(ask::<u64>(&setup.redis, &format!("PTTL {key}")).await > 980_000);
    }
}

#[tokio::test]
async fn a_closed_topic_is_kept_for_a_shorter_time() {
    let seconds = std::time::Duration::from_secs;
    for (retention, ended, expected) in [(1_000, 100, 80_000..=100_000), (100, 1_000, 80_000..=100_000)] {
        let limits = Limits { retention: seconds(retention), ended_retention: seconds(ended), ..Limits::default() };
        let setup = Setup::with(limits).await;
        publish(&setup.bus, &setup.topic, [1]).await;
        setup.bus.close(&setup.topic, &event(2)).await.expect("closed");
        for key in [setup.stream(), setup.head()] {
            let left: u64 = ask(&setup.redis, &format!("PTTL {key}")).await;
            assert!(expected.contains(&left), "{key} is kept for {left} ms");
        }
    }
}

#[tokio::test]
async fn a_topic_does_not_outgrow_its_limit() {
    let setup = Setup::with(limits(7)).await;
    publish(&setup.bus, &setup.topic, 1..=500).await;
    assert_eq!(ask::<u64>(&setup.redis, &format!("XLEN {}", setup.stream())).await, 7);
}

#[tokio::test]
async fn after_a_lost_message_the_missing_event_is_read_from_the_stream() {
    let mut setup = Setup::new().await;
    let mut follower = setup.bus.follow(setup.topic, From::Start);
    caught_up(&mut follower).await;
    publish(&setup.bus, &setup.topic, 1..=3).await;
    assert_eq!(numbers(&mut follower, 3).await, [1, 2, 3]);
    setup.append_without_message(4).await;
    setup.append_without_message(5).await;
    publish(&setup.bus, &setup.topic, 6..=7).await;
    assert_eq!(numbers(&mut follower, 4).await, [4, 5, 6, 7]);
}

#[tokio::test]
async fn a_lost_message_without_a_next_one_is_found_too() {
    let mut setup = Setup::new().await;
    let mut followers: Vec<_> = (0..3).map(|_| setup.bus.follow(setup.topic, From::Start)).collect();
    publish(&setup.bus, &setup.topic, [1]).await;
    for follower in &mut followers {
        up_to(follower, |d| matches!(d, Delivery::Record(_))).await;
    }
    setup.append_without_message(2).await;
    for follower in &mut followers {
        let found = up_to(follower, |d| matches!(d, Delivery::Record(_))).await;
        assert!(matches!(found.last(), Some(Delivery::Record(record)) if number(record) == 2));
    }
    // The next live record is not taken for a gap.
    publish(&setup.bus, &setup.topic, [3]).await;
    assert_eq!(numbers(&mut followers[0], 1).await, [3]);
}

#[tokio::test]
async fn after_a_topic_is_deleted_its_next_epoch_is_followed() {
    let mut setup = Setup::new().await;
    publish(&setup.bus, &setup.topic, 1..=3).await;
    let mut follower = setup.bus.follow(setup.topic, From::Start);
    assert_eq!(numbers(&mut follower, 3).await, [1, 2, 3]);
    caught_up(&mut follower).await;
    let (stream, head) = (setup.stream(), setup.head());
    setup.delete(&stream).await;
    setup.delete(&head).await;
    assert_eq!(next(&mut follower).await, Delivery::Reset { reason: ResetReason::Epoch, head: None });
    assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: None });
    publish(&setup.bus, &setup.topic, 4..=5).await;
    assert_eq!(numbers(&mut follower, 2).await, [4, 5]);
}

#[tokio::test]
async fn a_head_that_was_evicted_ends_the_epoch() {
    let mut setup = Setup::new().await;
    let old = setup.bus.publish(&setup.topic, &event(1)).await.expect("published");
    publish(&setup.bus, &setup.topic, [2]).await;
    let mut follower = setup.bus.follow(setup.topic, From::Start);
    assert_eq!(numbers(&mut follower, 2).await, [1, 2]);
    caught_up(&mut follower).await;

    let head = setup.head();
    setup.delete(&head).await;
    let new = setup.bus.publish(&setup.topic, &event(3)).await.expect("published");
    assert!(new.epoch > old.epoch && new.n == 1, "{new} after {old}");
    let deliveries = up_to(&mut follower, |d| matches!(d, Delivery::Record(_))).await;
    assert!(matches!(deliveries[0], Delivery::Reset { reason: ResetReason::Epoch, .. }), "{deliveries:?}");
    assert!(matches!(deliveries.last(), Some(Delivery::Record(record)) if record.offset == new));
    assert_eq!(ask::<u64>(&setup.redis, &format!("XLEN {}", setup.stream())).await, 1, "the old events are gone");
}

#[tokio::test]
async fn an_epoch_is_later_than_the_one_before_even_if_the_clock_is_not() {
    let mut setup = Setup::new().await;
    let future = Record { offset: Offset { epoch: 9_000_000_000_000, n: 1 }, is_final: false, event: event(1) };
    setup.place(&future).await;
    let head = setup.head();
    setup.delete(&head).await;
    let born = setup.bus.publish(&setup.topic, &event(2)).await.expect("published");
    assert_eq!(born, Offset { epoch: 9_000_000_000_001, n: 1 });
}

#[tokio::test]
async fn a_stream_that_was_evicted_is_a_trimmed_past() {
    let mut setup = Setup::new().await;
    publish(&setup.bus, &setup.topic, 1..=3).await;
    let stream = setup.stream();
    setup.delete(&stream).await;
    let head = setup.bus.read(&setup.topic, None, 0).await.expect("a page").state.expect("a topic").head();
    let mut follower = setup.bus.follow(setup.topic, From::Start);
    assert_eq!(next(&mut follower).await, Delivery::Reset { reason: ResetReason::Trimmed, head: Some(head) });
    assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: Some(head) });
    let next_offset = setup.bus.publish(&setup.topic, &event(4)).await.expect("published");
    assert_eq!(next_offset, Offset { n: 4, ..head }, "the numbers go on");
    assert_eq!(record(&mut follower).await.offset, next_offset);
}

#[tokio::test]
async fn a_removed_entry_is_reported_as_a_gap() {
    let setup = Setup::new().await;
    publish(&setup.bus, &setup.topic, 1..=6).await;
    let head = setup.bus.read(&setup.topic, None, 0).await.expect("a page").state.expect("a topic").head();
    for n in [3, 6] {
        ask::<()>(&setup.redis, &format!("XDEL {} {}-{n}", setup.stream(), head.epoch)).await;
    }
    let mut follower = setup.bus.follow(setup.topic, From::Start);
    let trimmed = Delivery::Reset { reason: ResetReason::Trimmed, head: Some(head) };
    assert_eq!(numbers(&mut follower, 2).await, [1, 2]);
    assert_eq!(next(&mut follower).await, trimmed);
    assert_eq!(numbers(&mut follower, 2).await, [4, 5]);
    assert_eq!(next(&mut follower).await, trimmed);
    assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: Some(head) });
}

#[tokio::test]
async fn other_events_at_the_same_offsets_cause_a_reset() {
    let mut setup = Setup::new().await;
    publish(&setup.bus, &setup.topic, 1..=3).await;
    let mut follower = setup.bus.follow(setup.topic, From::Start);
    assert_eq!(numbers(&mut follower, 3).await, [1, 2, 3]);
    caught_up(&mut follower).await;
    let head = setup.bus.read(&setup.topic, None, 0).await.expect("a page").state.expect("a topic").head();

    // A Redis that lost its last second, in which 2 and 3 were, and then took 20, 30 and 40.
    let (stream, head_key) = (setup.stream(), setup.head());
    setup.delete(&stream).await;
    setup.delete(&head_key).await;
    for (n, number) in [(1, 1), (2, 20), (3, 30), (4, 40)] {
        setup.place(&Record { offset: Offset { n, ..head }, is_final: false, event: event(number) }).await;
    }
    let now = Some(Offset { n: 4, ..head });
    assert_eq!(next(&mut follower).await, Delivery::Reset { reason: ResetReason::Epoch, head: now });
    assert_eq!(numbers(&mut follower, 4).await, [1, 20, 30, 40]);
    assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: now });
}

#[tokio::test]
async fn followers_read_past_bytes_of_other_programs() {
    let mut setup = Setup::new().await;
    let mut follower = setup.bus.follow(setup.topic, From::Start);
    publish(&setup.bus, &setup.topic, [1]).await;
    up_to(&mut follower, |d| matches!(d, Delivery::Record(_))).await;
    for bytes in ["", "hello", "\u{1}\u{2}"] {
        let channel = setup.topic.to_string();
        redis::cmd("PUBLISH").arg(channel).arg(bytes).query_async::<()>(&mut setup.redis).await.expect("published");
    }
    let head = setup.bus.read(&setup.topic, None, 0).await.expect("a page").state.expect("a topic").head();
    let strange = Offset { n: 2, ..head };
    ask::<()>(&setup.redis, &format!("XADD {} {strange} what this", setup.stream())).await;
    ask::<()>(&setup.redis, &format!("HSET {} n 2", setup.head())).await;
    publish(&setup.bus, &setup.topic, [3]).await;
    let found = up_to(&mut follower, |d| matches!(d, Delivery::Record(r) if r.offset.n == 2)).await;
    let Some(Delivery::Record(found)) = found.last() else { panic!("a record") };
    assert_eq!(&found.event[..], b"this", "it keeps its place and its bytes");
    assert_eq!(numbers(&mut follower, 1).await, [3]);
}

#[tokio::test]
async fn a_key_of_another_type_makes_only_its_topic_unavailable() {
    let setup = Setup::new().await;
    ask::<()>(&setup.redis, &format!("SET {} mine", setup.head())).await;
    let refused = setup.bus.publish(&setup.topic, &event(1)).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    assert!(setup.bus.read(&setup.topic, None, 1).await.is_err());
    publish(&setup.bus, &topic(), [1]).await;
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_loaded_again() {
    let setup = Setup::new().await;
    for number in 1..=3 {
        publish(&setup.bus, &setup.topic, [number]).await;
        ask::<Value>(&setup.redis, "SCRIPT FLUSH").await;
    }
    assert_eq!(setup.bus.read(&setup.topic, None, 9).await.expect("a page").records.len(), 3);
}
