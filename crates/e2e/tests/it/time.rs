//! Expiry of tokens, sockets and sessions. Every service runs in the test's process, with a clock that the test advances.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use turnpike_kit::{Clock, ClockControl, Environment, Process};
use turnpike_testkit::{ADMIN_PASSWORD, Answer, Person, Socket, eventually};
use turnpike_token::{Claims, Role, SigningKey};
use turnpike_topic::{SessionId, UserId};
use uuid::Uuid;

/// The single process and the control of its clock.
struct Harness {
    url: String,
    clock: Clock,
    control: ClockControl,
    process: Process,
    _data: TempDir,
}

impl Harness {
    async fn start() -> Self {
        let data = TempDir::new().expect("a directory");
        let variables = [
            ("TURNPIKE_HTTP", "127.0.0.1:0".to_owned()),
            ("TURNPIKE_DATA_DIR", data.path().display().to_string()),
            ("TURNPIKE_ADMIN_PASSWORD", ADMIN_PASSWORD.to_owned()),
        ];
        let (clock, control) = Clock::controlled(Timestamp::from_second(1_795_000_000).expect("in range"));
        let environment = Environment::new(variables).expect("names that exist");
        let process = Process::new(environment, clock.clone()).expect("a process");
        let started = turnpike::start(&process, false, |_| ()).await.expect("turnpike starts");
        Self { url: format!("http://{}", started.address), clock, control, process, _data: data }
    }

    async fn admin(&self) -> Person {
        Person::sign_in(&self.url, "admin", ADMIN_PASSWORD).await
    }

    fn advance(&self, seconds: u64) {
        self.control.advance(Duration::from_secs(seconds));
    }

    async fn stop(self) {
        assert!(self.process.stop(Duration::from_secs(10)).await, "every task ends within 10 s");
    }
}

fn refused(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.json["code"].as_str()), (401, Some(code)), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_token_expires_after_15_minutes() {
    let harness = Harness::start().await;
    let admin = harness.admin().await;
    let vehicle = &admin.vehicles().await[0];
    let command = admin.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
    harness.advance(899);
    assert_eq!(admin.get("/api/auth/me").await.status, 200);
    harness.advance(1);
    refused(&admin.get("/api/auth/me").await, "TOKEN_EXPIRED");
    refused(&admin.get(&format!("/api/topics/response:{command}/events")).await, "TOKEN_EXPIRED");
    for path in [format!("/ws/responses/{command}"), "/ws".to_owned()] {
        let (frames, closed) =
            Socket::open(&harness.url, &format!("{path}?token={}", admin.token)).await.until_closed().await;
        assert!(frames.is_empty(), "{frames:?}");
        assert_eq!((closed.code, closed.reason.as_str()), (1008, "Invalid authentication token"));
    }
    let pair = admin.post("/api/auth/refresh", json!({ "refresh_token": admin.refresh_token })).await;
    assert_eq!(pair.status, 200, "{}", pair.text);
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_socket_is_closed_when_its_token_expires_unless_it_gets_a_new_one() {
    let harness = Harness::start().await;
    let admin = harness.admin().await;
    let (mut expiring, mut renewed) = (admin.socket().await, admin.socket().await);
    for socket in [&mut expiring, &mut renewed] {
        assert_eq!(socket.frame().await["event"], "hello");
    }
    let topic = format!("user:{}", admin.id());
    let mut events =
        admin.request(Method::GET, &format!("/api/topics/{topic}/events")).send().await.expect("the stream opens");
    harness.advance(600);
    let pair = admin.post("/api/auth/refresh", json!({ "refresh_token": admin.refresh_token })).await.json;
    renewed.send(json!({ "action": "auth", "id": 1, "token": pair["access_token"] })).await;
    let answer = renewed.frame().await;
    let end = harness.clock.now() + Duration::from_secs(900);
    assert_eq!(answer, json!({ "event": "authenticated", "id": 1, "expires_at": end.to_string() }));

    // A token of another user is refused.
    let other_user = admin.with_token(pair["access_token"].as_str().expect("a token")).create_user("user").await;
    renewed.send(json!({ "action": "auth", "id": 2, "token": other_user.token })).await;
    assert_eq!(renewed.frame().await["event"], "error");

    harness.advance(300);
    let (_, closed) = expiring.until_closed().await;
    assert_eq!(closed.code, 4401);
    while events.chunk().await.expect("the stream ends without an error").is_some() {}
    renewed.send(json!({ "action": "ping", "id": 3 })).await;
    assert_eq!(renewed.frame().await, json!({ "event": "pong", "id": 3 }));
    harness.advance(600);
    let (_, closed) = renewed.until_closed().await;
    assert_eq!(closed.code, 4401);
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_is_valid_for_24_hours() {
    let harness = Harness::start().await;
    let anonymous = Person::anonymous(&harness.url);
    let login = json!({ "username": "admin", "password": ADMIN_PASSWORD });
    let answer = anonymous.post("/api/auth/login", login).await;
    let cookie = answer.headers["set-cookie"].to_str().expect("text").split(';').next().expect("a value").to_owned();
    let me =
        async || anonymous.send(anonymous.request(Method::GET, "/api/auth/me").header("cookie", &cookie)).await.status;
    for _ in 0..4 {
        assert_eq!(me().await, 200);
        harness.advance(600);
    }
    harness.advance(24 * 3600 - 2400);
    assert_eq!(me().await, 401, "the session has expired");
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_signed_with_another_key_is_refused() {
    let harness = Harness::start().await;
    let admin = harness.admin().await;
    let now = harness.clock.now();
    let claims = Claims {
        user_id: admin.id().parse::<UserId>().expect("an id"),
        session_id: SessionId::new(now),
        token_id: Uuid::now_v7(),
        username: "ada".into(),
        role: Role::Admin,
        issued_at: now,
        expires_at: now + Duration::from_secs(900),
        auth_time: now,
        api_key: None,
    };
    let foreign = SigningKey::from_secret(&Box::new([7; 32]).into()).sign(&claims);
    refused(&Person::anonymous(&harness.url).with_token(&foreign).get("/api/auth/me").await, "INVALID_TOKEN");
    let (frames, closed) = Socket::open(&harness.url, &format!("/ws?token={foreign}")).await.until_closed().await;
    assert_eq!((frames.len(), closed.code, closed.reason.as_str()), (0, 1008, "Invalid authentication token"));
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_expires_with_its_sockets() {
    let harness = Harness::start().await;
    let admin = harness.admin().await;
    let created = admin.post("/api/auth/api-keys", json!({ "name": "for a day", "expires_in_days": 1 })).await.json;
    let program = admin.with_token(created["key"].as_str().expect("the key"));
    assert_eq!(program.get("/api/vehicles").await.status, 200);
    harness.advance(24 * 3600 - 60);
    assert_eq!(program.get("/api/vehicles").await.status, 200, "its token is replaced");
    let mut socket = program.socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    harness.advance(60);
    let closed = socket.next().await.expect_err("the end of the socket");
    assert_eq!((closed.code, closed.reason.as_str()), (4401, "Token expired"));
    refused(&program.get("/api/vehicles").await, "API_KEY_EXPIRED");
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_of_an_api_key_outlives_its_access_token() {
    let harness = Harness::start().await;
    let admin = harness.admin().await;
    let created = admin.post("/api/auth/api-keys", json!({ "name": "ci" })).await.json;
    let program = admin.with_token(created["key"].as_str().expect("the key"));
    let mut socket = program.socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    let last_used = async || {
        let admin = harness.admin().await; // a new sign-in: its own token expires, too
        admin.get("/api/auth/api-keys").await.json[0]["last_used_at"].as_str().map(str::to_owned)
    };
    let mut seen = last_used().await;
    // The token expires 900 seconds after its exchange. It is replaced in the last minute before, without any request of the program.
    for wait in [870, 840, 840] {
        harness.advance(wait);
        seen = eventually("another exchange of the key", 10, || async {
            let now = last_used().await;
            (now != seen).then_some(now)
        })
        .await;
        for step in 0..6 {
            socket.send(json!({ "action": "ping", "id": step })).await;
            assert_eq!(socket.frame_of(&["pong"]).await["id"], json!(step));
            harness.advance(5);
        }
    }
    let path = format!("/api/auth/api-keys/{}", created["id"].as_str().expect("an id"));
    assert_eq!(harness.admin().await.delete(&path).await.status, 204);
    let closed = socket.next().await.expect_err("the end of the socket");
    assert_eq!((closed.code, closed.reason.as_str()), (4401, "Session ended"));
    harness.stop().await;
}
