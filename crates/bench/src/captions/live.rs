//! A client that speaks in real time over a WebSocket, and notes when captions arrive.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use turnpike_testkit::{Person, Socket, pcm};

use super::material::{FRAME, Material, RATE, speech};

/// Something that a client has received.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Event {
    /// Seconds since the first sample was sent.
    pub(super) at: f64,
    pub(super) is_final: bool,
    pub(super) text: String,
    /// Where speech began by the recogniser's own voice detector, if it says so.
    #[serde(default)]
    pub(super) onset: Option<f64>,
}

/// Opens a session. Returns its id.
pub(super) async fn open(_: &str, person: &Person) -> String {
    let opened = person.post("/api/captions/sessions", json!({})).await;
    opened.json["session_id"].as_str().unwrap_or_else(|| panic!("no session: {}", opened.text)).to_owned()
}

/// The socket of a session, whose audio may begin.
pub(super) async fn connect(base: &str, person: &Person, id: &str) -> Socket {
    let mut socket = Socket::open(base, &format!("/ws/captions/{id}?token={}", person.token)).await;
    socket.frame_of(&["ack"]).await;
    socket
}

/// When a frame is sent: when its last sample has been spoken.
pub(super) fn due(start: Instant, frame: usize) -> Instant {
    start + Duration::from_secs_f64(((frame + 1) * FRAME) as f64 / RATE as f64)
}

/// The captions of all sentences.
pub(super) async fn listen(base: &str, person: &Person, material: &Material) -> Vec<Event> {
    let id = open(base, person).await;
    let mut socket = connect(base, person, &id).await;
    let start = Instant::now();
    let mut frames = material.samples.chunks(FRAME).enumerate();
    let mut next = frames.next();
    let mut events = Vec::new();
    loop {
        let Some((n, frame)) = next else {
            socket.send(json!({ "action": "stop" })).await;
            let (rest, closed) = socket.until_closed().await;
            assert_eq!(closed.code, 1000, "the session ends with its audio");
            let at = start.elapsed().as_secs_f64();
            events.extend(rest.iter().filter_map(|frame| event(at, frame)));
            return events;
        };
        tokio::select! {
            received = socket.next() => {
                let received = received.expect("the socket is open");
                events.extend(event(start.elapsed().as_secs_f64(), &received));
            }
            () = sleep_until(due(start, n)) => {
                socket.send_binary(&pcm(frame)).await;
                next = frames.next();
            }
        }
    }
}

fn event(at: f64, frame: &Value) -> Option<Event> {
    let is_final = frame["event"] == "final";
    let text = frame["text"].as_str().filter(|text| !text.is_empty() && (is_final || frame["event"] == "partial"))?;
    let onset = frame["start_ms"].as_f64().filter(|_| !is_final).map(|start| start / 1000.0);
    Some(Event { at, is_final, text: text.to_owned(), onset })
}

/// Milliseconds from a client's finalize, which it sends with the last sample of each sentence, to the final.
pub(super) async fn finalized(base: &str, person: &Person, material: &Material) -> Vec<f64> {
    let id = open(base, person).await;
    let mut socket = connect(base, person, &id).await;
    let mut took = Vec::new();
    for clip in material.clips.iter() {
        let (_, end) = speech(&clip.samples);
        let start = Instant::now();
        for (n, frame) in clip.samples[..end].chunks(FRAME).enumerate() {
            sleep_until(due(start, n)).await;
            socket.send_binary(&pcm(frame)).await;
        }
        let asked = Instant::now();
        socket.send(json!({ "action": "finalize" })).await;
        while socket.frame_of(&["final"]).await["reason"] != "forced" {}
        took.push(asked.elapsed().as_secs_f64() * 1000.0);
    }
    person.delete(&format!("/api/captions/sessions/{id}")).await;
    took
}
