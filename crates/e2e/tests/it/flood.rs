//! Clients that send more than they may.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use turnpike_testkit::{Person, SingleProcess, Socket, Stack, eventually, within};

async fn opened(one: &SingleProcess) -> Socket {
    let mut socket = one.admin().await.socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    socket
}

/// Sends until the socket is closed; gives how many frames were sent, the `error` frames, and the close code.
async fn flood(mut socket: Socket, most: usize, mut send: impl AsyncFnMut(&mut Socket) -> bool) -> (usize, usize, u16) {
    let (mut sent, mut errors) = (0, 0);
    while sent < most && send(&mut socket).await {
        sent += 1;
    }
    loop {
        match socket.next().await {
            Ok(frame) if frame["event"] == "error" => {
                assert_eq!(frame["code"], "RATE_LIMITED", "{frame}");
                assert!(frame["retry_after"].as_u64().is_some_and(|seconds| (1..=60).contains(&seconds)), "{frame}");
                errors += 1;
            }
            Ok(_) => {}
            Err(closed) => return (sent, errors, closed.code),
        }
    }
}

#[tokio::test]
async fn a_flood_of_messages_is_answered_for_a_while_and_then_closed() {
    let one = SingleProcess::start(&[("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "1")]).await;
    let mut socket = opened(&one).await;
    // Over the limit: an error frame, and the socket stays. What is over it is not even parsed.
    for n in 0..40 {
        socket.send_text("{ no JSON").await;
        let code = socket.frame_of(&["error"]).await["code"].clone();
        assert_eq!(code, if n == 0 { "INVALID_JSON" } else { "RATE_LIMITED" });
    }
    let again = json!({ "action": "ping" }).to_string();
    let (_, errors, code) = flood(socket, 200, async |socket| socket.try_send_text(&again).await).await;
    assert_eq!(code, 4429);
    assert_eq!(errors + 39, 60, "refusals that are answered within a minute");
}

#[tokio::test]
async fn a_flood_of_pings_or_pongs_is_closed_and_heartbeats_are_not() {
    let one =
        SingleProcess::start(&[("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "5"), ("TURNPIKE_HEARTBEAT_SECONDS", "1")]).await;
    for pings in [true, false] {
        let (_, errors, code) =
            flood(opened(&one).await, 1000, async |socket| socket.try_send_control(pings).await).await;
        assert_eq!(code, 4429);
        assert!((58..=60).contains(&errors), "{errors}");
    }
    // A client that answers the gateway's pings and sends a ping a second itself is within its allowance.
    let mut quiet = opened(&one).await;
    for _ in 0..6 {
        assert!(quiet.try_send_control(true).await);
        quiet.idle(std::time::Duration::from_secs(1)).await.expect("an open socket");
    }
    quiet.send(json!({ "action": "ping", "id": 1 })).await;
    assert_eq!(quiet.frame().await, json!({ "event": "pong", "id": 1 }));
}

#[tokio::test]
async fn bodies_of_credential_routes_are_short() {
    let one = SingleProcess::start(&[]).await;
    let (admin, stranger) = (one.admin().await, Person::anonymous(one.url()));
    let user = format!("/api/admin/users/{}", admin.id());
    for length in [9_000, 255_000] {
        let long = json!({ "password": "x".repeat(length) });
        for answer in [
            stranger.post("/api/auth/login", long.clone()).await,
            stranger.post("/api/auth/refresh", long.clone()).await,
            admin.post("/api/auth/change-password", long.clone()).await,
            admin.post("/api/admin/users", long.clone()).await,
            admin.patch(&user, long.clone()).await,
        ] {
            assert_eq!((answer.status, &answer.json["code"]), (413, &json!("TOO_LARGE")), "{}", answer.text);
        }
    }
    let answer = admin.post("/api/commands", json!({ "padding": "x".repeat(255_000) })).await;
    assert_eq!(answer.status, 422, "other routes take more: {}", answer.text);
}

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.strip_prefix("http://").expect("a URL")).await.expect("a connection")
}

/// Whether the server answers on this connection instead of closing it.
async fn answers(mut stream: TcpStream) -> bool {
    let request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    // A connection that is closed meanwhile breaks one of them.
    let _ = stream.write_all(request).await;
    let _ = within("an answer or the end", 20, stream.read_to_end(&mut answer)).await;
    answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn an_address_has_only_so_many_connections() {
    let one = SingleProcess::start(&[("TURNPIKE_LIMIT_CONNECTIONS_PER_ADDRESS", "3")]).await;
    let admin = one.admin().await; // whose connection stays open for a while
    let sockets = [admin.socket().await, admin.socket().await];
    assert!(!answers(connect(one.url()).await).await, "open sockets count");
    drop(sockets);
    eventually("places to be given back", 20, async || answers(connect(one.url()).await).await.then_some(())).await;
}

#[tokio::test]
async fn silent_connections_and_slow_bodies_are_closed() {
    let one = SingleProcess::start(&[]).await;
    let mut silent = connect(one.url()).await;
    let mut slow = connect(one.url()).await;
    let head = "POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.expect("sent");
    let (mut nothing, mut answer) = (Vec::new(), Vec::new());
    within("the silent connection to be closed", 20, silent.read_to_end(&mut nothing)).await.expect("closed");
    within("the slow one to be answered", 20, slow.read_to_end(&mut answer)).await.expect("closed");
    assert!(nothing.is_empty());
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("REQUEST_TIMEOUT"), "{answer}");
}

#[tokio::test]
async fn connections_leave_files_to_the_services_behind() {
    let mut stack = Stack::start(1, &[]).await;
    stack.gateways[0].kill();
    stack.gateways[0].limit_open_files(200);
    stack.gateways[0].start();
    stack.wait_until_ready().await;
    let admin = stack.admin(0).await;
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(connect(stack.url(0)).await);
    }
    // The services behind come back, which needs new files here; this client's connection is open already.
    stack.vehicles.kill();
    stack.vehicles.start();
    eventually("vehicles to be reached again", 9, async || {
        (admin.get("/api/vehicles").await.status == 200).then_some(())
    })
    .await;
    assert!(!stack.gateways[0].log().contains("cannot be accepted"), "{}", stack.gateways[0].log());
    drop(silent);
}
