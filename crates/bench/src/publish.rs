//! Publishes a second on the Redis bus.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::task::JoinSet;
use turnpike_bus::{Bus, Limits};
use turnpike_event::{Body, CommandEvent, Event, Json};
use turnpike_testkit::RedisServer;
use turnpike_topic::{CommandId, Topic};

/// Prints the rate over `seconds` seconds with `in_flight` concurrent publishes, each to its own topic.
pub(crate) async fn measure(in_flight: usize, seconds: u64) {
    let redis = RedisServer::start(false).await;
    let bus = Bus::redis(&redis.url(), Limits::default()).expect("a URL");
    let count = Arc::new(AtomicU64::new(0));
    let (started, end) = (Instant::now(), Duration::from_secs(seconds));
    let mut workers = JoinSet::new();
    for _ in 0..in_flight {
        let (bus, count) = (bus.clone(), count.clone());
        workers.spawn(async move {
            let command_id = CommandId::new(Timestamp::now());
            let response =
                Json::parse(r#"{"code":"P0420","status":"0x2F","severity":2}"#.to_owned()).expect("an object");
            let mut sequence_number = 0;
            while started.elapsed() < end {
                sequence_number += 1;
                let response = response.clone();
                let body =
                    Body::Command(CommandEvent::Response { command_id, sequence_number, is_final: false, response });
                let event = Event { at: Timestamp::now(), body };
                bus.publish(&Topic::Response(command_id), &event.to_bytes()).await.expect("published");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    workers.join_all().await;
    let rate = count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    println!("bus: {rate:.0} publishes a second, {in_flight} in flight, {in_flight} topics, history kept");
    bus.shutdown().await;
}
