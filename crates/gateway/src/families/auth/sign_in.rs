//! Sign-in, refresh and sign-out.

use axum::{Json, extract::State};
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::AccessToken;
use turnpike_proto::auth::v1 as pb;
use turnpike_token::ApiKey;
use utoipa::ToSchema;

use super::{account::Message, user::User};
use crate::{
    access::{
        body::{Body, SMALL},
        client::Client,
        credentials::{COOKIE, bearer, session_cookie},
        origin::AllowedOrigins,
    },
    app::Auth,
    http::{Answer, problem::ProblemBody},
};

/// Either an e-mail address or a username, and the password. [`LoginBody`] describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    email: Option<String>,
    username: Option<String>,
    password: String,
    tokens: Option<bool>,
}

/// Either an e-mail address or a username, and the password.
#[derive(ToSchema, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes Login, whose refusals are more precise than those of an untagged enum")]
pub(crate) enum LoginBody {
    Email(EmailLogin),
    Username(UsernameLogin),
}

#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a part of LoginBody")]
pub(crate) struct EmailLogin {
    #[schema(example = "admin@turnpike.local")]
    email: String,
    password: String,
    /// `false`: the response has no tokens, only the cookie. For browsers.
    tokens: Option<bool>,
}

#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a part of LoginBody")]
pub(crate) struct UsernameLogin {
    #[schema(example = "admin")]
    username: String,
    password: String,
    /// `false`: the response has no tokens, only the cookie. For browsers.
    tokens: Option<bool>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct LoggedIn {
    message: &'static str,
    /// Absent if the request has `"tokens": false`.
    #[serde(flatten)]
    tokens: Option<Tokens>,
    user: User,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Tokens {
    /// EdDSA JWT (RFC 9068).
    access_token: String,
    refresh_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds.
    #[schema(example = 900)]
    expires_in: u32,
    /// Seconds until the refresh token expires, unless its session ends before.
    #[schema(example = 2_592_000)]
    refresh_expires_in: u32,
}

impl From<pb::TokenPair> for Tokens {
    fn from(pair: pb::TokenPair) -> Self {
        Self {
            access_token: pair.access_token,
            refresh_token: pair.refresh_token,
            token_type: "Bearer",
            expires_in: pair.expires_in,
            refresh_expires_in: pair.refresh_expires_in,
        }
    }
}

/// Sign in.
///
/// Also sets the session cookie. An unknown account, a wrong password, an inactive account and a locked account get the same response.
#[utoipa::path(post, path = "/api/auth/login", tag = "auth", request_body = LoginBody, security(()),
    responses((status = 200, body = LoggedIn), (status = 401, body = ProblemBody), (status = 422, body = ProblemBody),
        (status = 429, body = ProblemBody)))]
pub(crate) async fn login(
    State(auth): State<Auth>,
    State(origins): State<AllowedOrigins>,
    client: Client,
    request_headers: HeaderMap,
    Body(login, _): Body<Login, SMALL>,
) -> Answer<(HeaderMap, Json<LoggedIn>)> {
    let identifier = match (login.email, login.username) {
        (Some(name), None) | (None, Some(name)) => name,
        (None, None) => {
            return Err(Fault::new(Kind::Validation, "The body is not valid")
                .field("email", "email or username is needed")
                .into());
        }
        (Some(_), Some(_)) => {
            return Err(Fault::new(Kind::Validation, "The body is not valid")
                .field("username", "either email or username")
                .into());
        }
    };
    let request = pb::LoginRequest {
        identifier,
        password: login.password,
        client_ip: client.ip.to_string(),
        user_agent: client.user_agent.clone(),
    };
    let answer = auth.client().login(request).await?.into_inner();
    logged_in(&origins, &client, &request_headers, answer, login.tokens)
}

/// The response to a sign-in that succeeded.
pub(crate) fn logged_in(
    origins: &AllowedOrigins,
    client: &Client,
    request_headers: &HeaderMap,
    answer: pb::LoginResponse,
    with_tokens: Option<bool>,
) -> Answer<(HeaderMap, Json<LoggedIn>)> {
    let (Some(tokens), Some(user)) = (answer.tokens, answer.user) else {
        return Err(Fault::internal().into());
    };
    // A page of another site must not sign its visitor in to another account, so it gets no cookie.
    let headers = match origins.is_foreign(request_headers) {
        true => HeaderMap::new(),
        false => set_cookie(&answer.session_token, COOKIE_SECONDS, client.secure),
    };
    // A page of ours has the cookie. A script of an attacker in it could take tokens, but not the cookie.
    let tokens = with_tokens.unwrap_or(true).then(|| tokens.into());
    Ok((headers, Json(LoggedIn { message: "Login successful", tokens, user: user.into() })))
}

/// How long a browser keeps the cookie: as long as auth accepts it.
const COOKIE_SECONDS: u32 = 24 * 3600;

/// `session_token`: scripts cannot read it, and pages of other sites cannot send it.
fn set_cookie(value: &str, seconds: u32, secure: bool) -> HeaderMap {
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; HttpOnly; SameSite=Lax; Path=/; Max-Age={seconds}{secure}");
    let mut headers = HeaderMap::new();
    if let Ok(mut cookie) = HeaderValue::try_from(cookie) {
        cookie.set_sensitive(true);
        headers.insert(header::SET_COOKIE, cookie);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    refresh_token: String,
}

/// A new pair of tokens.
///
/// The old refresh token becomes invalid. Sending it again within 30 s returns the same pair; later it ends the session.
#[utoipa::path(post, path = "/api/auth/refresh", tag = "auth", request_body = Refresh, security(()),
    responses((status = 200, body = Tokens), (status = 401, body = ProblemBody)))]
pub(crate) async fn refresh(
    State(auth): State<Auth>,
    Body(body, _): Body<Refresh, SMALL>,
) -> Answer<(HeaderMap, Json<Tokens>)> {
    let pair = auth.client().refresh(pb::RefreshRequest { refresh_token: body.refresh_token }).await?.into_inner();
    Ok((no_store(), Json(pair.into())))
}

pub(super) fn no_store() -> HeaderMap {
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))].into_iter().collect()
}

/// Sign out.
///
/// Always succeeds. Ends the session of the access token or the cookie and closes its sockets. API keys are revoked instead.
#[utoipa::path(post, path = "/api/auth/logout", tag = "auth", security((), ("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = Message)))]
pub(crate) async fn logout(
    State(auth): State<Auth>,
    State(origins): State<AllowedOrigins>,
    client: Client,
    headers: HeaderMap,
) -> Answer<(HeaderMap, Json<Message>)> {
    // A page of another site must not sign its visitor out.
    if origins.is_foreign(&headers) && bearer(&headers).is_none() {
        return Ok((HeaderMap::new(), Json(Message { message: "Logout successful" })));
    }
    let cookie = session_cookie(&headers).unwrap_or_default();
    let token = bearer(&headers).filter(|token| !ApiKey::is_meant(token));
    if token.is_some() || !cookie.is_empty() {
        let message = pb::LogoutRequest { refresh_token: String::new(), session_token: cookie };
        let request = match token {
            Some(token) => AccessToken::new(token).request(message),
            None => tonic::Request::new(message),
        };
        auth.client().logout(request).await?;
    }
    Ok((set_cookie("", 0, client.secure), Json(Message { message: "Logout successful" })))
}
