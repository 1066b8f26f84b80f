//! Many starts at once, on a machine whose free ports are in motion.

use std::{net::TcpListener, time::Duration};

use tokio::task::JoinSet;
use turnpike_testkit::{SingleProcess, Stack};

/// Holds several thousand of the ports that the system gives to those who ask for any; others each time.
async fn ports_in_motion() {
    loop {
        let held: Vec<_> = (0..3000).filter_map(|_| TcpListener::bind(("127.0.0.1", 0)).ok()).collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(held);
    }
}

/// A process whose address was promised to others can listen there, at its first start and after each kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_process_finds_its_address_taken() {
    let mut motion = JoinSet::new();
    motion.spawn(ports_in_motion());
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
        started.expect("it started");
    }
}
