//! Every address, and its description.

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::get};
use turnpike_kit::ops;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use super::{admin, auth, commands, events, guard, vehicles};
use crate::{App, identity::COOKIE, socket};

/// No body that this door takes is larger.
const MAX_BODY: usize = 256 << 10;

#[derive(OpenApi)]
#[openapi(
    info(title = "Turnpike", description = "Everything that streams to people, behind one authenticated door.\n\n\
        Besides what stands here: `GET /ws` and `GET /ws/responses/{command_id}` speak WebSocket; see the README."),
    modifiers(&Credentials)
)]
struct Description;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let cookie = ApiKey::Cookie(ApiKeyValue::new(COOKIE));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
        let either = ["bearer", "cookie"].map(|name| SecurityRequirement::new(name, Vec::<String>::new()));
        openapi.security = Some(either.to_vec());
    }
}

/// The whole public door.
pub(crate) fn router(app: App) -> Router {
    let (api, description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(auth::login))
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
        .routes(routes!(events::follow))
        .split_for_parts();
    let health = app.health.clone();
    api.route("/ws", get(socket::multiplexed))
        .route("/ws/responses/{command_id}", get(socket::responses))
        .with_state(app)
        .merge(ops::health_routes(health))
        .merge(SwaggerUi::new("/docs").url("/api/openapi.json", description))
        .fallback(guard::not_found)
        .method_not_allowed_fallback(guard::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(guard::guard))
}
