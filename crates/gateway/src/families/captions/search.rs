//! `GET /api/captions/search`.

use axum::{Json, extract::State};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use turnpike_proto::captions::v1 as pb;
use utoipa::{IntoParams, ToSchema};

use crate::{
    access::caller::SignedIn,
    app::Captions,
    http::{
        Answer,
        extract::{Query, invalid, next_link},
        problem::ProblemBody,
        rfc3339,
    },
};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CaptionSearch {
    /// Words, in any case; the last one may be the beginning of a word. Blank: no results.
    #[param(max_length = 200)]
    q: Option<String>,
    /// The length of the page, 1–100; 50 if absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// From the `Link` header of the previous page.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionResults {
    results: Vec<CaptionResult>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionResult {
    #[schema(format = Uuid)]
    session_id: String,
    /// When the session was opened.
    #[schema(format = DateTime)]
    created_at: Option<String>,
    segment: u64,
    /// From the first sample of the session.
    start_ms: u64,
    end_ms: u64,
    /// A part of the text, or of its translation, around the first match.
    snippet: String,
}

/// The finals of the caller's caption sessions that have every word of a query: those of the newest session first, in the order in
/// which they were said.
///
/// One request reads a bounded part of the transcripts. A page can have fewer results than `limit`, or none, and still have a `Link`
/// to the next one.
#[utoipa::path(get, path = "/api/captions/search", tag = "captions", params(CaptionSearch),
    responses((status = 200, body = CaptionResults), (status = 422, body = ProblemBody), (status = 504, body = ProblemBody)))]
pub(crate) async fn search_captions(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Query(search): Query<CaptionSearch>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<CaptionResults>)> {
    let limit = search.limit.unwrap_or(50);
    if !(1..=100).contains(&limit) {
        return Err(invalid("The query is not valid", "limit", "must be from 1 to 100").into());
    }
    let query = search.q.unwrap_or_default();
    if query.chars().count() > 200 {
        return Err(invalid("The query is not valid", "q", "must be at most 200 characters").into());
    }
    let cursor = search.cursor.unwrap_or_default();
    let request = pb::SearchTranscriptsRequest { query, limit, cursor };
    let found = captions.slow_client().search_transcripts(caller.token.request(request)).await?.into_inner();
    let result = |found: pb::TranscriptMatch| CaptionResult {
        session_id: found.session_id,
        created_at: rfc3339(found.created_at),
        segment: found.segment,
        start_ms: found.start_ms,
        end_ms: found.end_ms,
        snippet: found.snippet,
    };
    let results = found.results.into_iter().map(result).collect();
    Ok((next_link(&uri, &found.next_cursor), Json(CaptionResults { results })))
}
