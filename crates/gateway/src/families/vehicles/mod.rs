//! `/api/vehicles` and `/api/commands`.

mod catalogue;
mod commands;
mod registry;
mod states;

use axum::Extension;
use turnpike_token::Scope;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{access::scope::ApiKeys, app::App};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(registry::list))
        .routes(routes!(registry::get))
        .routes(routes!(registry::status))
        .routes(routes!(commands::list, commands::submit))
        .routes(routes!(catalogue::catalogue))
        .routes(routes!(commands::get))
        .routes(routes!(commands::responses))
        .routes(routes!(commands::cancel))
        .layer(Extension(ApiKeys::Of(Scope::Vehicles)))
}
