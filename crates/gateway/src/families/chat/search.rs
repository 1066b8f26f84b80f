//! `/api/chat/search`.

use axum::{Json, extract::State};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use turnpike_proto::chat::v1 as pb;
use utoipa::{IntoParams, ToSchema};

use super::text;
use crate::{
    access::caller::SignedIn,
    app::Chat,
    http::{
        Answer,
        extract::{Query, invalid, next_link},
        problem::ProblemBody,
        rfc3339,
    },
};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Words {
    /// Words, in any case; the last one may be the beginning of a word. Blank: no results.
    #[param(max_length = 200)]
    q: Option<String>,
    /// The length of the page, 1–100; 20 if absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The cursor in the `Link` header of the previous page.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SearchResults {
    results: Vec<SearchResult>,
}

#[derive(Serialize, ToSchema)]
struct SearchResult {
    #[schema(format = Uuid)]
    conversation_id: String,
    conversation_title: String,
    /// `null`: the title was found.
    #[schema(format = Uuid)]
    message_id: Option<String>,
    /// 60 characters on either side of what was found, with `...` where text is left out; for a title, the beginning of the
    /// first message.
    message_snippet: String,
    /// Where the words that were found are in `message_snippet`.
    marks: Vec<Mark>,
    /// `user` or `assistant`.
    role: String,
    #[schema(format = DateTime)]
    created_at: Option<String>,
}

/// A part of a text, in Unicode characters.
#[derive(Serialize, ToSchema)]
struct Mark {
    start: u32,
    length: u32,
}

impl From<pb::SearchResult> for SearchResult {
    fn from(result: pb::SearchResult) -> Self {
        let mark = |mark: pb::Mark| Mark { start: mark.start, length: mark.length };
        Self {
            conversation_id: result.conversation_id,
            conversation_title: result.conversation_title,
            message_id: text(result.message_id),
            message_snippet: result.snippet,
            marks: result.marks.into_iter().map(mark).collect(),
            role: result.role,
            created_at: rfc3339(result.created_at),
        }
    }
}

/// Search the titles and messages of the caller's conversations, newest first.
#[utoipa::path(get, path = "/api/chat/search", tag = "chat", params(Words),
    responses((status = 200, body = SearchResults), (status = 422, body = ProblemBody)))]
pub(crate) async fn search(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Query(words): Query<Words>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<SearchResults>)> {
    let query = words.q.unwrap_or_default();
    if query.chars().count() > 200 {
        return Err(invalid("The query is not valid", "q", "must have at most 200 characters").into());
    }
    let limit = words.limit.unwrap_or(20);
    if !(1..=100).contains(&limit) {
        return Err(invalid("The query is not valid", "limit", "must be from 1 to 100").into());
    }
    let message = pb::SearchRequest { query, limit, cursor: words.cursor.unwrap_or_default() };
    let answer = chat.conversations().search(caller.token.request(message)).await?.into_inner();
    let results = answer.results.into_iter().map(SearchResult::from).collect();
    Ok((next_link(&uri, &answer.next_cursor), Json(SearchResults { results })))
}
