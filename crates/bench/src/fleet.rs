//! A large fleet: every watcher gets every event of its command once and in order, and every command ends as it was watched.

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

/// Prints the rate of responses while so many commands run at once, and panics if an event is lost, doubled or reordered.
pub(crate) async fn measure(vehicles: usize, commands: usize, watchers: usize, rounds: usize) {
    let one = SingleProcess::start(&[
        ("TURNPIKE_LOG", "warn"),
        ("TURNPIKE_MOCK_VEHICLES", &vehicles.to_string()),
        ("TURNPIKE_MOCK_DELAY_MS", "400"),
    ])
    .await;
    let admin = one.admin().await;
    let started = Instant::now();
    let fleet = eventually("the whole fleet", 60, || async {
        let fleet = fleet(&one, &admin).await;
        (fleet.len() == vehicles).then_some(fleet)
    })
    .await;
    println!("fleet: {vehicles} vehicles connected within {:.1} s of the sign-in", started.elapsed().as_secs_f64());
    let responses = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for n in 0..commands {
        let (base, admin, responses) = (one.url().to_owned(), admin.clone(), responses.clone());
        let vehicle = fleet[n * fleet.len() / commands].clone();
        workers.spawn(async move {
            let mut lags = Histogram::<u64>::new(3).expect("three digits");
            let mut connection = Connection::open(&base, &admin).await;
            // Not all in the same millisecond.
            tokio::time::sleep(Duration::from_micros(n as u64 * 500)).await;
            for _ in 0..rounds {
                let id = submit(&mut connection, &vehicle).await;
                let seen = match n < watchers {
                    true => watch(&admin, &id, &mut lags).await,
                    false => 0,
                };
                let recorded = ended(&mut connection, &id).await;
                assert!(n >= watchers || seen == recorded, "{id}: {seen} responses watched, {recorded} recorded");
                responses.fetch_add(recorded as u64, Ordering::Relaxed);
            }
            lags
        });
    }
    let mut lags = Histogram::<u64>::new(3).expect("three digits");
    for part in workers.join_all().await {
        lags.add(part).expect("the same shape");
    }
    let (took, responses) = (started.elapsed().as_secs_f64(), responses.load(Ordering::Relaxed));
    println!(
        "fleet: {} commands, {commands} at once, {watchers} watched: none lost, doubled or reordered; {responses} responses, \
         {:.0} a second; response to socket p50 {:.1} ms, p99 {:.1} ms (target: p99 <= 20 ms); {:.0} MB",
        commands * rounds,
        responses as f64 / took,
        lags.value_at_quantile(0.5) as f64 / 1000.0,
        lags.value_at_quantile(0.99) as f64 / 1000.0,
        one.process.memory() as f64 / 1e6
    );
}

/// The ids of all vehicles that are connected.
async fn fleet(one: &SingleProcess, admin: &Person) -> Vec<String> {
    let mut connection = Connection::open(one.url(), admin).await;
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

/// Follows a command to its end; gives the number of its responses. Records the microseconds from each event to its frame.
async fn watch(admin: &Person, id: &str, lags: &mut Histogram<u64>) -> usize {
    let mut watch = admin.watch(id).await;
    let (mut place, mut responses, mut last) = (0, 0, String::new());
    let opened = jiff::Timestamp::now();
    while let Ok(frame) = watch.next().await {
        let Some(offset) = frame["offset"].as_str() else { continue };
        place += 1;
        assert!(offset.ends_with(&format!("-{place}")), "{id}: {offset} where {place} comes next");
        let at: jiff::Timestamp = frame["at"].as_str().expect("a time").parse().expect("a time");
        if at > opened {
            let lag = jiff::Timestamp::now().duration_since(at).as_micros();
            lags.record(u64::try_from(lag).unwrap_or_default()).expect("in range");
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

/// Waits for a command's end; gives the number of its recorded responses.
async fn ended(connection: &mut Connection, id: &str) -> usize {
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
