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

use axum::Extension;
use serde::Serialize;
use turnpike_token::Scope;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{access::scope::ApiKeys, app::App};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(conversations::list, conversations::create))
        .routes(routes!(conversations::get, conversations::update, conversations::delete))
        .routes(routes!(messages::list, answers::send))
        .routes(routes!(messages::select))
        .routes(routes!(answers::regenerate))
        .routes(routes!(answers::stop))
        .routes(routes!(export::one))
        .routes(routes!(search::search))
        .routes(routes!(personas::list, personas::create))
        .routes(routes!(personas::update, personas::delete))
        .routes(routes!(models::list))
        .routes(routes!(usage::usage))
        .layer(Extension(ApiKeys::Of(Scope::Chat)))
        .merge(of_admins())
}

fn of_admins() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(export_all::all))
        .routes(routes!(models::list_all))
        .routes(routes!(models::load))
        .routes(routes!(models::unload))
        .layer(Extension(ApiKeys::Of(Scope::Admin)))
}

/// The confirmation of a change.
#[derive(Serialize, ToSchema)]
pub(crate) struct Confirmation {
    message: &'static str,
}

/// The services send an empty text for a value that is absent.
fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
