//! Clients that exceed limits: messages, control frames, body sizes, connections.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use turnpike_testkit::{Person, SingleProcess, Socket, Stack, eventually, within};

async fn open_socket(turnpike: &SingleProcess) -> Socket {
    let mut socket = turnpike.admin().await.socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    socket
}

/// Calls `send` until the socket is closed or `most` frames are sent. Returns the number of sent frames, the number of `error` frames
/// and the close code.
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
async fn a_flood_of_messages_gets_a_limited_number_of_errors_and_then_a_close() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "1")]).await;
    let mut socket = open_socket(&turnpike).await;
    // A message over the limit gets an error frame and is not parsed; the socket stays open.
    for n in 0..40 {
        socket.send_text("{ no JSON").await;
        let code = socket.frame_of(&["error"]).await["code"].clone();
        assert_eq!(code, if n == 0 { "INVALID_JSON" } else { "RATE_LIMITED" });
    }
    let ping = json!({ "action": "ping" }).to_string();
    let (_, errors, code) = flood(socket, 200, async |socket| socket.try_send_text(&ping).await).await;
    assert_eq!(code, 4429);
    assert_eq!(errors + 39, 60, "error frames within one minute");
}

#[tokio::test]
async fn a_flood_of_pings_or_pongs_is_closed_and_heartbeats_are_allowed() {
    let turnpike =
        SingleProcess::start(&[("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "5"), ("TURNPIKE_HEARTBEAT_SECONDS", "1")]).await;
    for pings in [true, false] {
        let (_, errors, code) =
            flood(open_socket(&turnpike).await, 1000, async |socket| socket.try_send_control(pings).await).await;
        assert_eq!(code, 4429);
        assert!((58..=60).contains(&errors), "{errors}");
    }
    // A client that answers the gateway's pings and sends one ping a second stays below the limit.
    let mut regular = open_socket(&turnpike).await;
    for _ in 0..6 {
        assert!(regular.try_send_control(true).await);
        regular.idle(std::time::Duration::from_secs(1)).await.expect("the socket is open");
    }
    regular.send(json!({ "action": "ping", "id": 1 })).await;
    assert_eq!(regular.frame().await, json!({ "event": "pong", "id": 1 }));
}

#[tokio::test]
async fn long_bodies_are_refused_on_credential_routes() {
    let turnpike = SingleProcess::start(&[]).await;
    let (admin, anonymous) = (turnpike.admin().await, Person::anonymous(turnpike.url()));
    let user = format!("/api/admin/users/{}", admin.id());
    for length in [9_000, 255_000] {
        let long = json!({ "password": "x".repeat(length) });
        for answer in [
            anonymous.post("/api/auth/login", long.clone()).await,
            anonymous.post("/api/auth/refresh", long.clone()).await,
            admin.post("/api/auth/change-password", long.clone()).await,
            admin.post("/api/admin/users", long.clone()).await,
            admin.patch(&user, long.clone()).await,
        ] {
            assert_eq!((answer.status, &answer.json["code"]), (413, &json!("TOO_LARGE")), "{}", answer.text);
        }
    }
    let answer = admin.post("/api/commands", json!({ "padding": "x".repeat(255_000) })).await;
    assert_eq!(answer.status, 422, "other routes accept longer bodies: {}", answer.text);
}

/// The head of the response to a login with this body.
async fn head_of_login(stream: &mut TcpStream, body: &str) -> String {
    let request = format!(
        "POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("the head of the response", 20, stream.read_u8()).await.expect("a byte"));
    }
    String::from_utf8(head).expect("text").to_lowercase()
}

#[tokio::test]
async fn the_response_says_so_when_the_connection_closes_because_the_body_was_not_read() {
    let turnpike = SingleProcess::start(&[]).await;
    let mut stream = connect(turnpike.url()).await;
    for body in ["{}", "{\"username\":\"nobody\",\"password\":\"wrong\"}"] {
        let head = head_of_login(&mut stream, body).await;
        assert!(head.starts_with("http/1.1 4") && !head.contains("connection:"), "{head}");
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
        let length = length.and_then(|length| length.parse().ok()).expect("a length");
        stream.read_exact(&mut vec![0; length]).await.expect("the body of the response");
    }
    let head = head_of_login(&mut stream, &"x".repeat(200_000)).await;
    assert!(head.starts_with("http/1.1 413") && head.contains("connection: close\r\n"), "{head}");
    let mut rest = Vec::new();
    within("the end of the connection", 20, stream.read_to_end(&mut rest)).await.expect("no reset");
}

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.strip_prefix("http://").expect("the URL is valid"))
        .await
        .expect("the connection is accepted")
}

/// Whether the server answers a request on this connection; otherwise it closes the connection.
async fn is_served(mut stream: TcpStream) -> bool {
    let request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    // One of them fails if the server closes the connection first.
    let _ = stream.write_all(request).await;
    let _ = within("an answer or the end", 20, stream.read_to_end(&mut answer)).await;
    answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn connections_of_one_address_are_limited() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_LIMIT_CONNECTIONS_PER_ADDRESS", "3")]).await;
    let admin = turnpike.admin().await; // its HTTP connection stays open and counts too
    let sockets = [admin.socket().await, admin.socket().await];
    assert!(!is_served(connect(turnpike.url()).await).await, "open sockets count as connections");
    drop(sockets);
    eventually("a connection to be accepted again", 20, async || {
        is_served(connect(turnpike.url()).await).await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn silent_connections_are_closed_and_slow_bodies_time_out() {
    let turnpike = SingleProcess::start(&[]).await;
    let mut silent = connect(turnpike.url()).await;
    let mut slow = connect(turnpike.url()).await;
    let head = "POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.expect("the data is sent");
    let (mut silent_answer, mut answer) = (Vec::new(), Vec::new());
    within("the silent connection to be closed", 20, silent.read_to_end(&mut silent_answer))
        .await
        .expect("the connection is closed");
    within("the slow request to be answered", 20, slow.read_to_end(&mut answer))
        .await
        .expect("the connection is closed");
    assert!(silent_answer.is_empty());
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("REQUEST_TIMEOUT"), "{answer}");
}

#[tokio::test]
async fn the_gateway_reserves_file_descriptors_for_connections_to_services() {
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
    // The gateway needs new file descriptors to connect to the restarted service. This client's connection is open already.
    stack.vehicles.kill();
    stack.vehicles.start();
    eventually("vehicles to be reached again", 9, async || {
        (admin.get("/api/vehicles").await.status == 200).then_some(())
    })
    .await;
    assert!(!stack.gateways[0].log().contains("cannot be accepted"), "{}", stack.gateways[0].log());
    drop(silent);
}
