//! Several starts at once, while other sockets occupy thousands of changing ports.

use std::{net::TcpListener, time::Duration};

use tokio::task::JoinSet;
use turnpike_testkit::{SingleProcess, Stack};

/// Holds about 3,000 ports assigned by the system, and replaces them every 300 ms.
async fn occupy_changing_ports() {
    loop {
        let held: Vec<_> = (0..3000).filter_map(|_| TcpListener::bind(("127.0.0.1", 0)).ok()).collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(held);
    }
}

/// Other processes are configured with the address before the process listens, so it must be free at the first start and after a kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_can_bind_its_address_at_each_start() {
    let mut ports = JoinSet::new();
    ports.spawn(occupy_changing_ports());
    let mut starting = JoinSet::new();
    for _ in 0..3 {
        starting.spawn(async {
            SingleProcess::start(&[]).await;
        });
    }
    let mut stack = Stack::start(2, &[]).await;
    for process in [&mut stack.auth, &mut stack.mock, &mut stack.gateways[1]] {
        process.kill();
        process.start();
    }
    stack.redis.restart().await;
    stack.wait_until_ready().await;
    while let Some(started) = starting.join_next().await {
        started.expect("the process starts");
    }
}
