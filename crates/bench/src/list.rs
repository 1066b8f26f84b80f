//! Lists with a million stored commands: their latency, and the latency of lease renewals during the lists.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection as _};
use tempfile::TempDir;
use tokio::task::JoinSet;
use turnpike_testkit::{Person, SingleProcess};
use turnpike_topic::CommandId;

use crate::http::Connection;

/// Users that the stored commands belong to. A tenth of all commands belongs to the measured user.
const USERS: usize = 1000;
/// Commands that run during the lists.
const RUNNING: usize = 500;

/// Prints the latency of lists with each filter, and of lease renewals while lists are read in a loop.
pub(crate) async fn measure(rows: usize, database: Option<String>) {
    let directory = TempDir::new().expect("a directory");
    let database = database.unwrap_or_else(|| format!("sqlite:{}", directory.path().join("vehicles.db").display()));
    let turnpike = SingleProcess::start(&[
        ("TURNPIKE_LOG", "warn,turnpike_kit=info"),
        ("TURNPIKE_MOCK_VEHICLES", "50"),
        ("TURNPIKE_MOCK_DELAY_MS", "4000"),
        ("TURNPIKE_VEHICLES_DATABASE_URL", &database),
    ])
    .await;
    let admin = turnpike.admin().await;
    let user = admin.create_user("operator").await;
    let vehicles = admin.vehicles().await;
    let started = Instant::now();
    let oldest = fill(&database, rows, user.id(), &vehicles).await;
    println!("list: {rows} commands stored after {:.0} s", started.elapsed().as_secs_f64());

    let vehicle = vehicles[0]["id"].as_str().expect("an id");
    let middle = oldest + Duration::from_secs(rows as u64 / 2);
    let paths = [
        String::new(),
        format!("vehicle_id={vehicle}"),
        "status=completed".to_owned(),
        "status=failed".to_owned(),
        "status=cancelled".to_owned(),
        "status=pending".to_owned(),
        format!("until={middle}"),
        format!("since={oldest}&until={}", oldest + Duration::from_secs(3600)),
        format!("vehicle_id={vehicle}&status=cancelled&until={middle}"),
        format!("cursor={}", CommandId::new(middle)),
    ];
    for (name, person) in [("one user's", &user), ("all users'", &admin)] {
        for filter in &paths {
            let took = list(&turnpike, person, filter, 200).await;
            println!("list: {name}, {:<60} p50 {:.2} ms, p99 {:.2} ms", display(filter), took.0, took.1);
        }
    }
    renewals_during_lists(&turnpike, &admin, &user, &vehicles, &paths).await;
}

fn display(filter: &str) -> &str {
    if filter.is_empty() { "no filter" } else { filter }
}

/// Returns the median and the 99th percentile in milliseconds.
async fn list(turnpike: &SingleProcess, person: &Person, filter: &str, times: usize) -> (f64, f64) {
    let mut connection = Connection::open(turnpike.url(), person).await;
    let mut took = Histogram::<u64>::new(3).expect("three digits");
    for _ in 0..times {
        let started = Instant::now();
        let (status, body) = connection.get(&format!("/api/commands?limit=50&{filter}")).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(body));
        took.record(started.elapsed().as_micros() as u64).expect("in range");
    }
    (took.value_at_quantile(0.5) as f64 / 1000.0, took.value_at_quantile(0.99) as f64 / 1000.0)
}

/// Four callers list in a loop while commands run and their leases are renewed. Prints the duration of the renewals.
async fn renewals_during_lists(
    turnpike: &SingleProcess,
    admin: &Person,
    user: &Person,
    vehicles: &[Value],
    paths: &[String],
) {
    let mut connection = Connection::open(turnpike.url(), admin).await;
    for n in 0..RUNNING {
        let vehicle = &vehicles[n % vehicles.len()]["id"];
        let params = json!({ "ecuAddress": "0x10" });
        let body = json!({ "vehicle_id": vehicle, "command_name": "ReadDTC", "command_params": params });
        assert_eq!(connection.post("/api/commands", &body.to_string()).await.0, 201);
    }
    let end = Instant::now() + Duration::from_secs(10);
    let mut callers = JoinSet::new();
    for caller in 0..4 {
        let mut connection = Connection::open(turnpike.url(), user).await;
        let paths: Vec<_> = paths.iter().map(|filter| format!("/api/commands?limit=100&{filter}")).collect();
        callers.spawn(async move {
            let mut lists = 0;
            while Instant::now() < end {
                assert_eq!(connection.get(&paths[(caller + lists) % paths.len()]).await.0, 200);
                lists += 1;
            }
            lists
        });
    }
    let lists: usize = callers.join_all().await.into_iter().sum();
    let log = turnpike.process.log();
    let private = log.lines().find(|line| line.contains("private HTTP")).expect("the private port");
    // The log line may be text or JSON.
    let address =
        private.split("address").nth(1).expect("an address").trim_start_matches(|c: char| !c.is_ascii_digit());
    let address = address.split(['"', ' ']).next().expect("an address");
    let metrics = reqwest::get(format!("http://{address}/metrics")).await.expect("metrics").text().await.expect("text");
    let buckets = metrics.lines().filter(|line| line.starts_with("turnpike_lease_renewal_seconds"));
    println!("list: {RUNNING} commands ran while {lists} lists were read in 10 s; renewals of all leases, seconds:");
    buckets.for_each(|bucket| println!("  {bucket}"));
}

/// Inserts ended commands directly into the database, submitted one second apart. Returns the time of the oldest.
async fn fill(database: &str, rows: usize, user: &str, vehicles: &[Value]) -> Timestamp {
    const AT_ONCE: usize = 500;
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(database).await.expect("the database");
    if database.starts_with("sqlite:") {
        let quick = "PRAGMA busy_timeout = 10000; PRAGMA synchronous = OFF";
        sqlx::raw_sql(quick).execute(&mut connection).await.expect("pragmas");
    }
    let others: Vec<_> = (0..USERS).map(|_| uuid::Uuid::now_v7().to_string()).collect();
    let oldest = Timestamp::now() - Duration::from_secs(rows as u64);
    for first in (0..rows).step_by(AT_ONCE) {
        let row = |n: usize| {
            let at = oldest + Duration::from_secs(n as u64);
            let (id, at) = (CommandId::new(at), at.as_microsecond());
            let user = if n.is_multiple_of(10) { user } else { &others[n % USERS] };
            let vehicle = vehicles[n / 7 % vehicles.len()]["id"].as_str().expect("an id");
            let state = if n.is_multiple_of(1000) { "failed" } else { "completed" };
            format!(
                "('{id}','{user}','{vehicle}','ReadDTC','{{\"ecuAddress\":\"0x10\"}}','0x10','read','{state}',1,30,{at},{at},{at},{at},0,0,1)"
            )
        };
        let values: Vec<_> = (first..rows.min(first + AT_ONCE)).map(row).collect();
        let sql = format!(
            "INSERT INTO commands (id, user_id, vehicle_id, name, params, ecu, effect, state, ended, timeout_seconds, \
             submitted_at, accept_by, run_by, completed_at, recorded, lease_until, fence) VALUES {}",
            values.join(",")
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.expect("stored");
    }
    connection.close().await.expect("closed");
    oldest
}
