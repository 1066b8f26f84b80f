//! `/api/admin`: accounts and the health of the deployment. The routes need the role admin; auth checks the role again.

mod api_keys;
mod connections;
mod services;
mod users;

use axum::Extension;
use turnpike_token::Scope;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{access::scope::ApiKeys, app::App};

/// Accounts are not managed with API keys.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(services::services))
        .routes(routes!(connections::list_connections))
        .routes(routes!(connections::close_connection))
        .layer(Extension(ApiKeys::Of(Scope::Admin)))
        .routes(routes!(users::list_users, users::create_user))
        .routes(routes!(users::get_user, users::update_user, users::delete_user))
        .routes(routes!(users::list_sessions, users::end_sessions))
        .routes(routes!(api_keys::list_api_keys))
        .routes(routes!(api_keys::revoke_api_key))
}
