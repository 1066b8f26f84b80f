//! One load on one server: sockets, payloads, and what arrived when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all, stream};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::{task::JoinSet, time::sleep};

use super::{
    client::{self, Counter},
    peers::Server,
    publisher::Publisher,
};
use crate::resources;

#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) sockets: usize,
    /// Every socket follows one of these topics.
    pub(crate) topics: usize,
    /// Payloads a second in all; `None`: as many as are delivered.
    pub(crate) rate: Option<u64>,
    pub(crate) seconds: u64,
    /// So many sockets do not read.
    pub(crate) stalled: usize,
}

/// What one load led to.
pub(crate) struct Outcome {
    pub(crate) delivered: u64,
    pub(crate) expected: u64,
    pub(crate) seconds: f64,
    /// Seconds of CPU of the server and of the load generator.
    pub(crate) server_cpu: f64,
    generator_cpu: f64,
    /// In microseconds.
    pub(crate) p50: u64,
    pub(crate) p99: u64,
}

/// Payloads that are published before the first of them is delivered to all, when there is no rate.
const WINDOW: u64 = 16;
/// Seconds of full load before a measurement with sockets that stall: until then the kernel takes what they do not read, some
/// hundred kilobytes each.
const FILL: u64 = 3;
/// One of so many deliveries to a socket is timed.
const TIMED: u64 = 4;
/// Sockets that are opened at the same time: some servers take long for each.
const OPENED_AT_ONCE: usize = 32;
/// How long nothing may arrive before the rest counts as lost.
const SILENCE: Duration = Duration::from_secs(3);
/// A load generator that uses more of its core may be the bottleneck.
const BUSY: f64 = 0.97;

impl Outcome {
    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.delivered as f64 / self.server_cpu
    }

    pub(crate) fn p99_ms(&self) -> f64 {
        self.p99 as f64 / 1000.0
    }

    /// Why the outcome says little about the server.
    pub(crate) fn void(&self) -> Option<String> {
        let (server, generator) = (self.server_cpu / self.seconds, self.generator_cpu / self.seconds);
        (generator > BUSY && server < BUSY)
            .then(|| format!("VOID: the load generator used {generator:.2} cores, the server {server:.2}"))
    }

    pub(crate) fn describe(&self) -> String {
        let (server, generator) = (self.server_cpu / self.seconds, self.generator_cpu / self.seconds);
        let lost = self.expected - self.delivered.min(self.expected);
        format!(
            "{:.0} deliveries a second, {:.0} for each second of CPU, p50 {:.2} ms, p99 {:.2} ms, {lost} of {} lost; cores: server \
             {server:.2}, load generator {generator:.2}{}",
            self.delivered as f64 / self.seconds,
            self.per_cpu_second(),
            self.p50 as f64 / 1000.0,
            self.p99_ms(),
            self.expected,
            self.void().map_or(String::new(), |void| format!(" {void}"))
        )
    }
}

/// What has arrived at all sockets.
struct Arrived {
    count: AtomicU64,
    latencies: Mutex<Histogram<u64>>,
}

/// The sockets of a load on one server.
struct Opened<'a> {
    server: &'a Server,
    load: Load,
    arrived: Arc<Arrived>,
    readers: JoinSet<()>,
    stalled: Vec<tokio::net::TcpStream>,
    /// The sockets of each topic that read.
    followers: Vec<u64>,
}

pub(crate) async fn run(server: &Server, load: Load) -> Outcome {
    run_at_once(&[server], load).await.remove(0)
}

/// Puts the same load on each of the servers at the same time. The servers get their payloads at different times within the
/// interval of the load, so that a fast server has delivered its payload before the next server gets one.
pub(crate) async fn run_at_once(servers: &[&Server], load: Load) -> Vec<Outcome> {
    let mut all = Vec::new();
    for server in servers {
        all.push(Opened::open(server, load).await);
    }
    sleep(Duration::from_secs(1)).await; // the buffers of the upgrades are freed
    let share = load.rate.map_or(0, |rate| 1_000_000 / rate / servers.len() as u64);
    let outcomes = join_all(all.iter_mut().zip(0..).map(async |(one, nth)| {
        sleep(Duration::from_micros(nth * share)).await;
        one.measure().await
    }));
    let outcomes = outcomes.await;
    for one in &mut all {
        one.readers.shutdown().await;
    }
    drop(all);
    sleep(Duration::from_secs(1)).await; // the server closes the sockets
    outcomes
}

impl<'a> Opened<'a> {
    async fn open(server: &'a Server, load: Load) -> Self {
        let arrived = Arc::new(Arrived { count: AtomicU64::new(0), latencies: Mutex::new(histogram()) });
        let (mut readers, mut stalled) = (JoinSet::new(), Vec::new());
        let mut followers = vec![0; load.topics];
        let open = async |n: usize| {
            let topic = n % load.topics;
            // Those that stall are spread over all addresses and topics.
            let stalls = load.stalled > 0 && n.is_multiple_of(load.sockets / load.stalled);
            let address = &server.addresses[n / load.topics % server.addresses.len()];
            (topic, stalls, client::open(address, &server.protocol, topic, stalls).await)
        };
        let mut opened = stream::iter(0..load.sockets).map(open).buffered(OPENED_AT_ONCE);
        while let Some((topic, stalls, stream)) = opened.next().await {
            if stalls {
                stalled.push(stream);
            } else {
                followers[topic] += 1;
                readers.spawn(read(stream, arrived.clone()));
            }
        }
        Self { server, load, arrived, readers, stalled, followers }
    }

    async fn measure(&mut self) -> Outcome {
        let Self { server, load, arrived, followers, .. } = self;
        let mut publisher = Publisher::open(&server.publish).await;
        if !self.stalled.is_empty() {
            let fill = Load { rate: None, seconds: FILL, ..*load };
            let expected = publish(&mut publisher, fill, followers, &arrived.count).await;
            last_arrival(expected, &arrived.count).await;
            arrived.count.store(0, Ordering::Relaxed);
            arrived.latencies.lock().clear();
        }
        let cpu = || (server.pids.iter().map(|pid| resources::cpu_seconds(*pid)).sum::<f64>(), own_cpu());
        let (before, started) = (cpu(), Instant::now());
        let expected = publish(&mut publisher, *load, followers, &arrived.count).await;
        let last = last_arrival(expected, &arrived.count).await;
        let (seconds, after) = ((last.1 - started).as_secs_f64(), cpu());
        let latencies = arrived.latencies.lock();
        Outcome {
            delivered: last.0,
            expected,
            seconds,
            server_cpu: (after.0 - before.0).max(0.01),
            generator_cpu: after.1 - before.1,
            p50: latencies.value_at_quantile(0.5),
            p99: latencies.value_at_quantile(0.99),
        }
    }
}

/// Waits until everything has arrived, or nothing does any more. Returns how much has, and when the last of it did.
async fn last_arrival(expected: u64, arrived: &AtomicU64) -> (u64, Instant) {
    let mut last = (arrived.load(Ordering::Relaxed), Instant::now());
    while last.0 < expected && last.1.elapsed() < SILENCE {
        sleep(Duration::from_millis(1)).await;
        let now = arrived.load(Ordering::Relaxed);
        if now > last.0 {
            last = (now, Instant::now());
        }
    }
    last
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("3 digits are valid")
}

/// CPU time of this process without the servers that it has started.
fn own_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc exists");
    let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}

/// Publishes to all topics in turn. Returns how many deliveries must follow.
async fn publish(publisher: &mut Publisher, load: Load, followers: &[u64], arrived: &AtomicU64) -> u64 {
    let window = WINDOW * followers.iter().sum::<u64>() / load.topics as u64;
    let (mut published, mut expected) = (0_u64, 0);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(load.seconds) {
        match load.rate {
            Some(rate) => {
                let due = started + Duration::from_micros(published * 1_000_000 / rate);
                tokio::time::sleep_until(due.into()).await;
            }
            None => {
                let begun = Instant::now();
                while expected - arrived.load(Ordering::Relaxed).min(expected) >= window {
                    if begun.elapsed() > SILENCE {
                        return expected; // deliveries were lost
                    }
                    sleep(Duration::from_micros(200)).await;
                }
            }
        }
        let topic = usize::try_from(published).expect("few payloads") % load.topics;
        publisher.publish(topic).await;
        published += 1;
        expected += followers[topic];
    }
    expected
}

async fn read(mut stream: tokio::net::TcpStream, arrived: Arc<Arrived>) {
    let (mut counter, mut seen, mut latencies) = (Counter::new(), 0_u64, Vec::new());
    loop {
        let mut count = 0;
        let open = counter
            .read(&mut stream, |time| {
                count += 1;
                if (seen + count).is_multiple_of(TIMED) {
                    let text = std::str::from_utf8(time).expect("digits");
                    let at = u64::from_str_radix(text, 16).expect("a time");
                    latencies.push(client::micros().saturating_sub(at));
                }
            })
            .await;
        seen += count;
        arrived.count.fetch_add(count, Ordering::Relaxed);
        if !latencies.is_empty() {
            let mut all = arrived.latencies.lock();
            latencies.drain(..).for_each(|latency| all.record(latency).expect("in range"));
        }
        if !open {
            return;
        }
    }
}

/// Bytes of memory of the server for each idle socket that follows one topic.
pub(crate) async fn memory(server: &Server, sockets: usize) -> u64 {
    let memory = || server.pids.iter().map(|pid| resources::memory(*pid)).sum::<u64>();
    let mut open = Vec::new();
    // The first sockets cause allocations that happen only once.
    let first = 200;
    let mut before = 0;
    for count in [first, sockets] {
        sleep(Duration::from_secs(1)).await;
        before = memory();
        let opened =
            stream::iter(0..count).map(async |_| client::open(&server.addresses[0], &server.protocol, 0, false).await);
        open.extend(opened.buffered(OPENED_AT_ONCE).collect::<Vec<_>>().await);
    }
    sleep(Duration::from_secs(1)).await;
    let after = memory();
    drop(open);
    sleep(Duration::from_secs(1)).await;
    after.saturating_sub(before) / sockets as u64
}
