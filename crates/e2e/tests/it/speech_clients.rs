//! Real clients of other speech services, with real speech: the `openai` and `deepgram` packages, a client of vosk-server, and
//! parsers of subtitles.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;
use turnpike_testkit::{Person, SingleProcess, captions_model, recordings, wav, word_errors};

use crate::{
    architecture::root,
    python::{interpreter, text},
};

/// A process with the speech model, a key of a user, and a recording of two sentences.
struct Speech {
    process: SingleProcess,
    person: Person,
    key: String,
    folder: TempDir,
    said: String,
    seconds: f64,
}

impl Speech {
    async fn new() -> Self {
        let model = captions_model().to_str().expect("UTF-8").to_owned();
        let process = SingleProcess::start(&[("TURNPIKE_CAPTIONS_MODEL", model.as_str())]).await;
        let person = process.admin().await;
        let created = person.post("/api/auth/api-keys", json!({ "name": "speech", "scopes": ["captions"] })).await;
        let key = created.json["key"].as_str().unwrap_or_else(|| panic!("{}", created.text)).to_owned();
        let (mut samples, mut said) = (vec![0; 8_000], String::new());
        for recording in recordings().into_iter().skip(1).take(2) {
            samples.extend(recording.samples);
            samples.extend([0; 16_000]);
            said += &format!("{} ", recording.text);
        }
        let folder = TempDir::new().expect("a directory");
        std::fs::write(folder.path().join("speech.wav"), wav(&samples)).expect("written");
        let seconds = samples.len() as f64 / 16_000.0;
        Self { process, person, key, folder, said, seconds }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a program of `crates/e2e/speech`. Returns the object that it prints.
    async fn run(&self, program: &str, arguments: &[&str]) -> Value {
        let recording = self.file("speech.wav");
        let mut command = Command::new(interpreter("speech", "crates/e2e/speech/requirements.txt"));
        command
            .arg(root().join("crates/e2e/speech").join(program))
            .args(arguments)
            .arg(recording)
            .env("BASE_URL", self.process.url())
            .env("API_KEY", &self.key)
            .env("NO_PROXY", "*");
        let output =
            tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("Python runs");
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
    }

    fn assert_said(&self, heard: &Value) {
        let heard = heard.as_str().unwrap_or_default();
        let errors = word_errors(&self.said, heard);
        assert!(errors <= 0.15, "{errors:.3}: {heard}");
    }
}

/// Times of words, in seconds: in order, and within the recording.
fn assert_times(words: &Value, seconds: f64) {
    let mut at = 0.0;
    let words = words.as_array().expect("a list");
    assert!(words.len() > 10, "{words:?}");
    for word in words {
        let (start, end) = (word[1].as_f64().expect("a number"), word[2].as_f64().expect("a number"));
        assert!(start >= at && end > start && end <= seconds, "{word} after {at}");
        at = end;
    }
}

/// Cues of a parser, in milliseconds: monotone, not overlapping, and readable.
fn assert_cues(cues: &Value) -> String {
    let mut at = -1.0;
    let mut text = String::new();
    for cue in cues.as_array().expect("a list") {
        let (start, end) = (cue[0].as_f64().expect("a number"), cue[1].as_f64().expect("a number"));
        assert!(start > at && end > start, "{cue} after {at}");
        at = end;
        let lines = cue[2].as_array().expect("lines");
        assert!((1..=2).contains(&lines.len()), "{cue}");
        for line in lines {
            let line = line.as_str().expect("a text");
            assert!(line.chars().count() <= 42, "{line}");
            text += &format!("{line} ");
        }
    }
    text
}

#[tokio::test]
async fn the_openai_client_transcribes_a_recording_in_every_format() {
    let speech = Speech::new().await;
    let result = speech.run("openai_client.py", &[]).await;
    for name in ["json", "verbose", "text"] {
        speech.assert_said(&result[name]);
    }
    assert_eq!(result["text"].as_str().map(str::trim_end), result["json"].as_str());
    assert_eq!((&result["language"], &result["without_words"]), (&json!("english"), &Value::Null));
    for name in ["duration", "seconds"] {
        assert!((result[name].as_f64().expect("a number") - speech.seconds).abs() < 0.002, "{result}");
    }
    assert_times(&result["words"], speech.seconds);
    assert_eq!(result["segments"].as_array().map(Vec::len), Some(2), "{result}");
    let deltas: Vec<&str> = result["deltas"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!((deltas.len(), json!([deltas.concat()])), (2, result["done"].clone()));
    assert_eq!(result["done"][0], result["json"]);
    assert!(result["vtt"].as_str().is_some_and(|vtt| vtt.starts_with("WEBVTT\n")));
    assert!(result["srt"].as_str().is_some_and(|srt| srt.starts_with("1\n00:00:0")));
    let refused = json!([
        [400, "validation", "file"],
        [404, "model_not_found", null],
        [400, "validation", "language"],
        [400, "validation", "response_format"]
    ]);
    assert_eq!(result["refused"], refused);

    // A key without the scope, and a body that is too long.
    let llm = speech.person.post("/api/auth/api-keys", json!({ "name": "llm", "scopes": ["llm"] })).await;
    let other = speech.person.with_token(llm.json["key"].as_str().expect("a key"));
    let request = other.request(reqwest::Method::POST, "/v1/audio/transcriptions").body("");
    assert_eq!(other.send(request).await.status, 403);
    let request = speech.person.request(reqwest::Method::POST, "/v1/audio/transcriptions");
    let request = request.header("content-type", "multipart/form-data; boundary=B").body(vec![b'x'; 27 << 20]);
    let refused = speech.person.send(request).await;
    assert_eq!((refused.status, &refused.json["error"]["code"]), (413, &json!("too_large")), "{}", refused.text);
}

#[tokio::test]
async fn a_client_of_vosk_gets_one_answer_for_each_piece_and_all_words() {
    let speech = Speech::new().await;
    let url = format!("{}/ws/vosk?token={}", speech.process.url().replacen("http", "ws", 1), speech.key);
    let result = speech.run("vosk_client.py", &[&url]).await;
    speech.assert_said(&result["text"]);
    let word = |word: &Value| json!([word["word"], word["start"], word["end"]]);
    let words: Vec<Value> = result["words"].as_array().expect("a list").iter().map(word).collect();
    assert_times(&json!(words), speech.seconds);
    assert_eq!(result["more"], 0, "nothing follows the last answer");
    let sessions = speech.person.get("/api/captions/sessions").await.json;
    assert_eq!((&sessions[0]["state"], sessions.as_array().map(Vec::len)), (&json!("stopped"), Some(1)));
}

#[tokio::test]
async fn the_deepgram_client_gets_results_and_metadata() {
    let speech = Speech::new().await;
    let result = speech.run("deepgram_client.py", &[]).await;
    assert_eq!((&result["errors"], &result["last"]), (&json!([]), &json!("Metadata")), "{result}");
    speech.assert_said(&result["text"]);
    assert_times(&result["words"], speech.seconds);
    assert!(result["speech_final"].as_array().is_some_and(|finals| finals.iter().all(|is| is == true)), "{result}");
    assert!((result["metadata"][0][0].as_f64().expect("a number") - speech.seconds).abs() < 0.002, "{result}");
    assert_eq!(result["metadata"][0][1], 1);
}

#[tokio::test]
async fn subtitles_are_read_by_other_parsers() {
    let speech = Speech::new().await;
    let person = &speech.person;
    let recording = std::fs::read(speech.file("speech.wav")).expect("readable");
    let opened = person.post("/api/captions/sessions", json!({})).await;
    let id = opened.json["session_id"].as_str().unwrap_or_else(|| panic!("{}", opened.text)).to_owned();
    let path = format!("/ws/captions/{id}?token={}", person.token);
    let mut socket = turnpike_testkit::Socket::open(speech.process.url(), &path).await;
    for piece in recording[44..].chunks(3_200) {
        socket.send_binary(piece).await;
    }
    socket.send(json!({ "action": "stop" })).await;
    socket.until_closed().await;
    // What a player would take for markup.
    let correction =
        json!({ "text": "A < B & C --> {D} <i>E</i> \u{1f6d1} and many more words than fit into one line of a cue" });
    let corrected = person.patch(&format!("/api/captions/sessions/{id}/finals/2"), correction).await;
    assert_eq!(corrected.status, 200, "{}", corrected.text);
    for name in ["vtt", "srt"] {
        let file = person.get(&format!("/api/captions/sessions/{id}/captions.{name}")).await;
        std::fs::write(speech.file(name), file.text).expect("written");
    }
    let [vtt, srt] = ["vtt", "srt"].map(|name| speech.file(name).to_str().expect("UTF-8").to_owned());
    let cues = speech.run("subtitles.py", &[&vtt, &srt]).await;
    let first = recordings().swap_remove(1).text;
    for name in ["vtt", "srt"] {
        let text = assert_cues(&cues[name]);
        let heard: String = text.split(" A ").next().unwrap_or_default().to_owned();
        assert!(word_errors(&first, &heard) <= 0.15, "{name}: {text}");
        assert!(text.contains("many more words than fit"), "{name}: {text}");
    }
    let transcript = person.get(&format!("/api/captions/sessions/{id}/captions.json")).await.json;
    assert_eq!((&transcript["finals"][1]["corrected"], &transcript["state"]), (&json!(true), &json!("stopped")));
    assert!(transcript["text"].as_str().is_some_and(|text| text.contains("--> {D}")), "{transcript}");
    assert!(transcript["finals"][0]["words"][0]["start_ms"].is_u64(), "{transcript}");
}
