//! API keys: created, used on every transport, and revoked.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use turnpike_testkit::{Closed, Person, SingleProcess, Socket, Stack, eventually, within};

/// From the response to a revocation until its socket is closed, in the fastest of several rounds: the machine of a test is busy.
const PUSHED_WITHIN: Duration = Duration::from_millis(250);
const ROUNDS: usize = 5;

#[tokio::test]
async fn a_program_uses_a_key_until_it_is_revoked_with_one_process() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_LOG", "debug")]).await;
    let keys = story(&turnpike.admin().await, turnpike.url()).await;
    assert_not_logged(&turnpike.process.log(), &keys);
}

#[tokio::test]
async fn a_program_uses_a_key_until_it_is_revoked_with_separate_processes() {
    let stack = Stack::start(2, &[("TURNPIKE_LOG", "debug")]).await;
    let keys = story(&stack.admin(0).await, stack.url(1)).await;
    for process in [&stack.auth, &stack.vehicles, &stack.mock].into_iter().chain(&stack.gateways) {
        assert_not_logged(&process.log(), &keys);
    }
}

/// Users manage keys at the gateway of `admin`, and programs use them at `url`. Returns every key.
async fn story(admin: &Person, url: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut create = async |owner: &Person, body: Value| {
        let answer = owner.post("/api/auth/api-keys", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let key = answer.json["key"].as_str().expect("the key").to_owned();
        keys.push(key.clone());
        (Person::anonymous(url).with_token(&key), answer.json["id"].as_str().expect("an id").to_owned())
    };
    let owner = admin.create_user("operator").await;

    // HTTP, a WebSocket and server-sent events
    let (program, _) = create(&owner, json!({ "name": "ci", "scopes": ["vehicles"] })).await;
    assert_eq!(program.get("/api/auth/me").await.json["id"], owner.user["id"]);
    let vehicle = &program.vehicles().await[0];
    let command = program.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
    let (frames, closed) = program.watch(&command).await.until_closed().await;
    assert_eq!((closed.code, &frames.last().expect("frames")["status"]), (1000, &json!("completed")));
    let events = program.get(&format!("/api/topics/response:{command}/events")).await;
    assert_eq!((events.status, events.text.contains("\"completed\"")), (200, true), "{}", events.text);
    // a ticket, with the scopes of its key
    let ticket = program.post("/api/auth/tickets", json!({})).await;
    assert_eq!(ticket.status, 201, "{}", ticket.text);
    let protocols = format!("turnpike.v1, ticket.{}", ticket.json["ticket"].as_str().expect("a ticket"));
    let mut socket = Socket::open_with(url, "/ws", &[("sec-websocket-protocol", &protocols)]).await.expect("a socket");
    assert_eq!(socket.frame().await["event"], "hello");
    let room = "room:01890000-0000-7000-8000-000000000001";
    for (topic, expected) in [(format!("response:{command}"), "subscribed"), (room.to_owned(), "error")] {
        socket.send(json!({ "action": "subscribe", "topic": topic, "since": "live" })).await;
        let answer = socket.frame_of(&["subscribed", "error"]).await;
        assert_eq!(answer["event"], expected, "{answer}");
        assert!(expected == "subscribed" || answer["code"] == "INSUFFICIENT_SCOPE", "{answer}");
    }
    let refused = program.post("/api/auth/api-keys", json!({ "name": "another" })).await;
    assert_eq!((refused.status, &refused.json["code"]), (403, &json!("API_KEY_NOT_ALLOWED")));

    // revoked: the socket and the event stream end, and requests are refused
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let (program, id) = create(&owner, json!({ "name": "revoked" })).await;
        let mut socket = hello(&program).await;
        let path = format!("/api/topics/user:{}/events", owner.id());
        let (stream, took) = tokio::join!(within("the event stream to end", 20, program.get(&path)), async {
            let list = eventually("the last use of the key", 10, || used(&owner, &id)).await;
            assert!(!list.is_empty());
            // The stream may not be open yet; then it is refused, which is checked below.
            assert_eq!(owner.delete(&format!("/api/auth/api-keys/{id}")).await.status, 204);
            let revoked = Instant::now();
            assert_eq!(ending(&mut socket).await, (4401, "Session ended".to_owned()));
            revoked.elapsed()
        });
        assert!(stream.text.contains("SESSION_ENDED") || stream.status == 401, "{}", stream.text);
        let answer = program.get("/api/vehicles").await;
        assert_eq!((answer.status, &answer.json["code"]), (401, &json!("INVALID_API_KEY")));
        fastest = fastest.min(took);
    }
    assert!(fastest <= PUSHED_WITHIN, "{fastest:?}");

    // an admin revokes, and an admin deactivates the owner
    let user = format!("/api/admin/users/{}", owner.id());
    let (program, id) = create(&owner, json!({ "name": "by an admin" })).await;
    let mut socket = hello(&program).await;
    let listed = admin.get(&format!("{user}/api-keys")).await.json;
    assert_eq!((&listed[0]["name"], listed[0].get("key")), (&json!("by an admin"), None));
    assert_eq!(admin.delete(&format!("{user}/api-keys/{id}")).await.status, 204);
    assert_eq!(ending(&mut socket).await.0, 4401);
    let (program, _) = create(&owner, json!({ "name": "of an inactive account" })).await;
    let mut socket = hello(&program).await;
    assert_eq!(admin.patch(&user, json!({ "active": false })).await.status, 200);
    assert_eq!(ending(&mut socket).await, (4401, "User account is inactive".to_owned()));
    let answer = program.get("/api/vehicles").await;
    assert_eq!((answer.status, &answer.json["code"]), (401, &json!("ACCOUNT_INACTIVE")));
    let mut refused = Socket::open(url, &format!("/ws?token={}", program.token)).await;
    assert_eq!(ending(&mut refused).await, (1008, "User account is inactive".to_owned()));
    keys
}

/// Opens a socket with the key in the query, as programs without headers do.
async fn hello(program: &Person) -> Socket {
    let mut socket = program.socket_with_query().await;
    assert_eq!(socket.frame().await["event"], "hello");
    socket
}

async fn ending(socket: &mut Socket) -> (u16, String) {
    let Closed { code, reason } = socket.next().await.expect_err("the end of the socket");
    (code, reason)
}

/// The time of the last use, once there is one.
async fn used(owner: &Person, id: &str) -> Option<String> {
    let listed = owner.get("/api/auth/api-keys").await.json;
    let key = listed.as_array()?.iter().find(|key| key["id"] == id)?;
    key["last_used_at"].as_str().map(str::to_owned)
}

fn assert_not_logged(log: &str, keys: &[String]) {
    assert!(!log.is_empty());
    for key in keys {
        // The first characters are no secret; the others are.
        assert!(!log.contains(&key[9..]), "a key is in the log");
    }
}
