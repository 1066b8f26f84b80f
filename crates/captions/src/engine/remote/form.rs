//! The form of a request (`multipart/form-data`).

use bytes::Bytes;

use crate::audio;

/// Between the fields. Audio of 16 bits could contain it only by a chance of 2⁻¹⁹².
const BOUNDARY: &str = "turnpike-3f1b9c07d2e84a65";

/// The content type and the body.
pub(super) fn encode(pcm: &[f32], model: &str, language: &str) -> (String, Bytes) {
    let samples = audio::bytes(pcm);
    let mut body = Vec::with_capacity(samples.len() + 1024);
    // Only the primary tag, as OpenAI takes it.
    let language = language.split('-').next().unwrap_or_default();
    let fields = [
        ("model", model),
        ("language", language),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
    ];
    for (name, value) in fields {
        let field = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend(field.bytes());
    }
    let file = "content-disposition: form-data; name=\"file\"; filename=\"segment.wav\"\r\ncontent-type: audio/wav";
    body.extend(format!("--{BOUNDARY}\r\n{file}\r\n\r\n").bytes());
    body.extend(audio::wav_header(u32::try_from(samples.len()).unwrap_or(u32::MAX)));
    body.extend(samples);
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body.into())
}
