//! The multiplexed socket, server-sent events, limits.

use jiff::Timestamp;
use serde_json::{Value, json};
use turnpike_bus::{Bus, Limits};
use turnpike_event::{Body, CommandEvent, Event, Json};
use turnpike_testkit::{Person, SingleProcess, Socket, Stack, eventually};
use turnpike_topic::{CommandId, Topic, VehicleId};
use uuid::Uuid;

async fn completed(person: &Person) -> (String, Vec<Value>) {
    let vehicle = &person.vehicles().await[0];
    let id = person.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
    let (frames, _) = person.watch(&id).await.until_closed().await;
    (id, frames)
}

#[tokio::test]
async fn the_multiplexed_socket_subscribes_resumes_and_answers_errors() {
    let turnpike = SingleProcess::start(&[]).await;
    let admin = turnpike.admin().await;
    let (id, frames) = completed(&admin).await;
    let topic = format!("response:{id}");
    let mut socket = admin.socket().await;
    let hello = socket.frame().await;
    assert_eq!((&hello["event"], &hello["heartbeat_interval"]), (&json!("hello"), &json!(30)));

    socket.send(json!({ "action": "subscribe", "id": 1, "topic": topic })).await;
    let head = frames.last().expect("frames")["offset"].clone();
    let subscribed = socket.frame().await;
    assert_eq!(subscribed, json!({ "event": "subscribed", "id": 1, "topic": topic, "head": head }));
    for frame in &frames {
        assert_eq!(&socket.frame().await, frame, "the same frames as on the command's socket");
    }
    assert_eq!(socket.frame().await, json!({ "event": "caught_up", "topic": topic, "head": head }));
    assert_eq!(socket.frame().await, json!({ "event": "closed", "topic": topic }));

    socket.send(json!({ "action": "subscribe", "id": 2, "topic": topic, "since": frames[2]["offset"] })).await;
    assert_eq!(socket.frame().await["event"], "subscribed");
    assert_eq!(socket.frame().await, frames[3], "after the offset");

    // An invalid request gets an error frame, and the socket stays open.
    for (frame, code) in [
        (json!({ "action": "subscribe", "id": 3, "topic": "response:nonsense" }), "VALIDATION"),
        (json!({ "action": "subscribe", "id": 3, "topic": "sessions" }), "NOT_FOUND"),
        (json!({ "action": "subscribe", "id": 3, "topic": "user:01a1fcbc-ee37-76ae-a15d-624a758a99f6" }), "NOT_FOUND"),
        (
            json!({ "action": "subscribe", "id": 3, "topic": "response:01a1fcbc-ee37-76ae-a15d-624a758a99f6" }),
            "NOT_FOUND",
        ),
        (
            json!({ "action": "unsubscribe", "id": 3, "topic": "response:01a1fcbc-ee37-76ae-a15d-624a758a99f6" }),
            "NOT_SUBSCRIBED",
        ),
        (json!({ "action": "fly", "id": 3 }), "UNKNOWN_MESSAGE_TYPE"),
        (json!({ "action": "auth", "id": 3, "token": "nonsense" }), "INVALID_TOKEN"),
    ] {
        socket.send(frame.clone()).await;
        let error = socket.frame_of(&["error"]).await;
        assert_eq!((&error["code"], &error["id"]), (&json!(code), &json!(3)), "{frame}");
        assert!(error["offset"].is_null());
    }
    socket.send_text("{").await;
    assert_eq!(socket.frame_of(&["error"]).await["code"], "INVALID_JSON");
    socket.send_text(&format!("{{\"pad\":\"{}\"}}", "x".repeat(70_000))).await;
    assert_eq!(socket.frame_of(&["error"]).await["code"], "MESSAGE_TOO_LARGE");
    socket.send(json!({ "action": "auth", "id": 4, "token": admin.token })).await;
    assert_eq!(socket.frame_of(&["authenticated"]).await["id"], 4);

    // only a frame beyond all measure closes it
    socket.send_text(&"x".repeat(1_100_000)).await;
    let (_, closed) = socket.until_closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (1009, "Frame too large"));
}

#[tokio::test]
async fn a_gateway_stops_following_a_topic_after_its_last_client_has_disconnected() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_MOCK_DELAY_MS", "60000")]).await;
    let admin = turnpike.admin().await;
    let vehicle = &admin.vehicles().await[0];
    let id = admin.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
    let (mut first, mut second) = (admin.watch(&id).await, admin.watch(&id).await);
    first.frame().await;
    second.frame().await;
    let followed_topics = || async {
        let services = admin.get("/api/admin/services").await.json;
        services[0]["topics"].as_u64()
    };
    assert_eq!(followed_topics().await, Some(1), "two clients share one follower");
    first.abort();
    second.abort();
    eventually("the gateway to stop following", 10, || async { (followed_topics().await == Some(0)).then_some(()) })
        .await;
}

#[tokio::test]
async fn server_sent_events_are_the_same_frames() {
    let turnpike = SingleProcess::start(&[]).await;
    let admin = turnpike.admin().await;
    let (id, frames) = completed(&admin).await;
    let path = format!("/api/topics/response:{id}/events");
    let events = |text: &str| -> Vec<(Option<String>, Value)> {
        let blocks = text.split("\n\n").filter(|block| block.contains("data: "));
        let parse = |block: &str| {
            let line = |prefix: &str| block.lines().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned);
            (line("id: "), serde_json::from_str(&line("data: ").expect("data")).expect("JSON"))
        };
        blocks.map(parse).collect()
    };
    let answer = admin.get(&path).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let all = events(&answer.text);
    let with_ids: Vec<_> = all.iter().filter(|(id, _)| id.is_some()).collect();
    assert_eq!(with_ids.len(), frames.len());
    for ((id, frame), expected) in with_ids.iter().zip(&frames) {
        assert_eq!(frame, expected);
        assert_eq!(id.as_deref(), expected["offset"].as_str());
    }
    let resumed = admin
        .send(
            admin
                .request(reqwest::Method::GET, &path)
                .header("Last-Event-ID", frames[1]["offset"].as_str().expect("an offset")),
        )
        .await;
    assert_eq!(events(&resumed.text)[0].1, frames[2]);
    assert_eq!(admin.get(&format!("{path}?since=nonsense")).await.status, 422);
    assert_eq!(admin.get("/api/topics/sessions/events").await.status, 404);
    assert_eq!(Person::anonymous(turnpike.url()).get(&path).await.status, 401);
}

#[tokio::test]
async fn exceeded_limits_get_an_error_and_keep_the_socket_open() {
    let turnpike = SingleProcess::start(&[
        ("TURNPIKE_LIMIT_SOCKETS_PER_USER", "2"),
        ("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "3"),
        ("TURNPIKE_LIMIT_COMMANDS_PER_MINUTE", "1"),
        ("TURNPIKE_HEARTBEAT_SECONDS", "1"),
    ])
    .await;
    let admin = turnpike.admin().await;
    let mut first = admin.socket().await;
    assert_eq!(first.frame().await["event"], "hello");
    let _second = admin.socket().await;
    let (_, closed) = admin.socket().await.until_closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (4429, "Too many connections"));

    for _ in 0..3 {
        first.send(json!({ "action": "ping" })).await;
        assert_eq!(first.frame().await["event"], "pong");
    }
    first.send(json!({ "action": "ping", "id": 9 })).await;
    let error = first.frame().await;
    assert_eq!((&error["code"], &error["id"]), (&json!("RATE_LIMITED"), &json!(null)), "the message is not parsed");
    assert!(error["retry_after"].as_u64().is_some_and(|seconds| seconds > 0));

    let vehicle = &admin.vehicles().await[0];
    admin.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
    let answer = admin.command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
    assert_eq!((answer.status, &answer.json["code"]), (429, &json!("RATE_LIMITED")));
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_closed() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_HEARTBEAT_SECONDS", "1")]).await;
    let admin = turnpike.admin().await;
    // A WebSocket library would answer pings, so this client writes raw bytes and never reads.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = turnpike.url().strip_prefix("http://").expect("the URL is valid");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("the connection is accepted");
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n",
        admin.token
    );
    stream.write_all(request.as_bytes()).await.expect("the data is sent");
    let mut received = Vec::new();
    turnpike_testkit::within("the gateway to close the connection", 15, stream.read_to_end(&mut received))
        .await
        .expect("the data is read");
    // the close frame: 0x88, its length, 4408
    let close = received.windows(4).any(|bytes| bytes[0] == 0x88 && bytes[2..] == 4408_u16.to_be_bytes());
    assert!(close, "the close frame has the code 4408");
}

#[tokio::test]
async fn a_slow_client_loses_no_frame_and_does_not_delay_others() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_MOCK_VEHICLES", "1")]).await;
    let admin = turnpike.admin().await;
    let vehicle = &admin.vehicles().await[0];
    let mut slow = admin.socket().await;
    assert_eq!(slow.frame().await["event"], "hello");
    slow.send(json!({ "action": "subscribe", "id": 1, "topic": format!("vehicle:{}", vehicle["id"].as_str().expect("an id")), "since": "live" })).await;
    assert_eq!(slow.frame_of(&["caught_up"]).await["event"], "caught_up");
    // The slow socket subscribes to 50 commands and reads nothing until all have completed.
    let mut ids = Vec::new();
    for _ in 0..50 {
        let id = admin.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
        slow.send(json!({ "action": "subscribe", "topic": format!("response:{id}") })).await;
        let (frames, _) = admin.watch(&id).await.until_closed().await;
        ids.push((format!("response:{id}"), frames));
    }
    let mut received: std::collections::HashMap<String, Vec<Value>> = std::collections::HashMap::new();
    let mut open = ids.len();
    while open > 0 {
        let frame = slow.frame().await;
        let topic = frame["topic"].as_str().unwrap_or_default().to_owned();
        match frame["event"].as_str().expect("an event") {
            "closed" => open -= 1,
            "status" | "response" => received.entry(topic).or_default().push(frame),
            _ => {}
        }
    }
    for (topic, frames) in &ids {
        assert_eq!(received.get(topic), Some(frames));
    }
}

#[tokio::test]
async fn a_stop_closes_sockets_with_1001_and_exits_0() {
    let mut turnpike = SingleProcess::start(&[]).await;
    let admin = turnpike.admin().await;
    let mut socket = admin.socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    let (status, (_, closed)) = tokio::join!(turnpike.process.stop(), socket.until_closed());
    assert_eq!(closed.code, 1001);
    assert!(closed.reason.contains("retry_after"), "{closed:?}");
    assert_eq!(status.code(), Some(0), "{}", turnpike.process.log());
    assert!(!turnpike.process.log().contains("did not finish in time"), "{}", turnpike.process.log());
}

#[tokio::test]
async fn a_get_without_an_upgrade_is_refused() {
    let turnpike = SingleProcess::start(&[]).await;
    let answer = turnpike.admin().await.get("/ws").await;
    assert_eq!((answer.status, &answer.json["code"]), (400, &json!("NOT_A_WEBSOCKET")));
    assert_eq!(Person::anonymous(turnpike.url()).get("/ws").await.status, 401, "the credential is checked first");
    assert_eq!(Socket::open_with(turnpike.url(), "/nowhere", &[]).await.map(|_| ()), Err(404));
}

#[tokio::test]
async fn protocol_violations_are_closed_and_a_close_frame_is_answered() {
    let turnpike = SingleProcess::start(&[]).await;
    let admin = turnpike.admin().await;
    let open = async || {
        let mut socket = admin.socket().await;
        assert_eq!(socket.frame().await["event"], "hello");
        socket
    };
    let closed = open().await.close().await;
    assert_eq!((closed.code, closed.reason.as_str()), (1000, "bye"));
    let mut socket = open().await;
    socket.send_bytes(b"\xff\xfe").await;
    assert_eq!(socket.until_closed().await.1.code, 1007);
    let mut socket = open().await;
    socket.send_text(&"x".repeat((1 << 20) + 1)).await;
    assert_eq!(socket.until_closed().await.1.code, 1009);
}

/// The history is larger than all buffers between gateway and client; requests are handled before all of it is sent.
#[tokio::test]
async fn requests_are_answered_while_a_long_history_is_sent() {
    const EVENTS: u32 = 9_000;
    let stack = Stack::start(1, &[]).await;
    let admin = stack.admin(0).await;
    let vehicle: VehicleId = admin.vehicles().await[0]["id"].as_str().expect("an id").parse().expect("an id");
    let bus = Bus::redis(&stack.redis.url(), Limits::default()).expect("the URL is valid");
    let publish = |sequence_number| {
        let response = Json::parse(format!(r#"{{"padding":"{}"}}"#, "x".repeat(4_000))).expect("JSON");
        let command_id = CommandId::from(Uuid::nil());
        let body = Body::Command(CommandEvent::Response { command_id, sequence_number, is_final: false, response });
        let (bus, at) = (bus.clone(), Timestamp::UNIX_EPOCH);
        async move { bus.publish(&Topic::Vehicle(vehicle), &Event { at, body }.to_bytes()).await }
    };
    for first in (1..=EVENTS).step_by(100) {
        for published in futures_util::future::join_all((first..first + 100).map(publish)).await {
            published.expect("the event is published");
        }
    }
    let mut socket = admin.socket().await;
    socket
        .send(json!({ "action": "subscribe", "id": 1, "topic": format!("vehicle:{vehicle}"), "since": "start" }))
        .await;
    assert_eq!(socket.frame_of(&["subscribed"]).await["id"], 1);
    socket.send(json!({ "action": "ping", "id": 2 })).await;
    let mut before = 0;
    while socket.frame_of(&["response", "pong"]).await["event"] == "response" {
        before += 1;
    }
    assert!(before < EVENTS, "the pong was sent only after the whole history");
    socket.send(json!({ "action": "unsubscribe", "id": 3, "topic": format!("vehicle:{vehicle}") })).await;
    let mut after = 0;
    while socket.frame_of(&["response", "unsubscribed"]).await["event"] == "response" {
        after += 1;
    }
    assert!(before + after < EVENTS, "the whole history was sent despite the unsubscribe");
}
