//! Whole recordings over `POST /v1/audio/transcriptions`.

use reqwest::Method;
use turnpike_testkit::{Person, SingleProcess, wav};

use super::material::{Material, RATE};
use crate::resources::cpu_seconds;

/// What a recogniser hears in whole recordings.
pub(super) struct Whole {
    pub(super) text: String,
    /// CPU seconds for each second of audio.
    pub(super) cpu: f64,
}

pub(super) async fn transcribe(turnpike: &SingleProcess, person: &Person, material: &Material) -> Whole {
    let before = cpu_seconds(turnpike.process.id());
    let (mut text, mut samples) = (String::new(), 0);
    for clip in material.clips.iter() {
        samples += clip.samples.len();
        let mut body = Vec::new();
        for (name, value) in
            [("model", b"whisper-1".as_slice()), ("response_format", b"text"), ("file", &wav(&clip.samples))]
        {
            let file = if name == "file" { "; filename=\"a.wav\"" } else { "" };
            body.extend(format!("--BOUNDARY\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
            body.extend(value);
            body.extend(b"\r\n");
        }
        body.extend(b"--BOUNDARY--\r\n");
        let request = person.request(Method::POST, "/v1/audio/transcriptions");
        let request = request.header("content-type", "multipart/form-data; boundary=BOUNDARY").body(body);
        let answer = person.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        text += &answer.text;
    }
    let seconds = samples as f64 / RATE as f64;
    Whole { text, cpu: (cpu_seconds(turnpike.process.id()) - before) / seconds }
}
