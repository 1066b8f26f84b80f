//! The handshake of WebSockets and the frames that are no events.

use serde_json::json;
use turnpike_kit::Clock;
use turnpike_proto::{
    auth::v1 as pb,
    event::v1::{SessionEnded, event::Body},
};
use turnpike_testkit::{Closed, within};
use turnpike_token::Role;
use turnpike_topic::{SessionId, Topic, UserId};
use uuid::Uuid;

use crate::gateway::Gateway;

const COMMAND: &str = "01890000-0000-7000-8000-000000000003";

pub fn closed(code: u16, reason: &str) -> Result<serde_json::Value, Closed> {
    Err(Closed { code, reason: reason.to_owned() })
}

#[tokio::test]
async fn a_multiplexed_socket_starts_with_hello_and_answers_requests() {
    let gateway = Gateway::with(&[("TURNPIKE_LIMIT_FRAME_BYTES", "1000")]).await;
    let mut socket = gateway.caller(Role::User).socket().await;
    let hello = socket.frame().await;
    assert_eq!((&hello["event"], &hello["protocol"]), (&json!("hello"), &json!("turnpike.v1")));
    assert_eq!(hello["heartbeat_interval"], 30);
    let limits = json!({ "sockets_per_user": 8, "messages_per_minute": 60, "frame_bytes": 1000, "topics": 100 });
    assert_eq!(hello["limits"], limits);
    for (request, answer) in [
        (r#"{"action":"ping","id":7}"#, json!({ "event": "pong", "id": 7 })),
        (
            r#"{"type":"unsubscribe","topic":"user:01890000-0000-7000-8000-000000000000"}"#,
            json!({ "event": "error", "code": "NOT_SUBSCRIBED", "detail": "This socket does not follow the topic",
                "topic": "user:01890000-0000-7000-8000-000000000000" }),
        ),
        ("[", json!({ "event": "error", "code": "INVALID_JSON", "detail": "A frame is a JSON object" })),
        (
            r#"{"action":"fly","id":"a"}"#,
            json!({ "event": "error", "id": "a", "code": "UNKNOWN_MESSAGE_TYPE",
                "detail": "action is one of subscribe, unsubscribe, publish, auth, ping" }),
        ),
        (
            &format!("{{\"action\":\"{}\"}}", "x".repeat(1000)),
            json!({ "event": "error", "code": "MESSAGE_TOO_LARGE", "detail": "A frame has at most 1000 bytes" }),
        ),
    ] {
        socket.send_text(request).await;
        assert_eq!(socket.frame().await, answer, "{request}");
    }
    assert_eq!(socket.close().await.code, 1000);
}

#[tokio::test]
async fn a_handshake_without_a_credential_is_a_401() {
    let gateway = Gateway::start().await;
    assert_eq!(gateway.open("/ws", &[]).await.err(), Some(401));
    let answer = gateway.anonymous().get("/ws").await;
    assert_eq!(answer.status, 401, "the credential is checked first: {}", answer.text);
    let answer = gateway.caller(Role::User).get("/ws").await;
    assert_eq!((answer.status, &answer.json["code"]), (400, &json!("NOT_A_WEBSOCKET")));
}

#[tokio::test]
async fn a_token_in_the_query_is_refused_by_a_close_frame() {
    let gateway = Gateway::start().await;
    for path in ["/ws".to_owned(), format!("/ws/responses/{COMMAND}")] {
        for (token, reason) in [("", "Missing authentication token"), ("nonsense", "Invalid authentication token")] {
            let mut socket = gateway.open(&format!("{path}?token={token}"), &[]).await.expect("an upgrade");
            assert_eq!(socket.next().await, closed(1008, reason), "{path}");
        }
    }
    let mut socket = gateway.open(&format!("/ws/responses/{COMMAND}"), &[]).await.expect("an upgrade");
    assert_eq!(socket.next().await, closed(1008, "Missing authentication token"));
}

#[tokio::test]
async fn a_response_socket_is_refused_for_an_invalid_address() {
    let gateway = Gateway::start().await;
    let token = gateway.caller(Role::User).token;
    for (path, reason) in [("no-id".to_owned(), "Not found"), (format!("{COMMAND}?since=x"), "since is not an offset")]
    {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut socket =
            gateway.open(&format!("/ws/responses/{path}{separator}token={token}"), &[]).await.expect("an upgrade");
        assert_eq!(socket.next().await, closed(1008, reason));
    }
}

#[tokio::test]
async fn a_ticket_opens_one_socket() {
    let gateway = Gateway::start().await;
    let access_token = gateway.token(UserId::from(Uuid::now_v7()), SessionId::from(Uuid::now_v7()), Role::User);
    gateway.auth.respond::<pb::RedeemTicketRequest, _>(pb::AccessToken { access_token, expires_in: 900 });
    let header = ("sec-websocket-protocol", "turnpike.v1, ticket.secret");
    let mut socket = gateway.open("/ws", &[header]).await.expect("a socket");
    assert_eq!(socket.frame().await["event"], "hello");
    let [request] = gateway.auth.received::<pb::RedeemTicketRequest>().try_into().expect("one request");
    assert_eq!(request.ticket, "secret");
}

#[tokio::test]
async fn a_socket_with_the_cookie_needs_a_page_of_an_allowed_origin() {
    let gateway = Gateway::start().await;
    let access_token = gateway.token(UserId::from(Uuid::now_v7()), SessionId::from(Uuid::now_v7()), Role::User);
    gateway.auth.respond::<pb::ExchangeSessionRequest, _>(pb::AccessToken { access_token, expires_in: 900 });
    let cookie = ("cookie", "session_token=good");
    let own = gateway.base.clone();
    assert!(gateway.open("/ws", &[cookie, ("origin", &own)]).await.is_ok());
    for path in ["/ws".to_owned(), format!("/ws/responses/{COMMAND}")] {
        for header in [("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")] {
            assert_eq!(gateway.open(&path, &[cookie, header]).await.err(), Some(403), "{path} {header:?}");
        }
        assert_eq!(gateway.open(&path, &[cookie]).await.err(), Some(403), "{path}");
    }
}

#[tokio::test]
async fn a_user_has_a_limited_number_of_sockets() {
    let gateway = Gateway::with(&[("TURNPIKE_LIMIT_SOCKETS_PER_USER", "2")]).await;
    let caller = gateway.caller(Role::User);
    let mut sockets = [caller.socket().await, caller.socket().await];
    for socket in &mut sockets {
        assert_eq!(socket.frame().await["event"], "hello");
    }
    assert_eq!(caller.socket().await.next().await, closed(4429, "Too many connections"));
    let mut other = gateway.caller(Role::User).socket().await;
    assert_eq!(other.frame().await["event"], "hello", "another user is not affected");
}

#[tokio::test]
async fn a_socket_is_renewed_by_a_token_of_the_same_user() {
    let gateway = Gateway::start().await;
    let (user, session) = (UserId::from(Uuid::now_v7()), SessionId::from(Uuid::now_v7()));
    let token = gateway.token(user, session, Role::User);
    let mut socket = gateway.anonymous().with_token(&token).socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    socket.send(json!({ "action": "auth", "id": 1, "token": gateway.token(user, session, Role::User) })).await;
    let renewed = socket.frame().await;
    assert_eq!((&renewed["event"], &renewed["id"]), (&json!("authenticated"), &json!(1)));
    socket.send(json!({ "action": "auth", "id": 2, "token": gateway.caller(Role::User).token })).await;
    let refused = socket.frame().await;
    assert_eq!(
        (&refused["event"], &refused["code"], &refused["id"]),
        (&json!("error"), &json!("INVALID_TOKEN"), &json!(2))
    );
}

#[tokio::test]
async fn a_socket_ends_when_its_token_expires() {
    let gateway = Gateway::start().await;
    let lifetime = std::time::Duration::from_secs(2);
    let token = gateway.token_for(UserId::from(Uuid::now_v7()), SessionId::from(Uuid::now_v7()), Role::User, lifetime);
    let started = Clock::system().now();
    let mut socket = gateway.anonymous().with_token(&token).socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    assert_eq!(socket.next().await, closed(4401, "Token expired"));
    assert!(Clock::system().now() > started);
}

#[tokio::test]
async fn a_socket_ends_with_its_session() {
    let gateway = Gateway::start().await;
    let (user, session) = (UserId::from(Uuid::now_v7()), SessionId::from(Uuid::now_v7()));
    let mut socket = gateway.anonymous().with_token(&gateway.token(user, session, Role::User)).socket().await;
    let other_session = gateway.token(user, SessionId::from(Uuid::now_v7()), Role::User);
    let mut other = gateway.anonymous().with_token(&other_session).socket().await;
    for socket in [&mut socket, &mut other] {
        assert_eq!(socket.frame().await["event"], "hello");
    }
    let (session_id, user_id, reason) = (session.to_string(), user.to_string(), "logout".to_owned());
    let ended = Body::SessionEnded(SessionEnded { session_id, user_id, reason });
    gateway.publish(Topic::Sessions, ended, false).await;
    assert_eq!(socket.next().await, closed(4401, "Session ended"));
    other.send(json!({ "action": "ping" })).await;
    assert_eq!(other.frame().await["event"], "pong");
}

#[tokio::test]
async fn a_stopping_gateway_closes_its_sockets() {
    let gateway = Gateway::start().await;
    let mut socket = gateway.caller(Role::User).socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    let stop = gateway.process.stop(std::time::Duration::from_secs(10));
    let receive = async {
        assert_eq!(socket.next().await, closed(1001, "retry_after=1"));
        drop(socket);
    };
    let (finished, ()) = within("the gateway to stop", 15, async { tokio::join!(stop, receive) }).await;
    assert!(finished, "every task ended by itself");
}
