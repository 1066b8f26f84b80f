//! All routes of the public port.

use axum::{Extension, Router, extract::DefaultBodyLimit, middleware, routing::get};
use turnpike_kit::{Health, ops};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    access::{body::LARGE, scope::ApiKeys},
    app::App,
    families::{admin, auth, captions, chat, openai, rooms, vehicles},
    http::{console, guard, openapi},
    stream::{
        socket::{
            captions as captions_socket,
            dialect::{deepgram, vosk},
            multiplexed, response, room,
        },
        sse,
    },
};

pub(crate) fn router(app: App, health: Health) -> Router {
    let (api, mut description) = OpenApiRouter::with_openapi(openapi::Description::openapi())
        .merge(auth::routes())
        .merge(admin::routes())
        .merge(vehicles::routes())
        .merge(chat::routes())
        .merge(rooms::routes())
        .merge(captions::routes())
        .merge(openai::routes())
        .merge(OpenApiRouter::new().routes(routes!(sse::follow)).layer(Extension(ApiKeys::Any)))
        .split_for_parts();
    openapi::complete(&mut description);
    api.route("/ws", get(multiplexed::open))
        .route("/ws/responses/{command_id}", get(response::open))
        .route("/ws/rooms/{room_id}", get(room::open))
        .route("/ws/captions/{session_id}", get(captions_socket::open))
        .route("/ws/vosk", get(vosk::open))
        .route("/v1/listen", get(deepgram::open))
        .with_state(app)
        .merge(ops::health_routes(health))
        .merge(openapi::routes(&description))
        .merge(console::routes())
        .fallback(guard::not_found)
        .method_not_allowed_fallback(guard::method_not_allowed)
        .layer(DefaultBodyLimit::max(LARGE))
        .layer(middleware::from_fn(guard::guard))
}
