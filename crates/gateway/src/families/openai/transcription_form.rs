//! The form of a request for a transcription (`multipart/form-data`), as OpenAI's clients send it.

use std::{convert::Infallible, sync::Arc};

use axum::extract::{FromRef, FromRequest, Request};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use multer::{Constraints, Multipart, SizeLimit};
use turnpike_fault::{Fault, Kind};
use utoipa::ToSchema;

use super::error::OpenAiError;
use crate::{
    access::body::{Bodies, Share},
    app::App,
};

/// The longest body: a file of 25 MiB, as at OpenAI, and the other fields.
const MAX_BODY: usize = (25 << 20) + MAX_FIELDS;
/// The bytes of the fields beside the file, with their headers.
const MAX_FIELDS: usize = 64 << 10;
/// The longest text of a field.
const MAX_TEXT: u64 = 8 << 10;

/// Names of OpenAI's models, which stand for the configured engine. Other names are those of engines.
const ALIASES: [&str; 4] = ["", "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"];

/// The fields, as they are described to clients. Others are ignored.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form, which is parsed field by field")]
pub(crate) struct TranscriptionForm {
    /// A WAV file (PCM or float, 8 to 96 kHz, up to 8 channels), at most 25 MiB and 30 minutes.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// `whisper-1`, `gpt-4o-transcribe`, `gpt-4o-mini-transcribe` or empty for the configured engine, or the name of an engine.
    model: String,
    /// BCP 47; `en` if absent.
    language: Option<String>,
    /// json (if absent), verbose_json, srt, vtt or text.
    response_format: Option<String>,
    /// For verbose_json: `word`, `segment` (if absent) or both.
    #[schema(rename = "timestamp_granularities[]")]
    timestamp_granularities: Option<Vec<String>>,
    /// Server-sent events: `transcript.text.delta` for each segment, then `transcript.text.done`.
    stream: Option<bool>,
}

/// How the response is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ResponseFormat {
    #[default]
    Json,
    VerboseJson,
    Srt,
    Vtt,
    Text,
}

/// A parsed form.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) file: Bytes,
    /// Empty: the configured one.
    pub(super) engine: String,
    pub(super) language: String,
    pub(super) format: ResponseFormat,
    pub(super) words: bool,
    pub(super) segments: bool,
    pub(super) streams: bool,
}

/// A form, and its share of the memory for bodies.
pub(crate) struct Received(pub(super) Form, pub(super) Share);

impl FromRequest<App> for Received {
    type Rejection = OpenAiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, OpenAiError> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let boundary = multer::parse_boundary(content_type.unwrap_or_default());
        match Arc::<Bodies>::from_ref(app).receive(request, MAX_BODY).await {
            Ok((bytes, share)) => {
                let boundary =
                    boundary.map_err(|_| invalid("body", "must be multipart/form-data, with the audio as `file`"))?;
                Ok(Self(parse(bytes.into(), boundary).await?, share))
            }
            Err(refused) => {
                let (fault, status) = refused.fault();
                Err(OpenAiError::with_status(status, fault))
            }
        }
    }
}

fn invalid(field: &str, message: impl Into<String>) -> Fault {
    Fault::new(Kind::Validation, "The form is not valid").field(field, message)
}

async fn parse(body: Bytes, boundary: String) -> Result<Form, Fault> {
    let limits = SizeLimit::new().per_field(MAX_TEXT).for_field("file", MAX_BODY as u64);
    let body = stream::iter([Ok::<_, Infallible>(body)]);
    let mut parts = Multipart::with_constraints(body, boundary, Constraints::new().size_limit(limits));
    let mut form = Form::default();
    let mut file = None;
    loop {
        let part = parts.next_field().await.map_err(|error| invalid("body", error.to_string()))?;
        let Some(part) = part else { break };
        let name = part.name().unwrap_or_default().to_owned();
        if name == "file" {
            file = Some(part.bytes().await.map_err(|error| invalid("file", error.to_string()))?);
            continue;
        }
        let text = part.text().await.map_err(|error| invalid(&name, error.to_string()))?;
        let text = text.trim();
        match name.as_str() {
            "model" if ALIASES.contains(&text) => form.engine = String::new(),
            "model" => form.engine = text.to_owned(),
            "language" => form.language = text.to_owned(),
            "response_format" => form.format = format(text)?,
            "timestamp_granularities" | "timestamp_granularities[]" => match text {
                "word" => form.words = true,
                "segment" => form.segments = true,
                _ => return Err(invalid("timestamp_granularities", "must be word or segment")),
            },
            "stream" => match text.to_ascii_lowercase().as_str() {
                "true" | "1" => form.streams = true,
                "false" | "0" | "" => form.streams = false,
                _ => return Err(invalid("stream", "must be true or false")),
            },
            _ => {} // prompt, temperature, chunking_strategy…: nothing that the engine could use
        }
    }
    form.file = file.filter(|file| !file.is_empty()).ok_or_else(|| invalid("file", "is missing"))?;
    form.segments |= !form.words;
    Ok(form)
}

fn format(text: &str) -> Result<ResponseFormat, Fault> {
    Ok(match text {
        "" | "json" => ResponseFormat::Json,
        "verbose_json" => ResponseFormat::VerboseJson,
        "srt" => ResponseFormat::Srt,
        "vtt" => ResponseFormat::Vtt,
        "text" => ResponseFormat::Text,
        _ => return Err(invalid("response_format", "must be json, verbose_json, srt, vtt or text")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parsed(fields: &[(&str, &str)]) -> Result<Form, Fault> {
        let part = |(name, value): &(&str, &str)| {
            let file = if *name == "file" { "; filename=\"a.wav\"\r\ncontent-type: audio/wav" } else { "" };
            format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n")
        };
        let body: String = fields.iter().map(part).collect::<String>() + "--B--\r\n";
        parse(body.into(), "B".to_owned()).await
    }

    #[tokio::test]
    async fn a_form_is_parsed_and_a_mistake_names_its_field() {
        let form = parsed(&[
            ("file", "RIFF"),
            ("model", "whisper-1"),
            ("language", "en"),
            ("response_format", "verbose_json"),
            ("timestamp_granularities[]", "word"),
            ("temperature", "0"),
            ("stream", "True"),
        ])
        .await
        .expect("valid");
        assert_eq!(
            (form.file.as_ref(), form.engine.as_str(), form.format),
            (&b"RIFF"[..], "", ResponseFormat::VerboseJson)
        );
        assert!(form.words && !form.segments && form.streams);
        let plain = parsed(&[("file", "RIFF"), ("model", "moonshine")]).await.expect("valid");
        assert!(plain.engine == "moonshine" && plain.segments && !plain.words && !plain.streams);

        let long = "x".repeat(MAX_TEXT as usize + 1);
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[("model", "whisper-1")], "file"),
            (&[("file", "RIFF"), ("response_format", "diarized_json")], "response_format"),
            (&[("file", "RIFF"), ("timestamp_granularities[]", "letter")], "timestamp_granularities"),
            (&[("file", "RIFF"), ("stream", "maybe")], "stream"),
            (&[("file", "RIFF"), ("prompt", &long)], "prompt"),
        ];
        for (fields, field) in cases {
            let fault = parsed(fields).await.expect_err(field);
            assert_eq!(fault.fields()[0].field, field);
        }
        assert!(parse(Bytes::from_static(b"no form"), "B".to_owned()).await.is_err());
    }
}
