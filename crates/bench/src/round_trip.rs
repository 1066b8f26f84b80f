//! From the submission of a command to its first response at the socket.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::task::JoinSet;
use turnpike_testkit::{One, Person, Stack};

/// Prints the quantiles over so many commands, so many at once.
pub(crate) async fn measure(commands: usize, at_once: usize, separate: bool) {
    let variables = [("TURNPIKE_MOCK_DELAY_MS", "0"), ("TURNPIKE_MOCK_VEHICLES", "10"), ("TURNPIKE_LOG", "warn")];
    let took = if separate {
        let stack = Stack::start(1, &variables).await;
        all(&stack.admin(0).await, commands, at_once).await
    } else {
        let one = One::start(&variables).await;
        all(&one.admin().await, commands, at_once).await
    };
    let millis = |quantile: f64| took.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "round trip, {}, {commands} commands, {at_once} at once: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        if separate { "separate processes and Redis" } else { "one process" },
        millis(0.5),
        millis(0.99),
        took.max() as f64 / 1000.0
    );
}

/// Microseconds of each.
async fn all(admin: &Person, commands: usize, at_once: usize) -> Histogram<u64> {
    let vehicles = admin.vehicles().await;
    let mut workers = JoinSet::new();
    for worker in 0..at_once {
        let (admin, vehicle) = (admin.clone(), vehicles[worker % vehicles.len()].clone());
        workers.spawn(async move {
            let mut took = Histogram::<u64>::new(3).expect("three digits");
            for n in 0..commands / at_once + 20 {
                let started = Instant::now();
                let id = admin.send_command(&vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
                let mut watch = admin.watch(&id).await;
                watch.frame_of(&["response"]).await;
                let elapsed = started.elapsed();
                watch.to_the_end().await;
                if n >= 20 {
                    took.record(elapsed.as_micros() as u64).expect("in range");
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            took
        });
    }
    let mut took = Histogram::<u64>::new(3).expect("three digits");
    for part in workers.join_all().await {
        took.add(part).expect("the same shape");
    }
    took
}
