//! `/v1`: bytes pass unchanged, errors have OpenAI's form, and the model's server sees that the client has left.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;
use tonic::Status;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::{
    chat::v1::{self as pb, forward_part::Part},
    event::v1::{SessionEnded, event::Body},
};
use turnpike_testkit::{Person, within};
use turnpike_token::Role;
use turnpike_topic::{SessionId, Topic, UserId};
use uuid::Uuid;

use crate::{gateway::Gateway, script::Items};

const PATH: &str = "/v1/chat/completions";
const EVENTS: &str = "text/event-stream";

type Parts = Sender<Result<pb::ForwardPart, Status>>;

/// The response of the next request.
fn script(gateway: &Gateway) -> Parts {
    gateway.chat.stream::<pb::ForwardRequest, pb::ForwardPart>()
}

async fn send_head(parts: &Parts, status: u32, content_type: &str) {
    let head = pb::ForwardHead { status, content_type: content_type.to_owned(), retry_after: 0 };
    send_part(parts, Part::Head(head)).await;
}

async fn send_body(parts: &Parts, body: impl AsRef<[u8]>) {
    send_part(parts, Part::Body(body.as_ref().to_vec().into())).await;
}

async fn send_part(parts: &Parts, part: Part) {
    parts.send(Ok(pb::ForwardPart { part: Some(part) })).await.expect("the call is open");
}

/// A response whose body is not read yet.
async fn begin(caller: &Person, body: &str) -> Response {
    let request = caller.request(Method::POST, PATH).body(body.to_owned());
    within("a response", 20, request.send()).await.expect("a response")
}

/// The next bytes; `None` at the end.
async fn next(response: &mut Response) -> Option<String> {
    let chunk = within("data", 20, response.chunk()).await.expect("the body is readable")?;
    Some(String::from_utf8(chunk.to_vec()).expect("UTF-8"))
}

fn error(text: &str) -> Value {
    let data = text.trim().strip_prefix("data: ").unwrap_or_else(|| panic!("no event: {text:?}"));
    serde_json::from_str::<Value>(data).expect("JSON")["error"].clone()
}

#[tokio::test]
async fn bytes_pass_unchanged_in_both_directions() {
    let gateway = Gateway::start().await;
    let caller = gateway.caller(Role::User);
    let endpoints = [
        (PATH, pb::Endpoint::ChatCompletions),
        ("/v1/completions", pb::Endpoint::Completions),
        ("/v1/responses", pb::Endpoint::Responses),
        ("/v1/embeddings", pb::Endpoint::Embeddings),
    ];
    let sent = "{ \"model\" : \"m\", \"x_unknown\": 1.0, \"n\":1e2, \"text\":\"\\u00fc🛑\" }";
    for (path, endpoint) in endpoints {
        let parts = script(&gateway);
        send_head(&parts, 200, "application/json; charset=utf-8").await;
        send_body(&parts, "{ \"id\" :\n").await;
        send_body(&parts, "1.0}\n").await;
        drop(parts);
        let answer = caller.send(caller.request(Method::POST, path).body(sent)).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "{ \"id\" :\n1.0}\n"), "{path}");
        assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8");
        let request = gateway.chat.received::<pb::ForwardRequest>().pop().expect("a request");
        assert_eq!((request.endpoint(), request.body.as_ref()), (endpoint, sent.as_bytes()));
        assert_eq!(gateway.chat.authorization::<pb::ForwardRequest>(), format!("Bearer {}", caller.token));
    }
}

#[tokio::test]
async fn a_prompt_with_images_is_accepted_up_to_16_mib() {
    let gateway = Gateway::start().await;
    let caller = gateway.caller(Role::User);
    let parts = script(&gateway);
    send_head(&parts, 200, "application/json").await;
    drop(parts);
    let body = format!("{{\"image\":\"{}\"}}", "a".repeat(10 << 20));
    let answer = caller.send(caller.request(Method::POST, PATH).body(body.clone())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(gateway.chat.received::<pb::ForwardRequest>()[0].body, body.as_bytes());
    let refused = caller.request(Method::POST, PATH).header("expect", "100-continue").body(vec![b' '; (16 << 20) + 1]);
    let answer = caller.send(refused).await;
    assert_eq!((answer.status, &answer.json["error"]["code"]), (413, &json!("too_large")), "{}", answer.text);
    assert!(answer.text.contains("16777216"), "{}", answer.text);
}

#[tokio::test]
async fn a_stream_is_passed_on_as_it_arrives() {
    let gateway = Gateway::start().await;
    let parts = script(&gateway);
    send_head(&parts, 200, EVENTS).await;
    let mut response = begin(&gateway.caller(Role::User), r#"{"stream":true}"#).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &EVENTS.parse().expect("text"))
    );
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    for data in ["data: {\"a\"", ":1}\n\n", "data: [DONE]\n\n"] {
        send_body(&parts, data).await;
        assert_eq!(next(&mut response).await.as_deref(), Some(data));
    }
    drop(parts);
    assert_eq!(next(&mut response).await, None);
}

#[tokio::test]
async fn errors_have_the_form_of_openai() {
    let gateway = Gateway::start().await;
    let caller = gateway.caller(Role::User);
    let check = |answer: turnpike_testkit::Answer, status: u16, kind: &str, code: &str| {
        assert_eq!(
            (answer.status, answer.headers["content-type"].as_bytes()),
            (status, b"application/json".as_slice())
        );
        let error = &answer.json["error"];
        assert_eq!((&error["type"], &error["code"]), (&json!(kind), &json!(code)), "{}", answer.text);
        assert!(error["message"].is_string() && error.get("param").is_some(), "{}", answer.text);
        answer
    };
    check(gateway.anonymous().post(PATH, json!({})).await, 401, "invalid_request_error", "invalid_api_key");
    check(caller.with_token("x").get("/v1/models").await, 401, "invalid_request_error", "invalid_api_key");
    check(caller.get("/v1/unknown").await, 404, "invalid_request_error", "not_found");
    check(caller.get(PATH).await, 405, "invalid_request_error", "method_not_allowed");
    let failures = [
        (
            Fault::new(Kind::Invalid, "The body is no object").field("body", "must be"),
            400,
            "invalid_request_error",
            "invalid",
        ),
        (
            Fault::new(Kind::NotFound, "No model").code_is("MODEL_NOT_FOUND"),
            404,
            "invalid_request_error",
            "model_not_found",
        ),
        (
            Fault::new(Kind::RateLimited, "Later").code_is("BUDGET_EXCEEDED"),
            429,
            "insufficient_quota",
            "insufficient_quota",
        ),
        (Fault::new(Kind::Unavailable, "Could not connect"), 503, "server_error", "upstream_unavailable"),
        (Fault::internal(), 500, "server_error", "internal"),
    ];
    for (fault, status, kind, code) in failures {
        let fault = fault.retry_after(Duration::from_secs(7));
        gateway.chat.fail::<pb::ForwardRequest, Items<pb::ForwardPart>>(fault);
        let answer = check(caller.post(PATH, json!({})).await, status, kind, code);
        assert_eq!(answer.headers["retry-after"], "7");
    }
    gateway.chat_proxy.disconnect();
    let refused = async || Some(caller.post(PATH, json!({})).await).filter(|answer| answer.status == 503);
    let answer = turnpike_testkit::eventually("a refusal without a chat service", 20, refused).await;
    check(answer, 503, "server_error", "upstream_unavailable");
}

#[tokio::test]
async fn an_error_of_the_server_keeps_its_status_and_its_json() {
    let gateway = Gateway::start().await;
    let caller = gateway.caller(Role::User);
    let parts = script(&gateway);
    let head = pb::ForwardHead { status: 429, content_type: "application/json".to_owned(), retry_after: 9 };
    send_part(&parts, Part::Head(head)).await;
    send_body(&parts, r#"{"error":{"message":"busy"}}"#).await;
    drop(parts);
    let answer = caller.post(PATH, json!({})).await;
    assert_eq!((answer.status, answer.text.as_str()), (429, r#"{"error":{"message":"busy"}}"#));
    assert_eq!(answer.headers["retry-after"], "9");
    let parts = script(&gateway);
    send_head(&parts, 502, "text/html").await;
    send_body(&parts, "<html>nginx").await;
    let answer = caller.post(PATH, json!({})).await;
    assert_eq!((answer.status, &answer.json["error"]["code"]), (502, &json!("upstream_error")), "{}", answer.text);
}

#[tokio::test]
async fn a_stream_opens_before_a_slow_model_answers() {
    let gateway = Gateway::start().await;
    let caller = gateway.caller(Role::User);
    let parts = script(&gateway);
    let mut response = begin(&caller, r#"{"messages":[],"stream":true}"#).await;
    assert_eq!((response.status().as_u16(), next(&mut response).await.as_deref()), (200, Some(": \n\n")));
    send_head(&parts, 200, EVENTS).await;
    send_body(&parts, "data: 1\n\n").await;
    assert_eq!(next(&mut response).await.as_deref(), Some("data: 1\n\n"));
    drop(parts);
    assert_eq!(next(&mut response).await, None);
}

#[tokio::test]
async fn after_an_early_response_an_error_is_an_event() {
    let gateway = Gateway::start().await;
    let caller = gateway.caller(Role::User);
    let parts = script(&gateway);
    let mut response = begin(&caller, r#"{"stream":true}"#).await;
    assert_eq!(next(&mut response).await.as_deref(), Some(": \n\n"));
    let fault = Fault::new(Kind::Unavailable, "Could not connect to the language model");
    parts.send(Err(fault.into())).await.expect("the call is open");
    let event = error(&next(&mut response).await.expect("an event"));
    assert_eq!(event["message"], "Could not connect to the language model");
    assert_eq!(next(&mut response).await, None);

    for (content_type, body, message) in [
        ("application/json", "{\"error\":\n{\"message\":\"no\"}}", "no"),
        ("text/html", "<html>", "The model's server answered with the status 400"),
    ] {
        let parts = script(&gateway);
        let mut response = begin(&caller, r#"{"stream":true}"#).await;
        assert_eq!(next(&mut response).await.as_deref(), Some(": \n\n"));
        send_head(&parts, 400, content_type).await;
        send_body(&parts, body).await;
        drop(parts);
        assert_eq!(error(&next(&mut response).await.expect("an event"))["message"], message);
        assert_eq!(next(&mut response).await, None);
    }
}

#[tokio::test]
async fn a_response_that_breaks_is_not_taken_for_the_whole() {
    let gateway = Gateway::start().await;
    let caller = gateway.caller(Role::User);
    let broken = || Err(Fault::new(Kind::Unavailable, "The model stopped").into());
    let parts = script(&gateway);
    send_head(&parts, 200, EVENTS).await;
    let mut response = begin(&caller, r#"{"stream":true}"#).await;
    send_body(&parts, "data: {\"a\"").await;
    assert_eq!(next(&mut response).await.as_deref(), Some("data: {\"a\""));
    parts.send(broken()).await.expect("the call is open");
    let event = next(&mut response).await.expect("an event");
    assert_eq!(
        error(event.strip_prefix("\n\n").expect("the incomplete event is ended"))["code"],
        "upstream_unavailable"
    );
    assert_eq!(next(&mut response).await, None);

    let parts = script(&gateway);
    send_head(&parts, 200, "application/json").await;
    send_body(&parts, "{\"a\"").await;
    let mut response = begin(&caller, "{}").await;
    assert_eq!(next(&mut response).await.as_deref(), Some("{\"a\""));
    parts.send(broken()).await.expect("the call is open");
    assert!(within("the end", 20, response.chunk()).await.is_err(), "the connection is broken off");
}

#[tokio::test]
async fn the_server_sees_that_the_client_has_left_in_every_phase() {
    let gateway = Gateway::start().await;
    let caller = gateway.caller(Role::User);
    let received = || gateway.chat.received::<pb::ForwardRequest>().len();

    for (body, has_head) in [(r#"{"stream":true}"#, false), ("{}", false), ("{}", true)] {
        let (parts, before) = (script(&gateway), received());
        if has_head {
            send_head(&parts, 200, "application/json").await;
        }
        let request = caller.request(Method::POST, PATH).body(body).send();
        tokio::select! {
            _ = request => panic!("no response begins"),
            () = turnpike_testkit::eventually("the request", 20, async || (received() > before).then_some(())) => {}
        }
        within("the cancellation before the response", 5, parts.closed()).await;
    }
    let parts = script(&gateway);
    let mut response = begin(&caller, r#"{"stream":true}"#).await;
    assert_eq!(next(&mut response).await.as_deref(), Some(": \n\n"));
    drop(response);
    within("the cancellation of an early response", 5, parts.closed()).await;

    let parts = script(&gateway);
    send_head(&parts, 200, EVENTS).await;
    let response = begin(&caller, "{}").await;
    drop(response);
    within("the cancellation before the body", 5, parts.closed()).await;

    for content_type in [EVENTS, "application/json"] {
        let parts = script(&gateway);
        send_head(&parts, 200, content_type).await;
        send_body(&parts, "data: 1\n\n").await;
        let mut response = begin(&caller, "{}").await;
        assert!(next(&mut response).await.is_some());
        drop(response);
        within("the cancellation within the body", 5, parts.closed()).await;
    }
}

#[tokio::test]
async fn a_request_ends_with_its_session() {
    let gateway = Gateway::start().await;
    let (user_id, session_id) = (UserId::from(Uuid::now_v7()), SessionId::from(Uuid::now_v7()));
    let caller = gateway.anonymous().with_token(&gateway.token(user_id, session_id, Role::User));
    let parts = script(&gateway);
    send_head(&parts, 200, EVENTS).await;
    let mut response = begin(&caller, "{}").await;
    let (session_id, user_id, reason) = (session_id.to_string(), user_id.to_string(), "logout".to_owned());
    gateway.publish(Topic::Sessions, Body::SessionEnded(SessionEnded { session_id, user_id, reason }), false).await;
    assert_eq!(error(&next(&mut response).await.expect("an event"))["code"], "invalid_api_key");
    within("the cancellation", 20, parts.closed()).await;
}

#[tokio::test]
async fn a_model_is_found_by_its_name() {
    let gateway = Gateway::start().await;
    let model = |id: &str| pb::Model { id: id.to_owned(), owned_by: "us".to_owned(), ..Default::default() };
    let models = vec![model("small"), model("meta/Llama-3 8B")];
    gateway.chat.respond::<pb::ListModelsRequest, _>(pb::ListModelsResponse { models });
    let caller = gateway.caller(Role::User);
    let answer = caller.get("/v1/models").await;
    assert_eq!((&answer.json["object"], &answer.json["data"][0]["id"]), (&json!("list"), &json!("small")));
    for path in ["/v1/models/meta/Llama-3%208B", "/v1/models/meta%2FLlama-3%208B"] {
        let answer = caller.get(path).await;
        let expected = json!({ "id": "meta/Llama-3 8B", "object": "model", "created": 0, "owned_by": "us" });
        assert_eq!((answer.status, answer.json), (200, expected));
    }
    let answer = caller.get("/v1/models/large").await;
    assert_eq!((answer.status, &answer.json["error"]["code"]), (404, &json!("model_not_found")));
}
