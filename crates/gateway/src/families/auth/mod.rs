//! `/api/auth` and the public keys.

mod account;
mod keys;
mod one_time;
pub(crate) mod sessions;
mod sign_in;
pub(crate) mod user;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(sign_in::login))
        .routes(routes!(one_time::one_time))
        .routes(routes!(sign_in::refresh))
        .routes(routes!(sign_in::logout))
        .routes(routes!(account::me))
        .routes(routes!(account::change_password))
        .routes(routes!(sessions::sessions))
        .routes(routes!(sessions::end_session))
        .routes(routes!(sessions::ticket))
        .routes(routes!(keys::jwks))
}
