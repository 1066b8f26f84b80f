//! `/v1/audio/transcriptions`: whole recordings, transcribed by the captions service.

use std::convert::Infallible;

use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use serde_json::json;
use tokio::time::sleep;
use tonic::{Status, Streaming};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::captions::v1::{self as pb, transcribe_file_response::Part};

use super::{
    error::{Client, ErrorBody, OpenAiError},
    relay::{KEEP_ALIVE_INTERVAL, revoked},
    transcription_form::{Received, ResponseFormat, TranscriptionForm},
    transcription_text::{Heard, Transcription, VerboseTranscription, usage},
};
use crate::{
    app::Captions,
    families::captions::cues,
    stream::{
        connections::{Connections, Registration},
        sse::{self, COMMENT},
    },
};

type Parts = Streaming<pb::TranscribeFileResponse>;

/// Transcribe a recording, as OpenAI's endpoint of this name. The transcription stops when the client leaves.
#[utoipa::path(post, path = "/v1/audio/transcriptions", tag = "openai",
    request_body(content = TranscriptionForm, content_type = "multipart/form-data"),
    responses((status = 200, content((Transcription = "application/json"), (VerboseTranscription = "application/json"),
            (String = "text/plain"), (String = "text/vtt"), (String = "application/x-subrip"), (String = "text/event-stream"))),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
pub(crate) async fn create_transcription(
    State(captions): State<Captions>,
    State(connections): State<Connections>,
    Client(caller, origin): Client,
    Received(form, share): Received,
) -> Result<Response, OpenAiError> {
    let registration = connections.register_generation(&caller, origin)?;
    let request = pb::TranscribeFileRequest { wav: form.file, language: form.language, engine: form.engine };
    let request = caller.token.request(request);
    let transcribing = async {
        let mut parts = captions.slow_client().transcribe_file(request).await.map_err(refused)?.into_inner();
        drop(share);
        match next(&mut parts).await? {
            Some(Part::Recording(recording)) => Ok((recording, parts)),
            _ => Err(OpenAiError::from(Fault::internal())),
        }
    };
    let (recording, parts) = tokio::select! {
        begun = transcribing => begun?,
        ending = revoked(&registration.handle) => return Err(ending.into()),
    };
    if form.streams {
        let events = Events { registration, parts, recording, text: String::new(), ended: false };
        return Ok(sse::response(Body::from_stream(stream::unfold(events, Events::next))));
    }
    let heard = tokio::select! {
        heard = whole(recording, parts) => heard?,
        ending = revoked(&registration.handle) => return Err(ending.into()),
    };
    let file =
        |content_type: &'static str, text: String| ([(header::CONTENT_TYPE, content_type)], text).into_response();
    Ok(match form.format {
        ResponseFormat::Json => Json(heard.json()).into_response(),
        ResponseFormat::VerboseJson => Json(heard.verbose(form.segments, form.words)).into_response(),
        ResponseFormat::Srt => file("application/x-subrip; charset=utf-8", cues::srt(&heard.finals)),
        ResponseFormat::Vtt => file("text/vtt; charset=utf-8", cues::vtt(&heard.finals)),
        ResponseFormat::Text => file("text/plain; charset=utf-8", heard.text() + "\n"),
    })
}

async fn next(parts: &mut Parts) -> Result<Option<Part>, OpenAiError> {
    Ok(parts.message().await?.and_then(|message| message.part))
}

async fn whole(recording: pb::Recording, mut parts: Parts) -> Result<Heard, OpenAiError> {
    let mut heard = Heard { recording, finals: Vec::new() };
    while let Some(part) = next(&mut parts).await? {
        if let Part::Final(last) = part {
            heard.finals.push(last);
        }
    }
    Ok(heard)
}

/// What the captions service calls an engine is a model here.
fn refused(status: Status) -> OpenAiError {
    let fault = Fault::from(&status);
    match fault.fields().iter().any(|field| field.field == "engine") {
        true => {
            let detail = "There is no such model; whisper-1 is the configured speech engine";
            Fault::new(Kind::NotFound, detail).code_is("MODEL_NOT_FOUND").into()
        }
        false => fault.into(),
    }
}

/// The response to a client that asked for a stream.
struct Events {
    registration: Registration,
    parts: Parts,
    recording: pb::Recording,
    text: String,
    ended: bool,
}

impl Events {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if self.ended {
            return None;
        }
        let bytes = tokio::select! {
            biased;
            ending = revoked(&self.registration.handle) => self.fail(ending.into()),
            part = next(&mut self.parts) => match part {
                Ok(Some(Part::Final(last))) => {
                    let delta = if self.text.is_empty() { last.text } else { format!(" {}", last.text) };
                    self.text.push_str(&delta);
                    sse::event(&json!({ "type": "transcript.text.delta", "delta": delta }).to_string())
                }
                Ok(Some(Part::Recording(_))) => COMMENT,
                Ok(None) => {
                    self.ended = true;
                    let usage = usage(&self.recording);
                    sse::event(&json!({ "type": "transcript.text.done", "text": self.text, "usage": usage }).to_string())
                }
                Err(error) => self.fail(error),
            },
            () = sleep(KEEP_ALIVE_INTERVAL) => COMMENT,
        };
        Some((Ok(bytes), self))
    }

    fn fail(&mut self, error: OpenAiError) -> Bytes {
        self.ended = true;
        error.event().into()
    }
}
