//! A server of a language model that does what a test says. It speaks real HTTP over real sockets.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use turnpike_testkit::eventually;

/// A running server. It is stopped when it is dropped.
pub struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// For the next requests, in their order.
    next: Mutex<VecDeque<Plan>>,
    /// For requests of `METHOD /path`.
    routes: Mutex<BTreeMap<String, Plan>>,
    seen: Mutex<Vec<Seen>>,
    open: AtomicUsize,
    accepted: AtomicUsize,
    /// Requests whose plan has reached [`Step::Hang`].
    hanging: watch::Sender<usize>,
}

/// A request that the server received.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// When the client closed the connection before the response was complete.
    pub closed: Option<Instant>,
    /// The response was sent to its end.
    pub finished: bool,
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub struct Plan(Vec<Step>);

#[derive(Clone, Debug)]
pub enum Step {
    /// The head of a response with a chunked body.
    Head(u16, &'static str),
    Header(&'static str, &'static str),
    /// A chunk of the body.
    Write(Vec<u8>),
    Pause(Duration),
    /// Does nothing until the client closes the connection.
    Hang,
    /// Ends the body properly. The connection is kept.
    End,
    /// Closes the connection.
    Close,
}

impl Plan {
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self(steps.into_iter().collect())
    }

    /// Neither a byte nor the end of the connection.
    pub fn hang() -> Self {
        Self::new([Step::Hang])
    }

    /// The connection is closed instead of a response.
    pub fn close() -> Self {
        Self::new([Step::Close])
    }

    /// A whole response.
    pub fn whole(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self::new([Step::Head(status, content_type), Step::Write(body.into()), Step::End])
    }

    /// A stream whose events have these data, each in a chunk of its own; it is ended by other steps.
    pub fn events<'a>(data: impl IntoIterator<Item = &'a str>) -> Self {
        let write = |data: &str| Step::Write(format!("data: {data}\n\n").into_bytes());
        Self::new([Step::Head(200, "text/event-stream")].into_iter().chain(data.into_iter().map(write)))
    }

    /// These steps, too.
    #[must_use]
    pub fn then(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.0.extend(steps);
        self
    }

    /// Whether a client that waits for its end waits for ever.
    pub fn hangs(&self) -> bool {
        self.0.iter().any(|step| matches!(step, Step::Hang))
    }

    /// An answer of these words to a request, as a stream or not. Each word counts as a token; every prompt has 7.
    pub fn answer(request: &Value, words: &[&str]) -> Self {
        let usage = json!({ "prompt_tokens": 7, "completion_tokens": words.len(), "total_tokens": 7 + words.len() });
        if request["stream"] != json!(true) {
            let message = json!({ "role": "assistant", "content": words.concat() });
            let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
            let body =
                json!({ "id": "a", "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage });
            return Self::whole(200, "application/json", body.to_string());
        }
        let mut data = vec![role()];
        data.extend(words.iter().map(|word| text(word)));
        data.push(finish("stop"));
        if request["stream_options"]["include_usage"] == json!(true) {
            data.push(self::usage(7, words.len()));
        }
        data.push("[DONE]".to_owned());
        Self::events(data.iter().map(String::as_str)).then([Step::End])
    }
}

/// The model that answers.
pub const MODEL: &str = "fake-model";

fn chunk(choices: &Value) -> Value {
    json!({ "id": "a", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices })
}

/// The data of a first chunk.
pub fn role() -> String {
    delta(&json!({ "role": "assistant", "content": "" }))
}

/// The data of a chunk with text.
pub fn text(text: &str) -> String {
    delta(&json!({ "content": text }))
}

/// The data of a chunk with this delta.
pub fn delta(delta: &Value) -> String {
    chunk(&json!([{ "index": 0, "delta": delta, "finish_reason": null }])).to_string()
}

/// The data of a chunk with a reason to stop.
pub fn finish(reason: &str) -> String {
    chunk(&json!([{ "index": 0, "delta": {}, "finish_reason": reason }])).to_string()
}

/// The data of the chunk with the usage.
pub fn usage(prompt: usize, completion: usize) -> String {
    let mut chunk = chunk(&json!([]));
    chunk["usage"] = json!({
        "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
    });
    chunk.to_string()
}

impl Fake {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::<Shared>::default();
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        let models =
            json!({ "object": "list", "data": [{ "id": MODEL, "object": "model", "created": 1, "owned_by": "fake" }] });
        let fake = Self { address, shared, accepting };
        fake.on("GET /v1/models", Plan::whole(200, "application/json", models.to_string()));
        fake
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for the configuration.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What it does with the next request for an answer for which nothing else was said. Without a plan it answers `Hello world`.
    pub fn next(&self, plan: Plan) {
        self.shared.next.lock().expect("no panic").push_back(plan);
    }

    /// What it does with every request of `METHOD /path`.
    pub fn on(&self, route: &str, plan: Plan) {
        self.shared.routes.lock().expect("no panic").insert(route.to_owned(), plan);
    }

    /// The requests so far, without those for lists of models.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = self.shared.seen.lock().expect("no panic");
        seen.iter().filter(|seen| !["/v1/models", "/v1/model"].contains(&seen.path.as_str())).cloned().collect()
    }

    /// Waits until as many requests hang.
    pub async fn hangs(&self, count: usize) {
        let mut hanging = self.shared.hanging.subscribe();
        turnpike_testkit::within("requests that hang", 30, hanging.wait_for(|now| *now >= count))
            .await
            .expect("it runs");
    }

    /// Waits until the client has closed the connection of the nth request.
    pub async fn closed(&self, n: usize) -> Instant {
        eventually("the client's close", 30, || async { self.seen().get(n).and_then(|seen| seen.closed) }).await
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with the server.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let shared = shared.clone();
        shared.open.fetch_add(1, Ordering::SeqCst);
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        connections.spawn(async move {
            let _ = serve(stream, &shared).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Serves one request after another; an error is the end of the connection.
async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(seen) = read_request(&mut stream, &mut buffer).await? else { return Ok(()) };
        let body: Value = serde_json::from_str(&seen.body).unwrap_or_default();
        let (method, path) = seen.path.split_once(' ').map(|(m, p)| (m.to_owned(), p.to_owned())).expect("both");
        let routed = shared.routes.lock().expect("no panic").get(&format!("{method} {path}")).cloned();
        let is_answer = method == "POST" && path.starts_with("/v1/") && !path.starts_with("/v1/model");
        let plan = match routed {
            Some(plan) => plan,
            None if is_answer => {
                let next = shared.next.lock().expect("no panic").pop_front();
                next.unwrap_or_else(|| Plan::answer(&body, &["Hello", " world"]))
            }
            None => Plan::whole(404, "application/json", r#"{"detail":"Not Found"}"#),
        };
        let n = {
            let mut all = shared.seen.lock().expect("no panic");
            all.push(Seen { path, ..seen });
            all.len() - 1
        };
        let done = perform(&mut stream, plan, shared).await;
        let mut all = shared.seen.lock().expect("no panic");
        match done {
            Ok(true) => all[n].finished = true,
            Ok(false) => return Ok(()),
            Err(error) => {
                all[n].closed = Some(Instant::now());
                return Err(error);
            }
        }
    }
}

/// Returns whether the response was sent to its end; an error if the client closed the connection.
async fn perform(stream: &mut TcpStream, Plan(steps): Plan, shared: &Shared) -> std::io::Result<bool> {
    let mut in_head = false;
    for step in steps {
        if in_head && !matches!(step, Step::Header(..)) {
            stream.write_all(b"\r\n").await?;
            in_head = false;
        }
        match step {
            Step::Head(status, content_type) => {
                let head =
                    format!("HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n");
                stream.write_all(head.as_bytes()).await?;
                in_head = true;
            }
            Step::Header(name, value) => stream.write_all(format!("{name}: {value}\r\n").as_bytes()).await?,
            Step::Write(bytes) => {
                let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
                stream.write_all(&chunk).await?;
            }
            Step::Pause(pause) => {
                tokio::select! {
                    closed = client_closes(stream) => return Err(closed),
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Step::Hang => {
                shared.hanging.send_modify(|count| *count += 1);
                return Err(client_closes(stream).await);
            }
            Step::End => {
                stream.write_all(b"0\r\n\r\n").await?;
                return Ok(true);
            }
            Step::Close => return Ok(false),
        }
    }
    Ok(false)
}

/// A client sends nothing while it waits for a response.
async fn client_closes(stream: &mut TcpStream) -> std::io::Error {
    match stream.read_u8().await {
        Ok(_) => panic!("the client sent something before it got the response"),
        Err(error) => error,
    }
}

/// The next request; `path` is `METHOD /path`. `None` if the client has closed the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Seen>> {
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break buffer.drain(..end + 4).collect::<Vec<_>>();
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(head).expect("text");
    let mut lines = head.lines();
    let path = lines.next().and_then(|line| line.rsplit_once(' ')).expect("a request line").0.to_owned();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: BTreeMap<_, _> = lines.filter_map(header).collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a number"));
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = String::from_utf8(buffer.drain(..length).collect()).expect("text");
    Ok(Some(Seen { path, headers, body, closed: None, finished: false }))
}
