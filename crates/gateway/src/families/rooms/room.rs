//! `/api/rooms` and `/api/rooms/{id}`.

use axum::{Json, extract::State};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use turnpike_fault::Fault;
use turnpike_proto::chat::v1 as pb;
use turnpike_topic::RoomId;
use utoipa::{IntoParams, ToSchema};

use crate::{
    access::{body::Body, caller::SignedIn},
    app::Chat,
    http::{
        Answer,
        extract::{Id, Page, Query, next_link},
        idempotency,
        problem::ProblemBody,
        rfc3339,
    },
};

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Visibility {
    /// Every user may see and join it.
    Public,
    /// Only members may see it.
    Private,
}

impl Visibility {
    fn word(self) -> String {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
        .to_owned()
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Room {
    #[schema(format = Uuid)]
    id: String,
    name: String,
    description: String,
    #[schema(value_type = String, example = "public")]
    visibility: String,
    /// Messages about one's health may get an insight, for their author only.
    insights: bool,
    #[schema(format = Uuid)]
    created_by: String,
    members: u32,
    /// The caller's: `owner`, `moderator` or `member`; null: no member.
    role: Option<String>,
    /// Messages after the caller's read marker.
    unread: u64,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    #[schema(format = DateTime)]
    updated_at: Option<String>,
}

impl From<pb::Room> for Room {
    fn from(room: pb::Room) -> Self {
        Self {
            id: room.id,
            name: room.name,
            description: room.description,
            visibility: room.visibility,
            insights: room.insights,
            created_by: room.created_by,
            members: room.members,
            role: Some(room.role).filter(|role| !role.is_empty()),
            unread: room.unread,
            created_at: rfc3339(room.created_at),
            updated_at: rfc3339(room.updated_at),
        }
    }
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct NewRoom {
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*\S[^\u0000-\u001f\u007f-\u009f]*$"
    )]
    name: String,
    #[schema(max_length = 500, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    description: Option<String>,
    /// `private` if absent.
    visibility: Option<Visibility>,
    /// Messages about one's health may get an insight, for their author only.
    insights: Option<bool>,
}

/// Create a room. The caller becomes its owner.
///
/// `Idempotency-Key` makes a repeated request get the response of the first one for 24 hours.
#[utoipa::path(post, path = "/api/rooms", tag = "rooms", request_body = NewRoom,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = Room), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
        (status = 422, body = ProblemBody)))]
pub(crate) async fn create_room(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Body(new, _): Body<NewRoom>,
) -> Answer<(StatusCode, HeaderMap, Json<Room>)> {
    let message = pb::CreateRoomRequest {
        name: new.name,
        description: new.description.unwrap_or_default(),
        visibility: new.visibility.map(Visibility::word).unwrap_or_default(),
        insights: new.insights.unwrap_or_default(),
        idempotency_key: idempotency::key(&headers)?,
    };
    let answer = chat.rooms().create_room(caller.token.request(message)).await?.into_inner();
    let room = answer.room.ok_or_else(Fault::internal)?;
    Ok((StatusCode::CREATED, idempotency::replayed(answer.replayed), Json(room.into())))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listed {
    /// Only rooms of which the caller is a member.
    joined: Option<bool>,
}

/// The caller's rooms and all public ones, newest first.
#[utoipa::path(get, path = "/api/rooms", tag = "rooms", params(Page, Listed),
    responses((status = 200, body = Vec<Room>), (status = 422, body = ProblemBody)))]
pub(crate) async fn list_rooms(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Query(page): Query<Page>,
    Query(listed): Query<Listed>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<Vec<Room>>)> {
    let message =
        pb::ListRoomsRequest { limit: page.limit()?, cursor: page.cursor(), joined: listed.joined.unwrap_or_default() };
    let answer = chat.rooms().list_rooms(caller.token.request(message)).await?.into_inner();
    Ok((next_link(&uri, &answer.next_cursor), Json(answer.rooms.into_iter().map(Room::from).collect())))
}

/// One room.
#[utoipa::path(get, path = "/api/rooms/{id}", tag = "rooms", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Room), (status = 404, body = ProblemBody)))]
pub(crate) async fn get_room(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<RoomId>,
) -> Answer<Json<Room>> {
    let message = pb::GetRoomRequest { room_id: id.to_string() };
    Ok(Json(chat.rooms().get_room(caller.token.request(message)).await?.into_inner().into()))
}

/// Changes of a room. An absent field stays as it is.
#[derive(Deserialize, ToSchema)]
pub(crate) struct RoomChanges {
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*\S[^\u0000-\u001f\u007f-\u009f]*$"
    )]
    name: Option<String>,
    #[schema(max_length = 500, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    description: Option<String>,
    visibility: Option<Visibility>,
    insights: Option<bool>,
}

/// Change a room. An owner.
#[utoipa::path(patch, path = "/api/rooms/{id}", tag = "rooms", request_body = RoomChanges,
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Room), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 422, body = ProblemBody)))]
pub(crate) async fn update_room(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<RoomId>,
    Body(changes, _): Body<RoomChanges>,
) -> Answer<Json<Room>> {
    let message = pb::UpdateRoomRequest {
        room_id: id.to_string(),
        name: changes.name,
        description: changes.description,
        visibility: changes.visibility.map(Visibility::word),
        insights: changes.insights,
    };
    Ok(Json(chat.rooms().update_room(caller.token.request(message)).await?.into_inner().into()))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct RoomDeleted {
    message: &'static str,
}

/// Delete a room with its messages. Its topic is closed. An owner.
#[utoipa::path(delete, path = "/api/rooms/{id}", tag = "rooms", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = RoomDeleted), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(crate) async fn delete_room(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<RoomId>,
) -> Answer<Json<RoomDeleted>> {
    let message = pb::DeleteRoomRequest { room_id: id.to_string() };
    chat.rooms().delete_room(caller.token.request(message)).await?;
    Ok(Json(RoomDeleted { message: "Room deleted" }))
}
