//! Topics, events and followers of tests.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;
use turnpike_bus::{Bus, Delivery, Follower, Limits, Record, Status};
use turnpike_topic::{CommandId, Topic};
use uuid::Uuid;

/// Longer than any wait of a test takes if the bus works.
const TEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Waits, but not forever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(TEST_TIMEOUT, future).await.unwrap_or_else(|_| panic!("{what}: not within {TEST_TIMEOUT:?}"))
}

/// Repeats a check until it succeeds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    soon(what, async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A topic that no other test uses.
pub(crate) fn topic() -> Topic {
    Topic::Response(CommandId::from(Uuid::now_v7()))
}

/// An event that its number distinguishes from others. To the bus an event is bytes.
pub(crate) fn event(number: u32) -> Bytes {
    format!("event {number}").into()
}

/// The number of an event made by [`event`].
pub(crate) fn number(record: &Record) -> u32 {
    let text = std::str::from_utf8(&record.event).ok().and_then(|text| text.strip_prefix("event "));
    text.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("not an event of this test: {record:?}"))
}

pub(crate) fn limits(max_events: u64) -> Limits {
    Limits { max_events, ..Limits::default() }
}

pub(crate) async fn next(follower: &mut Follower) -> Delivery {
    soon("a delivery", follower.next()).await
}

/// The next delivery, which must be a record.
pub(crate) async fn record(follower: &mut Follower) -> Record {
    match next(follower).await {
        Delivery::Record(record) => record,
        other => panic!("not a record: {other:?}"),
    }
}

/// The numbers of the next `count` deliveries, which must be records at consecutive offsets.
pub(crate) async fn numbers(follower: &mut Follower, count: usize) -> Vec<u32> {
    let mut records: Vec<Record> = Vec::new();
    while records.len() < count {
        let record = record(follower).await;
        if let Some(last) = records.last() {
            assert_eq!((record.offset.epoch, record.offset.n), (last.offset.epoch, last.offset.n + 1));
        }
        records.push(record);
    }
    records.iter().map(number).collect()
}

/// All deliveries up to the first one that fits, which is included.
pub(crate) async fn up_to(follower: &mut Follower, is_last: impl Fn(&Delivery) -> bool) -> Vec<Delivery> {
    let mut all = Vec::new();
    loop {
        let delivery = next(follower).await;
        let last = is_last(&delivery);
        all.push(delivery);
        if last {
            return all;
        }
    }
}

pub(crate) fn is_caught_up(delivery: &Delivery) -> bool {
    matches!(delivery, Delivery::CaughtUp { .. })
}

pub(crate) async fn caught_up(follower: &mut Follower) {
    up_to(follower, is_caught_up).await;
}

/// Publishes events with these numbers.
pub(crate) async fn publish(bus: &Bus, topic: &Topic, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        bus.publish(topic, &event(number)).await.expect("published");
    }
}

/// Waits until the bus works.
pub(crate) async fn is_up(bus: &Bus) {
    soon("the bus is up", bus.status().wait_for(|status| *status == Status::Up)).await.expect("a status");
}

/// Waits until the bus reports that it does not work.
pub(crate) async fn is_down(bus: &Bus) {
    soon("the bus is down", bus.status().wait_for(|status| *status != Status::Up)).await.expect("a status");
}
