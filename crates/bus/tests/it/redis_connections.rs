//! Two connections per bus, and exactly the channels of the followed topics.

use turnpike_bus::{Bus, Delivery, From, Limits};
use turnpike_testkit::RedisServer;
use turnpike_topic::Topic;

use crate::{
    harness::{caught_up, event, is_up, number, numbers, publish, soon, topic, until, up_to},
    redis_commands::ask_at,
};

/// The number of connections with this name.
async fn connections(redis: &RedisServer, name: &str) -> usize {
    ask_at::<String>(&redis.url(), "CLIENT LIST").await.lines().filter(|line| line.contains(name)).count()
}

async fn subscribers(redis: &RedisServer, topic: &Topic) -> u64 {
    ask_at::<(String, u64)>(&redis.url(), &format!("PUBSUB NUMSUB {topic}")).await.1
}

#[tokio::test]
async fn one_connection_for_commands_and_one_for_messages() {
    let redis = RedisServer::start(false).await;
    let bus = Bus::redis(&redis.url(), Limits::default()).expect("a URL");
    let topics: Vec<_> = (0..40).map(|_| topic()).collect();
    let mut followers: Vec<_> =
        topics.iter().flat_map(|t| [bus.follow(*t, From::Start), bus.follow(*t, From::Live)]).collect();
    for follower in &mut followers {
        caught_up(follower).await;
    }
    for topic in &topics {
        publish(&bus.clone(), topic, [1]).await;
        assert_eq!(subscribers(&redis, topic).await, 1, "two followers share a channel");
    }
    assert_eq!(connections(&redis, "name=turnpike-bus-commands").await, 1);
    assert_eq!(connections(&redis, "name=turnpike-bus-messages").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_has_caught_up_is_subscribed() {
    let redis = RedisServer::start(false).await;
    let bus = Bus::redis(&redis.url(), Limits::default()).expect("a URL");
    let asking = redis::Client::open(redis.url()).expect("a URL");
    let mut asking = asking.get_multiplexed_async_connection().await.expect("a connection");
    for _ in 0..200 {
        let topic = topic();
        let mut follower = bus.follow(topic, From::Live);
        caught_up(&mut follower).await;
        let mut ask = redis::cmd("PUBSUB");
        let (_, subscribers): (String, u64) =
            ask.arg("NUMSUB").arg(topic.to_string()).query_async(&mut asking).await.expect("an answer");
        assert_eq!(subscribers, 1);
    }
}

#[tokio::test]
async fn the_last_follower_unsubscribes() {
    let redis = RedisServer::start(false).await;
    let bus = Bus::redis(&redis.url(), Limits::default()).expect("a URL");
    let topic = topic();
    let (mut first, mut second) = (bus.follow(topic, From::Live), bus.follow(topic, From::Live));
    caught_up(&mut first).await;
    caught_up(&mut second).await;
    drop(first);
    publish(&bus, &topic, [1]).await;
    assert_eq!(numbers(&mut second, 1).await, [1]);
    assert_eq!(subscribers(&redis, &topic).await, 1);
    drop(second);
    until("the channel has no subscriber", async || subscribers(&redis, &topic).await == 0).await;

    // The channel of a closed topic is left, also while its follower exists.
    let mut third = bus.follow(topic, From::Live);
    caught_up(&mut third).await;
    bus.close(&topic, &event(2)).await.expect("closed");
    up_to(&mut third, |d| *d == Delivery::Closed).await;
    until("the channel has no subscriber", async || subscribers(&redis, &topic).await == 0).await;
}

#[tokio::test]
async fn followers_that_come_and_go_leave_no_channel() {
    let redis = RedisServer::start(false).await;
    let bus = Bus::redis(&redis.url(), Limits::default()).expect("a URL");
    let topics: Vec<_> = (0..20).map(|_| topic()).collect();
    for round in 0..30 {
        let mut followers: Vec<_> = topics.iter().map(|topic| bus.follow(*topic, From::Live)).collect();
        if round % 3 == 0 {
            continue; // dropped before the channels were joined
        }
        for (follower, topic) in followers.iter_mut().zip(&topics) {
            caught_up(follower).await;
            publish(&bus, topic, [round]).await;
            assert_eq!(numbers(follower, 1).await, [round]);
        }
    }
    until("no channel is left", async || ask_at::<Vec<String>>(&redis.url(), "PUBSUB CHANNELS").await.is_empty()).await;
}

#[tokio::test]
async fn a_bus_that_ends_closes_its_connections() {
    let redis = RedisServer::start(false).await;
    for by_shutdown in [true, false] {
        let bus = Bus::redis(&redis.url(), Limits::default()).expect("a URL");
        let mut follower = bus.follow(topic(), From::Live);
        caught_up(&mut follower).await;
        is_up(&bus).await;
        if by_shutdown {
            soon("the shutdown", bus.shutdown()).await;
            let refused = soon("an answer", bus.publish(&topic(), &event(1))).await;
            assert!(refused.is_err(), "{refused:?}");
        } else {
            drop((bus, follower));
        }
        until("no connection is left", async || connections(&redis, "name=turnpike-bus").await == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_lose_no_event_and_repeat_none() {
    const EVENTS: u32 = 2_000;
    let redis = RedisServer::start(false).await;
    let bus = Bus::redis(&redis.url(), Limits::default()).expect("a URL");
    let topic = topic();
    let mut follower = bus.follow(topic, From::Start);
    caught_up(&mut follower).await;
    let publisher = tokio::spawn({
        let bus = bus.clone();
        async move { publish(&bus, &topic, 0..EVENTS).await }
    });
    let mut seen = Vec::new();
    while seen.len() < EVENTS as usize {
        if let Delivery::Record(record) = soon("a delivery", follower.next()).await {
            seen.push(number(&record));
            if seen.len() % 100 == 0 {
                let kind = if seen.len() % 200 == 0 { "normal" } else { "pubsub" };
                ask_at::<u64>(&redis.url(), &format!("CLIENT KILL TYPE {kind}")).await;
            }
        } else {
            panic!("no event was lost, so no reset may come");
        }
    }
    publisher.await.expect("every publish was accepted");
    assert_eq!(seen, (0..EVENTS).collect::<Vec<_>>());
}
