//! Memory of an idle, authenticated WebSocket with one subscription.

use serde_json::json;
use turnpike_testkit::SingleProcess;

/// Prints the memory growth of the process divided by the number of sockets.
pub(crate) async fn measure(sockets: usize) {
    let turnpike = SingleProcess::start(&[("TURNPIKE_LOG", "warn")]).await;
    let admin = turnpike.admin().await;
    let topic = format!("vehicle:{}", admin.vehicles().await[0]["id"].as_str().expect("an id"));
    let mut open = Vec::with_capacity(sockets + 200);
    // The first sockets cause allocations that happen only once.
    let before = {
        for _ in 0..200 {
            open.push(subscribed(&admin, &topic).await);
        }
        settle().await;
        turnpike.process.memory()
    };
    for _ in 0..sockets {
        open.push(subscribed(&admin, &topic).await);
    }
    settle().await;
    let after = turnpike.process.memory();
    println!(
        "memory: {sockets} idle sockets with one topic: {:.1} KB each ({:.1} MB before, {:.1} MB after)",
        (after - before) as f64 / sockets as f64 / 1000.0,
        before as f64 / 1e6,
        after as f64 / 1e6
    );
}

async fn subscribed(admin: &turnpike_testkit::Person, topic: &str) -> turnpike_testkit::Socket {
    let mut socket = admin.socket().await;
    socket.send(json!({ "action": "subscribe", "id": 1, "topic": topic, "since": "live" })).await;
    socket.frame_of(&["caught_up"]).await;
    socket
}

/// Waits until the server has freed the buffers of the HTTP upgrades.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
}
