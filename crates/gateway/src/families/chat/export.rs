//! One conversation as a document.

use axum::{body::Body, extract::State, response::Response};
use futures_util::TryStreamExt;
use http::{HeaderValue, header};
use serde::Deserialize;
use turnpike_proto::chat::v1 as pb;
use turnpike_topic::ConversationId;
use utoipa::{IntoParams, ToSchema};

use crate::{
    access::caller::SignedIn,
    app::Chat,
    http::{
        Answer,
        extract::{Id, Query},
        problem::ProblemBody,
    },
};

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    #[default]
    Json,
    Markdown,
}

impl From<Format> for pb::ExportFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Markdown => Self::Markdown,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Export {
    /// `json` if absent.
    #[param(inline)]
    format: Option<Format>,
}

/// A conversation with the messages of its shown path, as a document.
#[utoipa::path(get, path = "/api/chat/conversations/{id}/export", tag = "chat",
    params(("id" = String, Path, format = Uuid), Export),
    responses((status = 200, description = "The document", content((Object = "application/json"), (String = "text/markdown"))),
        (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn export(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<ConversationId>,
    Query(export): Query<Export>,
) -> Answer<Response> {
    let format = export.format.unwrap_or_default();
    let message = pb::ExportRequest { conversation_id: id.to_string(), format: pb::ExportFormat::from(format).into() };
    let parts = chat.conversations().export(caller.token.request(message)).await?.into_inner();
    // A part that cannot be read breaks the connection off: the client must not take half a document for the whole.
    let mut response = Response::new(Body::from_stream(parts.map_ok(|part| part.data)));
    let (media_type, ending) = match format {
        Format::Json => ("application/json", "json"),
        Format::Markdown => ("text/markdown; charset=utf-8", "md"),
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Ok(name) = format!("attachment; filename=\"conversation-{id}.{ending}\"").parse() {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}
