//! A fast stand-in for a model server, which speaks OpenAI's protocol. A directive in the prompt (`mock:chunks=100,every=10`) says
//! how it answers, so that it passes unchanged through any gateway.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{Method, Request, Response, body::Frame, body::Incoming, header::CONTENT_TYPE, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{net::TcpListener, time::Instant};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Nanoseconds of the system clock, which all processes of the machine share.
pub(crate) fn now_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_nanos() as u64
}

/// What happened to the requests that had an `id` in their directive.
#[derive(Default)]
struct Seen {
    /// The request has arrived.
    arrived: Mutex<HashMap<u64, u64>>,
    /// The connection was closed before the answer was complete.
    closed: Mutex<HashMap<u64, u64>>,
    requests: AtomicU64,
    completion_tokens: AtomicU64,
}

/// Notes when an answer is dropped before its end.
struct Answer {
    id: u64,
    complete: bool,
    seen: Arc<Seen>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.complete && self.id > 0 {
            self.seen.closed.lock().insert(self.id, now_nanos());
        }
    }
}

/// How to answer one request. Times are in milliseconds.
#[derive(Clone, Copy, Default)]
struct Directive {
    id: u64,
    /// Time before the head of the response.
    head: u64,
    /// Time before the first chunk.
    first: u64,
    chunks: u64,
    /// Time between two chunks.
    every: u64,
}

impl Directive {
    /// The last directive in the body, because earlier ones belong to earlier messages of the conversation.
    fn parse(body: &[u8]) -> Self {
        let mut directive = Self { chunks: 16, ..Self::default() };
        let Some(start) = memchr::memmem::rfind(body, b"mock:") else { return directive };
        let text = &body[start + 5..];
        let end =
            text.iter().position(|byte| !matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'=' | b',')).unwrap_or(text.len());
        for pair in text[..end].split(|byte| *byte == b',') {
            let Some((name, value)) = std::str::from_utf8(pair).ok().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let Ok(value) = value.parse() else { continue };
            match name {
                "id" => directive.id = value,
                "head" => directive.head = value,
                "first" => directive.first = value,
                "chunks" => directive.chunks = value,
                "every" => directive.every = value,
                _ => {}
            }
        }
        directive
    }
}

/// Serves until the process ends, and prints the address.
pub(crate) async fn serve(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    println!("{}", listener.local_addr().expect("an address"));
    let seen = Arc::new(Seen::default());
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let seen = seen.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, seen.clone()));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, seen: Arc<Seen>) -> Result<Response<Body>, Infallible> {
    if request.method() != Method::POST {
        return Ok(json(&state(request.uri().path(), &seen)));
    }
    let Ok(body) = request.into_body().collect().await else { return Ok(json("{}")) };
    let body = body.to_bytes();
    let directive = Directive::parse(&body);
    seen.requests.fetch_add(1, Ordering::Relaxed);
    let mut guard = Answer { id: directive.id, complete: false, seen: seen.clone() };
    if directive.id > 0 {
        seen.arrived.lock().insert(directive.id, now_nanos());
    }
    tokio::time::sleep(Duration::from_millis(directive.head)).await;
    if !asks_for_stream(&body) {
        guard.complete = true;
        seen.completion_tokens.fetch_add(16, Ordering::Relaxed);
        return Ok(json(UNARY));
    }
    let usage = memchr::memmem::find(&body, b"include_usage").is_some();
    let content = StreamBody::new(chunks(directive, usage, guard).map(|data| Ok(Frame::data(data))));
    let response = Response::builder().header(CONTENT_TYPE, "text/event-stream").body(content.boxed_unsync());
    Ok(response.expect("a valid response"))
}

fn asks_for_stream(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"\"stream\"").is_some_and(|at| {
        let rest = &body[at + 8..];
        rest.iter().find(|byte| !matches!(byte, b' ' | b':')) == Some(&b't')
    })
}

/// Each piece has the time at which it was made, `@` and 19 digits, so that a reader can compute its delay.
fn chunks(directive: Directive, usage: bool, mut guard: Answer) -> impl Stream<Item = Bytes> {
    let start = Instant::now() + Duration::from_millis(directive.first);
    let pieces = stream::unfold(0, move |n| async move {
        if n > directive.chunks {
            return None;
        }
        if n == 0 {
            return Some((chunk(r#"{"role":"assistant","content":""}"#), 1));
        }
        tokio::time::sleep_until(start + Duration::from_millis(directive.every * (n - 1))).await;
        Some((chunk(&format!(r#"{{"content":"@{} "}}"#, now_nanos())), n + 1))
    });
    let end = stream::once(async move {
        let mut last = String::from(
            "data: {\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\
             \"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        );
        if usage {
            last += &format!(
                "data: {{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[],\
                 \"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":{0},\"total_tokens\":{1}}}}}\n\n",
                directive.chunks,
                directive.chunks + 9
            );
        }
        last += "data: [DONE]\n\n";
        guard.complete = true;
        guard.seen.completion_tokens.fetch_add(directive.chunks, Ordering::Relaxed);
        Bytes::from(last)
    });
    pieces.chain(end)
}

fn chunk(delta: &str) -> Bytes {
    Bytes::from(format!(
        "data: {{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\
         \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n\n"
    ))
}

const UNARY: &str = r#"{"id":"chatcmpl-mock","object":"chat.completion","created":1,"model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":"The quick brown fox jumps over the lazy dog, again and again, all day long."},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":16,"total_tokens":25},"system_fingerprint":"mock"}"#;

/// What gateways and the load generator ask for with GET: models, health, and what was seen of requests.
fn state(path: &str, seen: &Seen) -> String {
    match path {
        "/seen" => serde_json::json!({
            "arrived": *seen.arrived.lock(),
            "closed": *seen.closed.lock(),
            "requests": seen.requests.load(Ordering::Relaxed),
            "completion_tokens": seen.completion_tokens.load(Ordering::Relaxed),
        })
        .to_string(),
        path if path.ends_with("/models") => {
            r#"{"object":"list","data":[{"id":"mock","object":"model","created":1,"owned_by":"mock"}]}"#.to_owned()
        }
        _ => r#"{"status":"ok","model_path":"mock","model_id":"mock","served_model_name":"mock","is_generation":true}"#
            .to_owned(),
    }
}

fn json(text: &str) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed_unsync();
    Response::builder().header(CONTENT_TYPE, "application/json").body(body).expect("a valid response")
}
