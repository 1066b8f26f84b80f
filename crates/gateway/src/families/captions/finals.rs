//! Finals, as they are in snapshots, and their correction.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use turnpike_proto::captions::v1 as pb;
use turnpike_topic::CaptionsSessionId;
use utoipa::ToSchema;

use crate::{
    access::{body::Body, caller::SignedIn},
    app::Captions,
    http::{Answer, extract::Ids, problem::ProblemBody},
};

#[derive(Serialize, ToSchema)]
pub(crate) struct Final {
    /// 1, 2, 3… within the session.
    segment: u64,
    text: String,
    /// From the first sample of the session.
    start_ms: u64,
    end_ms: u64,
    confidence: f32,
    #[schema(example = "silence")]
    reason: String,
    words: Vec<Word>,
    /// The owner has replaced the text.
    corrected: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CaptionWord)]
pub(crate) struct Word {
    word: String,
    start_ms: u64,
    end_ms: u64,
    confidence: f32,
}

impl From<pb::Final> for Final {
    fn from(from: pb::Final) -> Self {
        let word = |word: pb::Word| Word {
            word: word.text,
            start_ms: word.start_ms,
            end_ms: word.end_ms,
            confidence: word.confidence,
        };
        Self {
            segment: from.segment,
            text: from.text,
            start_ms: from.start_ms,
            end_ms: from.end_ms,
            confidence: from.confidence,
            reason: from.reason,
            words: from.words.into_iter().map(word).collect(),
            corrected: from.corrected,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Correction {
    /// At most 4 KiB, without line breaks.
    #[schema(min_length = 1, max_length = 4096)]
    text: String,
}

/// Replace the text of a final. Followers get an event `corrected`.
#[utoipa::path(patch, path = "/api/captions/sessions/{id}/finals/{segment}", tag = "captions",
    params(("id" = String, Path, format = Uuid), ("segment" = u64, Path)), request_body = Correction,
    responses((status = 200, body = Final), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn correct_caption(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Ids(id, segment): Ids<CaptionsSessionId, u64>,
    Body(correction, ..): Body<Correction>,
) -> Answer<Json<Final>> {
    let request = pb::CorrectFinalRequest { session_id: id.to_string(), segment, text: correction.text };
    Ok(Json(captions.client().correct_final(caller.token.request(request)).await?.into_inner().into()))
}
