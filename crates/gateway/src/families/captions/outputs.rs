//! Transcripts as files: WebVTT, SubRip, text and JSON.

use axum::{Json, extract::State};
use http::{HeaderName, header};
use serde::Serialize;
use turnpike_fault::Fault;
use turnpike_proto::captions::v1 as pb;
use turnpike_topic::CaptionsSessionId;
use utoipa::ToSchema;

use super::{
    cues,
    finals::Final,
    sessions::CaptionSession,
    transcript::{finals, transcript},
};
use crate::{
    access::caller::SignedIn,
    app::Captions,
    http::{Answer, extract::Id, problem::ProblemBody},
};

type File = ([(HeaderName, &'static str); 2], String);

fn file(content_type: &'static str, text: String) -> File {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")], text)
}

/// The captions so far as WebVTT.
#[utoipa::path(get, path = "/api/captions/sessions/{id}/captions.vtt", tag = "captions",
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = String, content_type = "text/vtt"), (status = 404, body = ProblemBody)))]
pub(crate) async fn captions_vtt(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CaptionsSessionId>,
) -> Answer<File> {
    Ok(file("text/vtt; charset=utf-8", cues::vtt(&finals(&captions, &caller, id).await?)))
}

/// The captions so far as SubRip.
#[utoipa::path(get, path = "/api/captions/sessions/{id}/captions.srt", tag = "captions",
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = String, content_type = "application/x-subrip"), (status = 404, body = ProblemBody)))]
pub(crate) async fn captions_srt(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CaptionsSessionId>,
) -> Answer<File> {
    Ok(file("application/x-subrip; charset=utf-8", cues::srt(&finals(&captions, &caller, id).await?)))
}

/// The captions so far as text, one line for each final.
#[utoipa::path(get, path = "/api/captions/sessions/{id}/captions.txt", tag = "captions",
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 404, body = ProblemBody)))]
pub(crate) async fn captions_text(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CaptionsSessionId>,
) -> Answer<File> {
    let text = finals(&captions, &caller, id).await?.into_iter().map(|last| last.text + "\n").collect();
    Ok(file("text/plain; charset=utf-8", text))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionTranscript {
    #[serde(flatten)]
    session: CaptionSession,
    /// The texts of all finals, joined with spaces.
    text: String,
    /// All of them.
    finals: Vec<Final>,
}

/// The captions so far, with the time of each word.
#[utoipa::path(get, path = "/api/captions/sessions/{id}/captions.json", tag = "captions",
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = CaptionTranscript), (status = 404, body = ProblemBody)))]
pub(crate) async fn captions_json(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CaptionsSessionId>,
) -> Answer<Json<CaptionTranscript>> {
    let pb::GetTranscriptResponse { session, finals } = transcript(&captions, &caller, id).await?;
    let text = finals.iter().map(|last| last.text.as_str()).collect::<Vec<_>>().join(" ");
    let session = session.ok_or_else(Fault::internal)?.into();
    Ok(Json(CaptionTranscript { session, text, finals: finals.into_iter().map(Final::from).collect() }))
}
