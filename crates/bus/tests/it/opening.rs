//! Appending the first event of a topic, and only that.

use std::time::Duration;

use futures_util::future::join_all;
use turnpike_bus::{Bus, Limits, PublishError, TIMEOUT};
use turnpike_testkit::RedisServer;
use turnpike_topic::Offset;

use crate::{
    backend::{Backend, on_both},
    harness::{event, is_down, limits, number, publish, soon, topic, until},
    redis_commands::ask_at,
};

on_both! {
    async fn one_of_many_concurrent_openers_succeeds(backend: Backend) {
        for _ in 0..20 {
            let (bus, topic) = (backend.bus(Limits::default()), topic());
            let peer = backend.peer(&bus);
            let openers = (1..=16).map(|opener| {
                let bus = if opener % 2 == 0 { bus.clone() } else { peer.clone() };
                tokio::spawn(async move { (opener, bus.open_within(TIMEOUT, &topic, &event(opener)).await) })
            });
            let mut opened = Vec::new();
            for answer in join_all(openers).await {
                let (opener, offset) = answer.expect("no panic");
                opened.extend(offset.expect("answered").map(|offset| (opener, offset)));
            }
            let records = bus.read(&topic, None, 100).await.expect("a page").records;
            let kept: Vec<_> = records.iter().map(|record| (number(record), record.offset)).collect();
            assert_eq!((opened.len(), &opened), (1, &kept));
            assert_eq!(opened[0].1.n, 1);
        }
    }

    async fn a_topic_that_has_events_is_not_opened(backend: Backend) {
        let (bus, topic) = (backend.bus(limits(5)), topic());
        for last in [1, 2, 12] { // the first events are trimmed
            while bus.read(&topic, None, 0).await.expect("a page").state.is_none_or(|state| state.n < last) {
                publish(&bus, &topic, [7]).await;
            }
            let before = bus.read(&topic, None, 100).await.expect("a page");
            assert_eq!(bus.open_within(TIMEOUT, &topic, &event(8)).await.expect("answered"), None);
            let after = bus.read(&topic, None, 100).await.expect("a page");
            assert_eq!((after.state, after.records), (before.state, before.records));
        }
    }

    async fn a_closed_topic_is_not_opened(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let end = bus.close(&topic, &event(1)).await.expect("closed");
        let refused = bus.open_within(TIMEOUT, &topic, &event(2)).await;
        assert!(matches!(refused, Err(PublishError::Closed { final_offset }) if final_offset == end), "{refused:?}");
        assert_eq!(bus.read(&topic, None, 9).await.expect("a page").records.len(), 1);
    }

    async fn a_topic_that_is_gone_is_opened_again(backend: Backend) {
        let bus = backend.bus(Limits { retention: Duration::from_secs(1), ..Limits::default() });
        let topic = topic();
        let mut earlier = 0;
        for round in 0..3 {
            let Offset { epoch, n } = bus.open_within(TIMEOUT, &topic, &event(round)).await.expect("answered").expect("a new topic");
            assert!(epoch > earlier && n == 1, "{epoch}-{n} after an epoch {earlier}");
            earlier = epoch;
            let is_gone = async || bus.read(&topic, None, 0).await.expect("a page").state.is_none();
            match round {
                0 => until("the topic has expired", is_gone).await,
                1 => bus.forget(&topic).await.expect("forgotten"),
                _ => assert!(!is_gone().await),
            }
        }
    }
}

#[tokio::test]
async fn of_two_openers_that_wait_until_redis_accepts_writes_one_succeeds() {
    let redis = RedisServer::start(false).await;
    let (topic, open) = (topic(), topic());
    let buses = [(); 2].map(|()| Bus::redis(&redis.url(), Limits::default()).expect("a URL"));
    publish(&buses[0], &open, [1]).await;
    let () = ask_at(&redis.url(), "CONFIG SET maxmemory 1").await;
    is_down(&buses[0]).await;
    let existing = buses[0].open_within(TIMEOUT, &open, &event(2)).await;
    assert_eq!(existing.expect("a topic that exists is found while Redis refuses writes"), None);

    let opening = buses.clone().map(|bus| {
        tokio::spawn(async move {
            loop {
                match bus.open_within(TIMEOUT, &topic, &event(1)).await {
                    Ok(opened) => return opened,
                    Err(PublishError::Unavailable(_)) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other}"),
                }
            }
        })
    });
    let () = ask_at(&redis.url(), "CONFIG SET maxmemory 0").await;
    let answers = soon("both answers", join_all(opening)).await;
    let opened: Vec<_> = answers.into_iter().filter_map(|answer| answer.expect("no panic")).collect();
    assert_eq!(opened.len(), 1);
    let records = buses[1].read(&topic, None, 9).await.expect("a page").records;
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), opened);
}
