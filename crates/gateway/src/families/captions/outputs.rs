//! Transcripts as files: WebVTT, SubRip and text.

use axum::extract::State;
use http::{HeaderName, header};
use turnpike_proto::captions::v1 as pb;
use turnpike_topic::CaptionsSessionId;

use super::cues;
use crate::{
    access::caller::SignedIn,
    app::Captions,
    http::{Answer, extract::Id, problem::ProblemBody},
};

type File = ([(HeaderName, &'static str); 2], String);

fn file(content_type: &'static str, text: String) -> File {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")], text)
}

/// Every final of a session.
pub(super) async fn finals(
    captions: &Captions,
    caller: &turnpike_identity::Caller,
    id: CaptionsSessionId,
) -> Answer<Vec<pb::Final>> {
    let request = caller.token.request(pb::GetTranscriptRequest { session_id: id.to_string() });
    Ok(captions.client().get_transcript(request).await?.into_inner().finals)
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
