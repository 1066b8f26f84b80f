//! A large fleet: each client receives every event of its command once and in order, and the API has the same responses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use turnpike_testkit::{Person, SingleProcess, eventually};

use crate::http::Connection;

/// Prints the rate of responses while `commands` commands run at once. Panics if an event is lost, duplicated or reordered.
pub(crate) async fn measure(vehicles: usize, commands: usize, watchers: usize, rounds: usize) {
    let turnpike = SingleProcess::start(&[
        ("TURNPIKE_LOG", "warn"),
        ("TURNPIKE_MOCK_VEHICLES", &vehicles.to_string()),
        ("TURNPIKE_MOCK_DELAY_MS", "400"),
    ])
    .await;
    let admin = turnpike.admin().await;
    let started = Instant::now();
    let fleet = eventually("the whole fleet", 60, || async {
        let fleet = fleet(&turnpike, &admin).await;
        (fleet.len() == vehicles).then_some(fleet)
    })
    .await;
    println!("fleet: {vehicles} vehicles connected within {:.1} s of the sign-in", started.elapsed().as_secs_f64());
    let responses = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for n in 0..commands {
        let (base, admin, responses) = (turnpike.url().to_owned(), admin.clone(), responses.clone());
        let vehicle = fleet[n * fleet.len() / commands].clone();
        workers.spawn(async move {
            let mut lags = Histogram::<u64>::new(3).expect("3 digits are valid");
            let mut connection = Connection::open(&base, &admin).await;
            // Spreads the first submissions over time.
            tokio::time::sleep(Duration::from_micros(n as u64 * 500)).await;
            for _ in 0..rounds {
                let id = submit(&mut connection, &vehicle).await;
                let received = match n < watchers {
                    true => watch(&admin, &id, &mut lags).await,
                    false => 0,
                };
                let archived = wait_until_completed(&mut connection, &id).await;
                assert!(
                    n >= watchers || received == archived,
                    "{id}: {received} responses received, {archived} archived"
                );
                responses.fetch_add(archived as u64, Ordering::Relaxed);
            }
            lags
        });
    }
    let mut lags = Histogram::<u64>::new(3).expect("3 digits are valid");
    for part in workers.join_all().await {
        lags.add(part).expect("the histograms have the same bounds");
    }
    let (took, responses) = (started.elapsed().as_secs_f64(), responses.load(Ordering::Relaxed));
    println!(
        "fleet: {} commands, {commands} at once, {watchers} watched: none lost, duplicated or reordered; {responses} responses, \
         {:.0} a second; response to socket p50 {:.1} ms, p99 {:.1} ms (target: p99 <= 20 ms); {:.0} MB",
        commands * rounds,
        responses as f64 / took,
        lags.value_at_quantile(0.5) as f64 / 1000.0,
        lags.value_at_quantile(0.99) as f64 / 1000.0,
        turnpike.process.memory() as f64 / 1e6
    );
}

/// The ids of all vehicles that are connected.
async fn fleet(turnpike: &SingleProcess, admin: &Person) -> Vec<String> {
    let mut connection = Connection::open(turnpike.url(), admin).await;
    let mut fleet: Vec<String> = Vec::new();
    loop {
        let after = fleet.last().map(|id| format!("&cursor={id}")).unwrap_or_default();
        let (status, body) = connection.get(&format!("/api/vehicles?status=connected&limit=100{after}")).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(body));
        let page: Vec<Value> = serde_json::from_slice(body).expect("a list");
        fleet.extend(page.iter().map(|vehicle| vehicle["id"].as_str().expect("an id").to_owned()));
        if page.len() < 100 {
            return fleet;
        }
    }
}

async fn submit(connection: &mut Connection, vehicle: &str) -> String {
    let params = json!({ "ecuAddress": "0x10" });
    let body = json!({ "vehicle_id": vehicle, "command_name": "ReadDTC", "command_params": params }).to_string();
    let (status, body) = connection.post("/api/commands", &body).await;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(body));
    let answer: Value = serde_json::from_slice(body).expect("JSON");
    answer["command_id"].as_str().expect("an id").to_owned()
}

/// Receives the frames of a command to its end and returns the number of responses. Records the time from each event to its frame in
/// microseconds.
async fn watch(admin: &Person, id: &str, lags: &mut Histogram<u64>) -> usize {
    let mut socket = admin.watch(id).await;
    let (mut position, mut responses, mut last) = (0, 0, String::new());
    let opened = jiff::Timestamp::now();
    while let Ok(frame) = socket.next().await {
        let Some(offset) = frame["offset"].as_str() else { continue };
        position += 1;
        assert!(offset.ends_with(&format!("-{position}")), "{id}: {offset} instead of {position}");
        let at: jiff::Timestamp = frame["at"].as_str().expect("a time").parse().expect("a time");
        if at > opened {
            let lag = jiff::Timestamp::now().duration_since(at).as_micros();
            lags.record(u64::try_from(lag).unwrap_or_default()).expect("the value is in range");
        }
        if frame["event"] == "response" {
            responses += 1;
            assert_eq!(frame["sequence_number"], responses, "{id}");
        }
        last = frame["status"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(last, "completed", "{id}");
    responses
}

/// Waits until a command is completed and returns the number of archived responses.
async fn wait_until_completed(connection: &mut Connection, id: &str) -> usize {
    let path = format!("/api/commands/{id}");
    loop {
        let (status, body) = connection.get(&path).await;
        assert_eq!(status, 200);
        let command: Value = serde_json::from_slice(body).expect("JSON");
        match command["status"].as_str() {
            Some("completed") => break,
            Some("pending" | "in_progress") => tokio::time::sleep(Duration::from_millis(200)).await,
            other => panic!("{id} ended {other:?}"),
        }
    }
    let (_, body) = connection.get(&format!("{path}/responses?limit=100")).await;
    let responses: Vec<Value> = serde_json::from_slice(body).expect("a list");
    let numbers: Vec<_> = responses.iter().map(|response| response["sequence_number"].as_u64()).collect();
    assert!(numbers.iter().zip(1..).all(|(number, n)| *number == Some(n)), "{id}: {numbers:?}");
    responses.len()
}
