//! Outages of Redis, with and without loss of its data.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};
use turnpike_bus::{Bus, Delivery, DownReason, From, Limits, PublishError, ResetReason, Status};
use turnpike_testkit::RedisServer;
use turnpike_topic::{Offset, Topic};

use crate::{
    harness::{caught_up, event, is_down, is_up, next, number, numbers, publish, record, soon, topic, up_to},
    proxy::{Flow, Proxy},
    redis_commands::ask_at,
};

fn connect(url: &str) -> Bus {
    Bus::redis(url, Limits::default()).expect("a URL")
}

/// Publishes events 1, 2, 3… until it is stopped; returns their offsets.
struct Publisher {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Offset>>,
}

impl Publisher {
    fn start(bus: &Bus, topic: Topic) -> Self {
        let (bus, stop) = (bus.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut offsets = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let next = event(offsets.len() as u32 + 1);
                offsets.push(bus.publish_within(Duration::from_secs(15), &topic, &next).await.expect("published"));
            }
            offsets
        });
        Self { stop, task }
    }

    async fn stop(self) -> Vec<Offset> {
        self.stop.store(true, Ordering::Relaxed);
        soon("the publisher", self.task).await.expect("no panic")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_its_data_causes_no_reset() {
    let mut redis = RedisServer::start(true).await;
    let (bus, topic) = (connect(&redis.url()), topic());
    let mut follower = bus.follow(topic, From::Start);
    caught_up(&mut follower).await;
    let publisher = Publisher::start(&bus, topic);
    let mut expected = 1;
    for _ in 0..3 {
        for _ in 0..50 {
            assert_eq!(number(&record(&mut follower).await), expected);
            expected += 1;
        }
        redis.kill();
        is_down(&bus).await;
        redis.restart().await;
    }
    is_up(&bus).await;
    let offsets = publisher.stop().await;
    let rest = offsets.len() - expected as usize + 1;
    assert_eq!(numbers(&mut follower, rest).await, (expected..=offsets.len() as u32).collect::<Vec<_>>());
    assert!(
        offsets.iter().zip(1..).all(|(offset, n)| *offset == Offset { n, ..offsets[0] }),
        "one epoch, each event once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_without_its_data_resets_every_follower() {
    let mut redis = RedisServer::start(false).await;
    let (bus, topic) = (connect(&redis.url()), topic());
    let mut followers: Vec<_> = (0..20).map(|_| bus.follow(topic, From::Start)).collect();
    for follower in &mut followers {
        caught_up(follower).await;
    }
    let publisher = Publisher::start(&bus, topic);
    for follower in &mut followers {
        numbers(follower, 20).await;
    }
    redis.kill();
    is_down(&bus).await;
    redis.restart().await;
    let restarted = Instant::now();
    for follower in &mut followers {
        let deliveries = up_to(follower, |d| matches!(d, Delivery::Reset { .. })).await;
        assert!(matches!(deliveries.last(), Some(Delivery::Reset { reason: ResetReason::Epoch, .. })));
    }
    assert!(restarted.elapsed() < Duration::from_secs(10), "reset after {:?}", restarted.elapsed());
    is_up(&bus).await;
    let offsets = publisher.stop().await;

    // After the reset every follower gets the new epoch from its first event, and each event of the publisher once.
    let newest = *offsets.last().expect("published");
    let epoch: Vec<u32> = offsets.iter().zip(1..).filter(|(o, _)| o.epoch == newest.epoch).map(|(_, n)| n).collect();
    assert_eq!(newest.n as usize, epoch.len());
    for follower in &mut followers {
        let all = up_to(follower, |d| matches!(d, Delivery::Record(record) if record.offset == newest)).await;
        let records: Vec<_> =
            all.iter().filter_map(|d| if let Delivery::Record(r) = d { Some(number(r)) } else { None }).collect();
        assert_eq!(records, epoch);
    }
}

#[tokio::test]
async fn a_lost_topic_without_new_events_is_reported_as_gone() {
    let mut redis = RedisServer::start(false).await;
    let (bus, topic) = (connect(&redis.url()), topic());
    publish(&bus, &topic, 1..=3).await;
    let mut follower = bus.follow(topic, From::Start);
    assert_eq!(numbers(&mut follower, 3).await, [1, 2, 3]);
    caught_up(&mut follower).await;
    redis.restart().await;
    assert_eq!(next(&mut follower).await, Delivery::Reset { reason: ResetReason::Epoch, head: None });
    assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: None });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_redis_is_reported_down_within_two_seconds() {
    let redis = RedisServer::start(false).await;
    let (bus, topic) = (connect(&redis.url()), topic());
    let mut follower = bus.follow(topic, From::Start);
    caught_up(&mut follower).await;
    publish(&bus, &topic, [1]).await;
    assert_eq!(numbers(&mut follower, 1).await, [1]);
    is_up(&bus).await;

    redis.pause();
    let paused = Instant::now();
    is_down(&bus).await;
    assert!(paused.elapsed() < Duration::from_millis(2_500), "reported after {:?}", paused.elapsed());
    assert!(matches!(*bus.status().borrow(), Status::Down { since, .. } if since >= paused));
    let asked = Instant::now();
    let refused = bus.publish(&topic, &event(2)).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    assert!(bus.read(&topic, None, 1).await.is_err());
    assert!(asked.elapsed() < Duration::from_secs(5), "two bounds of two seconds: {:?}", asked.elapsed());

    redis.resume();
    is_up(&bus).await;
    publish(&bus, &topic, [3]).await;
    let seen = up_to(&mut follower, |d| matches!(d, Delivery::Record(record) if number(record) == 3)).await;
    assert!(seen.len() <= 2, "the refused event may have been appended, once: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_may_start_before_its_redis() {
    let mut redis = RedisServer::reserve(false);
    let (bus, topic) = (connect(&redis.url()), topic());
    let mut follower = bus.follow(topic, From::Start);
    let refused = bus.publish(&topic, &event(1)).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    assert!(matches!(*bus.status().borrow(), Status::Down { .. }));
    redis.restart().await;
    is_up(&bus).await;
    publish(&bus, &topic, [2]).await;
    let seen = up_to(&mut follower, |d| matches!(d, Delivery::Record(_))).await;
    assert!(matches!(seen.last(), Some(Delivery::Record(record)) if number(record) == 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_carries_no_bytes_is_replaced() {
    let redis = RedisServer::start(false).await;
    let proxy = Proxy::to(&redis.url()).await;
    let (bus, other, topic) = (connect(&proxy.url()), connect(&redis.url()), topic());
    let mut follower = bus.follow(topic, From::Start);
    caught_up(&mut follower).await;
    for (round, flow) in [Flow::Hold, Flow::HoldAnswers, Flow::HoldRequests, Flow::Cut].into_iter().enumerate() {
        let number = round as u32 * 10;
        publish(&other, &topic, [number]).await;
        assert_eq!(numbers(&mut follower, 1).await, [number]);
        proxy.set(flow);
        // No bytes arrive, and no connection is closed.
        publish(&other, &topic, [number + 1, number + 2]).await;
        assert_eq!(numbers(&mut follower, 2).await, [number + 1, number + 2]);
        publish(&bus, &topic, [number + 3]).await;
        assert_eq!(numbers(&mut follower, 1).await, [number + 3]);
        is_up(&bus).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_followers_recover_together() {
    const TOPICS: u32 = 700;
    let redis = RedisServer::start(false).await;
    let proxy = Proxy::to(&redis.url()).await;
    let (bus, other) = (connect(&proxy.url()), connect(&redis.url()));
    let topics: Vec<_> = (0..TOPICS).map(|_| topic()).collect();
    let mut followers: Vec<_> = topics.iter().map(|topic| bus.follow(*topic, From::Live)).collect();
    for follower in &mut followers {
        caught_up(follower).await;
    }
    proxy.set(Flow::Cut);
    is_down(&bus).await;
    for topic in &topics {
        publish(&other, topic, [1]).await;
    }
    for follower in &mut followers {
        assert_eq!(numbers(follower, 1).await, [1]);
    }
    for topic in &topics {
        publish(&bus, topic, [2]).await;
    }
    for follower in &mut followers {
        assert_eq!(numbers(follower, 1).await, [2]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_became_a_replica_is_waited_for() {
    let redis = RedisServer::start(false).await;
    let (bus, topic) = (connect(&redis.url()), topic());
    publish(&bus, &topic, [1]).await;
    ask_at::<String>(&redis.url(), "REPLICAOF 127.0.0.1 1").await;
    let refused = bus.publish(&topic, &event(2)).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    ask_at::<String>(&redis.url(), "REPLICAOF NO ONE").await;
    is_up(&bus).await;
    publish(&bus, &topic, [3]).await;
    let page = bus.read(&topic, None, 9).await.expect("a page");
    assert_eq!(page.records.iter().map(number).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn a_malformed_url_is_refused_and_not_repeated() {
    for url in ["", "redis", "http://secret@host", "redis://:secret@host:port", "rediss://:secret@host"] {
        let Err(error) = Bus::redis(url, Limits::default()) else { panic!("{url} is no Redis URL") };
        assert!(!error.to_string().contains("secret"));
    }
}

/// Redis answers a `PING` and refuses every write.
#[tokio::test]
async fn a_redis_without_memory_is_down_and_comes_back_by_itself() {
    let redis = RedisServer::start(false).await;
    let (bus, topic) = (connect(&redis.url()), topic());
    is_up(&bus).await;
    publish(&bus, &topic, [1]).await;
    let mut follower = bus.follow(topic, From::Start);
    caught_up(&mut follower).await;
    ask_at::<()>(&redis.url(), "CONFIG SET maxmemory 1").await;

    is_down(&bus).await;
    let status = *bus.status().borrow();
    assert!(matches!(status, Status::Down { reason: DownReason::ReadOnly, .. }), "{status:?}");
    let (started, refused) = (Instant::now(), bus.publish(&topic, &event(2)).await);
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(1), "refused at once");

    ask_at::<()>(&redis.url(), "CONFIG SET maxmemory 0").await;
    is_up(&bus).await;
    publish(&bus, &topic, [2]).await;
    assert_eq!(numbers(&mut follower, 1).await, [2], "the follower was not disturbed");
}
