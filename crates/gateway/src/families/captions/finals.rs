//! Finals, as they are in snapshots: their list, and their correction.

use axum::{Json, extract::State};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::captions::v1 as pb;
use turnpike_topic::CaptionsSessionId;
use utoipa::ToSchema;

use super::transcript;
use crate::{
    access::{body::Body, caller::SignedIn},
    app::Captions,
    http::{
        Answer,
        extract::{Id, Ids, NumberedPage, Page, Query, next_link},
        problem::ProblemBody,
    },
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
    /// The text in the language `translate_to` of the session.
    translation: Option<String>,
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
            translation: Some(from.translation).filter(|text| !text.is_empty()),
        }
    }
}

/// The finals of a caption session: the newest page first, the oldest final of a page first.
#[utoipa::path(get, path = "/api/captions/sessions/{id}/finals", tag = "captions",
    params(("id" = String, Path, format = Uuid), NumberedPage),
    responses((status = 200, body = Vec<Final>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn list_captions(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CaptionsSessionId>,
    Query(page): Query<NumberedPage>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<Vec<Final>>)> {
    let page = Page::from(page);
    let (limit, cursor) = (page.limit()?, page.cursor());
    let before = match cursor.is_empty() {
        true => u64::MAX,
        false => cursor.parse().map_err(|_| not_a_cursor())?,
    };
    let finals = transcript::finals(&captions, &caller, id).await?;
    let (shown, earlier) = last_before(finals, before, limit as usize);
    let next = if earlier { shown.first().map(|first| first.segment.to_string()) } else { None };
    Ok((next_link(&uri, &next.unwrap_or_default()), Json(shown.into_iter().map(Final::from).collect())))
}

fn not_a_cursor() -> Fault {
    Fault::new(Kind::Validation, "The query is not valid").field("cursor", "must be the one of a `Link` header")
}

/// The last finals before this segment, and whether there are others before them.
fn last_before(mut finals: Vec<pb::Final>, before: u64, limit: usize) -> (Vec<pb::Final>, bool) {
    finals.retain(|one| one.segment < before);
    let first = finals.len().saturating_sub(limit);
    (finals.split_off(first), first > 0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_finals_go_back_to_the_first_one() {
        let finals = |segments: &[u64]| -> Vec<pb::Final> {
            segments.iter().map(|segment| pb::Final { segment: *segment, ..Default::default() }).collect()
        };
        let all = finals(&[1, 2, 4, 5, 7]); // a segment without words has no final
        assert_eq!(last_before(all.clone(), u64::MAX, 2), (finals(&[5, 7]), true));
        assert_eq!(last_before(all.clone(), 5, 2), (finals(&[2, 4]), true));
        assert_eq!(last_before(all.clone(), 2, 2), (finals(&[1]), false));
        assert_eq!(last_before(all, 1, 2), (finals(&[]), false));
    }
}
