//! Streamed answers: the delay of each chunk, the memory of an open stream, and the time until the upstream sees that a client has
//! left.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    resources::{Cores, Used, memory},
    target::Target,
    unary::histogram,
    upstream::now_nanos,
};

/// Delays in microseconds, from the time at which the upstream made a chunk to the time at which the client had read it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Delay {
    pub(crate) streams: u64,
    pub(crate) expected: u64,
    pub(crate) chunks: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) used: Used,
}

/// Sends a request and reads the response as it comes.
pub(crate) async fn open(target: &Target, request: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(target.address()).await?;
    stream.set_nodelay(true)?;
    stream.write_all(request).await?;
    Ok(stream)
}

/// Finds the times that the upstream has written into its chunks.
#[derive(Default)]
pub(crate) struct Times {
    rest: Vec<u8>,
    /// The response has ended.
    pub(crate) ended: bool,
}

impl Times {
    /// Calls the function with each time in the next bytes of the response.
    pub(crate) fn find(&mut self, bytes: &[u8], mut found: impl FnMut(u64)) {
        self.rest.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(at) = memchr::memchr(b'@', &self.rest[from..]).map(|at| from + at) {
            let Some(digits) = self.rest.get(at + 1..at + 20) else {
                from = at;
                break;
            };
            if let Some(time) = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()) {
                found(time);
            }
            from = at + 1;
        }
        let last_mark = memchr::memchr(b'@', &self.rest[from..]).is_some();
        self.ended |=
            [&b"[DONE]"[..], b"\r\n0\r\n\r\n"].iter().any(|end| memchr::memmem::find(&self.rest, end).is_some());
        // The end of a response or an incomplete time may be divided between two reads.
        let keep = if last_mark { from } else { from.max(self.rest.len().saturating_sub(8)) };
        self.rest.drain(..keep.min(self.rest.len()));
    }
}

/// `count` streams at the same time, each with `rate` chunks a second.
pub(crate) async fn delay(target: &Target, count: u64, rate: u64, seconds: u64) -> Delay {
    let cores = Cores::start(target.pid);
    let every = 1000 / rate;
    let chunks = rate * seconds;
    let mut streams = JoinSet::new();
    for n in 0..count {
        // The streams do not all send at the same instant.
        let request = target.request(&format!("chunks={chunks},every={every},first={}", 200 + n * every / count), true);
        let target = target.clone();
        streams.spawn(async move {
            let mut took = histogram();
            let Ok(mut stream) = open(&target, &request).await else { return took };
            let (mut times, mut buffer) = (Times::default(), vec![0; 16 << 10]);
            while !times.ended {
                match timeout(Duration::from_secs(20), stream.read(&mut buffer)).await {
                    Ok(Ok(read)) if read > 0 => times.find(&buffer[..read], |made| record(&mut took, made)),
                    _ => break,
                }
            }
            took
        });
    }
    let mut took = histogram();
    for part in streams.join_all().await {
        took.add(part).expect("the histograms have the same bounds");
    }
    Delay {
        streams: count,
        expected: count * chunks,
        chunks: took.len(),
        p50: took.value_at_quantile(0.5),
        p99: took.value_at_quantile(0.99),
        used: cores.used(),
    }
}

pub(crate) fn record(took: &mut Histogram<u64>, made: u64) {
    took.record(now_nanos().saturating_sub(made) / 1000).expect("the value is in range");
}

/// Bytes of memory that one open stream costs, averaged over `count` streams that wait for their second chunk. None: the server
/// did not open all streams.
pub(crate) async fn memory_of_a_stream(target: &Target, count: u64) -> Option<u64> {
    let pid = target.pid?;
    let mut open_streams = Vec::new();
    let request = target.request("chunks=2,every=600000", true);
    // The first streams cause allocations that happen only once.
    let warm_up = count / 5;
    let mut before = 0;
    for n in 0..warm_up + count {
        if n == warm_up {
            sleep(Duration::from_secs(1)).await;
            before = memory(pid);
        }
        let mut stream = open(target, &request).await.ok()?;
        first_chunk(&mut stream).await?;
        open_streams.push(stream);
    }
    sleep(Duration::from_secs(1)).await;
    Some(memory(pid).saturating_sub(before) / count)
}

async fn first_chunk(stream: &mut TcpStream) -> Option<()> {
    let (mut times, mut buffer, mut seen) = (Times::default(), vec![0; 16 << 10], false);
    while !seen {
        let read = timeout(Duration::from_secs(20), stream.read(&mut buffer)).await.ok()?.ok()?;
        if read == 0 {
            return None;
        }
        times.find(&buffer[..read], |_| seen = true);
    }
    Some(())
}

/// Milliseconds until the upstream saw that the client had left, for each phase of an answer. None: not within 2 s.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Closes {
    pub(crate) unary: Option<f64>,
    pub(crate) before_head: Option<f64>,
    pub(crate) before_first: Option<f64>,
    pub(crate) streaming: Option<f64>,
}

/// Closes connections in each phase, `count` in each, and asks the upstream when it saw that. Returns the longest times.
pub(crate) async fn closes(target: &Target, upstream: &str, count: u64) -> Closes {
    let longest = async |first_id: u64, directive: &str, stream: bool| {
        let mut longest = Some(0.0_f64);
        for id in first_id..first_id + count {
            let took = close_one(target, upstream, id, directive, stream).await;
            longest = longest.zip(took).map(|(longest, took)| longest.max(took));
            if longest.is_none() {
                break;
            }
        }
        longest
    };
    // Ids differ between runs with the same upstream.
    let base = now_nanos() / 1_000_000 * 1000;
    Closes {
        unary: longest(base, "head=30000", false).await,
        before_head: longest(base + 200, "head=30000", true).await,
        before_first: longest(base + 400, "first=30000", true).await,
        streaming: longest(base + 600, "chunks=3000,every=10", true).await,
    }
}

async fn close_one(target: &Target, upstream: &str, id: u64, directive: &str, stream: bool) -> Option<f64> {
    let request = target.request(&format!("{directive},id={id}"), stream);
    let mut connection = open(target, &request).await.ok()?;
    seen(upstream, "arrived", id).await?;
    if directive.starts_with("chunks") {
        first_chunk(&mut connection).await?;
    }
    sleep(Duration::from_millis(30)).await;
    let left = now_nanos();
    drop(connection);
    let closed = seen(upstream, "closed", id).await?;
    Some(closed.saturating_sub(left) as f64 / 1e6)
}

/// When the upstream saw something of a request, within 2 s.
pub(crate) async fn seen(upstream: &str, what: &str, id: u64) -> Option<u64> {
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let state: Value = reqwest::get(format!("{upstream}/seen")).await.ok()?.json().await.ok()?;
        if let Some(at) = state[what][id.to_string()].as_u64() {
            return Some(at);
        }
        sleep(Duration::from_millis(5)).await;
    }
    None
}
