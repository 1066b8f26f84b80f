//! Memory of the single process during floods of anonymous connections, and the latency of another client.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use turnpike_testkit::{Person, SingleProcess};

/// Duration of each flood.
const FLOOD_DURATION: Duration = Duration::from_secs(5);

static BODY: [u8; 255_000] = [b' '; 255_000];

/// The data that each connection of a flood sends.
#[derive(Clone, Copy)]
enum Sends {
    /// A login with a body of this many bytes.
    Login(usize),
    /// The longest permitted body of a login without its last byte.
    AllButOne,
    Nothing,
}

pub async fn measure(connections: usize, silent: usize) {
    let turnpike = SingleProcess::start(&[]).await;
    let admin = turnpike.admin().await;
    for (name, count, sends) in [
        ("a login body of 255 KB each", connections, Sends::Login(255_000)),
        ("8 KB each, without the last byte", connections, Sends::AllButOne),
        ("silence", silent, Sends::Nothing),
    ] {
        run(&turnpike, &admin, name, count, sends).await;
    }
}

async fn run(turnpike: &SingleProcess, admin: &Person, name: &str, count: usize, sends: Sends) {
    let before = turnpike.process.memory();
    let address = turnpike.url().strip_prefix("http://").expect("a URL").to_owned();
    let stop = AtomicBool::new(false);
    // The other client runs on its own thread, so that the flood's tasks do not delay it.
    let (mut flood, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| measure_other(turnpike, admin, &stop));
        let flood = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let mut flood = JoinSet::new();
                for _ in 0..count {
                    flood.spawn(connection(address.clone(), sends));
                }
                tokio::time::sleep(FLOOD_DURATION).await;
                flood
            })
        });
        stop.store(true, Ordering::Relaxed);
        (flood, other.join().expect("no panic"))
    });
    let still_open = flood.len() - std::iter::from_fn(|| flood.try_join_next()).count();
    flood.shutdown().await;
    // The server frees the memory of connections some seconds after they are closed.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let after = turnpike.process.memory();
    let Other { most, latency, failed } = other;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "flood: {count} connections, {name}: {:.1} MB before, {:.1} MB at most, {:.1} MB after; {still_open} still open; \
         another client: {} answers, {failed} failures, p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms",
        mb(before),
        mb(most),
        mb(after),
        latency.len(),
        latency.value_at_quantile(0.5) as f64 / 1e3,
        latency.value_at_quantile(0.99) as f64 / 1e3,
        latency.max() as f64 / 1e3,
    );
}

/// Measurements of the other client: its requests, and the maximum memory of the server.
struct Other {
    most: u64,
    latency: Histogram<u64>,
    failed: u32,
}

fn measure_other(turnpike: &SingleProcess, admin: &Person, stop: &AtomicBool) -> Other {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut other = Other { most: 0, latency: Histogram::new(3).expect("three digits"), failed: 0 };
    runtime.block_on(async {
        let client = Person::anonymous(turnpike.url()).with_token(&admin.token);
        while !stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            let answer = client.request(reqwest::Method::GET, "/api/vehicles").send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                other.latency.record(started.elapsed().as_micros() as u64).expect("in range");
            } else {
                other.failed += 1;
            }
            other.most = other.most.max(turnpike.process.memory());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    other
}

/// Sends the data, then waits until the server closes the connection.
async fn connection(address: String, sends: Sends) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let (announced, sent) = match sends {
        Sends::Login(length) => (length, length),
        Sends::AllButOne => (8192, 8191),
        Sends::Nothing => (0, 0),
    };
    if announced > 0 {
        let head = format!("POST /api/auth/login HTTP/1.1\r\nHost: flood\r\nContent-Length: {announced}\r\n\r\n");
        if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&BODY[..sent]).await.is_err() {
            return;
        }
    }
    // A broken connection ends the wait as well.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}
