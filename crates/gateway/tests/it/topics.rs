//! Topics on every transport: the owner is asked, the archive is read, events are delivered, streams end.

use futures_util::StreamExt;
use serde_json::{Value, json};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::{
    event::v1::{CommandResponse, CommandStatus, command_status::State, event::Body},
    topic::v1 as pb,
};
use turnpike_testkit::{Closed, Person, eventually, within};
use turnpike_token::Role;
use turnpike_topic::{CommandId, Topic};
use uuid::Uuid;

use crate::gateway::{Gateway, encode};

fn status(id: CommandId, state: State) -> Body {
    Body::CommandStatus(CommandStatus { command_id: id.to_string(), state: state.into() })
}

fn response(id: CommandId, sequence_number: u32, is_final: bool) -> Body {
    let response_json = json!({ "n": sequence_number }).to_string();
    Body::CommandResponse(CommandResponse { command_id: id.to_string(), sequence_number, is_final, response_json })
}

/// A command with an open topic and an empty archive.
async fn open_command(gateway: &Gateway) -> (CommandId, Topic) {
    let id = CommandId::from(Uuid::now_v7());
    let topic = Topic::Response(id);
    gateway.publish(topic, status(id, State::Pending), false).await;
    gateway.vehicles.respond::<pb::AuthorizeRequest, _>(pb::AuthorizeResponse {
        archive: pb::Archive::Open.into(),
        first: String::new(),
    });
    gateway.vehicles.respond::<pb::ReadArchiveRequest, _>(pb::ReadArchiveResponse::default());
    (id, topic)
}

/// A command that has ended: its topic is gone, its archive is complete.
fn ended_command(gateway: &Gateway) -> CommandId {
    let id = CommandId::from(Uuid::now_v7());
    let bodies = [status(id, State::Pending), response(id, 1, true), status(id, State::Completed)];
    gateway.vehicles.respond::<pb::AuthorizeRequest, _>(pb::AuthorizeResponse {
        archive: pb::Archive::Complete.into(),
        first: "7-1".to_owned(),
    });
    let events = bodies.map(encode);
    gateway.vehicles.respond_with(move |request: &pb::ReadArchiveRequest| {
        let after: usize = match request.after.split_once('-') {
            None => 0,
            Some(("7", n @ ("1" | "2" | "3"))) => n.parse().expect("a number"),
            Some(_) => return Err(Fault::new(Kind::NotFound, "No such event")),
        };
        let archived = |(index, event): (usize, &Vec<u8>)| pb::ArchivedEvent {
            offset: format!("7-{}", index + 1),
            r#final: index == 2,
            event: event.clone(),
        };
        let events = events.iter().enumerate().skip(after).map(archived).collect();
        Ok(pb::ReadArchiveResponse { events, head: "7-3".to_owned(), complete: true })
    });
    id
}

fn names(frames: &[Value]) -> Vec<String> {
    let name = |frame: &Value| match frame["status"].as_str() {
        Some(status) => format!("{}:{status}", frame["event"].as_str().unwrap_or_default()),
        None => frame["event"].as_str().unwrap_or_default().to_owned(),
    };
    frames.iter().map(name).collect()
}

/// The whole event stream, which ends by itself.
async fn event_stream(caller: &Person, path: &str) -> (u16, String) {
    let answer = within("an event stream to end", 20, caller.get(path)).await;
    (answer.status, answer.text)
}

#[tokio::test]
async fn a_response_socket_has_the_events_of_an_open_command_and_closes_after_the_final_one() {
    let gateway = Gateway::start().await;
    let (id, topic) = open_command(&gateway).await;
    let caller = gateway.caller(Role::User);
    let mut socket = caller.watch(&id.to_string()).await;
    assert_eq!(socket.frame().await["status"], "pending", "published before the socket was opened");
    gateway.publish(topic, response(id, 1, true), false).await;
    let frame = socket.frame().await;
    assert_eq!((&frame["event"], &frame["response"]), (&json!("response"), &json!({ "n": 1 })));
    socket.send(json!({ "action": "subscribe", "id": 1, "topic": topic.to_string() })).await;
    let refused =
        json!({ "event": "error", "id": 1, "code": "UNKNOWN_MESSAGE_TYPE", "detail": "This socket has its one topic" });
    assert_eq!(socket.frame().await, refused);
    gateway.publish(topic, status(id, State::Completed), true).await;
    let (frames, closed) = socket.until_closed().await;
    assert_eq!(names(&frames), ["status:completed"]);
    assert_eq!(closed, Closed { code: 1000, reason: String::new() });
    assert_eq!(gateway.vehicles.authorization::<pb::AuthorizeRequest>(), format!("Bearer {}", caller.token));
}

#[tokio::test]
async fn a_multiplexed_socket_confirms_a_subscription_and_reports_the_end_of_its_topic() {
    let gateway = Gateway::start().await;
    let (id, topic) = open_command(&gateway).await;
    let mut socket = gateway.caller(Role::User).socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    let subscribe = json!({ "action": "subscribe", "id": 1, "topic": topic.to_string() });
    socket.send(subscribe.clone()).await;
    let frames = [socket.frame().await, socket.frame().await, socket.frame().await];
    assert_eq!(names(&frames), ["subscribed", "status:pending", "caught_up"]);
    assert_eq!((&frames[0]["id"], &frames[0]["head"]), (&json!(1), &frames[1]["offset"]));
    socket.send(subscribe).await;
    assert_eq!(socket.frame().await["code"], "ALREADY_SUBSCRIBED");
    gateway.publish(topic, status(id, State::Failed), true).await;
    let frames = [socket.frame().await, socket.frame().await];
    assert_eq!(names(&frames), ["status:failed", "closed"]);
    socket.send(json!({ "action": "ping" })).await;
    assert_eq!(socket.frame().await["event"], "pong", "the socket stays open");
}

#[tokio::test]
async fn a_late_reader_gets_the_archive() {
    let gateway = Gateway::start().await;
    let id = ended_command(&gateway);
    let caller = gateway.caller(Role::User);
    let (frames, closed) = caller.watch(&id.to_string()).await.until_closed().await;
    assert_eq!(names(&frames), ["status:pending", "response", "status:completed"]);
    assert_eq!(closed.code, 1000);
    let (frames, closed) = caller.watch_since(&id.to_string(), "7-2").await.until_closed().await;
    assert_eq!((names(&frames), closed.code), (vec!["status:completed".to_owned()], 1000));
    let (frames, closed) = caller.watch_since(&id.to_string(), "6-2").await.until_closed().await;
    assert_eq!(names(&frames), ["reset", "status:pending", "response", "status:completed"], "an unknown offset");
    assert_eq!(closed.code, 1000);
}

#[tokio::test]
async fn an_event_stream_of_an_ended_topic_ends_and_is_not_repeated() {
    let gateway = Gateway::start().await;
    let id = ended_command(&gateway);
    let caller = gateway.caller(Role::User);
    let path = format!("/api/topics/response:{id}/events");
    let (code, text) = event_stream(&caller, &path).await;
    assert_eq!(code, 200);
    assert!(text.starts_with("retry: 1000\n\nid: 7-1\ndata: {"), "{text}");
    assert!(
        text.contains("id: 7-3\n") && text.trim_end().ends_with('}') && text.contains(r#""event":"closed""#),
        "{text}"
    );
    for query in ["?since=7-3", "?since=live"] {
        assert_eq!(event_stream(&caller, &format!("{path}{query}")).await, (204, String::new()), "{query}");
    }
    let resumed = caller.request("GET".parse().expect("a method"), &path).header("last-event-id", "7-3");
    assert_eq!(caller.send(resumed).await.status, 204);
    let answer = caller.get(&format!("{path}?since=x")).await;
    assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!("since")));
}

#[tokio::test]
async fn an_event_stream_has_the_events_as_they_are_published() {
    let gateway = Gateway::start().await;
    let (id, topic) = open_command(&gateway).await;
    let caller = gateway.caller(Role::User);
    let request = caller.request("GET".parse().expect("a method"), &format!("/api/topics/{topic}/events"));
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut body = answer.bytes_stream();
    let mut text = String::new();
    let mut published = false;
    let reading = async {
        while let Some(chunk) = body.next().await {
            text.push_str(std::str::from_utf8(&chunk.expect("a chunk")).expect("text"));
            if text.contains(r#""event":"caught_up""#) && !std::mem::replace(&mut published, true) {
                gateway.publish(topic, status(id, State::Completed), true).await;
            }
        }
    };
    within("the end of the stream", 20, reading).await;
    let events: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let frames: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
    assert_eq!(names(&frames), ["status:pending", "caught_up", "status:completed", "closed"]);
}

#[tokio::test]
async fn a_topic_that_the_owner_does_not_grant_is_not_found() {
    let gateway = Gateway::start().await;
    let fault = Fault::new(Kind::NotFound, "Not found");
    gateway.vehicles.fail::<pb::AuthorizeRequest, pb::AuthorizeResponse>(fault.clone());
    gateway.auth.fail::<pb::AuthorizeRequest, pb::AuthorizeResponse>(fault.clone());
    gateway.chat.fail::<pb::AuthorizeRequest, pb::AuthorizeResponse>(fault);
    let caller = gateway.caller(Role::User);
    let id = Uuid::now_v7();
    let mut socket = caller.socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    for kind in ["response", "vehicle", "user", "room", "conversation"] {
        let topic = format!("{kind}:{id}");
        let answer = caller.get(&format!("/api/topics/{topic}/events")).await;
        assert_eq!((answer.status, &answer.json["code"]), (404, &json!("NOT_FOUND")), "{topic}");
        socket.send(json!({ "action": "subscribe", "topic": topic })).await;
        let error = socket.frame().await;
        assert_eq!((&error["code"], &error["topic"]), (&json!("NOT_FOUND"), &json!(topic)));
    }
    let closed = caller.watch(&id.to_string()).await.next().await;
    assert_eq!(closed, Err(Closed { code: 1008, reason: "Not found".to_owned() }));
    let asked = |script: &crate::script::Script| script.received::<pb::AuthorizeRequest>().len();
    let asked = (asked(&gateway.vehicles), asked(&gateway.auth), asked(&gateway.chat));
    assert_eq!(asked, (5, 2, 4), "kinds without an owner are not asked about");
}

#[tokio::test]
async fn an_account_topic_is_authorized_by_auth() {
    let gateway = Gateway::start().await;
    gateway.auth.respond::<pb::AuthorizeRequest, _>(pb::AuthorizeResponse {
        archive: pb::Archive::None.into(),
        first: String::new(),
    });
    let caller = gateway.caller(Role::User);
    let mut socket = caller.socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    socket.send(json!({ "action": "subscribe", "topic": format!("user:{}", caller.id()) })).await;
    let frames = [socket.frame().await, socket.frame().await];
    assert_eq!(names(&frames), ["subscribed", "caught_up"]);
    assert_eq!(frames[0]["head"], Value::Null);
}

#[tokio::test]
async fn an_unreachable_owner_is_unavailable_and_opens_topics_again_when_it_is_back() {
    let gateway = Gateway::start().await;
    let (id, topic) = open_command(&gateway).await;
    let caller = gateway.caller(Role::User);
    let mut socket = caller.watch(&id.to_string()).await;
    assert_eq!(socket.frame().await["status"], "pending");
    gateway.vehicles_proxy.disconnect();
    let path = format!("/api/topics/{topic}/events");
    let unavailable = async || (caller.get(&path).await.status == 503).then_some(());
    eventually("a 503", 20, unavailable).await;
    let closed = caller.watch(&id.to_string()).await.next().await;
    assert_eq!(closed, Err(Closed { code: 1013, reason: "Try again shortly".to_owned() }));
    gateway.publish(topic, response(id, 1, true), false).await;
    assert_eq!(socket.frame().await["event"], "response", "an open socket needs no owner");
    gateway.vehicles_proxy.restore();
    let opened = async || Box::pin(caller.watch(&id.to_string())).await.next().await.ok();
    assert_eq!(eventually("the topic again", 20, opened).await["status"], "pending");
}
