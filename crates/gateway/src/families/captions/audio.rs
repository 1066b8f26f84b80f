//! The audio of sessions that keep it, and the self-test.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{FromRef, FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::StreamExt;
use http::header;
use serde::Serialize;
use turnpike_proto::captions::v1 as pb;
use turnpike_topic::CaptionsSessionId;
use utoipa::ToSchema;

use crate::{
    access::{
        body::{Bodies, Share},
        caller::SignedIn,
    },
    app::{App, Captions},
    http::{Answer, extract::Id, problem::ProblemBody},
};

/// The longest recording for a self-test.
const MAX_TEST: usize = 1 << 20;

/// The audio of a caption session that keeps it (`keep_audio`), as a WAV file of 16 kHz and 16 bits. Pauses are silence.
#[utoipa::path(get, path = "/api/captions/sessions/{id}/audio.wav", tag = "captions",
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = String, content_type = "audio/wav"), (status = 404, body = ProblemBody)))]
pub(crate) async fn captions_audio(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CaptionsSessionId>,
) -> Answer<Response> {
    let request = caller.token.request(pb::GetAudioRequest { session_id: id.to_string() });
    let pieces = captions.client().get_audio(request).await?.into_inner();
    let body = Body::from_stream(pieces.map(|piece| piece.map(|piece| piece.wav)));
    Ok(([(header::CONTENT_TYPE, "audio/wav"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// A WAV file as a body.
pub(crate) struct Recording(Bytes, #[expect(dead_code, reason = "held until the end of the handler")] Share);

impl FromRequest<App> for Recording {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let received = Arc::<Bodies>::from_ref(app).receive(request, MAX_TEST).await;
        received.map(|(bytes, share)| Self(bytes.into(), share)).map_err(IntoResponse::into_response)
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionSelfTest {
    engine: String,
    /// The time that opening a stream of the engine took.
    open_ms: f64,
    /// The time that the engine needed for the audio.
    hear_ms: f64,
    /// The length of the audio: at most 1.5 s.
    audio_ms: u64,
    rms: f64,
    peak: f64,
    /// Whether there was speech.
    heard: bool,
    text: String,
}

/// Test the speech engine with the first 1.5 s of a WAV file (at most 1 MiB), or with silence if the body is empty.
#[utoipa::path(post, path = "/api/captions/self-test", tag = "captions",
    request_body(content = String, content_type = "audio/wav"),
    responses((status = 200, body = CaptionSelfTest), (status = 422, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub(crate) async fn test_captions(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Recording(wav, ..): Recording,
) -> Answer<Json<CaptionSelfTest>> {
    let request = caller.token.request(pb::SelfTestRequest { wav, engine: String::new() });
    let tested = captions.slow_client().self_test(request).await?.into_inner();
    let pb::SelfTestResponse { engine, open_ms, hear_ms, audio_ms, rms, peak, heard, text } = tested;
    Ok(Json(CaptionSelfTest { engine, open_ms, hear_ms, audio_ms, rms, peak, heard, text }))
}
