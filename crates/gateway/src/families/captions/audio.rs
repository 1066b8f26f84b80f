//! The audio of sessions that keep it.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use http::header;
use turnpike_proto::captions::v1 as pb;
use turnpike_topic::CaptionsSessionId;

use crate::{
    access::caller::SignedIn,
    app::Captions,
    http::{Answer, extract::Id, problem::ProblemBody},
};

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
