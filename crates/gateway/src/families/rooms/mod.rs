//! `/api/rooms`: rooms of people.

mod insights;
mod members;
mod messages;
mod presence;
mod room;

use axum::Extension;
use turnpike_token::Scope;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{access::scope::ApiKeys, app::App};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(room::list_rooms, room::create_room))
        .routes(routes!(presence::room_stats))
        .routes(routes!(room::get_room, room::update_room, room::delete_room))
        .routes(routes!(members::list_members, members::add_member, members::leave_room))
        .routes(routes!(members::change_member, members::remove_member))
        .routes(routes!(messages::list_room_messages, messages::post_message))
        .routes(routes!(messages::edit_message, messages::redact_message))
        .routes(routes!(messages::mark_read))
        .routes(routes!(presence::list_present))
        .routes(routes!(insights::analyze_health))
        .layer(Extension(ApiKeys::Of(Scope::Chat)))
}
