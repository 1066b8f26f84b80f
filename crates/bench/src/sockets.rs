//! Memory and CPU of an idle, authenticated WebSocket with one subscription.

use std::time::Duration;

use tokio::task::JoinSet;
use turnpike_testkit::{Person, SingleProcess};

use crate::raw_socket::RawSocket;

/// Prints the memory growth of the process divided by the number of sockets, and the CPU time of the process while the sockets only
/// answer pings.
pub(crate) async fn measure(sockets: usize, seconds: u64) {
    let turnpike = SingleProcess::start(&[("TURNPIKE_LOG", "warn"), ("TURNPIKE_LIMIT_SOCKETS_PER_USER", "0")]).await;
    let admin = turnpike.admin().await;
    let topic = format!("vehicle:{}", admin.vehicles().await[0]["id"].as_str().expect("an id"));
    let before_all = cpu_while_idle(&turnpike, seconds.min(10)).await;
    let mut open = JoinSet::new();
    // The first sockets cause allocations that happen only once.
    for _ in 0..200 {
        open.spawn(answer_pings(subscribed(&turnpike, &admin, &topic).await));
    }
    settle().await;
    let before = turnpike.process.memory();
    for _ in 0..sockets {
        open.spawn(answer_pings(subscribed(&turnpike, &admin, &topic).await));
    }
    settle().await;
    let after = turnpike.process.memory();
    println!(
        "memory: {sockets} idle sockets with one topic: {:.2} KB each ({:.1} MB before, {:.1} MB after)",
        (after - before) as f64 / sockets as f64 / 1000.0,
        before as f64 / 1e6,
        after as f64 / 1e6
    );
    let cpu = cpu_while_idle(&turnpike, seconds).await;
    println!(
        "cpu: {} sockets that only answer pings: {:.2} µs a second each ({:.2} ms a second in all, {:.2} ms without sockets)",
        sockets + 200,
        (cpu - before_all) * 1e6 / (sockets + 200) as f64,
        cpu * 1000.0,
        before_all * 1000.0
    );
}

/// Seconds of CPU a second.
async fn cpu_while_idle(turnpike: &SingleProcess, seconds: u64) -> f64 {
    let before = turnpike.process.cpu();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    (turnpike.process.cpu() - before).as_secs_f64() / seconds.max(1) as f64
}

async fn subscribed(turnpike: &SingleProcess, admin: &Person, topic: &str) -> RawSocket {
    let mut socket = RawSocket::open(turnpike.url(), admin, false).await;
    socket.follow(topic).await;
    socket
}

async fn answer_pings(mut socket: RawSocket) {
    while socket.read(|_| {}).await {}
}

/// Waits until the server has freed the buffers of the HTTP upgrades.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}
