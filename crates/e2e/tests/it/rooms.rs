//! Rooms in separate processes and in one process: what the people in a room see of each other, over two gateways.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;
use turnpike_testkit::{Person, SingleProcess, Socket, Stack, eventually};

async fn room(owner: &Person, visibility: &str) -> String {
    let made = owner.post("/api/rooms", json!({ "name": "Workshop", "visibility": visibility })).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.json["id"].as_str().expect("an id").to_owned()
}

/// Opens a room's socket, and returns it behind its `connection_ack`.
async fn enter(person: &Person, base: &str, room: &str) -> Socket {
    let mut socket = Socket::open(base, &format!("/ws/rooms/{room}?token={}", person.token)).await;
    let ack = socket.frame().await;
    assert_eq!((&ack["event"], &ack["user_id"]), (&json!("connection_ack"), &json!(person.id())), "{ack}");
    assert_eq!(ack["server_info"]["heartbeat_interval"], 30);
    assert!(ack["session_id"].is_string() && ack["server_info"]["server_time"].is_string());
    socket
}

/// The story of two people in a room; `first` and `second` are the gateways that they use.
async fn people_in_a_room(admin: &Person, first: &str, second: &str) {
    let (ada, bob) = (admin.create_user("user").await.at(first), admin.create_user("user").await.at(second));
    let room = room(&ada, "public").await;
    let mut hers = enter(&ada, first, &room).await;
    assert_eq!(hers.frame_of(&["user_joined"]).await["user_id"], ada.id());
    let mut his = enter(&bob, second, &room).await;
    let joined = hers.frame_of(&["user_joined"]).await;
    assert_eq!((&joined["user_id"], &joined["status"]), (&json!(bob.id()), &json!("online")));
    assert!(joined["offset"].is_string());

    // A message reaches both, once, with the identity of the session, whatever the frame claims.
    his.send(json!({ "type": "message", "content": " hello ", "user_id": ada.id(), "username": "admin" })).await;
    for socket in [&mut hers, &mut his] {
        let message = socket.frame_of(&["message"]).await;
        assert_eq!((&message["user_id"], &message["content"]), (&json!(bob.id()), &json!("hello")));
        assert_eq!(message["username"], bob.user["username"]);
    }
    // Typing reaches the others only, and ends by itself.
    hers.send(json!({ "action": "typing", "is_typing": true })).await;
    let typing = his.frame_of(&["typing", "message"]).await;
    assert_eq!((&typing["user_id"], &typing["is_typing"]), (&json!(ada.id()), &json!(true)));
    assert!(typing.get("offset").is_none(), "not stored");
    assert_eq!(his.frame_of(&["typing"]).await["is_typing"], false);
    hers.send(json!({ "type": "heartbeat", "client_timestamp": "then" })).await;
    let next = hers.frame_of(&["typing", "heartbeat_ack"]).await;
    assert_eq!((&next["event"], &next["client_timestamp"]), (&json!("heartbeat_ack"), &json!("then")), "{next}");

    // Mistakes have codes, and keep the socket.
    let long = "x".repeat(2001);
    for (frame, code) in [
        ("{".to_owned(), "INVALID_JSON"),
        (json!({ "type": "dance" }).to_string(), "UNKNOWN_MESSAGE_TYPE"),
        (json!({ "type": "message" }).to_string(), "MESSAGE_PARSE_ERROR"),
        (json!({ "type": "message", "content": long }).to_string(), "MESSAGE_PARSE_ERROR"),
        (json!({ "type": "message", "content": "x".repeat(70_000) }).to_string(), "MESSAGE_TOO_LARGE"),
    ] {
        hers.send_text(&frame).await;
        let error = hers.frame_of(&["error"]).await;
        assert_eq!(error["code"], code, "{error}");
    }
    // By HTTP and on the multiplexed socket: the same room.
    let posted = bob.post(&format!("/api/rooms/{room}/messages"), json!({ "content": "by HTTP" })).await;
    assert_eq!(posted.status, 201, "{}", posted.text);
    assert_eq!(hers.frame_of(&["message"]).await["message_id"], posted.json["id"]);
    let mut many = ada.socket().await;
    let topic = format!("room:{room}");
    many.send(json!({ "action": "publish", "id": 5, "topic": topic, "event": "message", "content": "by ws" })).await;
    assert_eq!(many.frame_of(&["published"]).await["id"], 5);
    assert_eq!(hers.frame_of(&["message"]).await["content"], "by ws");

    // Two sockets of one user are one user.
    let mut again = enter(&bob, first, &room).await;
    let users = eventually("both connections of bob", 10, || async {
        let users = ada.get(&format!("/api/rooms/{room}/users")).await.json;
        let bobs = users["users"].as_array()?.iter().find(|user| user["user_id"] == bob.id())?.clone();
        (bobs["connection_count"] == 2).then_some(users)
    })
    .await;
    assert_eq!((users["users"].as_array().map(Vec::len), &users["total"]), (Some(2), &json!(2)));
    let stats = ada.get("/api/rooms/stats").await.json;
    assert_eq!((&stats["total_connections"], &stats["rooms"][&room]), (&json!(3), &json!(2)));
    again.send(json!({ "type": "message", "content": "still here" })).await;
    his.close().await;
    let next = hers.frame_of(&["user_left", "user_joined", "message"]).await;
    assert_eq!(next["content"], "still here", "the other socket keeps him present: {next}");
    again.close().await;
    let left = hers.frame_of(&["user_left"]).await;
    assert_eq!((&left["user_id"], &left["status"]), (&json!(bob.id()), &json!("offline")));

    // A room that is deleted closes its sockets.
    assert_eq!(ada.delete(&format!("/api/rooms/{room}")).await.status, 200);
    assert_eq!(hers.until_closed().await.1.code, 1000);
}

#[tokio::test]
async fn people_in_a_room_in_separate_processes() {
    let stack = Stack::start(2, &[]).await;
    people_in_a_room(&stack.admin(0).await, stack.url(0), stack.url(1)).await;
}

#[tokio::test]
async fn people_in_a_room_in_one_process() {
    let single = SingleProcess::start(&[]).await;
    people_in_a_room(&single.admin().await, single.url(), single.url()).await;
}

#[tokio::test]
async fn who_is_removed_or_never_was_a_member_hears_nothing() {
    let stack = Stack::start(2, &[("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "5")]).await;
    let admin = stack.admin(0).await;
    let (ada, bob) = (admin.create_user("user").await, admin.create_user("user").await.at(stack.url(1)));
    let room = room(&ada, "private").await;
    let path = format!("/ws/rooms/{room}?token={}", bob.token);
    let refused = Socket::open(stack.url(1), &path).await.until_closed().await;
    assert_eq!((refused.0.len(), refused.1.code, refused.1.reason.as_str()), (0, 1008, "Not found"));
    assert_eq!(bob.get(&format!("/api/rooms/{room}")).await.status, 404);
    let added = ada.post(&format!("/api/rooms/{room}/members"), json!({ "user_id": bob.id() })).await;
    assert_eq!(added.status, 201, "{}", added.text);
    let socket = enter(&bob, stack.url(1), &room).await;
    let mut many = bob.socket().await;
    many.send(json!({ "action": "subscribe", "topic": format!("room:{room}"), "since": "live" })).await;
    many.frame_of(&["subscribed"]).await;
    let removed = ada.delete(&format!("/api/rooms/{room}/members/{}", bob.id())).await;
    assert_eq!(removed.status, 204, "{}", removed.text);
    let (_, closed) = socket.until_closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (1008, "Not found"));
    assert_eq!(many.frame_of(&["error"]).await["code"], "NOT_FOUND", "the multiplexed socket stays");
    let mut hers = enter(&ada, stack.url(0), &room).await;
    for _ in 0..6 {
        hers.send(json!({ "type": "message", "content": "hello" })).await;
    }
    assert_eq!(hers.frame_of(&["error"]).await["code"], "RATE_LIMITED");
    hers.send(json!({ "type": "message", "content": "hello" })).await;
    assert_eq!(hers.frame_of(&["error"]).await["code"], "RATE_LIMITED", "and the socket stays");
    let heard = tokio::time::timeout(Duration::from_millis(500), many.frame_of(&["message"])).await;
    assert!(heard.is_err(), "nothing after the removal");
}

const ROOMS: usize = 100;
const USERS: usize = 1000;

/// A thousand users in a hundred rooms, on two gateways. One gateway is killed.
#[tokio::test]
async fn no_user_of_a_killed_gateway_is_present_15_seconds_later() {
    let mut stack = Stack::start(2, &[("TURNPIKE_LIMIT_SOCKETS_PER_USER", "0")]).await;
    let admin = stack.admin(0).await;
    // Signing in takes long by design, so each of 20 people stands for 50 users in different rooms.
    let mut people = Vec::new();
    for _ in 0..USERS * 2 / ROOMS {
        people.push(admin.create_user("user").await);
    }
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        rooms.push(room(&admin, "public").await);
    }
    let mut expected: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut sockets = Vec::new();
    for n in 0..USERS {
        let (person, room) = (&people[n % people.len()], &rooms[n / people.len() * 2 + n / 2 % 2]);
        let socket = enter(person, stack.url(n % 2), room).await;
        sockets.push((n % 2, person.id(), room.as_str(), socket));
        if n % 2 == 0 {
            expected.entry(room).or_default().push(person.id());
        }
    }
    let present = async || {
        let stats = admin.get("/api/rooms/stats").await.json;
        stats["rooms"].as_object().map(|rooms| rooms.values().filter_map(Value::as_u64).sum::<u64>())
    };
    eventually("all users to be present", 20, || async { (present().await == Some(USERS as u64)).then_some(()) }).await;
    stack.gateways[1].kill();
    let killed = Instant::now();
    eventually("the users of the killed gateway to leave", 15, || async {
        (present().await == Some(USERS as u64 / 2)).then_some(())
    })
    .await;
    assert!(killed.elapsed() < Duration::from_secs(15));
    for (room, users) in &mut expected {
        let listed = admin.get(&format!("/api/rooms/{room}/users?limit=100")).await.json;
        let mut listed: Vec<_> =
            listed["users"].as_array().expect("a list").iter().filter_map(|user| user["user_id"].as_str()).collect();
        listed.sort_unstable();
        users.sort_unstable();
        assert_eq!(&listed, users, "{room}");
    }
    // Redis and the chat service are restarted: every user stays present.
    stack.redis.restart().await;
    stack.chat.kill();
    stack.chat.start();
    stack.gateways[1].start();
    stack.wait_until_ready().await;
    assert_eq!(present().await, Some(USERS as u64 / 2));
}
