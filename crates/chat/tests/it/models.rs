//! Lists of models, and loading and unloading them.

use std::time::Duration;

use serde_json::{Value, json};
use turnpike_fault::Kind;
use turnpike_testkit::{Database, eventually};
use turnpike_token::Role;

use crate::{
    fake::{Fake, Plan, Step},
    model_caller::{Caller, Endpoint, question},
    world::{Instance, World},
};

async fn start(world: World, role: Role) -> (World, Instance, Caller) {
    let instance = world.start().await;
    let caller = Caller::new(world.person(role), &instance);
    (world, instance, caller)
}

async fn with(urls: &str) -> (World, Instance, Caller) {
    let world = World::new(Database::sqlite()).with("TURNPIKE_LLM_URL", urls).with("TURNPIKE_LLM_API_KEY", "sk-admin");
    start(world, Role::Admin).await
}

fn json(body: &Value) -> Plan {
    Plan::whole(200, "application/json", body.to_string())
}

fn list(ids: &[&str]) -> Plan {
    let models: Vec<Value> =
        ids.iter().map(|id| json!({ "id": id, "created": 1_700_000_000, "owned_by": "x" })).collect();
    json(&json!({ "object": "list", "data": models }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_has_the_models_of_every_server() {
    let (first, second, third) = (Fake::start().await, Fake::start().await, Fake::start().await);
    first.on("GET /v1/models", list(&["a", "b"]));
    first.on("GET /v1/model", json(&json!({ "id": "b" })));
    second.on("GET /v1/models", Plan::whole(500, "text/plain", "no"));
    third.on("GET /v1/models", list(&["a", "c"]));
    let (world, _instance, caller) = with(&[first.url(), second.url(), third.url()].join(",")).await;
    let shown = |models: Vec<turnpike_proto::chat::v1::Model>| {
        models.into_iter().map(|model| (model.id, model.server, model.active)).collect::<Vec<_>>()
    };
    let expected = [("a", 1, false), ("b", 1, true), ("a", 3, false), ("c", 3, false)];
    let expected = expected.map(|(id, server, active)| (id.to_owned(), server, active));
    assert_eq!(shown(caller.models().await.expect("a list")), expected);
    // The list is kept for a while.
    first.on("GET /v1/models", list(&["d"]));
    assert_eq!(shown(caller.models().await.expect("a list")), expected);
    world.hand.advance(Duration::from_secs(10));
    assert_eq!(caller.models().await.expect("a list")[0].id, "d");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_that_answers_there_is_no_list() {
    let fake = Fake::start().await;
    fake.on("GET /v1/models", Plan::close());
    let (_world, _instance, caller) = with(&fake.url()).await;
    let fault = caller.models().await.expect_err("no list");
    assert_eq!((fault.kind(), fault.code()), (Kind::Unavailable, "UPSTREAM_UNAVAILABLE"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_to_a_server_that_has_the_model() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    second.on("GET /v1/models", list(&["other"]));
    let (_world, _instance, caller) = with(&format!("{},{}", first.url(), second.url())).await;
    caller.models().await.expect("a list");
    let mut request = question(false);
    request["model"] = json!("other");
    caller.forward(Endpoint::ChatCompletions, request.to_string()).await.expect("an answer");
    assert_eq!((first.seen().len(), second.seen().len()), (0, 1));
    // A model that no server lists: the first one decides.
    request["model"] = json!("unlisted");
    caller.forward(Endpoint::ChatCompletions, request.to_string()).await.expect("an answer");
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_model_gets_the_first_one_or_the_configured_one() {
    let fake = Fake::start().await;
    let body = r#"{ "messages":[{"role":"user","content":"Hi"}],"x_unknown" : 1.50 }"#;
    let sent = |model: &str| format!(r#"{{"model":"{model}", {}"#, body.strip_prefix("{ ").expect("an object"));
    let (world, _instance, caller) = with(&fake.url()).await;
    caller.forward(Endpoint::ChatCompletions, body).await.expect("an answer");
    let (_world, _instance, caller) = start(world.with("TURNPIKE_LLM_MODEL", "mine"), Role::User).await;
    caller.forward(Endpoint::ChatCompletions, body).await.expect("an answer");
    let seen = fake.seen();
    assert_eq!([&seen[0].body, &seen[1].body], [&sent("fake-model"), &sent("mine")]);
    assert_eq!(seen[0].headers["authorization"], "Bearer sk-admin");
    assert!(!seen[0].headers.contains_key("x-admin-key"), "only for the management of models");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_is_passed_on() {
    let fake = Fake::start().await;
    let (_world, _instance, caller) = with(&fake.url()).await;
    let response = |n: usize| json!({ "n": n, "usage": { "input_tokens": 3, "output_tokens": 4 } }).to_string();
    let endpoints = [Endpoint::ChatCompletions, Endpoint::Completions, Endpoint::Responses, Endpoint::Embeddings];
    for (n, endpoint) in endpoints.into_iter().enumerate() {
        fake.next(Plan::whole(200, "application/json; x=y", response(n)));
        let body = format!(r#"{{"model":"m","tools":[{{"n":{n}}}],"tool_choice":"auto"}}"#);
        let mut answer = caller.forward(endpoint, body.clone()).await.expect("an answer");
        assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json; x=y"));
        assert_eq!(answer.rest().await, response(n));
        assert_eq!(fake.seen()[n].body, body, "not a byte is changed");
    }
    let paths: Vec<_> = fake.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"]);
    let fault = caller.forward(Endpoint::Unspecified, "{}").await.expect_err("no endpoint");
    assert_eq!(fault.fields()[0].field, "endpoint");
    let fault = caller.forward(Endpoint::ChatCompletions, "[]").await.expect_err("no object");
    assert_eq!((fault.kind(), fault.fields()[0].field.as_str()), (Kind::Validation, "body"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_the_responses_api_ends_with_its_last_event() {
    let fake = Fake::start().await;
    let (_world, _instance, caller) = with(&fake.url()).await;
    let event = |kind: &str, more: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{more}}}\n\n");
    let events = [
        event("response.created", ""),
        event("response.output_text.delta", r#","delta":"Hello""#),
        event("response.completed", r#","response":{"model":"m","usage":{"input_tokens":3,"output_tokens":1}}"#),
    ];
    let write = events.iter().map(|event| Step::Write(event.clone().into_bytes()));
    fake.next(Plan::new([Step::Head(200, "text/event-stream")]).then(write).then([Step::End]));
    let body = r#"{"model":"m","input":"Hi","stream":true}"#;
    let mut answer = caller.forward(Endpoint::Responses, body).await.expect("an answer");
    assert_eq!(answer.rest().await, events.concat());
    assert_eq!(fake.seen()[0].body, body);
    // Broken off, it has the error event of that API.
    fake.next(Plan::new([
        Step::Head(200, "text/event-stream"),
        Step::Write(events[1].clone().into_bytes()),
        Step::Close,
    ]));
    let mut answer = caller.forward(Endpoint::Responses, body).await.expect("an answer");
    let stream = answer.rest().await;
    let last =
        stream.strip_prefix(&events[1]).and_then(|rest| rest.strip_prefix("event: error\ndata: ")).expect("an error");
    assert_eq!(serde_json::from_str::<Value>(last).expect("JSON")["code"], "UPSTREAM_ERROR");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabby_api_loads_and_unloads() {
    let fake = Fake::start().await;
    let none = r#"{"detail":{"error":{"message":"No models are currently loaded."}}}"#;
    fake.on("GET /v1/model", Plan::whole(400, "application/json", none));
    let progress = "data: {\"model_type\":\"model\",\"module\":1,\"modules\":1,\"status\":\"finished\"}\n\n";
    fake.on("POST /v1/model/load", Plan::whole(200, "text/event-stream", progress));
    fake.on("POST /v1/model/unload", json(&Value::Null));
    let (_world, _instance, caller) = with(&fake.url()).await;
    caller.load("big-model").await.expect("loaded");
    caller.unload().await.expect("unloaded");
    let orders: Vec<_> = fake.seen().into_iter().filter(|seen| seen.path.starts_with("/v1/model/")).collect();
    assert_eq!((orders[0].path.as_str(), orders[0].body.as_str()), ("/v1/model/load", r#"{"model_name":"big-model"}"#));
    assert_eq!(orders[1].path, "/v1/model/unload");
    assert!(orders.iter().all(|order| order.headers["x-admin-key"] == "sk-admin"));
    // A failure is one of the events of the progress; a key without the right is refused.
    let failed = "data: {\"error\":{\"message\":\"out of memory\"}}\n\n";
    fake.on("POST /v1/model/load", Plan::whole(200, "text/event-stream", failed));
    assert_eq!(caller.load("big-model").await.expect_err("not loaded").code(), "UPSTREAM_ERROR");
    fake.on("POST /v1/model/unload", Plan::whole(401, "application/json", "{}"));
    assert_eq!(caller.unload().await.expect_err("refused").code(), "MODEL_MANAGEMENT_REFUSED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ollama_loads_and_unloads() {
    let fake = Fake::start().await;
    fake.on("GET /api/version", json(&json!({ "version": "0.20" })));
    fake.on("GET /api/ps", json(&json!({ "models": [{ "name": "a:1b" }, { "name": "b:2b" }] })));
    fake.on("POST /api/generate", json(&json!({ "done": true })));
    let (_world, _instance, caller) = with(&fake.url()).await;
    caller.load("a:1b").await.expect("loaded");
    caller.unload().await.expect("unloaded");
    let orders = fake.seen().into_iter().filter(|seen| seen.path == "/api/generate");
    let orders: Vec<Value> = orders.map(|seen| serde_json::from_str(&seen.body).expect("JSON")).collect();
    let order = |model: &str, keep_alive: i64| json!({ "model": model, "keep_alive": keep_alive, "stream": false });
    assert_eq!(orders, [order("a:1b", -1), order("a:1b", 0), order("b:2b", 0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_servers_cannot_and_only_admins_may() {
    let fake = Fake::start().await;
    let (world, instance, caller) = with(&fake.url()).await;
    for refused in [caller.load("m").await, caller.unload().await] {
        let fault = refused.expect_err("it cannot");
        assert_eq!((fault.kind(), fault.code()), (Kind::Conflict, "MODEL_MANAGEMENT_UNSUPPORTED"));
        assert!(fault.detail().contains("TabbyAPI"), "{fault}");
    }
    let engineer = Caller::new(world.person(Role::Engineer), &instance);
    assert_eq!(engineer.load("m").await.expect_err("no admin").kind(), Kind::Forbidden);
    assert_eq!(engineer.unload().await.expect_err("no admin").kind(), Kind::Forbidden);
    let (_world, _instance, caller) = start(World::new(Database::sqlite()), Role::Admin).await;
    assert_eq!(caller.load("m").await.expect_err("scripted").code(), "MODEL_MANAGEMENT_UNSUPPORTED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fails_again_and_again_is_left_out_for_a_while() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    let (world, _instance, caller) = with(&format!("{},{}", first.url(), second.url())).await;
    for _ in 0..5 {
        first.next(Plan::whole(500, "text/plain", "no"));
        assert_eq!(caller.chat(false).await.expect("the second server's").status, 200);
    }
    assert_eq!((first.seen().len(), second.seen().len()), (5, 5));
    caller.chat(false).await.expect("the second server's");
    assert_eq!((first.seen().len(), second.seen().len()), (5, 6), "the first one is left out");
    world.hand.advance(Duration::from_secs(5));
    caller.chat(false).await.expect("an answer");
    assert_eq!((first.seen().len(), second.seen().len()), (6, 6), "a probe found that it works again");
    caller.chat(false).await.expect("an answer");
    assert_eq!((first.seen().len(), second.seen().len()), (7, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_server_left_the_caller_learns_when_to_try_again() {
    let fake = Fake::start().await;
    let (_world, _instance, caller) = with(&fake.url()).await;
    for _ in 0..5 {
        fake.next(Plan::whole(500, "text/plain", "no"));
        assert_eq!(caller.chat(false).await.expect("the server's").status, 500);
    }
    let fault = caller.chat(false).await.expect_err("left out");
    assert_eq!((fault.code(), fault.retry_in()), ("UPSTREAM_UNAVAILABLE", Some(Duration::from_secs(5))));
    assert_eq!(fake.seen().len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_used_again() {
    let fake = Fake::start().await;
    let (_world, _instance, caller) = with(&fake.url()).await;
    for n in 0..10 {
        caller.chat(n % 2 == 0).await.expect("an answer").rest().await;
        // The connection is free once the end of the response was read.
        eventually("the end", 30, || async { fake.seen().last().is_some_and(|seen| seen.finished).then_some(()) })
            .await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(fake.accepted() <= 2, "{} connections for 10 requests, one after another", fake.accepted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_know_stream_options_is_asked_without() {
    let fake = Fake::start().await;
    let (_world, _instance, caller) = with(&fake.url()).await;
    let refusal = r#"{"error":{"message":"Unknown field: stream_options"}}"#;
    fake.next(Plan::whole(400, "application/json", refusal));
    for _ in 0..2 {
        assert!(caller.chat(true).await.expect("an answer").rest().await.contains("Hello"));
    }
    let bodies: Vec<_> = fake.seen().into_iter().map(|seen| seen.body).collect();
    assert!(bodies[0].contains("stream_options"));
    assert_eq!(bodies[1..], [question(true).to_string(), question(true).to_string()]);
}
