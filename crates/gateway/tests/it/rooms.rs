//! The socket of a room: in which order a frame is checked, what of it reaches the chat service, and that no error closes the socket.

use std::time::Duration;

use serde_json::{Value, json};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::{chat::v1 as pb, topic::v1 as topic};
use turnpike_testkit::{Person, Socket, eventually};
use turnpike_token::Role;

use crate::{gateway::Gateway, sockets::closed};

pub const ROOM: &str = "01890000-0000-7000-8000-000000000005";

/// A gateway in front of a chat service that admits everybody to every room.
pub async fn gateway(variables: &[(&'static str, &str)]) -> Gateway {
    let gateway = Gateway::with(variables).await;
    let archive = topic::Archive::None.into();
    gateway.chat.respond::<topic::AuthorizeRequest, _>(topic::AuthorizeResponse { archive, first: String::new() });
    gateway.chat.respond::<pb::ReportPresenceRequest, _>(pb::ReportPresenceResponse::default());
    accept_messages(&gateway);
    gateway
}

fn accept_messages(gateway: &Gateway) {
    let message = Some(pb::RoomMessage { id: ROOM.to_owned(), ..Default::default() });
    gateway.chat.respond::<pb::PostMessageRequest, _>(pb::PostMessageResponse { message, replayed: false });
}

pub async fn enter(gateway: &Gateway, person: &Person) -> Socket {
    let path = format!("/ws/rooms/{ROOM}?token={}", person.token);
    let mut socket = gateway.open(&path, &[]).await.expect("a socket");
    let ack = socket.frame().await;
    assert_eq!((&ack["event"], &ack["user_id"]), (&json!("connection_ack"), &json!(person.id())), "{ack}");
    socket
}

async fn answer(socket: &mut Socket, frame: &str) -> Value {
    socket.send_text(frame).await;
    socket.frame_of(&["error", "heartbeat_ack"]).await
}

#[tokio::test]
async fn a_frame_is_checked_for_its_size_then_counted_then_parsed_then_dispatched() {
    let limits = [("TURNPIKE_LIMIT_FRAME_BYTES", "200"), ("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "6")];
    let gateway = gateway(&limits).await;
    let mut socket = enter(&gateway, &gateway.caller(Role::User)).await;
    let long = "{".repeat(201);
    // A frame that is too long is neither parsed nor counted.
    for _ in 0..10 {
        assert_eq!(answer(&mut socket, &long).await["code"], "MESSAGE_TOO_LARGE");
    }
    for (frame, code) in [
        ("{", "INVALID_JSON"),
        (r#"{"type":"dance","content":7}"#, "UNKNOWN_MESSAGE_TYPE"),
        (r#"{"type":"message","content":7}"#, "MESSAGE_PARSE_ERROR"),
        (r#"{"type":"health_insight","data":{"data_points":7}}"#, "INVALID_HEALTH_DATA"),
    ] {
        assert_eq!(answer(&mut socket, frame).await["code"], code, "{frame}");
    }
    assert_eq!(gateway.chat.received::<pb::PostMessageRequest>().len(), 0, "nothing was dispatched");
    socket.send(json!({ "type": "message", "content": "hello" })).await;
    let posted = async || (gateway.chat.received::<pb::PostMessageRequest>().len() == 1).then_some(());
    eventually("the message to be dispatched", 10, posted).await;
    assert_eq!(answer(&mut socket, r#"{"type":"heartbeat","client_timestamp":7}"#).await["client_timestamp"], 7);
    // A frame over the limit is not parsed: the seventh is invalid. Its size still counts first.
    let limited = answer(&mut socket, "{").await;
    assert_eq!((&limited["code"], limited["retry_after"].is_u64()), (&json!("RATE_LIMITED"), true), "{limited}");
    assert_eq!(limited["detail"], "Too many messages, please slow down");
    assert_eq!(answer(&mut socket, &long).await["code"], "MESSAGE_TOO_LARGE");
    assert_eq!(answer(&mut socket, r#"{"type":"message","content":"hello"}"#).await["code"], "RATE_LIMITED");
    assert_eq!(gateway.chat.received::<pb::PostMessageRequest>().len(), 1);
    assert_eq!(socket.close().await.code, 1000, "no error has closed the socket");
}

#[tokio::test]
async fn an_identity_in_a_frame_is_ignored() {
    let gateway = gateway(&[]).await;
    let (ada, bob) = (gateway.caller(Role::User), gateway.caller(Role::User));
    let (mut hers, mut his) = (enter(&gateway, &ada).await, enter(&gateway, &bob).await);
    let claimed =
        json!({ "user_id": bob.id(), "username": "admin", "role": "admin", "room_id": "x", "message_id": "x" });
    let frame = |verb: Value| -> Value {
        let mut frame = claimed.clone();
        frame.as_object_mut().expect("an object").extend(verb.as_object().expect("an object").clone());
        frame
    };
    hers.send(frame(json!({ "type": "typing", "is_typing": true }))).await;
    let typing = his.frame_of(&["typing"]).await;
    assert_eq!(typing["user_id"], ada.id());
    assert_ne!(typing["username"], "admin");
    hers.send(frame(json!({ "type": "message", "content": "hello" }))).await;
    let [request] = eventually("the message", 10, async || {
        <[_; 1]>::try_from(gateway.chat.received::<pb::PostMessageRequest>()).ok()
    })
    .await;
    assert_eq!((request.room_id.as_str(), request.content.as_str()), (ROOM, "hello"));
    assert_eq!(gateway.chat.authorization::<pb::PostMessageRequest>(), format!("Bearer {}", ada.token));
}

#[tokio::test]
async fn each_refusal_of_the_chat_service_has_a_code_and_keeps_the_socket() {
    let gateway = gateway(&[]).await;
    let mut socket = enter(&gateway, &gateway.caller(Role::User)).await;
    let too_long = Fault::new(Kind::Validation, "The request is not valid").field("content", "is too long");
    for (fault, code, detail) in [
        (too_long, "MESSAGE_PARSE_ERROR", "content is too long"),
        (Fault::new(Kind::NotFound, "There is no such room"), "NOT_FOUND", "There is no such room"),
        (Fault::new(Kind::Forbidden, "Only members write"), "FORBIDDEN", "Only members write"),
        (Fault::new(Kind::RateLimited, "Too many").retry_after(Duration::from_secs(3)), "RATE_LIMITED", "Too many"),
    ] {
        gateway.chat.fail::<pb::PostMessageRequest, pb::PostMessageResponse>(fault);
        let error = answer(&mut socket, r#"{"type":"message","content":"hello","id":"a"}"#).await;
        assert_eq!((&error["code"], &error["detail"], &error["id"]), (&json!(code), &json!(detail), &json!("a")));
    }
    let internal = Fault::new(Kind::Internal, "Something went wrong on our side");
    gateway.chat.fail::<pb::PostMessageRequest, pb::PostMessageResponse>(internal);
    assert_eq!(answer(&mut socket, r#"{"type":"message","content":"hello"}"#).await["code"], "PROCESSING_ERROR");
    assert_eq!(socket.close().await.code, 1000);
}

#[tokio::test]
async fn a_chat_service_that_is_away_is_reported_and_the_socket_recovers() {
    let gateway = gateway(&[]).await;
    gateway.chat.respond::<pb::AnalyzeHealthRequest, _>(pb::AnalyzeHealthResponse::default());
    let mut socket = enter(&gateway, &gateway.caller(Role::User)).await;
    gateway.chat_proxy.disconnect();
    let message = r#"{"type":"message","content":"hello"}"#;
    let error = answer(&mut socket, message).await;
    assert_eq!(error["code"], "PROCESSING_ERROR", "{error}");
    let health = r#"{"type":"health_insight","data":{"data_points":[{"timestamp":1763700000,"value":1}]}}"#;
    let error = answer(&mut socket, health).await;
    assert_eq!(error["code"], "HEALTH_ANALYSIS_ERROR", "{error}");
    // What needs no service still works.
    assert_eq!(answer(&mut socket, r#"{"type":"heartbeat"}"#).await["event"], "heartbeat_ack");
    let path = format!("/ws/rooms/{ROOM}?token={}", gateway.caller(Role::User).token);
    let refused = gateway.open(&path, &[]).await.expect("an upgrade").until_closed().await;
    assert!(
        refused.0.is_empty() && refused.1.code != 1000,
        "without the chat service, a room admits no user: {refused:?}"
    );
    gateway.chat_proxy.restore();
    let mut sent = 0;
    while gateway.chat.received::<pb::PostMessageRequest>().is_empty() {
        assert!(sent < 600, "the message does not arrive");
        socket.send_text(message).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        sent += 1;
    }
    assert_eq!(socket.close().await.code, 1000);
}

#[tokio::test]
async fn a_room_that_does_not_exist_and_an_address_that_is_none_are_not_found() {
    let gateway = gateway(&[]).await;
    gateway.chat.fail::<topic::AuthorizeRequest, topic::AuthorizeResponse>(Fault::new(Kind::NotFound, "No such room"));
    let token = gateway.caller(Role::User).token;
    for room in [ROOM, "no-room"] {
        let mut socket = gateway.open(&format!("/ws/rooms/{room}?token={token}"), &[]).await.expect("an upgrade");
        assert_eq!(socket.next().await, closed(1008, "Not found"), "{room}");
    }
}
