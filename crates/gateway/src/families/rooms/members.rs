//! `/api/rooms/{id}/members`: joining, adding, roles, leaving, removing.

use axum::{Json, extract::State};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::Caller;
use turnpike_proto::{auth::v1 as auth, chat::v1 as pb};
use turnpike_topic::{RoomId, UserId};
use utoipa::{IntoParams, ToSchema};

use crate::{
    access::{
        body::{Body, OptionalBody},
        caller::SignedIn,
    },
    app::{Auth, Chat},
    http::{
        Answer,
        extract::{Id, Ids, Page, Query, next_link},
        problem::ProblemBody,
        rfc3339,
    },
};

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RoomRole {
    Owner,
    Moderator,
    Member,
}

impl RoomRole {
    fn word(self) -> String {
        match self {
            Self::Owner => "owner",
            Self::Moderator => "moderator",
            Self::Member => "member",
        }
        .to_owned()
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct RoomMember {
    #[schema(format = Uuid)]
    user_id: String,
    /// null if the account was deleted.
    username: Option<String>,
    /// `owner`, `moderator` or `member`.
    role: String,
    #[schema(format = DateTime)]
    joined_at: Option<String>,
}

impl From<pb::RoomMember> for RoomMember {
    fn from(member: pb::RoomMember) -> Self {
        Self {
            user_id: member.user_id,
            username: Some(member.username).filter(|name| !name.is_empty()),
            role: member.role,
            joined_at: rfc3339(member.joined_at),
        }
    }
}

/// The members of a room, by id.
#[utoipa::path(get, path = "/api/rooms/{id}/members", tag = "rooms", params(("id" = String, Path, format = Uuid), Page),
    responses((status = 200, body = Vec<RoomMember>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn list_members(
    State(chat): State<Chat>,
    State(auth): State<Auth>,
    SignedIn(caller): SignedIn,
    Id(id): Id<RoomId>,
    Query(page): Query<Page>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<Vec<RoomMember>>)> {
    let message = pb::ListMembersRequest { room_id: id.to_string(), limit: page.limit()?, cursor: page.cursor() };
    let answer = chat.rooms().list_members(caller.token.request(message)).await?.into_inner();
    let mut members: Vec<_> = answer.members.into_iter().map(RoomMember::from).collect();
    name(&auth, &caller, &mut members).await?;
    Ok((next_link(&uri, &answer.next_cursor), Json(members)))
}

/// Chat knows the name of a user who was in the room. The names of the others are those of their accounts.
async fn name(auth: &Auth, caller: &Caller, members: &mut [RoomMember]) -> Answer<()> {
    let unnamed = members.iter().filter(|member| member.username.is_none());
    let message = auth::NameUsersRequest {
        user_ids: unnamed.map(|member| member.user_id.clone()).collect(),
        usernames: Vec::new(),
    };
    if message.user_ids.is_empty() {
        return Ok(());
    }
    let named = auth.client().name_users(caller.token.request(message)).await?.into_inner().users;
    for member in members.iter_mut().filter(|member| member.username.is_none()) {
        let found = named.iter().find(|user| user.user_id == member.user_id);
        member.username = found.map(|user| user.username.clone());
    }
    Ok(())
}

/// Who becomes a member. Every field, and the body, may be absent.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct NewMember {
    /// The caller if absent, as long as `username` is absent.
    #[schema(format = Uuid)]
    user_id: Option<String>,
    /// In place of `user_id`.
    #[schema(example = "ada")]
    username: Option<String>,
    /// `member` if absent.
    role: Option<RoomRole>,
}

/// Join a public room; or add a user, as a moderator or an owner.
#[utoipa::path(post, path = "/api/rooms/{id}/members", tag = "rooms", request_body = Option<NewMember>,
    params(("id" = String, Path, format = Uuid)),
    responses((status = 201, body = RoomMember), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn add_member(
    State(chat): State<Chat>,
    State(auth): State<Auth>,
    SignedIn(caller): SignedIn,
    Id(id): Id<RoomId>,
    OptionalBody(new, _): OptionalBody<NewMember>,
) -> Answer<(StatusCode, Json<RoomMember>)> {
    let user_id = match (user("user_id", new.user_id)?, new.username) {
        (id, None) => id,
        (id, Some(username)) if id.is_empty() => of_name(&auth, &caller, username).await?,
        (_, Some(_)) => return Err(refused("username", "excludes user_id").into()),
    };
    let role = new.role.map(RoomRole::word).unwrap_or_default();
    let message = pb::PutMemberRequest { room_id: id.to_string(), user_id, role };
    let mut member = [RoomMember::from(chat.rooms().put_member(caller.token.request(message)).await?.into_inner())];
    name(&auth, &caller, &mut member).await?;
    let [member] = member;
    Ok((StatusCode::CREATED, Json(member)))
}

/// The id of the user with this name.
async fn of_name(auth: &Auth, caller: &Caller, username: String) -> Answer<String> {
    let message = auth::NameUsersRequest { user_ids: Vec::new(), usernames: vec![username] };
    let found = auth.client().name_users(caller.token.request(message)).await?.into_inner().users;
    let found = found.into_iter().next();
    Ok(found.ok_or_else(|| refused("username", "no user has this name"))?.user_id)
}

fn refused(field: &str, message: &'static str) -> Fault {
    Fault::new(Kind::Validation, "The request is not valid").field(field, message)
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct MemberChange {
    role: RoomRole,
}

/// Give a member another role. An owner.
#[utoipa::path(patch, path = "/api/rooms/{id}/members/{user_id}", tag = "rooms", request_body = MemberChange,
    params(("id" = String, Path, format = Uuid), ("user_id" = String, Path, format = Uuid)),
    responses((status = 200, body = RoomMember), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn change_member(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Ids(id, user_id): Ids<RoomId, UserId>,
    Body(change, _): Body<MemberChange>,
) -> Answer<Json<RoomMember>> {
    let message =
        pb::PutMemberRequest { room_id: id.to_string(), user_id: user_id.to_string(), role: change.role.word() };
    Ok(Json(chat.rooms().put_member(caller.token.request(message)).await?.into_inner().into()))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Leaving {
    /// The caller if absent.
    #[param(format = Uuid)]
    user_id: Option<String>,
}

/// Leave a room; or remove a member, as a moderator or an owner.
#[utoipa::path(delete, path = "/api/rooms/{id}/members", tag = "rooms",
    params(("id" = String, Path, format = Uuid), Leaving),
    responses((status = 204), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn leave_room(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<RoomId>,
    Query(leaving): Query<Leaving>,
) -> Answer<StatusCode> {
    remove(&chat, &caller, id, user("user_id", leaving.user_id)?).await
}

/// Remove a member. A moderator or an owner; members remove themselves.
#[utoipa::path(delete, path = "/api/rooms/{id}/members/{user_id}", tag = "rooms",
    params(("id" = String, Path, format = Uuid), ("user_id" = String, Path, format = Uuid)),
    responses((status = 204), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
pub(crate) async fn remove_member(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Ids(id, user_id): Ids<RoomId, UserId>,
) -> Answer<StatusCode> {
    remove(&chat, &caller, id, user_id.to_string()).await
}

async fn remove(chat: &Chat, caller: &Caller, id: RoomId, user_id: String) -> Answer<StatusCode> {
    let message = pb::RemoveMemberRequest { room_id: id.to_string(), user_id };
    chat.rooms().remove_member(caller.token.request(message)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The id of a user, as the chat service expects it: empty if it is absent.
fn user(field: &str, text: Option<String>) -> Result<String, Fault> {
    let Some(text) = text else { return Ok(String::new()) };
    let id: Result<UserId, _> = text.parse();
    id.map(|id| id.to_string()).map_err(|_| refused(field, "must be the id of a user"))
}
