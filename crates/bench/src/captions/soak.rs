//! All sessions for a long time: whether lag and memory grow.

use std::time::Duration;

use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use turnpike_testkit::{Person, SingleProcess, Socket, pcm};

use super::{
    live::{connect, due, open},
    material::{FRAME, Material},
};
use crate::resources::{Cores, memory};

/// What one session reports, at seconds from its beginning.
#[derive(Default)]
struct Reported {
    /// Audio that waits.
    lags: Vec<(f64, f64)>,
    finals: usize,
}

pub(super) async fn run(turnpike: &SingleProcess, admin: &Person, material: &Material, streams: usize, seconds: usize) {
    let id = turnpike.process.id();
    let mut running = JoinSet::new();
    for n in 0..streams {
        let (base, admin, material) = (turnpike.url().to_owned(), admin.clone(), material.clone());
        running.spawn(async move {
            tokio::time::sleep(Duration::from_millis(700 * n as u64)).await;
            session(&base, &admin, &material, seconds).await
        });
    }
    // The first seconds allocate what every session needs.
    tokio::time::sleep(Duration::from_secs(seconds.min(30) as u64 / 2)).await;
    let (before, cores) = (memory(id), Cores::start(Some(id)));
    let reported = running.join_all().await;
    let (after, used) = (memory(id), cores.used());
    let minute = seconds.min(120) as f64 / 2.0;
    let mean = |from: f64, to: f64| {
        let lags: Vec<f64> = reported
            .iter()
            .flat_map(|session| &session.lags)
            .filter(|(at, _)| *at >= from && *at < to)
            .map(|(_, lag)| *lag)
            .collect();
        lags.iter().sum::<f64>() / lags.len().max(1) as f64
    };
    let all = seconds as f64;
    println!(
        "soak: {streams} sessions for {seconds} s: {} finals, {:.2} cores in all; audio that waits, mean: first {minute:.0} s {:.1} ms, last {minute:.0} s {:.1} ms; memory {:.0} MB, then {:.0} MB",
        reported.iter().map(|session| session.finals).sum::<usize>(),
        used.target,
        mean(0.0, minute),
        mean(all - minute, all + 60.0),
        before as f64 / 1e6,
        after as f64 / 1e6
    );
}

async fn session(base: &str, person: &Person, material: &Material, seconds: usize) -> Reported {
    let id = open(base, person).await;
    let mut socket: Socket = connect(base, person, &id).await;
    let start = Instant::now();
    let mut reported = Reported::default();
    let frames = material.samples.chunks_exact(FRAME).cycle().take(seconds * 16_000 / FRAME);
    for (n, frame) in frames.enumerate() {
        loop {
            tokio::select! {
                received = socket.next() => {
                    let received = received.expect("the socket is open");
                    match received["event"].as_str() {
                        Some("metrics") => {
                            let lag = received["lag_ms"].as_f64().unwrap_or_default();
                            reported.lags.push((start.elapsed().as_secs_f64(), lag));
                        }
                        Some("final") => reported.finals += 1,
                        _ => {}
                    }
                }
                () = sleep_until(due(start, n)) => break,
            }
        }
        socket.send_binary(&pcm(frame)).await;
    }
    socket.send(json!({ "action": "stop" })).await;
    let (rest, _) = socket.until_closed().await;
    reported.finals += rest.iter().filter(|frame| frame["event"] == "final").count();
    reported
}
