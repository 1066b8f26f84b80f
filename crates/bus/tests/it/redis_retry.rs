//! A publish over a connection that breaks appends once: its attempts are recognised as one.

use std::time::Duration;

use turnpike_bus::{Bus, Limits};
use turnpike_testkit::RedisServer;
use turnpike_topic::Topic;

use crate::{
    harness::{event, is_up, number, publish, soon, topic, until},
    proxy::{Flow, Proxy},
    redis_commands::ask_at,
};

/// Longer than it takes to find and to replace a silent connection.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

struct Setup {
    redis: RedisServer,
    proxy: Proxy,
    /// Through the proxy.
    bus: Bus,
    /// Without the proxy.
    other: Bus,
    topic: Topic,
}

impl Setup {
    async fn new() -> Self {
        let redis = RedisServer::start(false).await;
        let proxy = Proxy::to(&redis.url()).await;
        let connect = |url: &str| Bus::redis(url, Limits::default()).expect("a URL");
        let (bus, other, topic) = (connect(&proxy.url()), connect(&redis.url()), topic());
        is_up(&bus).await;
        publish(&bus, &topic, [0]).await;
        Self { redis, proxy, bus, other, topic }
    }

    async fn numbers(&self) -> Vec<u32> {
        let page = self.other.read(&self.topic, None, 1_000).await.expect("a page");
        page.records.iter().map(number).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_attempt_gets_the_answer_that_was_lost() {
    let setup = Setup::new().await;
    setup.proxy.set(Flow::HoldAnswers);
    let publishing = tokio::spawn({
        let (bus, topic) = (setup.bus.clone(), setup.topic);
        async move { bus.publish_within(PUBLISH_TIMEOUT, &topic, &event(1)).await }
    });
    until("it has arrived", async || setup.numbers().await == [0, 1]).await;
    publish(&setup.other, &setup.topic, [2, 3]).await;
    let offset = soon("the publish", publishing).await.expect("no panic").expect("published");
    assert_eq!(offset.n, 2, "where the first attempt put it");
    assert_eq!(setup.numbers().await, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_whose_answer_was_lost_has_still_won() {
    let setup = Setup::new().await;
    setup.proxy.set(Flow::HoldAnswers);
    let offset = setup.bus.close_within(PUBLISH_TIMEOUT, &setup.topic, &event(1)).await.expect("not refused by itself");
    assert_eq!(offset.n, 2);
    assert_eq!(setup.numbers().await, [0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opener_whose_answer_was_lost_has_still_opened_the_topic() {
    let setup = Setup::new().await;
    setup.bus.forget(&setup.topic).await.expect("forgotten");
    setup.proxy.set(Flow::HoldAnswers);
    let opened = setup.bus.open_within(PUBLISH_TIMEOUT, &setup.topic, &event(1)).await.expect("answered");
    assert_eq!(opened.map(|offset| offset.n), Some(1), "not kept from it by its own event");
    assert_eq!(setup.numbers().await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_attempt_that_arrives_last_appends_nothing() {
    let setup = Setup::new().await;
    // The first request is delayed until the second one has been executed.
    setup.proxy.set(Flow::HoldRequests);
    let offset = setup.bus.publish_within(PUBLISH_TIMEOUT, &setup.topic, &event(1)).await.expect("published");
    assert_eq!(offset.n, 2);
    publish(&setup.bus, &setup.topic, [2]).await;
    let before = calls(&setup.redis).await;
    setup.proxy.set(Flow::Pass);
    until("the old request has arrived", async || calls(&setup.redis).await > before).await;
    assert_eq!(setup.numbers().await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_are_recognised_among_many_publishers() {
    const PUBLISHERS: u32 = 20;
    const EACH: u32 = 30;
    let setup = Setup::new().await;
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|p| {
            let (bus, topic) = (setup.bus.clone(), setup.topic);
            tokio::spawn(async move {
                for i in 0..EACH {
                    bus.publish_within(PUBLISH_TIMEOUT, &topic, &event(1 + p * EACH + i)).await.expect("published");
                }
            })
        })
        .collect();
    let mut flows = [Flow::HoldAnswers, Flow::Cut, Flow::HoldRequests].into_iter().cycle();
    soon("all published", async {
        for publisher in publishers {
            let id = publisher.abort_handle();
            let mut publisher = Box::pin(publisher);
            loop {
                tokio::select! {
                    done = &mut publisher => break done.expect("no panic"),
                    () = tokio::time::sleep(Duration::from_millis(20)), if !id.is_finished() => {
                        setup.proxy.set(flows.next().expect("endless"));
                    }
                }
            }
        }
    })
    .await;
    let mut numbers = setup.numbers().await;
    numbers.sort_unstable();
    assert_eq!(numbers, (0..=PUBLISHERS * EACH).collect::<Vec<_>>(), "each once");
}

/// How many script calls Redis has executed.
async fn calls(redis: &RedisServer) -> u64 {
    let stats: String = ask_at(&redis.url(), "INFO commandstats").await;
    let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap_or_default();
    line.split(['=', ',']).nth(1).and_then(|calls| calls.parse().ok()).unwrap_or(0)
}
