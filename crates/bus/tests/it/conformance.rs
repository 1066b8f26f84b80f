//! What every bus does, whatever is behind it. Each of these runs on memory and on Redis.

use std::{collections::HashSet, time::Duration};

use futures_util::{FutureExt, future::join_all};
use turnpike_bus::{Bus, Delivery, Follower, From, Limits, PublishError, Record, ResetReason};
use turnpike_testkit::redis_url;
use turnpike_topic::Offset;

use crate::following::{
    caught_up, event, is_caught_up, limits, next, number, numbers, publish, record, soon, topic, until, up_to,
};

#[derive(Clone, Copy)]
pub(crate) enum Backend {
    Memory,
    Redis,
}

impl Backend {
    pub(crate) fn bus(self, limits: Limits) -> Bus {
        match self {
            Self::Memory => Bus::memory(limits),
            Self::Redis => Bus::redis(&redis_url(), limits).expect("a URL"),
        }
    }

    /// The same bus as another process has it, where that is possible.
    fn peer(self, bus: &Bus) -> Bus {
        match self {
            Self::Memory => bus.clone(),
            Self::Redis => self.bus(Limits::default()),
        }
    }
}

macro_rules! on_both {
    ($($(#[$doc:meta])* async fn $name:ident($backend:ident: Backend) $body:block)*) => {
        $($(#[$doc])* async fn $name($backend: Backend) $body)*

        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Backend::Memory).await;
            })*
        }

        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Backend::Redis).await;
            })*
        }
    };
}

on_both! {
    async fn events_are_numbered_from_one_without_holes(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let first = bus.publish(&topic, &event(1)).await.expect("published");
        assert_eq!(first.n, 1);
        for n in 2..=20 {
            let offset = bus.publish(&topic, &event(n as u32)).await.expect("published");
            assert_eq!(offset, Offset { epoch: first.epoch, n });
        }
        let page = bus.read(&topic, None, 100).await.expect("a page");
        assert_eq!(page.records.iter().map(number).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
        assert_eq!(page.gap, None);
        let state = page.state.expect("the topic exists");
        assert_eq!((state.epoch, state.n, state.first, state.closed), (first.epoch, 20, 1, false));
    }

    async fn a_record_comes_out_as_it_went_in(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let mut follower = bus.follow(topic, From::Start);
        let known = event(1);
        let not_protobuf = bytes::Bytes::from_static(&[0xff, 0x00, 0x0a, 0x0d]);
        caught_up(&mut follower).await;
        for event in [&known, &not_protobuf, &bytes::Bytes::new()] {
            let offset = bus.publish(&topic, event).await.expect("published");
            assert_eq!(record(&mut follower).await, Record { offset, is_final: false, event: event.clone() });
        }
        let offset = bus.close(&topic, &known).await.expect("closed");
        assert_eq!(record(&mut follower).await, Record { offset, is_final: true, event: known });
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

    async fn live_on_a_topic_that_is_not_born_gets_everything(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let mut follower = bus.follow(topic, From::Live);
        assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: None });
        publish(&bus, &topic, 1..=3).await;
        assert_eq!(numbers(&mut follower, 3).await, [1, 2, 3]);
    }

    async fn caught_up_is_said_once(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        publish(&bus, &topic, 1..=300).await; // more than one page
        let mut follower = bus.follow(topic, From::Start);
        assert_eq!(numbers(&mut follower, 300).await.len(), 300);
        assert!(matches!(next(&mut follower).await, Delivery::CaughtUp { head: Some(Offset { n: 300, .. }) }));
        publish(&bus, &topic, 301..=320).await;
        assert_eq!(numbers(&mut follower, 20).await.len(), 20);
        assert_eq!(follower.next().now_or_never(), None);
    }

    async fn nothing_follows_the_final_event(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        publish(&bus, &topic, 1..=2).await;
        let mut follower = bus.follow(topic, From::Live);
        caught_up(&mut follower).await;
        let final_offset = bus.close(&topic, &event(3)).await.expect("closed");
        for refused in [bus.publish(&topic, &event(4)).await, bus.close(&topic, &event(5)).await] {
            assert!(matches!(refused, Err(PublishError::Closed { final_offset: at }) if at == final_offset), "{refused:?}");
        }
        assert_eq!(record(&mut follower).await, Record { offset: final_offset, is_final: true, event: event(3) });
        assert_eq!(next(&mut follower).await, Delivery::Closed);
        assert_eq!(follower.next().now_or_never(), None, "and then nothing");
        let page = bus.read(&topic, None, 100).await.expect("a page");
        assert_eq!(page.records.iter().map(number).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(page.state.is_some_and(|state| state.closed && state.head() == final_offset));
    }

    async fn a_closed_topic_is_told_to_whoever_comes_late(backend: Backend) {
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

    async fn the_first_final_event_wins(backend: Backend) {
        for _ in 0..20 {
            let (bus, topic) = (backend.bus(Limits::default()), topic());
            let peer = backend.peer(&bus);
            let mut follower = peer.follow(topic, From::Start);
            let mut tasks = Vec::new();
            for task in 0..16 {
                let bus = if task % 2 == 0 { bus.clone() } else { peer.clone() };
                tasks.push(tokio::spawn(async move {
                    let mut published = Vec::new();
                    for i in 0..4 {
                        match bus.publish(&topic, &event(task * 10 + i)).await {
                            Ok(offset) => published.push(offset),
                            Err(PublishError::Closed { final_offset }) => return (published, None, final_offset),
                            Err(other) => panic!("{other}"),
                        }
                    }
                    match bus.close(&topic, &event(task * 10 + 9)).await {
                        Ok(offset) => (published, Some(offset), offset),
                        Err(PublishError::Closed { final_offset }) => (published, None, final_offset),
                        Err(other) => panic!("{other}"),
                    }
                }));
            }
            let results: Vec<_> = join_all(tasks).await.into_iter().map(|r| r.expect("no panic")).collect();
            let wins: Vec<_> = results.iter().filter_map(|(_, won, _)| *won).collect();
            assert_eq!(wins.len(), 1, "exactly one of sixteen closes");
            assert!(results.iter().all(|(_, _, end)| *end == wins[0]), "and everybody is told which");

            let accepted: HashSet<_> = results.iter().flat_map(|(published, ..)| published.iter().map(|o| o.n)).collect();
            assert_eq!(accepted, (1..wins[0].n).collect(), "the accepted ones fill the numbers before the end");
            let all = up_to(&mut follower, |delivery| *delivery == Delivery::Closed).await;
            let seen: Vec<_> = all.iter().filter_map(|d| if let Delivery::Record(r) = d { Some((r.offset.n, r.is_final)) } else { None }).collect();
            assert_eq!(seen, (1..=wins[0].n).map(|n| (n, n == wins[0].n)).collect::<Vec<_>>());
        }
    }

    async fn what_was_trimmed_is_told(backend: Backend) {
        let (bus, topic) = (backend.bus(limits(5)), topic());
        publish(&bus, &topic, 1..=12).await;
        let page = bus.read(&topic, None, 100).await.expect("a page");
        assert_eq!(page.gap, Some(ResetReason::Trimmed));
        assert_eq!(page.state.map(|state| (state.first, state.n)), Some((8, 12)));
        let head = page.state.expect("a topic").head();

        for from in [From::Start, From::After(Offset { n: 6, ..head })] {
            let mut follower = bus.follow(topic, from);
            let reset = Delivery::Reset { reason: ResetReason::Trimmed, head: Some(head) };
            assert_eq!(next(&mut follower).await, reset);
            assert_eq!(numbers(&mut follower, 5).await, [8, 9, 10, 11, 12]);
            assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: Some(head) });
        }
        let mut just_in_time = bus.follow(topic, From::After(Offset { n: 7, ..head }));
        assert_eq!(numbers(&mut just_in_time, 5).await, [8, 9, 10, 11, 12]);
    }

    async fn a_topic_of_one_event_keeps_its_final_one(backend: Backend) {
        let (bus, topic) = (backend.bus(limits(0)), topic()); // 0 is taken as 1
        publish(&bus, &topic, 1..=3).await;
        let head = bus.close(&topic, &event(4)).await.expect("closed");
        let mut follower = bus.follow(topic, From::Start);
        let all = up_to(&mut follower, |delivery| *delivery == Delivery::Closed).await;
        let last = Record { offset: head, is_final: true, event: event(4) };
        assert_eq!(all, [
            Delivery::Reset { reason: ResetReason::Trimmed, head: Some(head) },
            Delivery::Record(last),
            Delivery::CaughtUp { head: Some(head) },
            Delivery::Closed,
        ]);
    }

    async fn an_offset_of_another_life_is_a_reset(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        publish(&bus, &topic, 1..=3).await;
        let head = bus.read(&topic, None, 1).await.expect("a page").state.expect("a topic").head();
        let strange = [
            Offset { epoch: head.epoch - 1, n: 2 },
            Offset { epoch: head.epoch + 1, n: 2 },
            Offset { n: 4, ..head },
            Offset { epoch: u64::MAX, n: u64::MAX },
            Offset { n: u64::MAX, ..head },
            Offset { epoch: 0, n: 0 },
        ];
        for offset in strange {
            let mut follower = bus.follow(topic, From::After(offset));
            assert_eq!(next(&mut follower).await, Delivery::Reset { reason: ResetReason::Epoch, head: Some(head) });
            assert_eq!(numbers(&mut follower, 3).await, [1, 2, 3]);
            assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: Some(head) });
        }
    }

    async fn an_offset_of_a_topic_that_is_gone_is_a_reset_and_the_next_life_is_waited_for(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let mut follower = bus.follow(topic, From::After(Offset { epoch: 1, n: 7 }));
        assert_eq!(next(&mut follower).await, Delivery::Reset { reason: ResetReason::Epoch, head: None });
        assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: None });
        publish(&bus, &topic, 1..=3).await;
        assert_eq!(numbers(&mut follower, 3).await, [1, 2, 3]);
    }

    async fn a_forgotten_topic_begins_anew(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let mut follower = backend.peer(&bus).follow(topic, From::Start);
        caught_up(&mut follower).await;
        let mut epochs = HashSet::new();
        for round in 0..50 {
            publish(&bus, &topic, [round, round]).await;
            let first = record(&mut follower).await;
            assert_eq!((first.offset.n, number(&first)), (1, round));
            assert!(epochs.insert(first.offset.epoch), "a new life has a new epoch");
            assert_eq!(record(&mut follower).await.offset, Offset { n: 2, ..first.offset });
            bus.forget(&topic).await.expect("forgotten");
            assert_eq!(next(&mut follower).await, Delivery::Reset { reason: ResetReason::Epoch, head: None });
            assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: None });
            assert_eq!(bus.read(&topic, None, 10).await.expect("a page").state, None);
        }
    }

    async fn a_forgotten_topic_that_was_closed_is_open_again(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        bus.close(&topic, &event(1)).await.expect("closed");
        bus.forget(&topic).await.expect("forgotten");
        assert_eq!(bus.publish(&topic, &event(2)).await.expect("published").n, 1);
        bus.forget(&topic).await.expect("forgotten");
        bus.forget(&topic).await.expect("there is nothing to forget, and that is fine");
    }

    async fn a_topic_ends_with_its_retention(backend: Backend) {
        let bus = backend.bus(Limits { retention: Duration::from_secs(1), ..Limits::default() });
        let topic = topic();
        let mut follower = bus.follow(topic, From::Start);
        publish(&bus, &topic, 1..=2).await;
        assert_eq!(up_to(&mut follower, |d| matches!(d, Delivery::Record(r) if number(r) == 2)).await.last().map(is_caught_up), Some(false));
        until("the topic has expired", async || bus.read(&topic, None, 10).await.expect("a page").state.is_none()).await;
        let told = up_to(&mut follower, |d| matches!(d, Delivery::Reset { .. })).await;
        assert_eq!(told.last(), Some(&Delivery::Reset { reason: ResetReason::Epoch, head: None }));
        publish(&bus, &topic, 3..=4).await;
        caught_up(&mut follower).await;
        assert_eq!(numbers(&mut follower, 2).await, [3, 4]);
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
        assert!(orders.iter().all(|order| *order == late), "everybody sees the same");
        assert_eq!(late.iter().collect::<HashSet<_>>().len(), ALL, "each event once");
        for p in 0..PUBLISHERS {
            let own: Vec<_> = late.iter().copied().filter(|n| n / EACH == p).collect();
            assert!(own.is_sorted(), "what one publisher says stays in its order");
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

    async fn who_does_not_look_loses_nothing(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let mut slow = bus.follow(topic, From::Start);
        caught_up(&mut slow).await;
        publish(&bus, &topic, 0..1_000).await; // far more than a feed keeps
        assert_eq!(numbers(&mut slow, 1_000).await, (0..1_000).collect::<Vec<_>>());
        publish(&bus, &topic, [1_000]).await;
        assert_eq!(numbers(&mut slow, 1).await, [1_000]);
    }

    async fn who_looks_too_late_is_told(backend: Backend) {
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

    async fn a_page_has_its_limits(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let page = bus.read(&topic, None, 0).await.expect("a page");
        assert_eq!((page.state, page.records.len(), page.gap), (None, 0, None));
        publish(&bus, &topic, 1..=9).await;
        let state = bus.read(&topic, None, 0).await.expect("a page").state.expect("a topic");
        let page = bus.read(&topic, Some(Offset { n: 2, ..state.head() }), 4).await.expect("a page");
        assert_eq!(page.records.iter().map(number).collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert_eq!((page.state, page.gap), (Some(state), None));
    }

    async fn large_events_are_carried_and_too_large_ones_refused(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let of = |bytes: usize| vec![0xff; bytes];
        for _ in 0..3 {
            bus.publish(&topic, &of(1 << 20)).await.expect("published");
        }
        let refused = bus.publish(&topic, &of((1 << 20) + 1)).await;
        assert!(matches!(refused, Err(PublishError::TooLarge { .. })), "{refused:?}");
        let page = bus.read(&topic, None, 10).await.expect("a page");
        assert_eq!(page.records.len(), 1, "a page ends before it is too much, and never empty");
        let mut follower = bus.follow(topic, From::Start);
        for n in 1..=3 {
            assert_eq!(record(&mut follower).await.offset.n, n);
        }
    }
}
