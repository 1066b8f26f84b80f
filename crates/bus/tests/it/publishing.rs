//! Appending, closing and reading. Each test runs on both backends.

use std::collections::HashSet;

use futures_util::{FutureExt, future::join_all};
use turnpike_bus::{Delivery, From, Limits, PublishError, Record};
use turnpike_topic::Offset;

use crate::{
    backend::{Backend, on_both},
    harness::{caught_up, event, next, number, publish, record, topic, up_to},
};

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
            assert!(results.iter().all(|(_, _, end)| *end == wins[0]), "and every caller learns which");

            let accepted: HashSet<_> = results.iter().flat_map(|(published, ..)| published.iter().map(|o| o.n)).collect();
            assert_eq!(accepted, (1..wins[0].n).collect(), "the accepted ones fill the numbers before the end");
            let all = up_to(&mut follower, |delivery| *delivery == Delivery::Closed).await;
            let seen: Vec<_> = all.iter().filter_map(|d| if let Delivery::Record(r) = d { Some((r.offset.n, r.is_final)) } else { None }).collect();
            assert_eq!(seen, (1..=wins[0].n).map(|n| (n, n == wins[0].n)).collect::<Vec<_>>());
        }
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
        assert_eq!(page.records.len(), 1, "a page ends before its limit of bytes, but has at least one record");
        let mut follower = bus.follow(topic, From::Start);
        for n in 1..=3 {
            assert_eq!(record(&mut follower).await.offset.n, n);
        }
    }
}
