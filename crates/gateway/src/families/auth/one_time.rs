//! `POST /api/auth/one-time`: sign-in with a one-time code, from this machine only.

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::auth::v1 as pb;
use utoipa::ToSchema;

use super::sign_in::{LoggedIn, logged_in};
use crate::{
    access::{
        body::{Body, SMALL},
        client::Client,
        origin::AllowedOrigins,
    },
    app::Auth,
    http::{Answer, problem::ProblemBody},
};

/// A code that the one-process program stored for its operating system user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneTime {
    #[schema(example = "pSbC1gSJk2d0gk0mN1BzW1pGWkqvIQ0n8ZP1mY0yV6I")]
    code: String,
    /// `false`: the response has no tokens, only the cookie. For browsers.
    tokens: Option<bool>,
}

/// Sign in with a one-time code.
///
/// The program that runs every service in one process writes a code to its data directory at each start. It works once, for 24 hours, and only
/// over a connection from this machine without a proxy in between. An unknown, used or expired code gets the response of a wrong
/// password. Also sets the session cookie.
#[utoipa::path(post, path = "/api/auth/one-time", tag = "auth", request_body = OneTime, security(()),
    responses((status = 200, body = LoggedIn), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody, description = "The connection does not come directly from this machine"),
        (status = 422, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub(crate) async fn one_time(
    State(auth): State<Auth>,
    State(origins): State<AllowedOrigins>,
    client: Client,
    headers: HeaderMap,
    Body(body, _): Body<OneTime, SMALL>,
) -> Answer<(HeaderMap, Json<LoggedIn>)> {
    if !client.local {
        return Err(Fault::new(
            Kind::Forbidden,
            "A one-time code is accepted only over a connection from the machine of the gateway, without a proxy",
        )
        .code_is("NOT_LOCAL")
        .into());
    }
    let request = pb::RedeemOneTimeCodeRequest {
        code: body.code,
        client_ip: client.ip.to_string(),
        user_agent: client.user_agent.clone(),
    };
    let answer = auth.client().redeem_one_time_code(request).await?.into_inner();
    logged_in(&origins, &client, &headers, answer, body.tokens)
}
