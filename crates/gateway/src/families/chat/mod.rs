//! `/api/chat`: conversations with language models. `/api/admin`: models, and the export of all conversations.

mod answer_stream;
mod answers;
mod conversations;
mod export;
mod export_all;
mod messages;
mod models;
mod personas;
mod search;
mod usage;

use std::str::FromStr;

use axum::Extension;
use serde::Serialize;
use turnpike_fault::{Fault, Kind};
use turnpike_token::Scope;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{access::scope::ApiKeys, app::App};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(conversations::list_conversations, conversations::create_conversation))
        .routes(routes!(
            conversations::get_conversation,
            conversations::update_conversation,
            conversations::delete_conversation
        ))
        .routes(routes!(messages::list_messages, answers::send_message))
        .routes(routes!(conversations::select_version))
        .routes(routes!(answers::regenerate))
        .routes(routes!(answers::stop_answer))
        .routes(routes!(export::export))
        .routes(routes!(search::search))
        .routes(routes!(personas::list_personas, personas::create_persona))
        .routes(routes!(personas::update_persona, personas::delete_persona))
        .routes(routes!(models::list_models))
        .routes(routes!(usage::usage))
        .layer(Extension(ApiKeys::Of(Scope::Chat)))
        .merge(of_admins())
}

fn of_admins() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(export_all::export_conversations))
        .routes(routes!(models::list_all_models))
        .routes(routes!(models::load_model))
        .routes(routes!(models::unload_model))
        .layer(Extension(ApiKeys::Of(Scope::Admin)))
}

/// The confirmation of a change.
#[derive(Serialize, ToSchema)]
pub(crate) struct Confirmation {
    message: &'static str,
}

/// An id in a request, as the services expect it: empty if it is absent.
fn id<T: FromStr + ToString>(field: &str, text: Option<String>) -> Result<String, Fault> {
    let Some(text) = text else { return Ok(String::new()) };
    let id: Result<T, _> = text.parse();
    let invalid = |_| Fault::new(Kind::Validation, "The request is not valid").field(field, "must be an id (UUID)");
    id.map(|id| id.to_string()).map_err(invalid)
}

/// The services send an empty text for a value that is absent.
fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
