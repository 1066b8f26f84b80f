//! Live captions with the real speech model: over sockets that are cut, in one process and in separate ones, of which one is killed.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use turnpike_testkit::{
    Person, SingleProcess, Socket, Stack, captions_model, eventually, pcm, recordings, word_errors,
};

/// A frame of a client: 100 ms.
const FRAME: usize = 3_200;

struct Speech {
    audio: Vec<u8>,
    said: String,
}

/// Two sentences with a pause behind each.
fn speech() -> Speech {
    let mut speech = Speech { audio: vec![0; 16_000], said: String::new() };
    for recording in recordings().into_iter().skip(1).take(2) {
        speech.audio.extend(pcm(&recording.samples));
        speech.audio.extend(vec![0; 32_000]);
        speech.said += &format!("{} ", recording.text);
    }
    speech
}

fn model() -> String {
    captions_model().to_str().expect("UTF-8").to_owned()
}

async fn open(person: &Person) -> String {
    let opened = person.post("/api/captions/sessions", json!({})).await;
    assert_eq!(opened.status, 201, "{}", opened.text);
    opened.json["session_id"].as_str().expect("an id").to_owned()
}

/// A client that remembers what it has received.
#[derive(Default)]
struct Client {
    /// By their segment: each final must arrive once.
    finals: BTreeMap<u64, String>,
    since: Option<String>,
}

impl Client {
    async fn connect(&self, base: &str, person: &Person, id: &str) -> Socket {
        let since = self.since.as_ref().map(|offset| format!("&since={offset}")).unwrap_or_default();
        Socket::open(base, &format!("/ws/captions/{id}?token={}{since}", person.token)).await
    }

    fn take(&mut self, frame: &Value) {
        if let Some(offset) = frame["offset"].as_str() {
            self.since = Some(offset.to_owned());
        }
        if frame["event"] == "final" {
            let text = frame["text"].as_str().expect("a text").to_owned();
            let before = self.finals.insert(frame["segment"].as_u64().expect("a number"), text);
            assert_eq!(before, None, "a final arrived twice");
        }
    }

    /// Where the audio continues.
    async fn acknowledged(&mut self, socket: &mut Socket) -> usize {
        loop {
            let frame = socket.frame().await;
            self.take(&frame);
            if frame["event"] == "ack" {
                return frame["samples"].as_u64().expect("a number") as usize;
            }
        }
    }

    fn heard(&self) -> String {
        self.finals.values().cloned().collect::<Vec<_>>().join(" ")
    }
}

#[tokio::test]
async fn captions_over_sockets_that_are_cut_in_one_process() {
    let model = model();
    // Audio does not count as messages.
    let variables = [("TURNPIKE_CAPTIONS_MODEL", model.as_str()), ("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "5")];
    let process = SingleProcess::start(&variables).await;
    let (base, person) = (process.url(), process.admin().await);
    let (speech, id) = (speech(), open(&person).await);
    let mut client = Client::default();
    for cut in [Some(7), Some(1), Some(31), None] {
        let mut socket = client.connect(base, &person, &id).await;
        let from = client.acknowledged(&mut socket).await * 2;
        // What the socket before has sent may still be on its way; it then arrives once.
        for frame in speech.audio[from..].chunks(FRAME).take(cut.unwrap_or(usize::MAX)) {
            socket.send_binary(frame).await;
        }
        match cut {
            Some(_) => socket.abort(),
            None => {
                socket.send(json!({ "action": "stop" })).await;
                let (frames, closed) = socket.until_closed().await;
                frames.iter().for_each(|frame| client.take(frame));
                assert_eq!(closed.code, 1000, "{frames:?}");
                let last = frames.iter().rfind(|frame| frame["offset"].is_string()).expect("an event");
                assert_eq!((&last["event"], &last["state"]), (&json!("status"), &json!("stopped")));
            }
        }
    }
    let errors = word_errors(&speech.said, &client.heard());
    assert!(errors <= 0.15, "{errors:.3}: {}", client.heard());

    let snapshot = person.get(&format!("/api/captions/sessions/{id}/snapshot")).await.json;
    assert_eq!(snapshot["status"], "stopped");
    assert_eq!(snapshot["finals"].as_array().expect("a list").len(), client.finals.len());
    assert_eq!(snapshot["samples"], speech.audio.len() / 2);
    let text = person.get(&format!("/api/captions/sessions/{id}/captions.txt")).await;
    assert_eq!(text.text.lines().collect::<Vec<_>>(), client.finals.values().collect::<Vec<_>>());
    let vtt = person.get(&format!("/api/captions/sessions/{id}/captions.vtt")).await;
    assert!(vtt.text.starts_with("WEBVTT\n") && vtt.headers["content-type"] == "text/vtt; charset=utf-8");
    let srt = person.get(&format!("/api/captions/sessions/{id}/captions.srt")).await;
    assert!(srt.text.starts_with("1\n00:00:0"), "{}", srt.text);
    let metrics = person.get(&format!("/api/captions/sessions/{id}/metrics")).await.json;
    assert_eq!(metrics["events"]["final_count"], client.finals.len());
    let listed = person.get("/api/captions/sessions").await.json;
    assert_eq!(listed[0]["session_id"], id.as_str());

    let other = person.create_user("user").await;
    for path in ["snapshot", "metrics", "captions.vtt"] {
        assert_eq!(other.get(&format!("/api/captions/sessions/{id}/{path}")).await.status, 404);
    }
    let refused = Socket::open(base, &format!("/ws/captions/{id}?token={}", other.token)).await;
    assert_eq!(refused.until_closed().await.1.code, 1008);
}

#[tokio::test]
async fn a_killed_captions_service_loses_no_final_and_its_session_continues() {
    let model = model();
    let mut stack = Stack::start(1, &[("TURNPIKE_CAPTIONS_MODEL", model.as_str())]).await;
    let (base, person) = (stack.url(0).to_owned(), stack.admin(0).await);
    let (speech, id) = (speech(), open(&person).await);
    let mut client = Client::default();
    let mut socket = client.connect(&base, &person, &id).await;
    client.acknowledged(&mut socket).await;
    let (first, rest) = speech.audio.split_at(speech.audio.len() * 2 / 3);
    for frame in first.chunks(FRAME) {
        socket.send_binary(frame).await;
    }
    while client.finals.is_empty() {
        let frame = socket.frame().await;
        client.take(&frame);
    }
    stack.captions.kill();
    // The client that sends audio gets an error at once.
    let (frames, closed) = socket.until_closed().await;
    frames.iter().for_each(|frame| client.take(frame));
    assert_eq!(closed.code, 1013, "{frames:?}");
    assert!(
        frames.iter().any(|frame| frame["event"] == "error" && frame["code"] == "UPSTREAM_UNAVAILABLE"),
        "{frames:?}"
    );

    stack.captions.start();
    let path = format!("/api/captions/sessions/{id}/snapshot");
    eventually("the restarted service", 30, async || (person.get(&path).await.status == 200).then_some(())).await;
    let mut socket = client.connect(&base, &person, &id).await;
    let from = client.acknowledged(&mut socket).await * 2;
    assert!(from > 0 && from <= first.len(), "what is published is kept: {from}");
    for frame in first[from..].chunks(FRAME).chain(rest.chunks(FRAME)) {
        socket.send_binary(frame).await;
    }
    socket.send(json!({ "action": "stop" })).await;
    let (frames, closed) = socket.until_closed().await;
    frames.iter().for_each(|frame| client.take(frame));
    assert_eq!(closed.code, 1000);
    assert!(frames.iter().any(|frame| frame["reason"] == "interrupted"), "followers get the state");
    let errors = word_errors(&speech.said, &client.heard());
    assert!(errors <= 0.15, "{errors:.3}: {}", client.heard());
}

/// A socket for each message: every boundary between two messages is a cut.
#[tokio::test]
async fn a_socket_that_is_cut_at_every_message_gives_the_same_transcript() {
    let model = model();
    let process = SingleProcess::start(&[("TURNPIKE_CAPTIONS_MODEL", model.as_str())]).await;
    let (base, person) = (process.url(), process.admin().await);
    let speech = speech();
    let mut transcripts = Vec::new();
    for messages in [usize::MAX, 1] {
        let (id, mut client) = (open(&person).await, Client::default());
        loop {
            let mut socket = client.connect(base, &person, &id).await;
            let from = client.acknowledged(&mut socket).await * 2;
            if from == speech.audio.len() {
                socket.send(json!({ "action": "stop" })).await;
                let (frames, closed) = socket.until_closed().await;
                frames.iter().for_each(|frame| client.take(frame));
                assert_eq!(closed.code, 1000, "{frames:?}");
                break;
            }
            for frame in speech.audio[from..].chunks(4 * FRAME).take(messages) {
                socket.send_binary(frame).await;
            }
            // Until the audio has arrived: a cut may lose what is on its way.
            let to = (from + if messages == 1 { 4 * FRAME } else { speech.audio.len() }).min(speech.audio.len());
            while client.acknowledged(&mut socket).await * 2 < to {}
            socket.abort();
        }
        transcripts.push(client.finals);
    }
    assert_eq!(transcripts[0], transcripts[1]);
    assert!(word_errors(&speech.said, &transcripts[0].values().cloned().collect::<Vec<_>>().join(" ")) <= 0.15);
}

#[tokio::test]
async fn one_installation_transcribes_for_another() {
    let model = model();
    let server = SingleProcess::start(&[("TURNPIKE_CAPTIONS_MODEL", model.as_str())]).await;
    let admin = server.admin().await;
    let created = admin.post("/api/auth/api-keys", json!({ "name": "other", "scopes": ["captions"] })).await;
    let (url, key) = (format!("{}/v1", server.url()), created.json["key"].as_str().expect("a key").to_owned());
    let variables = |key| {
        [
            ("TURNPIKE_CAPTIONS_MODEL", "/nonexistent"),
            ("TURNPIKE_CAPTIONS_REMOTE_URL", url.as_str()),
            ("TURNPIKE_CAPTIONS_REMOTE_API_KEY", key),
        ]
    };
    let client = SingleProcess::start(&variables(&key)).await;
    let person = client.admin().await;
    let (speech, id) = (speech(), open(&person).await);
    let mut socket = Client::default().connect(client.url(), &person, &id).await;
    for frame in speech.audio.chunks(FRAME) {
        socket.send_binary(frame).await;
    }
    socket.send(json!({ "action": "stop" })).await;
    let (frames, closed) = socket.until_closed().await;
    let mut heard = Client::default();
    frames.iter().for_each(|frame| heard.take(frame));
    assert_eq!(closed.code, 1000, "{frames:?}");
    assert!(word_errors(&speech.said, &heard.heard()) <= 0.15, "{}", heard.heard());
    let snapshot = person.get(&format!("/api/captions/sessions/{id}/snapshot")).await.json;
    assert_eq!(snapshot["config"]["engine"], "remote");
    assert_eq!(person.get("/api/captions/engines").await.json, json!([{ "name": "remote" }]));
    let words = snapshot["finals"][0]["words"].as_array().expect("words");
    assert!(
        words.len() > 3 && words.iter().all(|word| word["end_ms"].as_u64() > word["start_ms"].as_u64()),
        "{words:?}"
    );

    // A server that refuses ends the session, which says so; the process goes on.
    let refused = SingleProcess::start(&variables("tp_wrong")).await;
    let person = refused.admin().await;
    let id = open(&person).await;
    let mut socket = Client::default().connect(refused.url(), &person, &id).await;
    for frame in speech.audio.chunks(FRAME) {
        socket.send_binary(frame).await;
    }
    let last = loop {
        let frame = socket.frame_of(&["status"]).await;
        if frame["status"] == "stopped" {
            break frame;
        }
    };
    assert_eq!((&last["state"], &last["reason"]), (&json!("failed"), &json!("engine_failed")));
    open(&person).await;
}

#[tokio::test]
async fn without_a_model_opening_a_session_says_what_fetches_it() {
    let process = SingleProcess::start(&[("TURNPIKE_CAPTIONS_MODEL", "/nonexistent")]).await;
    let refused = process.admin().await.post("/api/captions/sessions", json!({})).await;
    assert_eq!((refused.status, &refused.json["code"]), (503, &json!("ENGINE_UNAVAILABLE")), "{}", refused.text);
    assert!(refused.json["detail"].as_str().is_some_and(|detail| detail.contains("scripts/captions-model")));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(process.admin().await.get("/api/captions/engines").await.json, json!([]));
}
