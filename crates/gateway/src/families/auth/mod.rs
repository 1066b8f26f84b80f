//! `/api/auth` and the public keys.

mod account;
pub(crate) mod api_keys;
mod keys;
mod one_time;
pub(crate) mod sessions;
mod sign_in;
pub(crate) mod user;

use axum::Extension;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{access::scope::ApiKeys, app::App};

/// A key manages no credentials. A ticket of a key permits what the key permits.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(account::me))
        .routes(routes!(sessions::ticket))
        .layer(Extension(ApiKeys::Any))
        .routes(routes!(sign_in::login))
        .routes(routes!(one_time::one_time))
        .routes(routes!(sign_in::refresh))
        .routes(routes!(sign_in::logout))
        .routes(routes!(account::change_password))
        .routes(routes!(sessions::sessions))
        .routes(routes!(sessions::end_session))
        .routes(routes!(api_keys::list, api_keys::create))
        .routes(routes!(api_keys::revoke))
        .routes(routes!(keys::jwks))
}
