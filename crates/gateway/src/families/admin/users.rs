//! `/api/admin/users`: accounts and their sessions.

use axum::{Json, extract::State};
use http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use turnpike_fault::Fault;
use turnpike_proto::auth::v1 as pb;
use turnpike_topic::UserId;
use utoipa::ToSchema;

use crate::{
    access::{
        body::{Body, SMALL},
        caller::Admin,
    },
    app::Auth,
    families::auth::{
        sessions::Session,
        user::{Role, User},
    },
    http::{
        Answer,
        extract::{Id, Page, Query, next_link},
        idempotency,
        problem::ProblemBody,
    },
};

/// All accounts, newest first.
#[utoipa::path(get, path = "/api/admin/users", tag = "admin", params(Page),
    responses((status = 200, body = Vec<User>), (status = 403, body = ProblemBody)))]
pub(crate) async fn list_users(
    State(auth): State<Auth>,
    Admin(caller): Admin,
    Query(page): Query<Page>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<Vec<User>>)> {
    let message = pb::ListUsersRequest { limit: page.limit()?, cursor: page.cursor() };
    let answer = auth.client().list_users(caller.token.request(message)).await?.into_inner();
    Ok((next_link(&uri, &answer.next_cursor), Json(answer.users.into_iter().map(User::from).collect())))
}

/// A new account. The e-mail address has one @ with something on both sides, no white space and no control characters.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    #[schema(
        example = "ada@example.com",
        max_length = 254,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f@]+@[^\s\u0000-\u001f\u007f-\u009f@.]([^\s\u0000-\u001f\u007f-\u009f@]*[^\s\u0000-\u001f\u007f-\u009f@.])?$"
    )]
    email: String,
    #[schema(example = "ada", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    username: String,
    /// Hard to guess, and at most 256 bytes.
    #[schema(min_length = 12, max_length = 256)]
    password: String,
    /// `user` if absent.
    role: Option<Role>,
    #[schema(max_length = 128, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    display_name: Option<String>,
}

/// Create an account.
///
/// `Idempotency-Key` makes a repeated request get the response of the first one for 24 hours.
#[utoipa::path(post, path = "/api/admin/users", tag = "admin", request_body = NewUser,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = User), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody),
        (status = 422, body = ProblemBody)))]
pub(crate) async fn create_user(
    State(auth): State<Auth>,
    Admin(caller): Admin,
    headers: HeaderMap,
    Body(new, _): Body<NewUser, SMALL>,
) -> Answer<(StatusCode, HeaderMap, Json<User>)> {
    let message = pb::CreateUserRequest {
        email: new.email,
        username: new.username,
        password: new.password,
        role: new.role.map_or(pb::Role::Unspecified, pb::Role::from).into(),
        display_name: new.display_name.unwrap_or_default(),
        idempotency_key: idempotency::key(&headers)?,
    };
    let answer = auth.client().create_user(caller.token.request(message)).await?.into_inner();
    let user = answer.user.ok_or_else(Fault::internal)?;
    Ok((StatusCode::CREATED, idempotency::replayed(answer.replayed), Json(user.into())))
}

/// One account.
#[utoipa::path(get, path = "/api/admin/users/{id}", tag = "admin", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = User), (status = 404, body = ProblemBody)))]
pub(crate) async fn get_user(State(auth): State<Auth>, Admin(caller): Admin, Id(id): Id<UserId>) -> Answer<Json<User>> {
    let message = pb::GetUserRequest { user_id: id.to_string() };
    Ok(Json(auth.client().get_user(caller.token.request(message)).await?.into_inner().into()))
}

/// The fields to change. Absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserChange {
    role: Option<Role>,
    active: Option<bool>,
    #[schema(max_length = 128, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    display_name: Option<String>,
    /// Hard to guess, and at most 256 bytes.
    #[schema(min_length = 12, max_length = 256)]
    password: Option<String>,
}

/// Change an account. A new role, password or inactivity ends its sessions.
#[utoipa::path(patch, path = "/api/admin/users/{id}", tag = "admin", params(("id" = String, Path, format = Uuid)), request_body = UserChange,
    responses((status = 200, body = User), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(crate) async fn update_user(
    State(auth): State<Auth>,
    Admin(caller): Admin,
    Id(id): Id<UserId>,
    Body(change, _): Body<UserChange, SMALL>,
) -> Answer<Json<User>> {
    let message = pb::UpdateUserRequest {
        user_id: id.to_string(),
        role: change.role.map(|role| pb::Role::from(role).into()),
        active: change.active,
        display_name: change.display_name,
        password: change.password,
    };
    Ok(Json(auth.client().update_user(caller.token.request(message)).await?.into_inner().into()))
}

/// Delete an account.
#[utoipa::path(delete, path = "/api/admin/users/{id}", tag = "admin", params(("id" = String, Path, format = Uuid)),
    responses((status = 204), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(crate) async fn delete_user(
    State(auth): State<Auth>,
    Admin(caller): Admin,
    Id(id): Id<UserId>,
) -> Answer<StatusCode> {
    let message = pb::DeleteUserRequest { user_id: id.to_string() };
    auth.client().delete_user(caller.token.request(message)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The sessions of a user.
#[utoipa::path(get, path = "/api/admin/users/{id}/sessions", tag = "admin", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Vec<Session>), (status = 404, body = ProblemBody)))]
pub(crate) async fn list_sessions(
    State(auth): State<Auth>,
    Admin(caller): Admin,
    Id(id): Id<UserId>,
) -> Answer<Json<Vec<Session>>> {
    let message = pb::ListUserSessionsRequest { user_id: id.to_string() };
    let answer = auth.client().list_user_sessions(caller.token.request(message)).await?.into_inner();
    Ok(Json(answer.sessions.into_iter().map(Session::from).collect()))
}

/// Sign a user out everywhere.
#[utoipa::path(delete, path = "/api/admin/users/{id}/sessions", tag = "admin", params(("id" = String, Path, format = Uuid)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(crate) async fn end_sessions(
    State(auth): State<Auth>,
    Admin(caller): Admin,
    Id(id): Id<UserId>,
) -> Answer<StatusCode> {
    let message = pb::EndUserSessionsRequest { user_id: id.to_string() };
    auth.client().end_user_sessions(caller.token.request(message)).await?;
    Ok(StatusCode::NO_CONTENT)
}
