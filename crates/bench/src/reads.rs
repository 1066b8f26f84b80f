//! HTTP reads that need one call of a service, in one process: the maximum rate and the latency, with the server on one core.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use turnpike_testkit::SingleProcess;

use crate::{child::run_on, http::Connection};

/// Prints requests a second and latencies of each route. Each connection sends a request when it has the answer to the last one.
pub(crate) async fn measure(connections: usize, seconds: u64) {
    run_on("0");
    let turnpike = SingleProcess::start(&[("TURNPIKE_LOG", "warn")]).await;
    run_on("1");
    let admin = turnpike.admin().await;
    for path in ["/api/auth/me", "/api/vehicles"] {
        let (cpu, started) = (turnpike.process.cpu(), Instant::now());
        let end = started + Duration::from_secs(seconds);
        let mut callers = JoinSet::new();
        for _ in 0..connections {
            let mut connection = Connection::open(turnpike.url(), &admin).await;
            callers.spawn(async move {
                let mut took = Histogram::<u64>::new(3).expect("three digits");
                while Instant::now() < end {
                    let begun = Instant::now();
                    assert_eq!(connection.get(path).await.0, 200);
                    took.record(begun.elapsed().as_micros() as u64).expect("in range");
                }
                took
            });
        }
        let mut took = Histogram::<u64>::new(3).expect("three digits");
        while let Some(caller) = callers.join_next().await {
            took.add(caller.expect("no panic")).expect("in range");
        }
        let elapsed = started.elapsed().as_secs_f64();
        println!(
            "reads: {path}, {connections} connections: {:.0} a second, p50 {:.2} ms, p99 {:.2} ms; server {:.2} cores",
            took.len() as f64 / elapsed,
            took.value_at_quantile(0.5) as f64 / 1000.0,
            took.value_at_quantile(0.99) as f64 / 1000.0,
            (turnpike.process.cpu() - cpu).as_secs_f64() / elapsed
        );
    }
}
