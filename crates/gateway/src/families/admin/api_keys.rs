//! `/api/admin/users/{id}/api-keys`: the API keys of a user.

use axum::{
    Json, RequestPartsExt,
    extract::{FromRequestParts, Path, State},
};
use http::{StatusCode, request::Parts};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::auth::v1 as pb;
use turnpike_topic::{ApiKeyId, UserId};

use crate::{
    access::caller::Admin,
    app::Auth,
    families::auth::api_keys::ApiKey,
    http::{
        Answer,
        extract::Id,
        problem::{Problem, ProblemBody},
    },
};

/// The API keys of a user, newest first.
#[utoipa::path(get, path = "/api/admin/users/{id}/api-keys", tag = "admin", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Vec<ApiKey>), (status = 404, body = ProblemBody)))]
pub(crate) async fn list_api_keys(
    State(auth): State<Auth>,
    Admin(caller): Admin,
    Id(id): Id<UserId>,
) -> Answer<Json<Vec<ApiKey>>> {
    let message = pb::ListUserApiKeysRequest { user_id: id.to_string() };
    let answer = auth.api_keys().list_user_api_keys(caller.token.request(message)).await?.into_inner();
    Ok(Json(answer.api_keys.into_iter().map(ApiKey::from).collect()))
}

/// A user and one of their keys, in the path. An id that is not well-formed identifies nothing.
pub(crate) struct KeyOfUser(UserId, ApiKeyId);

impl<S: Send + Sync> FromRequestParts<S> for KeyOfUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Fault::new(Kind::NotFound, "Not found");
        let Path((user, key)) = parts.extract::<Path<(String, String)>>().await.map_err(|_| missing())?;
        Ok(Self(user.parse().map_err(|_| missing())?, key.parse().map_err(|_| missing())?))
    }
}

/// Revoke an API key of a user.
#[utoipa::path(delete, path = "/api/admin/users/{id}/api-keys/{key_id}", tag = "admin",
    params(("id" = String, Path, format = Uuid), ("key_id" = String, Path, format = Uuid)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(crate) async fn revoke_api_key(
    State(auth): State<Auth>,
    Admin(caller): Admin,
    KeyOfUser(user, key): KeyOfUser,
) -> Answer<StatusCode> {
    let message = pb::RevokeUserApiKeyRequest { user_id: user.to_string(), id: key.to_string() };
    auth.api_keys().revoke_user_api_key(caller.token.request(message)).await?;
    Ok(StatusCode::NO_CONTENT)
}
