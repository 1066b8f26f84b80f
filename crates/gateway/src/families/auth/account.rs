//! The account of the caller.

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use turnpike_proto::auth::v1 as pb;
use utoipa::ToSchema;

use super::user::User;
use crate::{
    access::{
        body::{Body, SMALL},
        caller::SignedIn,
    },
    app::Auth,
    http::{Answer, idempotency, problem::ProblemBody},
};

#[derive(Serialize, ToSchema)]
pub(crate) struct Message {
    pub(super) message: &'static str,
}

/// The account of the caller.
#[utoipa::path(get, path = "/api/auth/me", tag = "auth",
    responses((status = 200, body = User), (status = 401, body = ProblemBody)))]
pub(crate) async fn me(State(auth): State<Auth>, SignedIn(caller): SignedIn) -> Answer<Json<User>> {
    Ok(Json(auth.client().get_me(caller.token.request(pb::GetMeRequest {})).await?.into_inner().into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePassword {
    current_password: String,
    /// Hard to guess, and at most 256 bytes.
    #[schema(min_length = 12, max_length = 256)]
    new_password: String,
}

/// Change the caller's password. The caller's other sessions end.
///
/// `Idempotency-Key` makes a repeated request get the response of the first one for 24 hours.
#[utoipa::path(post, path = "/api/auth/change-password", tag = "auth", request_body = ChangePassword,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Message), (status = 400, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn change_password(
    State(auth): State<Auth>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Body(body, _): Body<ChangePassword, SMALL>,
) -> Answer<(HeaderMap, Json<Message>)> {
    let message = pb::ChangePasswordRequest {
        current_password: body.current_password,
        new_password: body.new_password,
        idempotency_key: idempotency::key(&headers)?,
    };
    let answer = auth.client().change_password(caller.token.request(message)).await?.into_inner();
    Ok((idempotency::replayed(answer.replayed), Json(Message { message: "Password changed" })))
}
