//! `/api/rooms/{id}/messages` and `/api/rooms/{id}/read`.

use axum::{Json, extract::State};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use turnpike_fault::Fault;
use turnpike_proto::chat::v1 as pb;
use turnpike_topic::{MessageId, RoomId};
use utoipa::{IntoParams, ToSchema};

use crate::{
    access::{body::Body, caller::SignedIn},
    app::Chat,
    http::{
        Answer,
        extract::{Id, Ids, Query, invalid, next_link_by},
        idempotency,
        problem::ProblemBody,
        rfc3339,
    },
    stream::socket::context::SocketContext,
};

#[derive(Serialize, ToSchema)]
pub(crate) struct RoomMessage {
    #[schema(format = Uuid)]
    id: String,
    #[schema(format = Uuid)]
    room_id: String,
    #[schema(format = Uuid)]
    user_id: String,
    username: String,
    /// null: redacted.
    content: Option<String>,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    #[schema(format = DateTime)]
    edited_at: Option<String>,
    #[schema(format = DateTime)]
    redacted_at: Option<String>,
    /// Its place on the topic `room:{id}`; null until it is published.
    offset: Option<String>,
    /// The topic that the text is from: `captions:{session_id}` for a caption of what the user said. null: the user wrote it.
    #[schema(example = "captions:01931d2e-9f6a-7000-8000-000000000000")]
    source: Option<String>,
}

impl From<pb::RoomMessage> for RoomMessage {
    fn from(message: pb::RoomMessage) -> Self {
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            id: message.id,
            room_id: message.room_id,
            user_id: message.user_id,
            username: message.username,
            content: text(message.content),
            created_at: rfc3339(message.created_at),
            edited_at: rfc3339(message.edited_at),
            redacted_at: rfc3339(message.redacted_at),
            offset: text(message.offset),
            source: text(message.source),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct BeforeMessage {
    /// Only messages before this one.
    #[param(format = Uuid)]
    before: Option<String>,
    /// The length of the page, 1–100; 50 if absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// The messages of a room: the newest page first, the oldest message first within it.
#[utoipa::path(get, path = "/api/rooms/{id}/messages", tag = "rooms",
    params(("id" = String, Path, format = Uuid), BeforeMessage),
    responses((status = 200, body = Vec<RoomMessage>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn list_room_messages(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<RoomId>,
    Query(query): Query<BeforeMessage>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<Vec<RoomMessage>>)> {
    let limit = query.limit.unwrap_or(50);
    if !(1..=100).contains(&limit) {
        return Err(invalid("The query is not valid", "limit", "must be from 1 to 100").into());
    }
    let before = match query.before {
        None => String::new(),
        Some(before) => {
            let before: Result<MessageId, _> = before.parse();
            let before = before.map_err(|_| invalid("The query is not valid", "before", "must be the id of a message"));
            before?.to_string()
        }
    };
    let message = pb::ListRoomMessagesRequest { room_id: id.to_string(), before, limit };
    let page = chat.rooms().list_room_messages(caller.token.request(message)).await?.into_inner();
    let before = page.messages.first().filter(|_| page.more).map(|first| first.id.clone()).unwrap_or_default();
    let messages = page.messages.into_iter().map(RoomMessage::from).collect();
    Ok((next_link_by(&uri, "before", &before), Json(messages)))
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct RoomText {
    /// White space at both ends does not count.
    #[schema(min_length = 1, max_length = 2000, pattern = r"^[^\u0000]*[^\s\u0000][^\u0000]*$")]
    content: String,
}

/// Write a message. It counts against the caller's messages a minute, like one on a socket.
///
/// In a public room the caller becomes a member. `Idempotency-Key` makes a repeated request get the response of the first one for 24
/// hours.
#[utoipa::path(post, path = "/api/rooms/{id}/messages", tag = "rooms", request_body = RoomText,
    params(("id" = String, Path, format = Uuid), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = RoomMessage), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
        (status = 422, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub(crate) async fn post_message(
    State(chat): State<Chat>,
    State(sockets): State<SocketContext>,
    SignedIn(caller): SignedIn,
    Id(id): Id<RoomId>,
    headers: HeaderMap,
    Body(text, _): Body<RoomText>,
) -> Answer<(StatusCode, HeaderMap, Json<RoomMessage>)> {
    sockets.messages.count(caller.claims.user_id)?;
    let message = pb::PostMessageRequest {
        room_id: id.to_string(),
        content: text.content,
        idempotency_key: idempotency::key(&headers)?,
        source: String::new(),
    };
    let answer = chat.rooms().post_message(caller.token.request(message)).await?.into_inner();
    let message = answer.message.ok_or_else(Fault::internal)?;
    Ok((StatusCode::CREATED, idempotency::replayed(answer.replayed), Json(message.into())))
}

/// Change the text of a message: its author, a moderator or an owner.
#[utoipa::path(patch, path = "/api/rooms/{id}/messages/{message_id}", tag = "rooms", request_body = RoomText,
    params(("id" = String, Path, format = Uuid), ("message_id" = String, Path, format = Uuid)),
    responses((status = 200, body = RoomMessage), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 422, body = ProblemBody)))]
pub(crate) async fn edit_message(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Ids(id, message_id): Ids<RoomId, MessageId>,
    Body(text, _): Body<RoomText>,
) -> Answer<Json<RoomMessage>> {
    let (room_id, message_id) = (id.to_string(), message_id.to_string());
    let message = pb::EditMessageRequest { room_id, message_id, content: text.content };
    Ok(Json(chat.rooms().edit_message(caller.token.request(message)).await?.into_inner().into()))
}

/// Remove the text of a message: its author, a moderator or an owner. The message stays, without its text.
#[utoipa::path(delete, path = "/api/rooms/{id}/messages/{message_id}", tag = "rooms",
    params(("id" = String, Path, format = Uuid), ("message_id" = String, Path, format = Uuid)),
    responses((status = 200, body = RoomMessage), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(crate) async fn redact_message(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Ids(id, message_id): Ids<RoomId, MessageId>,
) -> Answer<Json<RoomMessage>> {
    let message = pb::RedactMessageRequest { room_id: id.to_string(), message_id: message_id.to_string() };
    Ok(Json(chat.rooms().redact_message(caller.token.request(message)).await?.into_inner().into()))
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct Read {
    /// An offset of the topic: everything up to it was read.
    #[schema(pattern = "^[0-9]{1,18}-[0-9]{1,18}$", example = "1763700000000-42")]
    offset: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Unread {
    /// Messages after the caller's read marker.
    unread: u64,
}

/// Move the caller's read marker forward.
#[utoipa::path(post, path = "/api/rooms/{id}/read", tag = "rooms", request_body = Read,
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Unread), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 422, body = ProblemBody)))]
pub(crate) async fn mark_read(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<RoomId>,
    Body(read, _): Body<Read>,
) -> Answer<Json<Unread>> {
    let message = pb::MarkReadRequest { room_id: id.to_string(), offset: read.offset };
    let answer = chat.rooms().mark_read(caller.token.request(message)).await?.into_inner();
    Ok(Json(Unread { unread: answer.unread }))
}
