//! The same seed and the same script give the same events, byte for byte.

use std::time::Duration;

use serde_json::Value;
use turnpike_bus::Delivery;
use turnpike_event::{Body, CommandEvent, Record};
use turnpike_proto::vehicle::v1 as pb;

use crate::bench::Bench;

const SCRIPT: [(&str, &str); 7] = [
    ("ReadDTC", r#"{"ecuAddress":"0x10"}"#),
    ("ReadDataByID", r#"{"ecuAddress":"0x10","dataId":"0xF40C"}"#),
    ("ClearDTC", r#"{"ecuAddress":"0x10"}"#),
    ("RoutineControl", r#"{"ecuAddress":"0x11","routineId":"0x0203","action":"start"}"#),
    ("ECUReset", r#"{"ecuAddress":"0x12"}"#),
    ("ReadDTC", r#"{"ecuAddress":"0x10"}"#),
    ("ReadDataByID", r#"{"ecuAddress":"0x11","dataId":"0xF45B"}"#),
];

#[tokio::test]
async fn the_same_seed_and_script_give_the_same_bytes() {
    let first = play(7).await;
    assert_eq!(first, play(7).await);
    let other = play(8).await;
    assert_ne!(first, other, "another seed is another fleet");
}

/// Runs the script with delays and faults; the clock advances only when no task can run.
async fn play(seed: u64) -> Vec<turnpike_bus::Record> {
    let bench = Bench::of(seed, 400).await;
    let faults = pb::Faults {
        duplicate_probability: 0.3,
        reorder_probability: 0.3,
        nrc: 0x21,
        nrc_probability: 0.2,
        malformed_probability: 0.05,
        ..pb::Faults::default()
    };
    bench.set(faults).await;
    let mut transcript = Vec::new();
    for (n, (name, params)) in (1..).zip(SCRIPT) {
        let id = bench.execute(n, name, params).await.expect("accepted");
        let mut follower = bench.follow(id);
        loop {
            let delivery = tokio::select! {
                biased;
                delivery = follower.next() => delivery,
                () = quiet() => {
                    bench.hand.advance(Duration::from_millis(10));
                    continue;
                }
            };
            match delivery {
                Delivery::Record(record) => transcript.push(record),
                Delivery::Closed => break,
                Delivery::CaughtUp { .. } => {}
                Delivery::Reset { .. } => panic!("nothing was lost"),
            }
        }
    }
    transcript
}

/// Lets other tasks run: this runtime has one thread.
async fn quiet() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

/// The JSON of a response.
pub fn answer(record: &Record) -> Value {
    match &record.event.body {
        Body::Command(CommandEvent::Response { response, .. }) => {
            serde_json::from_str(response.as_str()).expect("an object")
        }
        other => panic!("no response: {other:?}"),
    }
}
