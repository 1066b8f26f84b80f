//! The speech engines, and whether they understand speech.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;
use turnpike_proto::captions::v1 as pb;
use utoipa::ToSchema;

use crate::{
    access::{
        body::{Bodies, Share},
        caller::SignedIn,
    },
    app::{App, Captions},
    http::{Answer, problem::ProblemBody},
};

/// The longest recording for a self-test.
const MAX_TEST: usize = 1 << 20;

/// A speech engine.
#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionEngine {
    /// As in the field `engine` of a new session.
    #[schema(example = "moonshine")]
    name: String,
}

/// The speech engines, the default one first. Without any, no session can be opened until a model is installed.
#[utoipa::path(get, path = "/api/captions/engines", tag = "captions",
    responses((status = 200, body = Vec<CaptionEngine>), (status = 503, body = ProblemBody)))]
pub(crate) async fn list_caption_engines(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
) -> Answer<Json<Vec<CaptionEngine>>> {
    let request = caller.token.request(pb::ListEnginesRequest {});
    let engines = captions.client().list_engines(request).await?.into_inner().engines;
    Ok(Json(engines.into_iter().map(|pb::Engine { name }| CaptionEngine { name }).collect()))
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
