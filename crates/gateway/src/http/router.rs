//! Every address, and its description.

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::get};
use turnpike_kit::ops;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, Ref, RefOr, Response, ResponseBuilder,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use super::{admin, auth, commands, events, guard, one_time, vehicles};
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

/// What is the same everywhere is said once, here: an id of its own for each operation, what a status means, that failures are
/// problems, and that a credential is needed unless the operation says otherwise.
fn complete(openapi: &mut utoipa::openapi::OpenApi) {
    let unauthorized: RefOr<Response> = {
        let schema = Ref::from_schema_name("ProblemBody");
        ResponseBuilder::new().content(PROBLEM, ContentBuilder::new().schema(Some(schema)).build()).build().into()
    };
    for item in openapi.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let tag = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
            operation.operation_id = operation.operation_id.take().map(|id| format!("{tag}_{id}"));
            let responses = &mut operation.responses.responses;
            if operation.security.is_none() {
                responses.entry("401".to_owned()).or_insert_with(|| unauthorized.clone());
            }
            for (status, response) in responses {
                let RefOr::T(response) = response else { continue };
                if response.description.is_empty() {
                    response.description = meaning(status).to_owned();
                }
                if status.starts_with(['4', '5'])
                    && let Some(content) = response.content.shift_remove("application/json")
                {
                    response.content.insert(PROBLEM.to_owned(), content);
                }
            }
        }
    }
}

const PROBLEM: &str = "application/problem+json";

fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "Done",
        "201" => "Made",
        "204" => "Done; there is nothing to say",
        "400" => "What is asked for cannot be done: the problem names the field",
        "401" => "No credential, or one that is not or no longer good",
        "403" => "The role does not suffice",
        "404" => "There is no such thing, or it is somebody else's",
        "409" => "It conflicts with what there is; `code` says how",
        "422" => "The request has not the right shape: the problem names the field",
        "429" => "Too many; `Retry-After` says when to come back",
        "503" => "Something that is needed is away; `Retry-After` says when to come back",
        "504" => "No answer in time",
        _ => "See `code`",
    }
}

/// The whole public door.
pub(crate) fn router(app: App) -> Router {
    let (api, mut description) = OpenApiRouter::with_openapi(Description::openapi())
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
        .routes(routes!(events::follow))
        .split_for_parts();
    complete(&mut description);
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
