//! Answers as server-sent events: the same bytes as on the topic, also when the chat service is lost.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;
use tonic::Status;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::{
    chat::v1 as pb,
    event::v1::{AnswerDelta, AnswerError, AnswerMessage, AnswerStarted, SessionEnded, event::Body},
    topic::v1 as topic,
};
use turnpike_testkit::{Person, within};
use turnpike_token::Role;
use turnpike_topic::{SessionId, Topic, UserId};
use uuid::Uuid;

use crate::{
    chat::{CONVERSATION, MESSAGE},
    gateway::{Gateway, encode},
    script::Items,
};

const QUESTION: &str = "01890000-0000-7000-8000-000000000006";

fn path() -> String {
    format!("/api/chat/conversations/{CONVERSATION}/messages")
}

fn topic() -> Topic {
    Topic::Conversation(CONVERSATION.parse().expect("an id"))
}

fn started() -> Body {
    Body::AnswerStarted(AnswerStarted {
        conversation_id: CONVERSATION.to_owned(),
        message_id: MESSAGE.to_owned(),
        parent_id: QUESTION.to_owned(),
        parent_content: "Why?".to_owned(),
        ..Default::default()
    })
}

fn delta(content: &str) -> Body {
    let content = content.to_owned();
    Body::AnswerDelta(AnswerDelta { message_id: MESSAGE.to_owned(), content, ..Default::default() })
}

fn message(content: &str) -> Body {
    Body::AnswerMessage(AnswerMessage {
        conversation_id: CONVERSATION.to_owned(),
        message_id: MESSAGE.to_owned(),
        content: content.to_owned(),
        finish_reason: "stop".to_owned(),
        ..Default::default()
    })
}

/// The events of an answer on their way from the chat service.
struct Answering<'a> {
    gateway: &'a Gateway,
    events: Sender<Result<pb::AnswerEvent, Status>>,
}

impl<'a> Answering<'a> {
    fn script(gateway: &'a Gateway) -> Self {
        let owner = topic::AuthorizeResponse { archive: topic::Archive::None.into(), first: String::new() };
        gateway.chat.respond::<topic::AuthorizeRequest, _>(owner);
        Self { gateway, events: gateway.chat.stream::<pb::SendMessageRequest, pb::AnswerEvent>() }
    }

    /// As the chat service does it: publishes an event, and sends it with its offset.
    async fn send(&self, body: Body) {
        let event = Bytes::from(encode(body));
        let offset = self.gateway.bus.publish(&topic(), &event).await.expect("the bus in memory is available");
        self.send_with(offset.to_string(), event).await;
    }

    async fn send_without_offset(&self, body: Body) {
        self.send_with(String::new(), encode(body).into()).await;
    }

    async fn send_with(&self, offset: String, event: Bytes) {
        let event = pb::AnswerEvent { offset, event, replayed: false };
        self.events.send(Ok(event)).await.expect("the call is open");
    }
}

async fn ask(caller: &Person) -> Response {
    let request = caller.request(Method::POST, &path()).json(&json!({ "content": "Why?" }));
    let response = within("a response", 20, request.send()).await.expect("a response");
    assert_eq!(response.status(), 200);
    response
}

/// The next bytes that are no comment.
async fn next(response: &mut Response) -> Option<Bytes> {
    loop {
        let chunk = within("an event", 20, response.chunk()).await.expect("the body is readable")?;
        if chunk.as_ref() != b": \n\n" {
            return Some(chunk);
        }
    }
}

async fn rest(mut response: Response) -> String {
    let mut text = String::new();
    while let Some(bytes) = next(&mut response).await {
        text.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
    }
    text
}

/// The events of the topic as a follower gets them, without what is only for followers.
async fn followed(caller: &Person, count: usize) -> String {
    let request = caller.request(Method::GET, &format!("/api/topics/{}/events", topic()));
    let response = request.send().await.expect("a response");
    let mut chunks = response.bytes_stream();
    let mut text = String::new();
    while text.matches("\nid: ").count() < count {
        text.push_str(&String::from_utf8_lossy(&chunks.next().await.expect("more events").expect("readable")));
    }
    let events = text.split_inclusive("\n\n").filter(|event| event.starts_with("id: "));
    events.collect()
}

fn frames(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

#[tokio::test]
async fn an_answer_has_the_bytes_of_its_topic() {
    let gateway = Gateway::start().await;
    let answering = Answering::script(&gateway);
    let caller = gateway.caller(Role::User);
    for body in [started(), delta("It is "), delta("the brakes 🛑\n"), message("It is the brakes 🛑\n")] {
        answering.send(body).await;
    }
    let response = ask(&caller).await;
    let headers = response.headers();
    assert_eq!(
        (&headers["content-type"], &headers["x-accel-buffering"]),
        (&"text/event-stream".parse().expect("text"), &"no".parse().expect("text"))
    );
    assert!(headers.get("idempotency-replayed").is_none());
    let text = rest(response).await;
    assert_eq!(text, within("the topic", 20, followed(&caller, 4)).await);
    assert!(text.starts_with("id: "), "{text}");
    let names: Vec<_> = frames(&text).iter().map(|frame| frame["event"].clone()).collect();
    assert_eq!(names, ["started", "delta", "delta", "message"]);
    let [request] = gateway.chat.received::<pb::SendMessageRequest>().try_into().expect("one request");
    assert_eq!((request.content.as_str(), request.conversation_id.as_str()), ("Why?", CONVERSATION));
}

#[tokio::test]
async fn the_stream_is_open_before_the_first_event() {
    let gateway = Gateway::start().await;
    let answering = Answering::script(&gateway);
    let mut response = ask(&gateway.caller(Role::User)).await;
    let first = within("a comment", 20, response.chunk()).await.expect("readable").expect("a comment");
    assert_eq!(first.as_ref(), b": \n\n");
    answering.send(message("Yes")).await;
    assert_eq!(frames(&rest(response).await)[0]["content"], "Yes");
}

#[tokio::test]
async fn an_event_without_an_offset_has_no_id() {
    let gateway = Gateway::start().await;
    let answering = Answering::script(&gateway);
    answering.send(started()).await;
    answering.send_without_offset(delta("Yes")).await;
    answering.send_without_offset(message("Yes")).await;
    let text = rest(ask(&gateway.caller(Role::User)).await).await;
    let events: Vec<_> = text.split_terminator("\n\n").collect();
    assert!(
        events[0].starts_with("id: ") && events[1].starts_with("data: ") && events[2].starts_with("data: "),
        "{text}"
    );
    assert!(frames(&text)[2].get("offset").is_none());
}

#[tokio::test]
async fn refusals_are_problems() {
    let gateway = Gateway::start().await;
    let caller = gateway.caller(Role::User);
    let send = async |content: &str| caller.post(&path(), json!({ "content": content })).await;
    for (fault, status, code) in [
        (Fault::new(Kind::Conflict, "An answer is running").code_is("ANSWER_RUNNING"), 409, "ANSWER_RUNNING"),
        (Fault::new(Kind::RateLimited, "Too many").retry_after(Duration::from_secs(3)), 429, "RATE_LIMITED"),
        (Fault::new(Kind::NotFound, "There is no such conversation"), 404, "NOT_FOUND"),
    ] {
        gateway.chat.fail::<pb::SendMessageRequest, Items<pb::AnswerEvent>>(fault);
        let answer = send("Why?").await;
        assert_eq!((answer.status, &answer.json["code"]), (status, &json!(code)), "{}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    let received = gateway.chat.received::<pb::SendMessageRequest>().len();
    for length in [(256 << 10) + 1, 1_000_000, 2_000_000] {
        let answer = send(&"a".repeat(length)).await;
        assert_eq!((answer.status, &answer.json["code"]), (413, &json!("TOO_LARGE")));
        assert!(answer.text.contains("262144"), "{}", answer.text);
    }
    let answer = caller.post(&path(), json!({})).await;
    assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!("content")));
    assert_eq!(gateway.chat.received::<pb::SendMessageRequest>().len(), received);
    // A status that arrives in place of the first event.
    let events = gateway.chat.stream::<pb::SendMessageRequest, pb::AnswerEvent>();
    let fault = Fault::new(Kind::Conflict, "An answer is running").code_is("ANSWER_RUNNING");
    events.send(Err(fault.into())).await.expect("the call begins later");
    assert_eq!(send("🛑".repeat(65_536).as_str()).await.status, 409, "256 KiB of text are accepted");
}

#[tokio::test]
async fn a_replayed_answer_says_so() {
    let gateway = Gateway::start().await;
    let events = gateway.chat.stream::<pb::RegenerateRequest, pb::AnswerEvent>();
    let event = pb::AnswerEvent { offset: String::new(), event: encode(message("Yes")).into(), replayed: true };
    events.send(Ok(event)).await.expect("the call begins later");
    let caller = gateway.caller(Role::User);
    let request = caller.request(Method::POST, &format!("{}/{MESSAGE}/regenerate", path()));
    let answer = caller.send(request.header("idempotency-key", "k")).await;
    assert_eq!((answer.status, &answer.headers["idempotency-replayed"]), (200, &"true".parse().expect("text")));
    let [request] = gateway.chat.received::<pb::RegenerateRequest>().try_into().expect("one request");
    assert_eq!((request.message_id.as_str(), request.idempotency_key.as_str()), (MESSAGE, "k"));
}

#[tokio::test]
async fn a_client_that_leaves_only_drops_its_stream() {
    let gateway = Gateway::start().await;
    let answering = Answering::script(&gateway);
    let response = ask(&gateway.caller(Role::User)).await;
    drop(response);
    within("the stream to be dropped", 20, answering.events.closed()).await;
    assert!(gateway.chat.received::<pb::StopAnswerRequest>().is_empty());
}

#[tokio::test]
async fn an_answer_whose_process_is_lost_continues_on_the_topic() {
    let gateway = Gateway::start().await;
    let answering = Answering::script(&gateway);
    answering.send(started()).await;
    answering.send(delta("It is ")).await;
    let caller = gateway.caller(Role::User);
    let mut response = ask(&caller).await;
    let mut text = String::new();
    while text.matches("data: ").count() < 2 {
        text.push_str(&String::from_utf8_lossy(&next(&mut response).await.expect("an event")));
    }
    // Published, but never sent: the process was killed in between.
    gateway.publish(topic(), delta("the brakes"), false).await;
    gateway.chat_proxy.disconnect();
    let of_another = AnswerDelta { message_id: QUESTION.to_owned(), content: "x".to_owned(), ..Default::default() };
    gateway.publish(topic(), Body::AnswerDelta(of_another), false).await;
    let error = Body::AnswerError(AnswerError {
        conversation_id: CONVERSATION.to_owned(),
        message_id: MESSAGE.to_owned(),
        error_code: "INTERRUPTED".to_owned(),
        error_message: "The answer was interrupted".to_owned(),
    });
    gateway.publish(topic(), error, false).await;
    text.push_str(&rest(response).await);
    let names: Vec<_> = frames(&text).iter().map(|frame| frame["event"].clone()).collect();
    assert_eq!(names, ["started", "delta", "delta", "error"], "{text}");
    gateway.chat_proxy.restore();
    let whole = within("the topic", 20, followed(&caller, 5)).await;
    let own: String = whole.split_inclusive("\n\n").filter(|event| !event.contains(r#""content":"x""#)).collect();
    assert_eq!(text, own, "no event is lost or doubled");
}

#[tokio::test]
async fn without_offsets_only_the_end_of_a_lost_answer_is_taken_from_the_topic() {
    let gateway = Gateway::start().await;
    let answering = Answering::script(&gateway);
    answering.send_without_offset(started()).await;
    answering.send_without_offset(delta("Yes")).await;
    let response = ask(&gateway.caller(Role::User)).await;
    drop(answering.events);
    for body in [started(), delta("Yes"), message("Yes")] {
        gateway.publish(topic(), body, false).await;
    }
    let names: Vec<_> = frames(&rest(response).await).iter().map(|frame| frame["event"].clone()).collect();
    assert_eq!(names, ["started", "delta", "message"]);
}

#[tokio::test]
async fn a_stopping_gateway_ends_the_stream_so_that_the_client_resumes_elsewhere() {
    let gateway = Gateway::start().await;
    let answering = Answering::script(&gateway);
    answering.send(started()).await;
    let response = ask(&gateway.caller(Role::User)).await;
    let stop = gateway.process.stop(Duration::from_secs(10));
    let (finished, text) = within("the gateway to stop", 15, async { tokio::join!(stop, rest(response)) }).await;
    assert!(finished, "every task ended by itself");
    assert_eq!(frames(&text).len(), 1, "the events so far, and no other: {text}");
}

#[tokio::test]
async fn a_token_that_expires_does_not_end_an_answer_and_a_session_that_ends_does() {
    let gateway = Gateway::start().await;
    let (user_id, session_id) = (UserId::from(Uuid::now_v7()), SessionId::from(Uuid::now_v7()));
    let token = gateway.token_for(user_id, session_id, Role::User, Duration::from_secs(3));
    let answering = Answering::script(&gateway);
    let mut response = ask(&gateway.anonymous().with_token(&token)).await;
    let me = gateway.anonymous().with_token(&token);
    let topic_events = within("the token to expire", 20, me.get(&format!("/api/topics/{}/events", topic()))).await;
    assert!(topic_events.text.contains("TOKEN_EXPIRED"), "{}", topic_events.text);
    answering.send(delta("Yes")).await;
    assert!(next(&mut response).await.expect("an event").starts_with(b"id: "));

    let (session_id, user_id, reason) = (session_id.to_string(), user_id.to_string(), "logout".to_owned());
    gateway.publish(Topic::Sessions, Body::SessionEnded(SessionEnded { session_id, user_id, reason }), false).await;
    let text = rest(response).await;
    assert_eq!(frames(&text)[0]["code"], "SESSION_ENDED", "{text}");
    within("the stream to be dropped", 20, answering.events.closed()).await;
}
