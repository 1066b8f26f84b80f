//! Time from the submission of a command to its first response on the WebSocket.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use turnpike_testkit::{Person, SingleProcess, Socket, Stack};

use crate::http::Connection;

/// Prints the quantiles over `commands` commands, `at_once` of them concurrently.
pub(crate) async fn measure(commands: usize, at_once: usize, separate: bool, kept: bool) {
    let variables = [("TURNPIKE_MOCK_DELAY_MS", "0"), ("TURNPIKE_MOCK_VEHICLES", "10"), ("TURNPIKE_LOG", "warn")];
    let latency = if separate {
        let stack = Stack::start(1, &variables).await;
        run(&stack.admin(0).await, stack.url(0), commands, at_once, kept).await
    } else {
        let turnpike = SingleProcess::start(&variables).await;
        run(&turnpike.admin().await, turnpike.url(), commands, at_once, kept).await
    };
    let millis = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "round trip, {}, {}, {commands} commands, {at_once} at once: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        if separate { "separate processes and Redis" } else { "one process" },
        if kept { "a kept socket" } else { "a socket for each command" },
        millis(0.5),
        millis(0.99),
        latency.max() as f64 / 1000.0
    );
}

/// The first commands of each caller, which are not measured.
const WARM_UP: usize = 20;

/// Measures each round trip in microseconds.
async fn run(admin: &Person, base: &str, commands: usize, at_once: usize, kept: bool) -> Histogram<u64> {
    let vehicles = admin.vehicles().await;
    let mut workers = JoinSet::new();
    for worker in 0..at_once {
        let (admin, base) = (admin.clone(), base.to_owned());
        let vehicle = vehicles[worker % vehicles.len()].clone();
        workers.spawn(async move {
            let mut took = Histogram::<u64>::new(3).expect("three digits");
            let mut caller = match kept {
                true => Some(Caller::open(&base, &admin, &vehicle).await),
                false => None,
            };
            for n in 0..commands / at_once + WARM_UP {
                let elapsed = match &mut caller {
                    Some(caller) => caller.round_trip().await,
                    None => round_trip(&admin, &vehicle).await,
                };
                if n >= WARM_UP {
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

/// One round trip with a new WebSocket.
async fn round_trip(admin: &Person, vehicle: &Value) -> Duration {
    let started = Instant::now();
    let id = admin.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
    let mut socket = admin.watch(&id).await;
    socket.frame_of(&["response"]).await;
    let elapsed = started.elapsed();
    socket.until_closed().await;
    elapsed
}

/// A client that uses one HTTP connection and one WebSocket for all its commands.
struct Caller {
    connection: Connection,
    socket: Socket,
    body: String,
}

impl Caller {
    async fn open(base: &str, admin: &Person, vehicle: &Value) -> Self {
        let body = json!({ "vehicle_id": vehicle["id"], "command_name": "ReadDTC", "command_params": { "ecuAddress": "0x10" } });
        Self { connection: Connection::open(base, admin).await, socket: admin.socket().await, body: body.to_string() }
    }

    async fn round_trip(&mut self) -> Duration {
        let started = Instant::now();
        let (status, answer) = self.connection.post("/api/commands", &self.body).await;
        assert_eq!(status, 201);
        let command: Value = serde_json::from_slice(answer).expect("JSON");
        let topic = format!("response:{}", command["command_id"].as_str().expect("an id"));
        self.socket.send(json!({ "action": "subscribe", "id": 1, "topic": topic, "since": "start" })).await;
        self.socket.frame_of(&["response"]).await;
        let elapsed = started.elapsed();
        self.socket.frame_of(&["closed"]).await;
        elapsed
    }
}
