//! Durably accepted commands: the rate, and the time until the 201 response.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use turnpike_testkit::{Person, SingleProcess};

use crate::http::Connection;

/// Connections of the measurement at a fixed rate; enough that no connection waits for its previous response.
const CONNECTIONS: u64 = 32;

/// Prints the latency at a fixed rate of submissions, and the rate of `callers` clients that submit one command after the other.
pub(crate) async fn measure(rate: u64, callers: usize, seconds: u64, keys: bool, database: Option<String>) {
    let mut variables =
        vec![("TURNPIKE_LOG", "warn"), ("TURNPIKE_MOCK_VEHICLES", "50"), ("TURNPIKE_MOCK_DELAY_MS", "0")];
    if let Some(url) = &database {
        variables.push(("TURNPIKE_VEHICLES_DATABASE_URL", url));
    }
    let turnpike = SingleProcess::start(&variables).await;
    let admin = turnpike.admin().await;
    let vehicles = admin.vehicles().await;
    at_rate(&turnpike, &admin, &vehicles, rate, 2, keys).await; // warms up
    let latency = at_rate(&turnpike, &admin, &vehicles, rate, seconds, keys).await;
    let millis = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "accept: {} commands, {rate} a second: 201 after p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms (target: p99 <= 15 ms at 500)",
        latency.len(),
        millis(0.5),
        millis(0.99),
        latency.max() as f64 / 1000.0
    );
    let started = Instant::now();
    let accepted = at_maximum_rate(&turnpike, &admin, &vehicles, callers, seconds, keys).await;
    println!(
        "accept: {callers} callers at once: {:.0} commands a second accepted (target: >= 2,000)",
        accepted as f64 / started.elapsed().as_secs_f64()
    );
}

fn body(vehicles: &[Value], n: u64) -> String {
    let vehicle = &vehicles[n as usize % vehicles.len()]["id"];
    json!({ "vehicle_id": vehicle, "command_name": "ReadDTC", "command_params": { "ecuAddress": "0x10" } }).to_string()
}

/// Measures from the time at which each submission was due, in microseconds, so that a late submission delays the measured latency of
/// the following ones.
async fn at_rate(
    turnpike: &SingleProcess,
    admin: &Person,
    vehicles: &[Value],
    rate: u64,
    seconds: u64,
    keys: bool,
) -> Histogram<u64> {
    let start = Instant::now() + Duration::from_millis(100);
    let mut workers = JoinSet::new();
    for worker in 0..CONNECTIONS {
        let mut connection = Connection::open(turnpike.url(), admin).await.with_keys(keys);
        let vehicles = vehicles.to_vec();
        workers.spawn(async move {
            let mut took = Histogram::<u64>::new(3).expect("3 digits are valid");
            for n in (worker..rate * seconds).step_by(CONNECTIONS as usize) {
                let due = start + Duration::from_micros(n * 1_000_000 / rate);
                tokio::time::sleep_until(due.into()).await;
                let (status, _) = connection.post("/api/commands", &body(&vehicles, n)).await;
                assert_eq!(status, 201);
                took.record(due.elapsed().as_micros() as u64).expect("the value is in range");
            }
            took
        });
    }
    let mut took = Histogram::<u64>::new(3).expect("3 digits are valid");
    for part in workers.join_all().await {
        took.add(part).expect("the histograms have the same bounds");
    }
    took
}

/// Returns the number of accepted commands.
async fn at_maximum_rate(
    turnpike: &SingleProcess,
    admin: &Person,
    vehicles: &[Value],
    callers: usize,
    seconds: u64,
    keys: bool,
) -> u64 {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut workers = JoinSet::new();
    for worker in 0..callers {
        let mut connection = Connection::open(turnpike.url(), admin).await.with_keys(keys);
        let vehicles = vehicles.to_vec();
        workers.spawn(async move {
            let (mut accepted, mut refused) = (0, 0);
            while Instant::now() < end {
                match connection.post("/api/commands", &body(&vehicles, worker as u64 + accepted)).await.0 {
                    201 => accepted += 1,
                    503 => refused += 1,
                    status => panic!("{status}"),
                }
            }
            (accepted, refused)
        });
    }
    let (accepted, refused) = workers.join_all().await.into_iter().fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    if refused > 0 {
        println!("accept: {refused} refused with 503");
    }
    accepted
}
