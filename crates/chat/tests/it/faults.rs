//! What an OpenAI-compatible client gets when a server fails: the table in the README, one test a row.

use std::time::Duration;

use serde_json::{Value, json};
use turnpike_testkit::{Database, Host};
use turnpike_token::Role;

use crate::{
    fake::{self, Fake, Plan, Step, finish, role, text, usage},
    model_caller::{Caller, Endpoint, question},
    world::{Instance, World},
};

const FIRST_TOKEN: u64 = 20;
const NEXT_TOKEN: u64 = 10;
const TOTAL: u64 = 100;

/// What the client gets if there is no other server.
#[derive(Clone, Copy, Debug)]
enum Alone {
    /// An error of ours.
    Error(&'static str),
    /// The server's response.
    Response(u32),
}

async fn start(urls: &str) -> (World, Instance, Caller) {
    let world = World::new(Database::sqlite())
        .with("TURNPIKE_LLM_URL", urls)
        .with("TURNPIKE_LLM_API_KEY", "sk-secret")
        .with("TURNPIKE_LLM_FIRST_TOKEN_SECONDS", FIRST_TOKEN)
        .with("TURNPIKE_LLM_NEXT_TOKEN_SECONDS", NEXT_TOKEN)
        .with("TURNPIKE_LLM_TOTAL_SECONDS", TOTAL);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    (world, instance, caller)
}

/// A fault before the first piece of an answer: what a client gets without another server, and with one.
async fn before_the_first_piece(plan: fn(bool) -> Plan, alone: Alone, falls_back: bool) {
    for stream in [true, false] {
        let broken = Fake::start().await;
        let plan = plan(stream);
        for _ in 0..4 {
            broken.next(plan.clone());
        }
        check(&broken.url(), Some((&broken, &plan)), stream, alone, falls_back).await;
    }
}

async fn check(url: &str, broken: Option<(&Fake, &Plan)>, stream: bool, alone: Alone, falls_back: bool) {
    let hangs = broken.is_some_and(|(_, plan)| plan.hangs());
    for with_another in [false, true] {
        let other = Fake::start().await;
        let urls = if with_another { format!("{url},{}", other.url()) } else { url.to_owned() };
        let (world, _instance, caller) = start(&urls).await;
        let advance = async {
            if let (true, Some((broken, _))) = (hangs, broken) {
                broken.hangs(1 + usize::from(with_another)).await;
                world.hand.advance(Duration::from_secs(if stream { FIRST_TOKEN } else { TOTAL }));
            }
        };
        let (answer, ()) = tokio::join!(caller.chat(stream), advance);
        // A whole answer may take the whole time; none is left for another server.
        if with_another && falls_back && (stream || !hangs) {
            let mut answer = answer.expect("the answer of the other server");
            assert_eq!(answer.status, 200);
            assert!(answer.rest().await.contains("Hello"));
            continue;
        }
        assert!(other.seen().is_empty(), "another server is not asked");
        match alone {
            Alone::Error(code) => {
                let fault = answer.expect_err("a fault");
                assert_eq!(fault.code(), code, "{fault}");
                assert!(!fault.detail().contains("sk-secret"));
            }
            Alone::Response(status) => {
                let mut answer = answer.expect("the server's response");
                assert_eq!(answer.status, status);
                assert!(answer.rest().await.contains("of the server"), "the server's own body");
            }
        }
    }
}

fn error(status: u16) -> Plan {
    let body = json!({ "error": { "message": "of the server", "code": status } });
    Plan::whole(status, "application/json", body.to_string())
}

macro_rules! before_the_first_piece {
    ($($name:ident: $plan:expr => $alone:expr, falls_back: $falls_back:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            before_the_first_piece($plan, $alone, $falls_back).await;
        })*
    };
}

use Alone::{Error, Response};

before_the_first_piece! {
    too_many_requests: |_| error(429) => Response(429), falls_back: true;
    an_internal_error: |_| error(500) => Response(500), falls_back: true;
    an_unavailable_model: |_| Plan::whole(503, "text/html", "<h1>of the server</h1>") => Response(503), falls_back: true;
    a_request_at_fault: |_| error(400) => Response(400), falls_back: false;
    a_model_that_the_server_lacks: |_| {
        Plan::whole(404, "application/json", r#"{"error":{"message":"no such model of the server"}}"#)
    } => Response(404), falls_back: true;
    a_refused_api_key: |_| Plan::whole(401, "application/json", r#"{"error":{"message":"bad key sk-secret"}}"#)
        => Error("UPSTREAM_UNAVAILABLE"), falls_back: true;
    a_close_instead_of_a_response: |_| Plan::close() => Error("UPSTREAM_UNAVAILABLE"), falls_back: true;
    no_headers: |_| Plan::hang() => Error("UPSTREAM_TIMEOUT"), falls_back: true;
    silence_after_the_headers: |stream| head(stream).then([Step::Hang]) => Error("UPSTREAM_TIMEOUT"), falls_back: true;
    silence_after_the_role: |stream| match stream {
        true => Plan::events([role().as_str()]).then([Step::Hang]),
        false => head(false).then([Step::Write(b"{".to_vec()), Step::Hang]),
    } => Error("UPSTREAM_TIMEOUT"), falls_back: true;
    an_error_object_with_the_status_200: |stream| {
        let body = r#"{"error":{"message":"of the server","code":502}}"#;
        if stream { Plan::events([role().as_str(), body]).then([Step::End]) } else { whole(body) }
    } => Response(502), falls_back: true;
    an_error_object_that_blames_the_request: |stream| {
        let body = r#"{"object":"error","message":"of the server","code":400}"#;
        if stream { Plan::events([body]).then([Step::End]) } else { whole(body) }
    } => Response(400), falls_back: false;
    a_page_instead_of_an_answer: |_| Plan::whole(200, "text/html", "<h1>Welcome</h1>")
        => Error("UPSTREAM_ERROR"), falls_back: true;
    truncated_json: |stream| match stream {
        true => Plan::events([r#"{"choices":[{"delta""#]).then([Step::End]),
        false => whole(r#"{"choices":[{"mess"#),
    } => Error("UPSTREAM_ERROR"), falls_back: true;
    a_broken_connection_before_the_first_piece: |stream| match stream {
        true => Plan::events([role().as_str()]).then([Step::Close]),
        false => head(false).then([Step::Write(b"{\"choices\"".to_vec()), Step::Close]),
    } => Error("UPSTREAM_ERROR"), falls_back: true;
    an_empty_body: |stream| head(stream).then([Step::End]) => Error("UPSTREAM_ERROR"), falls_back: true;
}

fn head(stream: bool) -> Plan {
    Plan::new([Step::Head(200, if stream { "text/event-stream" } else { "application/json" })])
}

fn whole(body: &str) -> Plan {
    Plan::whole(200, "application/json", body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection() {
    let host = Host::claim();
    for stream in [true, false] {
        check(&format!("http://{}/v1", host.address(0)), None, stream, Error("UPSTREAM_UNAVAILABLE"), true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_with_a_time() {
    let fake = Fake::start().await;
    for stream in [true, false] {
        let body = r#"{"error":{"message":"of the server"}}"#;
        let head = [Step::Head(429, "application/json"), Step::Header("retry-after", "7")];
        fake.next(Plan::new(head).then([Step::Write(body.into()), Step::End]));
        let (_world, _instance, caller) = start(&fake.url()).await;
        let mut answer = caller.chat(stream).await.expect("the server's response");
        assert_eq!((answer.status, answer.retry_after, answer.content_type.as_str()), (429, 7, "application/json"));
        assert_eq!(answer.rest().await, body);
    }
}

/// The whole stream that a client gets from one server with this plan.
async fn streamed(plan: Plan) -> String {
    let fake = Fake::start().await;
    fake.next(plan);
    let (_world, _instance, caller) = start(&fake.url()).await;
    let mut answer = caller.chat(true).await.expect("an answer");
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "text/event-stream"));
    answer.rest().await
}

/// The data of the events of a stream.
fn data(stream: &str) -> Vec<&str> {
    assert!(stream.ends_with("\n\n"), "{stream}");
    stream.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").expect("data")).collect()
}

/// Checks that a stream has these events and then one error of ours.
fn ends_with_error(stream: &str, events: &[String], code: &str) {
    let data = data(stream);
    assert_eq!(data[..data.len() - 1], *events);
    let last: Value = serde_json::from_str(data[data.len() - 1]).expect("JSON");
    assert_eq!(last["error"]["code"], code, "{stream}");
    assert_eq!(last["error"]["type"], "upstream_error");
}

fn hello() -> Vec<String> {
    vec![role(), text("Hello")]
}

fn begins() -> Plan {
    Plan::events(hello().iter().map(String::as_str))
}

fn event(data: &str) -> Step {
    Step::Write(format!("data: {data}\n\n").into_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_after_a_piece() {
    let fake = Fake::start().await;
    fake.next(begins().then([Step::Hang]));
    let (world, _instance, caller) = start(&fake.url()).await;
    let mut answer = caller.chat(true).await.expect("an answer");
    let mut stream = answer.until("Hello").await;
    world.hand.advance(Duration::from_secs(NEXT_TOKEN));
    stream += &answer.rest().await;
    ends_with_error(&stream, &hello(), "UPSTREAM_TIMEOUT");
    fake.closed(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_never_stops() {
    let fake = Fake::start().await;
    fake.next(begins().then((0..100_000).flat_map(|_| [event(&text(" more")), Step::Pause(Duration::from_millis(5))])));
    let (world, _instance, caller) = start(&fake.url()).await;
    let mut answer = caller.chat(true).await.expect("an answer");
    let mut stream = String::new();
    for _ in 0..TOTAL / (NEXT_TOKEN - 1) + 1 {
        world.hand.advance(Duration::from_secs(NEXT_TOKEN - 1));
        match answer.next().await {
            Some(bytes) => stream += std::str::from_utf8(&bytes).expect("UTF-8"),
            None => break,
        }
    }
    stream += &answer.rest().await;
    let last: Value = serde_json::from_str(data(&stream).last().expect("events")).expect("JSON");
    assert_eq!(last["error"]["code"], "UPSTREAM_TIMEOUT");
    fake.closed(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_after_a_piece() {
    ends_with_error(&streamed(begins().then([Step::Close])).await, &hello(), "UPSTREAM_ERROR");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_without_a_reason() {
    ends_with_error(&streamed(begins().then([Step::End])).await, &hello(), "UPSTREAM_ERROR");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncated_json_after_a_piece() {
    let plan = begins().then([event(r#"{"choices":[{"del"#), event("[DONE]"), Step::End]);
    ends_with_error(&streamed(plan).await, &hello(), "UPSTREAM_ERROR");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_object_after_a_piece() {
    let error = r#"{"error":{"message":"out of memory"}}"#;
    let stream = streamed(begins().then([event(error), event("[DONE]"), Step::End])).await;
    assert_eq!(data(&stream), [&hello()[..], &[error.to_owned()]].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_17_mib() {
    let plan = begins().then([event(&text(&"x".repeat(17 << 20)))]);
    ends_with_error(&streamed(plan).await, &hello(), "UPSTREAM_ERROR");
}

/// Checks that a client gets exactly these events and `[DONE]`.
async fn passes(plan: Plan, events: &[String]) {
    let stream = streamed(plan).await;
    let expected = [events, &["[DONE]".to_owned()]].concat();
    assert!(data(&stream) == expected, "{} events of {} bytes", data(&stream).len(), stream.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_done() {
    let events = [hello(), vec![finish("stop")]].concat();
    passes(begins().then([event(&finish("stop")), Step::End]), &events).await;
    // Also if the connection breaks then.
    passes(begins().then([event(&finish("stop")), Step::Close]), &events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_after_done() {
    let plan =
        begins().then([event(&finish("stop")), event("[DONE]"), event(&text("late")), event("[DONE]"), Step::End]);
    passes(plan, &[hello(), vec![finish("stop")]].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn characters_split_over_chunks() {
    let events = [role(), text("Grüße 😀 语言"), finish("stop")];
    let bytes: Vec<u8> = events.iter().flat_map(|data| format!("data: {data}\r\n\r\n").into_bytes()).collect();
    let steps = bytes.chunks(1).map(|byte| Step::Write(byte.to_vec()));
    let stream = streamed(head(true).then(steps).then([event("[DONE]"), Step::End])).await;
    assert_eq!(data(&stream), [&events[..], &["[DONE]".to_owned()]].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_10_mib() {
    let events = vec![role(), text(&"é".repeat(5 << 20)), finish("stop")];
    passes(Plan::events(events.iter().map(String::as_str)).then([event("[DONE]"), Step::End]), &events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tool_calls_in_fragments() {
    let call = |part: Value| fake::delta(&json!({ "tool_calls": [part] }));
    let events = vec![
        fake::delta(&json!({ "role": "assistant", "content": null })),
        call(json!({ "index": 0, "id": "c1", "type": "function", "function": { "name": "f", "arguments": "" } })),
        call(json!({ "index": 0, "function": { "arguments": "{\"a\"" } })),
        call(json!({ "index": 0, "function": { "arguments": ":1}" } })),
        finish("tool_calls"),
    ];
    passes(Plan::events(events.iter().map(String::as_str)).then([event("[DONE]"), Step::End]), &events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comments_between_events() {
    let comment = || Step::Write(b": still working\n\n".to_vec());
    let plan = head(true).then([comment(), event(&role()), comment(), event(&text("Hello")), comment()]);
    passes(plan.then([event(&finish("stop")), event("[DONE]"), Step::End]), &[hello(), vec![finish("stop")]].concat())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_that_the_client_did_not_ask_for() {
    let with_null = |data: String| data.replacen('{', r#"{"usage":null,"#, 1);
    let sent: Vec<String> = [hello(), vec![finish("stop")]].concat();
    let mut events: Vec<String> = sent.iter().cloned().map(with_null).collect();
    events.push(usage(7, 1));
    let plan = || Plan::events(events.iter().map(String::as_str)).then([event("[DONE]"), Step::End]);
    passes(plan(), &sent).await;
    // A client that asks for it gets it as the server sends it.
    let fake = Fake::start().await;
    fake.next(plan());
    let (_world, _instance, caller) = start(&fake.url()).await;
    let mut request = question(true);
    request["stream_options"] = json!({ "include_usage": true });
    let mut answer = caller.forward(Endpoint::ChatCompletions, request.to_string()).await.expect("an answer");
    assert_eq!(data(&answer.rest().await), [&events[..], &["[DONE]".to_owned()]].concat());
    assert_eq!(fake.seen()[0].body, request.to_string(), "not a byte of the request is changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_members_of_the_event_with_the_usage() {
    // llama.cpp puts `timings` there if it is asked for the usage, and otherwise into the event with the reason to stop.
    let timings = |data: String| data.replacen('{', r#"{"timings":{"predicted_n":1},"#, 1);
    let events = [hello(), vec![finish("stop"), timings(usage(7, 1))]].concat();
    let plan = Plan::events(events.iter().map(String::as_str)).then([event("[DONE]"), Step::End]);
    passes(plan, &[hello(), vec![timings(finish("stop"))]].concat()).await;
    // The reason to stop is passed on if the usage does not follow it.
    let events = [hello(), vec![finish("stop"), timings(text("late"))]].concat();
    let plan = Plan::events(events.iter().map(String::as_str)).then([event("[DONE]"), Step::End]);
    passes(plan, &events).await;
}
