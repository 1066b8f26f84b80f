//! The chat API: each answer is a durable topic with two readers, the caller and a follower. Measures the delay of each chunk at
//! both, and whether it depends on the length of the conversation.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::{io::AsyncReadExt, net::TcpStream, sync::oneshot, task::JoinSet, time::timeout};
use turnpike_testkit::{Person, SingleProcess};

use super::{
    streams::{Times, open, record, seen},
    target::Target,
    unary::histogram,
    upstream::now_nanos,
};

/// Delays at the caller and at the follower, and the time until the first chunk.
struct Delays {
    caller: Histogram<u64>,
    follower: Histogram<u64>,
    expected: u64,
}

/// Prints S5: `streams` conversations, each with one answer of `rate` chunks a second and two readers.
pub(crate) async fn streams(turnpike: &SingleProcess, streams: u64, rate: u64, seconds: u64) {
    let admin = turnpike.admin().await;
    let mut answers = JoinSet::new();
    for n in 0..streams {
        let conversation = conversation(&admin).await;
        let target = target(turnpike, &admin);
        let every = 1000 / rate;
        let directive = format!("chunks={},every={every},first={}", rate * seconds, 1000 + n * every / streams);
        answers.spawn(async move { answer(&target, &conversation, &directive).await });
    }
    let mut all = Delays { caller: histogram(), follower: histogram(), expected: streams * rate * seconds };
    for (caller, follower) in answers.join_all().await {
        all.caller.add(caller).expect("the histograms have the same bounds");
        all.follower.add(follower).expect("the histograms have the same bounds");
    }
    println!("chat API, {streams} answers of {rate} chunks a second, each with a second reader:");
    print(&all);
}

/// Prints S9: the same in conversations of 10 and of `messages` messages.
pub(crate) async fn lengths(turnpike: &SingleProcess, messages: u64) {
    let admin = turnpike.admin().await;
    let target = target(turnpike, &admin);
    for length in [10, messages] {
        let conversation = conversation(&admin).await;
        for _ in 0..length / 2 {
            answer(&target, &conversation, "chunks=1,every=0").await;
        }
        let mut first = histogram();
        for _ in 0..50 {
            let start = now_nanos();
            answer(&target, &conversation, "chunks=1,every=0").await;
            record(&mut first, start);
        }
        let (caller, follower) = answer(&target, &conversation, "chunks=500,every=10,first=300").await;
        println!("chat API, one answer in a conversation of {length} messages:");
        print(&Delays { caller, follower, expected: 500 });
        println!("  a whole answer of one chunk: p50 {} ms, p99 {} ms", millis(&first, 0.5), millis(&first, 0.99));
    }
}

/// Prints D6: how long after the request to stop an answer the upstream saw the end of its connection. The longest of `count` stops in
/// each phase of an answer.
pub(crate) async fn stops(turnpike: &SingleProcess, upstream: &str, count: u64) {
    let admin = turnpike.admin().await;
    let target = target(turnpike, &admin);
    let base = now_nanos() / 1_000_000 * 1000;
    println!("chat API, a stopped answer: the upstream sees it after (the longest of {count})");
    let phases =
        [("before head", "head=30000"), ("before first token", "first=30000"), ("streaming", "chunks=3000,every=10")];
    for (n, (phase, directive)) in phases.into_iter().enumerate() {
        let mut longest = 0.0_f64;
        for id in (base + n as u64 * 200..).take(count as usize) {
            let conversation = conversation(&admin).await;
            let body = json!({ "content": format!("mock:{directive},id={id} "), "model": "mock" }).to_string();
            let request = target.post(&format!("/api/chat/conversations/{conversation}/messages"), &body);
            let caller = open(&target, &request).await.expect("the gateway accepts the connection");
            seen(upstream, "arrived", id).await.expect("the upstream is asked");
            tokio::time::sleep(Duration::from_millis(30)).await; // in the phase
            let asked = now_nanos();
            let stopped = admin.post(&format!("/api/chat/conversations/{conversation}/stop"), json!({})).await;
            assert_eq!(stopped.status, 200, "{}", stopped.text);
            let closed = seen(upstream, "closed", id).await.expect("the upstream sees the end within 2 s");
            longest = longest.max(closed.saturating_sub(asked) as f64 / 1e6);
            drop(caller);
        }
        println!("  {phase}: {longest:.1} ms");
    }
}

fn print(delays: &Delays) {
    for (reader, took) in [("caller", &delays.caller), ("follower", &delays.follower)] {
        println!("  {reader}: chunk delay p50 {} ms, p99 {} ms", millis(took, 0.5), millis(took, 0.99));
        if took.len() != delays.expected {
            println!("  VOID: the {reader} received {} of {} chunks", took.len(), delays.expected);
        }
    }
}

fn millis(took: &Histogram<u64>, quantile: f64) -> String {
    format!("{:.2}", took.value_at_quantile(quantile) as f64 / 1000.0)
}

fn target(turnpike: &SingleProcess, person: &Person) -> Target {
    Target { url: turnpike.url().to_owned(), key: person.token.clone(), header: Vec::new(), pid: None }
}

async fn conversation(person: &Person) -> String {
    let answer = person.post("/api/chat/conversations", json!({})).await;
    assert!(answer.status < 300, "{}", answer.text);
    answer.json["id"].as_str().expect("an id").to_owned()
}

/// One message whose answer two clients read to its end.
async fn answer(target: &Target, conversation: &str, directive: &str) -> (Histogram<u64>, Histogram<u64>) {
    let (following, ready) = oneshot::channel();
    let follow = format!(
        "GET /api/topics/conversation:{conversation}/events?since=live HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        target.address(),
        target.key
    );
    let follower = open(target, follow.as_bytes()).await.expect("the gateway accepts the connection");
    let follower = tokio::spawn(read_answer(follower, Some(following)));
    ready.await.expect("the topic can be followed");
    let body = json!({ "content": format!("mock:{directive} "), "model": "mock" }).to_string();
    let request = target.post(&format!("/api/chat/conversations/{conversation}/messages"), &body);
    let caller = open(target, &request).await.expect("the gateway accepts the connection");
    let caller = read_answer(caller, None).await;
    (caller, follower.await.expect("the reader did not panic"))
}

/// Reads the frames of an answer up to its final event. Only `delta` frames count, because the final `message` repeats the text.
async fn read_answer(mut stream: TcpStream, mut following: Option<oneshot::Sender<()>>) -> Histogram<u64> {
    let mut took = histogram();
    let (mut rest, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        let read =
            timeout(Duration::from_secs(60), stream.read(&mut buffer)).await.expect("the answer ends").expect("data");
        assert!(read > 0, "the stream ended without a final event: {}", String::from_utf8_lossy(&rest));
        rest.extend_from_slice(&buffer[..read]);
        let Some(end) = memchr::memrchr(b'\n', &rest) else { continue };
        for line in rest[..end].split(|byte| *byte == b'\n') {
            let is = |event: &str| memchr::memmem::find(line, format!("\"event\":\"{event}\"").as_bytes()).is_some();
            if is("delta") {
                Times::default().find(line, |made| record(&mut took, made));
            } else if is("message") && memchr::memmem::find(line, b"\"role\":\"assistant\"").is_some() {
                return took;
            } else if is("caught_up") {
                following.take().map(|following| following.send(()));
            } else if is("error") || line.starts_with(b"HTTP/1.1 4") || line.starts_with(b"HTTP/1.1 5") {
                panic!("{}", String::from_utf8_lossy(&rest));
            }
        }
        rest.drain(..=end);
    }
}
