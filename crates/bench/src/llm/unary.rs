//! Answers in one piece: latency at a fixed rate, and the maximum rate. Threads and blocking sockets, because a thread that sleeps
//! wakes up within a tenth of a millisecond, and a timer of the async runtime within one or two.

use std::{
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::target::{Connection, Target};
use crate::resources::{Cores, Used};

/// Latencies in microseconds.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AtRate {
    pub(crate) rate: u64,
    pub(crate) answers: u64,
    pub(crate) failures: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    /// How late requests were sent although their connection was free: the fault of the load generator or of a busy machine.
    pub(crate) late_p99: u64,
    pub(crate) used: Used,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Maximum {
    pub(crate) per_second: f64,
    pub(crate) failures: u64,
    pub(crate) used: Used,
}

struct Counts {
    took: Histogram<u64>,
    late: Histogram<u64>,
    failures: u64,
}

/// Requests at a fixed rate, each at its own time whatever happens to the others (an open loop). A request that is due while its
/// connection still waits for the previous answer counts from the time at which it was due. Any other request counts from the time
/// at which it was sent, so that the latency does not include how late the generator woke up.
pub(crate) fn at_rate(target: &Target, rate: u64, seconds: u64, connections: u64) -> AtRate {
    let start = Instant::now() + Duration::from_millis(100);
    let cores = Cores::start(target.pid);
    let worker = |worker: u64| {
        let mut connection = Connection::open(target);
        let request = target.request("id=0", false);
        let mut counts = Counts { took: histogram(), late: histogram(), failures: 0 };
        for n in (worker..rate * seconds).step_by(connections as usize) {
            let due = start + Duration::from_micros(n * 1_000_000 / rate);
            let behind = Instant::now() > due;
            if !behind {
                thread::sleep(due - Instant::now());
            }
            let sent = if behind { due } else { Instant::now() };
            if !behind {
                record(&mut counts.late, sent - due);
            }
            match connection.call(&request) {
                Ok(200) => record(&mut counts.took, sent.elapsed()),
                Ok(_) => counts.failures += 1,
                Err(_) => {
                    counts.failures += 1;
                    connection = Connection::open(target);
                }
            }
        }
        counts
    };
    let counts = in_threads(connections, worker);
    AtRate {
        rate,
        answers: counts.took.len(),
        failures: counts.failures,
        p50: counts.took.value_at_quantile(0.5),
        p99: counts.took.value_at_quantile(0.99),
        late_p99: counts.late.value_at_quantile(0.99),
        used: cores.used(),
    }
}

/// Each connection sends its next request as soon as it has the answer to the last one.
pub(crate) fn maximum(target: &Target, seconds: u64, connections: u64) -> Maximum {
    let cores = Cores::start(target.pid);
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let worker = |_| {
        let mut connection = Connection::open(target);
        let request = target.request("id=0", false);
        let mut counts = Counts { took: histogram(), late: histogram(), failures: 0 };
        while Instant::now() < end {
            match connection.call(&request) {
                Ok(200) => record(&mut counts.took, Duration::ZERO),
                Ok(_) => counts.failures += 1,
                Err(_) => {
                    counts.failures += 1;
                    connection = Connection::open(target);
                }
            }
        }
        counts
    };
    let counts = in_threads(connections, worker);
    Maximum {
        per_second: counts.took.len() as f64 / start.elapsed().as_secs_f64(),
        failures: counts.failures,
        used: cores.used(),
    }
}

fn in_threads(count: u64, worker: impl Fn(u64) -> Counts + Sync) -> Counts {
    let worker = &worker;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|n| scope.spawn(move || worker(n))).collect();
        let parts = threads.into_iter().map(|thread| thread.join().expect("the thread did not panic"));
        parts.reduce(|mut all, part| {
            all.took.add(part.took).expect("the histograms have the same bounds");
            all.late.add(part.late).expect("the histograms have the same bounds");
            all.failures += part.failures;
            all
        })
    })
    .expect("at least one connection")
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("3 digits are valid")
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.record(took.as_micros() as u64).expect("the value is in range");
}
