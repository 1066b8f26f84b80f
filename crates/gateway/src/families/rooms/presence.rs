//! `/api/rooms/{id}/users` and `/api/rooms/stats`: who is connected to rooms, over all gateways.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use http::{HeaderMap, Uri};
use serde::Serialize;
use turnpike_proto::chat::v1 as pb;
use turnpike_topic::RoomId;
use utoipa::ToSchema;

use crate::{
    access::caller::SignedIn,
    app::Chat,
    http::{
        Answer,
        extract::{Id, Page, Query, next_link},
        problem::ProblemBody,
        rfc3339,
    },
};

#[derive(Serialize, ToSchema)]
pub(crate) struct PresentUser {
    #[schema(format = Uuid)]
    user_id: String,
    username: String,
    #[schema(format = DateTime)]
    connected_at: Option<String>,
    #[schema(format = DateTime)]
    last_seen: Option<String>,
    connection_count: u32,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct PresentUsers {
    #[schema(format = Uuid)]
    room_id: String,
    /// A page, by id.
    users: Vec<PresentUser>,
    /// All users who are present.
    total: u32,
}

/// The users who are connected to a room.
#[utoipa::path(get, path = "/api/rooms/{id}/users", tag = "rooms", params(("id" = String, Path, format = Uuid), Page),
    responses((status = 200, body = PresentUsers), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn list_present(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<RoomId>,
    Query(page): Query<Page>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<PresentUsers>)> {
    let message = pb::ListPresentRequest { room_id: id.to_string(), limit: page.limit()?, cursor: page.cursor() };
    let answer = chat.rooms().list_present(caller.token.request(message)).await?.into_inner();
    let user = |user: pb::PresentUser| PresentUser {
        user_id: user.user_id,
        username: user.username,
        connected_at: rfc3339(user.connected_at),
        last_seen: rfc3339(user.last_seen),
        connection_count: user.connections,
    };
    let users = answer.users.into_iter().map(user).collect();
    let link = next_link(&uri, &answer.next_cursor);
    Ok((link, Json(PresentUsers { room_id: id.to_string(), users, total: answer.total })))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct RoomStats {
    total_users: u64,
    total_connections: u64,
    /// Present users by room; rooms without any are left out.
    rooms: BTreeMap<String, u64>,
}

/// How many users are connected to the rooms that the caller may see; for an admin to all rooms.
#[utoipa::path(get, path = "/api/rooms/stats", tag = "rooms", responses((status = 200, body = RoomStats)))]
pub(crate) async fn room_stats(State(chat): State<Chat>, SignedIn(caller): SignedIn) -> Answer<Json<RoomStats>> {
    let stats = chat.rooms().get_room_stats(caller.token.request(pb::GetRoomStatsRequest {})).await?.into_inner();
    let (total_users, total_connections) = (stats.total_users, stats.total_connections);
    Ok(Json(RoomStats { total_users, total_connections, rooms: stats.rooms.into_iter().collect() }))
}
