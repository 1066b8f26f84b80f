//! A Redis that comes back without its newest events, from an append-only file that was cut.

use turnpike_bus::{Bus, Delivery, From, Limits, ResetReason, TIMEOUT};
use turnpike_testkit::RedisServer;
use turnpike_topic::{Offset, Topic};

use crate::{
    harness::{caught_up, event, is_up, next, number, numbers, publish, record, topic, up_to},
    redis_commands::ask_at,
};

fn connect(redis: &RedisServer) -> Bus {
    Bus::redis(&redis.url(), Limits::default()).expect("a URL")
}

struct Setup {
    redis: RedisServer,
    topic: Topic,
    /// The length of the append-only file when it held events 1 and 2 only.
    written: u64,
    /// The offset of event 4.
    last: Offset,
}

impl Setup {
    /// Events 1 to 4; the latter two are about to be lost.
    async fn new(publisher: &impl AsyncFn(&RedisServer) -> Bus) -> (Self, Bus) {
        let redis = RedisServer::start(true).await;
        let (bus, topic) = (publisher(&redis).await, topic());
        publish(&bus, &topic, 1..=2).await;
        let written = redis.append_only_length();
        publish(&bus, &topic, [3]).await;
        let last = bus.publish(&topic, &event(4)).await.expect("published");
        (Self { redis, topic, written, last }, bus)
    }

    fn at(&self, n: u64) -> Offset {
        Offset { n, ..self.last }
    }

    async fn lose_the_tail(&mut self) {
        self.redis.restart_truncated(self.written).await;
    }

    /// Every follower gets a reset, then the events 30 and 40, which were published after the loss.
    async fn check(&self, bus: &Bus) {
        // A client that comes back with an offset of the lost epoch, whether the offset was lost or not.
        for n in 1..=5 {
            let mut follower = bus.follow(self.topic, From::After(self.at(n)));
            let delivery = next(&mut follower).await;
            assert!(
                matches!(delivery, Delivery::Reset { reason: ResetReason::Epoch, .. }),
                "resumed at {n}: {delivery:?}"
            );
            assert_eq!(numbers(&mut follower, 2).await, [30, 40], "resumed at {n}");
        }
        let mut late = bus.follow(self.topic, From::Start);
        let first = record(&mut late).await;
        assert_eq!((number(&first), first.offset.n), (30, 1));
        assert!(first.offset.epoch > self.last.epoch, "no offset is used for two events");
        let rest = up_to(&mut late, |delivery| *delivery == Delivery::Closed).await;
        assert!(matches!(&rest[0], Delivery::Record(last) if number(last) == 40 && last.is_final), "{rest:?}");
    }
}

async fn connected(redis: &RedisServer) -> Bus {
    let bus = connect(redis);
    is_up(&bus).await;
    bus
}

#[tokio::test]
async fn the_publisher_of_a_lost_event_starts_a_new_epoch() {
    let (mut setup, bus) = Setup::new(&connected).await;
    setup.lose_the_tail().await;
    bus.publish(&setup.topic, &event(30)).await.expect("published");
    bus.close(&setup.topic, &event(40)).await.expect("closed");
    setup.check(&bus).await;
    setup.check(&connect(&setup.redis)).await;
}

#[tokio::test]
async fn a_topic_with_lost_events_starts_a_new_epoch_also_when_every_process_has_ended() {
    let (mut setup, bus) = Setup::new(&connected).await;
    bus.shutdown().await;
    drop(bus);
    setup.lose_the_tail().await;
    let bus = connect(&setup.redis);
    bus.publish(&setup.topic, &event(30)).await.expect("published");
    bus.close(&setup.topic, &event(40)).await.expect("closed");
    setup.check(&bus).await;
}

#[tokio::test]
async fn a_topic_with_lost_events_is_not_opened_as_a_new_one() {
    let (mut setup, bus) = Setup::new(&connected).await;
    setup.lose_the_tail().await;
    let opened = bus.open_within(TIMEOUT, &setup.topic, &event(9)).await.expect("answered");
    assert_eq!(opened, None, "events 1 and 2 are still there");
    assert_eq!(bus.read(&setup.topic, None, 9).await.expect("a page").records.len(), 2);
    // Nothing was written that hides the loss from the next publish.
    bus.publish(&setup.topic, &event(30)).await.expect("published");
    bus.close(&setup.topic, &event(40)).await.expect("closed");
    setup.check(&bus).await;
}

#[tokio::test]
async fn connected_followers_get_a_reset_and_prevent_the_reuse_of_offsets() {
    let (mut setup, publisher) = Setup::new(&connected).await;
    let gateway = connected(&setup.redis).await;
    let mut from_start = gateway.follow(setup.topic, From::Start);
    let mut live = gateway.follow(setup.topic, From::Live);
    caught_up(&mut from_start).await;
    caught_up(&mut live).await;
    // The publisher ends with Redis, and another process that has published nothing continues.
    publisher.shutdown().await;
    setup.lose_the_tail().await;
    for follower in [&mut from_start, &mut live] {
        let delivery = next(follower).await;
        assert!(matches!(delivery, Delivery::Reset { reason: ResetReason::Epoch, .. }), "{delivery:?}");
    }
    assert_eq!(numbers(&mut from_start, 2).await, [1, 2], "what was kept can be read until the new epoch begins");
    gateway.publish(&setup.topic, &event(30)).await.expect("published");
    gateway.close(&setup.topic, &event(40)).await.expect("closed");
    for follower in [&mut from_start, &mut live] {
        let all = up_to(follower, |delivery| *delivery == Delivery::Closed).await;
        let reset = all.iter().rposition(|d| matches!(d, Delivery::Reset { reason: ResetReason::Epoch, .. }));
        let after = &all[reset.expect("a reset to the new epoch")..];
        let read: Vec<_> =
            after.iter().filter_map(|d| if let Delivery::Record(r) = d { Some(number(r)) } else { None }).collect();
        assert_eq!(read, [30, 40]);
    }
    setup.check(&gateway).await;
}

/// The newest event of the publisher is still there, so only a follower can detect the loss.
#[tokio::test]
async fn a_loss_that_only_a_follower_can_detect_starts_a_new_epoch() {
    let redis = RedisServer::start(true).await;
    let (first, second, gateway) = (connected(&redis).await, connected(&redis).await, connected(&redis).await);
    let topic = topic();
    publish(&first, &topic, 1..=2).await;
    let written = redis.append_only_length();
    publish(&second, &topic, [3]).await;
    let last = second.publish(&topic, &event(4)).await.expect("published");
    let mut follower = gateway.follow(topic, From::Start);
    caught_up(&mut follower).await;
    second.shutdown().await;
    let mut setup = Setup { redis, topic, written, last };
    setup.lose_the_tail().await;
    let delivery = next(&mut follower).await;
    assert!(matches!(delivery, Delivery::Reset { reason: ResetReason::Epoch, .. }), "{delivery:?}");
    first.publish(&topic, &event(30)).await.expect("published");
    first.close(&topic, &event(40)).await.expect("closed");
    setup.check(&gateway).await;
}

#[tokio::test]
async fn an_invented_offset_ends_no_epoch() {
    let redis = RedisServer::start(true).await;
    let (bus, topic) = (connected(&redis).await, topic());
    let first = bus.publish(&topic, &event(1)).await.expect("published");
    let mut follower = bus.follow(topic, From::After(Offset { n: 999, ..first }));
    let delivery = next(&mut follower).await;
    assert_eq!(delivery, Delivery::Reset { reason: ResetReason::Epoch, head: Some(first) });
    assert_eq!(numbers(&mut follower, 1).await, [1]);
    let second = bus.publish(&topic, &event(2)).await.expect("published");
    assert_eq!(second, Offset { n: 2, ..first }, "the epoch goes on");
}

#[tokio::test]
async fn after_a_restart_with_all_data_the_epoch_continues_if_a_process_can_verify_it() {
    let mut redis = RedisServer::start(true).await;
    let (vehicles, connector) = (connected(&redis).await, connected(&redis).await);
    let topic = topic();
    let first = vehicles.publish(&topic, &event(1)).await.expect("published");
    publish(&connector, &topic, [2]).await;
    let mut follower = vehicles.follow(topic, From::Start);
    assert_eq!(numbers(&mut follower, 2).await, [1, 2]);
    caught_up(&mut follower).await;

    redis.restart().await;
    // The publisher of the newest event can verify it, because it published it.
    let third = connector.publish(&topic, &event(3)).await.expect("published");
    assert_eq!(third, Offset { n: 3, ..first });
    assert_eq!(numbers(&mut follower, 1).await, [3], "without a reset");

    redis.restart().await;
    // Another process can verify it, because it follows the topic.
    let fourth = vehicles.publish(&topic, &event(4)).await.expect("published");
    assert_eq!(fourth, Offset { n: 4, ..first });
    assert_eq!(numbers(&mut follower, 1).await, [4]);

    redis.restart().await;
    // A process without an event of the topic cannot verify it, and must not reuse an offset.
    let fifth = connected(&redis).await.publish(&topic, &event(5)).await.expect("published");
    assert!(fifth.epoch > first.epoch && fifth.n == 1, "{fifth}");
    let delivery = next(&mut follower).await;
    assert!(matches!(delivery, Delivery::Reset { reason: ResetReason::Epoch, .. }), "{delivery:?}");
    assert_eq!(numbers(&mut follower, 1).await, [5]);
}

#[tokio::test]
async fn a_redis_that_hides_its_run_id_is_still_usable() {
    let redis = RedisServer::start(false).await;
    let _: () = ask_at(&redis.url(), "ACL SETUSER default -info").await;
    let (bus, topic) = (connected(&redis).await, topic());
    publish(&bus, &topic, 1..=3).await;
    assert_eq!(numbers(&mut bus.follow(topic, From::Start), 3).await, [1, 2, 3]);
}
