//! Events that are no longer there: trimmed, expired, forgotten, or of another epoch. Each test runs on both backends.

use std::{collections::HashSet, time::Duration};

use turnpike_bus::{Delivery, From, Limits, Record, ResetReason};
use turnpike_topic::Offset;

use crate::{
    backend::{Backend, on_both},
    harness::{caught_up, event, is_caught_up, limits, next, number, numbers, publish, record, topic, until, up_to},
};

on_both! {
    async fn trimmed_events_are_reported_as_a_reset(backend: Backend) {
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

    async fn an_offset_of_another_epoch_is_a_reset(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        publish(&bus, &topic, 1..=3).await;
        let head = bus.read(&topic, None, 1).await.expect("a page").state.expect("a topic").head();
        let unknown = [
            Offset { epoch: head.epoch - 1, n: 2 },
            Offset { epoch: head.epoch + 1, n: 2 },
            Offset { n: 4, ..head },
            Offset { epoch: u64::MAX, n: u64::MAX },
            Offset { n: u64::MAX, ..head },
            Offset { epoch: 0, n: 0 },
        ];
        for offset in unknown {
            let mut follower = bus.follow(topic, From::After(offset));
            assert_eq!(next(&mut follower).await, Delivery::Reset { reason: ResetReason::Epoch, head: Some(head) });
            assert_eq!(numbers(&mut follower, 3).await, [1, 2, 3]);
            assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: Some(head) });
        }
    }

    async fn after_an_offset_of_a_lost_topic_the_follower_waits_for_the_next_epoch(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let mut follower = bus.follow(topic, From::After(Offset { epoch: 1, n: 7 }));
        assert_eq!(next(&mut follower).await, Delivery::Reset { reason: ResetReason::Epoch, head: None });
        assert_eq!(next(&mut follower).await, Delivery::CaughtUp { head: None });
        publish(&bus, &topic, 1..=3).await;
        assert_eq!(numbers(&mut follower, 3).await, [1, 2, 3]);
    }

    async fn a_forgotten_topic_begins_a_new_epoch(backend: Backend) {
        let (bus, topic) = (backend.bus(Limits::default()), topic());
        let mut follower = backend.peer(&bus).follow(topic, From::Start);
        caught_up(&mut follower).await;
        let mut epochs = HashSet::new();
        for round in 0..50 {
            publish(&bus, &topic, [round, round]).await;
            let first = record(&mut follower).await;
            assert_eq!((first.offset.n, number(&first)), (1, round));
            assert!(epochs.insert(first.offset.epoch), "each epoch has its own number");
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
        bus.forget(&topic).await.expect("a topic that does not exist can be forgotten");
    }

    async fn a_topic_ends_with_its_retention(backend: Backend) {
        let bus = backend.bus(Limits { retention: Duration::from_secs(1), ..Limits::default() });
        let topic = topic();
        let mut follower = bus.follow(topic, From::Start);
        publish(&bus, &topic, 1..=2).await;
        assert_eq!(up_to(&mut follower, |d| matches!(d, Delivery::Record(r) if number(r) == 2)).await.last().map(is_caught_up), Some(false));
        until("the topic has expired", async || bus.read(&topic, None, 10).await.expect("a page").state.is_none()).await;
        let deliveries = up_to(&mut follower, |d| matches!(d, Delivery::Reset { .. })).await;
        assert_eq!(deliveries.last(), Some(&Delivery::Reset { reason: ResetReason::Epoch, head: None }));
        publish(&bus, &topic, 3..=4).await;
        caught_up(&mut follower).await;
        assert_eq!(numbers(&mut follower, 2).await, [3, 4]);
    }
}
