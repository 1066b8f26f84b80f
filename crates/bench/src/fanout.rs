//! Events of topics delivered to many WebSockets: deliveries for each second of CPU of the server, and their latency.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use turnpike_bus::{Bus, Limits};
use turnpike_event::{Body, CommandEvent, Event, Json};
use turnpike_testkit::{RedisServer, SingleProcess, eventually};
use turnpike_topic::{CommandId, Topic, VehicleId};
use uuid::Uuid;

use crate::{child::run_on, raw_socket::RawSocket};

/// The events to publish, and the sockets that receive them.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) sockets: usize,
    /// Every socket follows one of these topics.
    pub(crate) topics: usize,
    /// Events a second in all; `None`: as many as are delivered.
    pub(crate) rate: Option<u64>,
    pub(crate) bytes: usize,
    pub(crate) seconds: u64,
    /// Of a hundred sockets, so many do not read.
    pub(crate) stalled_percent: usize,
}

/// Events of one topic that are published before the first of them is delivered to all, when there is no rate.
const WINDOW: u64 = 16;
/// One of so many deliveries to a socket is timed.
const TIMED: u64 = 16;

/// Panics if an event is lost, duplicated or reordered. The server runs on the first core and the load generator on the second.
pub(crate) async fn measure(load: Load) {
    let redis = RedisServer::start(false).await;
    run_on("0");
    let turnpike = SingleProcess::start(&[
        ("TURNPIKE_LOG", "warn"),
        ("TURNPIKE_REDIS_URL", &redis.url()),
        ("TURNPIKE_MOCK_VEHICLES", &load.topics.to_string()),
        ("TURNPIKE_LIMIT_SOCKETS_PER_USER", "0"),
    ])
    .await;
    run_on("1");
    let admin = turnpike.admin().await;
    let vehicles = eventually("the vehicles", 60, || async {
        let list = admin.get("/api/vehicles?status=connected&limit=100").await.json;
        let ids: Vec<VehicleId> =
            list.as_array()?.iter().filter_map(|vehicle| vehicle["id"].as_str()?.parse().ok()).collect();
        (ids.len() == load.topics).then_some(ids)
    })
    .await;
    let totals = Arc::new(Totals::default());
    let mut readers = JoinSet::new();
    let stalled = load.sockets * load.stalled_percent / 100;
    for n in 0..load.sockets {
        let topic = Topic::Vehicle(vehicles[n % vehicles.len()]);
        let mut socket = RawSocket::open(turnpike.url(), &admin, n < stalled).await;
        socket.follow(&topic.to_string()).await;
        if n >= stalled {
            let totals = totals.clone();
            readers.spawn(async move { read(socket, &totals).await });
        } else {
            readers.spawn(async move {
                std::future::pending::<()>().await;
                drop(socket);
            });
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await; // the buffers of the upgrades are freed
    let bus = Bus::redis(&redis.url(), Limits::default()).expect("the URL is valid");
    let (cpu, started) = (turnpike.process.cpu(), Instant::now());
    let readers_of = |topic: usize| (stalled..load.sockets).filter(|n| n % load.topics == topic).count() as u64;
    let (published, expected) = publish(&bus, &vehicles, load, &totals, readers_of).await;
    eventually("all deliveries", 30, || async { (totals.delivered.load(Ordering::Relaxed) >= expected).then_some(()) })
        .await;
    let (took, cpu) = (started.elapsed().as_secs_f64(), (turnpike.process.cpu() - cpu).as_secs_f64());
    let delivered = totals.delivered.load(Ordering::Relaxed);
    assert_eq!(delivered, expected, "every event is delivered once");
    let latencies = totals.latencies.lock();
    println!(
        "fan-out: {} sockets ({stalled} of them stalled), {} topics, {} bytes, {published} events in {took:.1} s: {delivered} \
         deliveries, none lost, duplicated or reordered; {:.0} a second, {:.0} for each second of CPU; p50 {:.2} ms, p99 {:.2} ms; \
         {:.0} MB",
        load.sockets,
        load.topics,
        load.bytes,
        delivered as f64 / took,
        delivered as f64 / cpu,
        latencies.value_at_quantile(0.5) as f64 / 1000.0,
        latencies.value_at_quantile(0.99) as f64 / 1000.0,
        turnpike.process.memory() as f64 / 1e6
    );
}

struct Totals {
    delivered: AtomicU64,
    /// In microseconds.
    latencies: Mutex<Histogram<u64>>,
}

impl Default for Totals {
    fn default() -> Self {
        let latencies = Mutex::new(Histogram::new(3).expect("3 digits are valid"));
        Self { delivered: AtomicU64::new(0), latencies }
    }
}

/// Publishes in turn to all topics. Returns how many events were published, and how many deliveries must follow.
async fn publish(
    bus: &Bus,
    vehicles: &[VehicleId],
    load: Load,
    totals: &Arc<Totals>,
    readers_of: impl Fn(usize) -> u64,
) -> (u64, u64) {
    let readers: Vec<u64> = (0..vehicles.len()).map(readers_of).collect();
    let window = WINDOW * readers.iter().sum::<u64>();
    let (mut published, mut expected) = (0, 0);
    let started = Instant::now();
    let mut pending = JoinSet::new();
    while started.elapsed() < Duration::from_secs(load.seconds) {
        match load.rate {
            Some(rate) => {
                let due = started + Duration::from_micros(published * 1_000_000 / rate);
                tokio::time::sleep_until(due.into()).await;
            }
            None => {
                while expected - totals.delivered.load(Ordering::Relaxed) >= window {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
        }
        let number = usize::try_from(published).expect("few events") % vehicles.len();
        let (bus, topic) = (bus.clone(), Topic::Vehicle(vehicles[number]));
        let event = event(published, load.bytes);
        pending.spawn(async move { bus.publish(&topic, &event).await.expect("the event is published") });
        while pending.len() >= 64 || pending.try_join_next().is_some() {
            if pending.len() >= 64 {
                pending.join_next().await;
            }
        }
        published += 1;
        expected += readers[number];
    }
    pending.join_all().await;
    (published, expected)
}

fn event(number: u64, bytes: usize) -> Vec<u8> {
    let response = Json::parse(format!(r#"{{"p":"{}"}}"#, "x".repeat(bytes.saturating_sub(8)))).expect("JSON");
    let sequence_number = u32::try_from(number).unwrap_or(u32::MAX);
    let body = Body::Command(CommandEvent::Response {
        command_id: CommandId::from(Uuid::nil()),
        sequence_number,
        is_final: false,
        response,
    });
    Event { at: jiff::Timestamp::now(), body }.to_bytes().to_vec()
}

async fn read(mut socket: RawSocket, totals: &Totals) {
    let (mut expected, mut latencies) = (None, Vec::new());
    loop {
        let mut delivered = 0;
        let open = socket
            .read(|text| {
                let n = offset(text).expect("an event");
                assert!(expected.is_none_or(|expected| n == expected), "{n} instead of {expected:?}");
                expected = Some(n + 1);
                delivered += 1;
                if n.is_multiple_of(TIMED) {
                    latencies.push(latency(text).expect("a time"));
                }
            })
            .await;
        totals.delivered.fetch_add(delivered, Ordering::Relaxed);
        if !latencies.is_empty() {
            let mut all = totals.latencies.lock();
            latencies.drain(..).for_each(|latency| all.record(latency).expect("the value is in range"));
        }
        if !open {
            return;
        }
    }
}

/// The `n` of `"offset":"<epoch>-<n>"`.
fn offset(text: &[u8]) -> Option<u64> {
    let value = after(text, b"\"offset\":\"")?;
    let digits = value.split(|byte| *byte == b'-').nth(1)?;
    Some(digits.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |n, byte| n * 10 + u64::from(byte - b'0')))
}

fn latency(text: &[u8]) -> Option<u64> {
    let value = after(text, b"\"at\":\"")?;
    let end = value.iter().position(|byte| *byte == b'"')?;
    let at: jiff::Timestamp = std::str::from_utf8(&value[..end]).ok()?.parse().ok()?;
    u64::try_from(jiff::Timestamp::now().duration_since(at).as_micros()).ok()
}

fn after<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(name.len()).position(|window| window == name)?;
    Some(&text[at + name.len()..])
}
