//! Where a follower begins, and the order in which it gets events. Each test runs on both backends.

use std::collections::HashSet;

use futures_util::{FutureExt, future::join_all};
use turnpike_bus::{Delivery, Follower, From, Limits, ResetReason};
use turnpike_topic::Offset;

use crate::{
    backend::{Backend, on_both},
    harness::{caught_up, event, limits, next, number, numbers, publish, record, soon, topic, up_to},
};

on_both! {
    async fn a_notice_reaches_the_followers_of_its_topic_and_is_not_stored(backend: Backend) {
        let (bus, other, topic) = (backend.bus(Limits::default()), topic(), topic());
        let mut notices = bus.notices();
        let mut follower = bus.follow(topic, From::Start);
        caught_up(&mut follower).await;
        let (first, second) = (event(1), event(2));
        assert_eq!(bus.notify(&other, &first).await.expect("sent"), 0, "the other topic has no follower");
        assert_eq!(bus.notify(&topic, &first).await.expect("sent"), 1);
        assert_eq!(bus.notify(&topic, &second).await.expect("sent"), 1);
        for sent in [first, second] {
            let received = tokio::time::timeout(std::time::Duration::from_secs(10), notices.recv()).await;
            assert_eq!(received.expect("in time").expect("a notice"), (topic, sent));
        }
        let published = bus.publish(&topic, &event(3)).await.expect("published");
        assert_eq!((published.n, record(&mut follower).await.offset), (1, published), "the notices took no offset");
        assert!(bus.read(&other, None, 10).await.expect("a page").state.is_none());
    }

    async fn followers_before_during_and_after_see_the_same(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let peer = backend.peer(&bus);
        let mut before = peer.follow(topic, From::Start);
        assert_eq!(next(&mut before).await, Delivery::CaughtUp { head: None });
        publish(&bus, &topic, 1..=50).await;
        let mut during = peer.follow(topic, From::Start);
        publish(&bus, &topic, 51..=99).await;
        bus.close(&topic, &event(100)).await.expect("closed");
        let mut after = bus.follow(topic, From::Start);
        for follower in [&mut before, &mut during, &mut after] {
            let all = up_to(follower, |delivery| *delivery == Delivery::Closed).await;
            let records: Vec<_> = all.iter().filter_map(|d| if let Delivery::Record(r) = d { Some(r) } else { None }).collect();
            assert_eq!(records.iter().map(|r| number(r)).collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
            assert_eq!(records.iter().filter(|r| r.is_final).count(), 1);
        }
    }

    async fn following_continues_after_an_offset(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        publish(&bus, &topic, 1..=5).await;
        let head = bus.read(&topic, None, 1).await.expect("a page").state.expect("a topic").head();
        for n in 0..=5 {
            let mut follower = bus.follow(topic, From::After(Offset { n, ..head }));
            assert_eq!(numbers(&mut follower, 5 - n as usize).await, (n as u32 + 1..=5).collect::<Vec<_>>());
            assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: Some(head) });
        }
    }

    async fn live_begins_behind_the_head(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        publish(&bus, &topic, 1..=5).await;
        let mut follower = bus.follow(topic, From::Live);
        assert!(matches!(next(&mut follower).await, Delivery::CaughtUp { head: Some(Offset { n: 5, .. }) }));
        publish(&bus, &topic, 6..=7).await;
        assert_eq!(numbers(&mut follower, 2).await, [6, 7]);
    }

    async fn live_on_a_topic_that_does_not_exist_gets_all_its_events(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let mut follower = bus.follow(topic, From::Live);
        assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: None });
        publish(&bus, &topic, 1..=3).await;
        assert_eq!(numbers(&mut follower, 3).await, [1, 2, 3]);
    }

    async fn caught_up_is_delivered_once(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        publish(&bus, &topic, 1..=300).await; // more than one page
        let mut follower = bus.follow(topic, From::Start);
        assert_eq!(numbers(&mut follower, 300).await.len(), 300);
        assert!(matches!(next(&mut follower).await, Delivery::CaughtUp { head: Some(Offset { n: 300, .. }) }));
        publish(&bus, &topic, 301..=320).await;
        assert_eq!(numbers(&mut follower, 20).await.len(), 20);
        assert_eq!(follower.next().now_or_never(), None);
    }

    async fn a_late_follower_of_a_closed_topic_gets_its_end(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        publish(&bus, &topic, 1..=2).await;
        let head = bus.close(&topic, &event(3)).await.expect("closed");
        for (from, records) in [(From::Start, 3), (From::After(Offset { n: 2, ..head }), 1), (From::After(head), 0), (From::Live, 0)] {
            let mut follower = bus.follow(topic, from);
            assert_eq!(numbers(&mut follower, records).await.len(), records);
            assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: Some(head) });
            assert_eq!(next(&mut follower).await, Delivery::Closed);
        }
    }

    async fn many_publishers_make_one_order_for_many_followers(backend: Backend) {
        const PUBLISHERS: u32 = 8;
        const EACH: u32 = 100;
        const ALL: usize = (PUBLISHERS * EACH) as usize;
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let peer = backend.peer(&bus);
        let follow = |i: usize| if i.is_multiple_of(2) { &bus } else { &peer }.follow(topic, From::Start);
        let follow_all = |mut followers: Vec<Follower>| async move {
            for follower in &mut followers {
                caught_up(follower).await;
            }
            followers
        };
        let early = follow_all((0..50).map(follow).collect()).await;
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|p| {
                let bus = if p % 2 == 0 { bus.clone() } else { peer.clone() };
                tokio::spawn(async move { publish(&bus, &topic, p * EACH..(p + 1) * EACH).await })
            })
            .collect();
        let watchers: Vec<_> = early
            .into_iter()
            .map(|mut follower| tokio::spawn(async move { numbers(&mut follower, ALL).await }))
            .collect();
        soon("all published", join_all(publishers)).await.into_iter().for_each(|r| r.expect("no panic"));
        let orders: Vec<Vec<u32>> = join_all(watchers).await.into_iter().map(|r| r.expect("no panic")).collect();
        let late = numbers(&mut follow(0), ALL).await;
        assert!(orders.iter().all(|order| *order == late), "all followers get the same order");
        assert_eq!(late.iter().collect::<HashSet<_>>().len(), ALL, "each event once");
        for p in 0..PUBLISHERS {
            let own: Vec<_> = late.iter().copied().filter(|n| n / EACH == p).collect();
            assert!(own.is_sorted(), "the events of one publisher stay in their order");
        }
    }

    async fn many_topics_do_not_mix(backend: Backend) {
        let bus = backend.bus(Limits::default());
        let topics: Vec<_> = (0..600).map(|_| topic()).collect(); // more than one batch of subscriptions
        let mut followers: Vec<_> = topics.iter().map(|topic| bus.follow(*topic, From::Live)).collect();
        for follower in &mut followers {
            caught_up(follower).await;
        }
        let publishing = topics.iter().enumerate().map(|(i, topic)| publish(&bus, topic, [i as u32, i as u32 + 1]));
        soon("all published", join_all(publishing)).await;
        for (i, follower) in followers.iter_mut().enumerate() {
            assert_eq!(*follower.topic(), topics[i]);
            assert_eq!(numbers(follower, 2).await, [i as u32, i as u32 + 1]);
            assert_eq!(follower.next().now_or_never(), None, "nothing of another topic");
        }
    }

    async fn a_follower_that_is_not_polled_loses_nothing(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let mut slow = bus.follow(topic, From::Start);
        caught_up(&mut slow).await;
        publish(&bus, &topic, 0..1_000).await; // far more than the signals that wait for a follower
        assert_eq!(numbers(&mut slow, 1_000).await, (0..1_000).collect::<Vec<_>>());
        publish(&bus, &topic, [1_000]).await;
        assert_eq!(numbers(&mut slow, 1).await, [1_000]);
    }

    async fn a_follower_that_is_polled_too_late_gets_a_reset(backend: Backend) {
        let (bus, topic) = (backend.bus(limits(10)), topic());
        let mut slow = bus.follow(topic, From::Start);
        caught_up(&mut slow).await;
        publish(&bus, &topic, 1..=100).await;
        let head = bus.read(&topic, None, 1).await.expect("a page").state.expect("a topic").head();
        assert_eq!(next(&mut slow).await, Delivery::Reset { reason: ResetReason::Trimmed, head: Some(head) });
        assert_eq!(numbers(&mut slow, 10).await, (91..=100).collect::<Vec<_>>());
        assert_eq!(next(&mut slow).await, Delivery::CaughtUp { head: Some(head) });
    }

    async fn a_dropped_next_loses_nothing(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let mut follower = bus.follow(topic, From::Start);
        let publisher = tokio::spawn({
            let bus = bus.clone();
            async move { publish(&bus, &topic, 0..500).await }
        });
        let mut seen = Vec::new();
        soon("all events", async {
            while seen.len() < 500 {
                // Polled once and dropped, again and again.
                match follower.next().now_or_never() {
                    Some(Delivery::Record(record)) => seen.push(number(&record)),
                    Some(Delivery::CaughtUp { .. }) => {}
                    Some(other) => panic!("{other:?}"),
                    None => tokio::task::yield_now().await,
                }
            }
        })
        .await;
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        publisher.await.expect("no panic");
    }
}
