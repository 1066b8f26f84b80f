//! Every route.

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::get};
use turnpike_kit::ops;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    access::body::LARGE,
    app::App,
    families::{
        admin::users as admin,
        auth::{account as auth, one_time},
        vehicles::{commands, registry as vehicles},
    },
    http::{guard, openapi},
    stream::{socket, sse},
};

/// All routes of the public port.
pub(crate) fn router(app: App) -> Router {
    let (api, mut description) = OpenApiRouter::with_openapi(openapi::Description::openapi())
        .routes(routes!(auth::login))
        .routes(routes!(one_time::one_time))
        .routes(routes!(auth::refresh))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::me))
        .routes(routes!(auth::change_password))
        .routes(routes!(auth::sessions))
        .routes(routes!(auth::end_session))
        .routes(routes!(auth::ticket))
        .routes(routes!(auth::jwks))
        .routes(routes!(admin::list_users, admin::create_user))
        .routes(routes!(admin::get_user, admin::update_user, admin::delete_user))
        .routes(routes!(admin::list_sessions, admin::end_sessions))
        .routes(routes!(admin::services))
        .routes(routes!(vehicles::list))
        .routes(routes!(vehicles::get))
        .routes(routes!(vehicles::status))
        .routes(routes!(commands::list, commands::submit))
        .routes(routes!(commands::get))
        .routes(routes!(commands::responses))
        .routes(routes!(commands::cancel))
        .routes(routes!(sse::follow))
        .split_for_parts();
    openapi::complete(&mut description);
    let health = app.health.clone();
    api.route("/ws", get(socket::multiplexed))
        .route("/ws/responses/{command_id}", get(socket::responses))
        .with_state(app)
        .merge(ops::health_routes(health))
        .merge(openapi::routes(&description))
        .fallback(guard::not_found)
        .method_not_allowed_fallback(guard::method_not_allowed)
        .layer(DefaultBodyLimit::max(LARGE))
        .layer(middleware::from_fn(guard::guard))
}
