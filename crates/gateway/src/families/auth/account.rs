//! `/api/auth`: signing in, staying in, getting out.

use axum::{Json, extract::State};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::AccessToken;
use turnpike_proto::auth::v1 as pb;
use turnpike_rpc::bearer;
use turnpike_topic::SessionId;
use utoipa::ToSchema;

use crate::{
    access::{
        body::{Body, SMALL},
        caller::{COOKIE, SignedIn, session_cookie},
        client::Client,
    },
    app::App,
    http::{Answer, extract::Id, idempotency, problem::ProblemBody, rfc3339},
};

#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    User,
    Operator,
    Engineer,
    Admin,
}

impl From<Role> for pb::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Operator => Self::Operator,
            Role::Engineer => Self::Engineer,
            Role::Admin => Self::Admin,
        }
    }
}

impl From<pb::Role> for Role {
    fn from(role: pb::Role) -> Self {
        match role {
            pb::Role::Unspecified | pb::Role::User => Self::User,
            pb::Role::Operator => Self::Operator,
            pb::Role::Engineer => Self::Engineer,
            pb::Role::Admin => Self::Admin,
        }
    }
}

/// Somebody with an account.
#[derive(Serialize, ToSchema)]
pub(crate) struct User {
    #[schema(format = Uuid)]
    id: String,
    email: String,
    username: String,
    display_name: String,
    role: Role,
    active: bool,
    #[schema(format = DateTime)]
    created_at: Option<String>,
}

impl From<pb::User> for User {
    fn from(user: pb::User) -> Self {
        let role = user.role().into();
        Self {
            id: user.id,
            email: user.email,
            username: user.username,
            display_name: user.display_name,
            role,
            active: user.active,
            created_at: rfc3339(user.created_at),
        }
    }
}

/// Either an e-mail address or a username, and the password. [`LoginBody`] describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    email: Option<String>,
    username: Option<String>,
    password: String,
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
}

#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a part of LoginBody")]
pub(crate) struct UsernameLogin {
    #[schema(example = "admin")]
    username: String,
    password: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct LoggedIn {
    message: &'static str,
    #[serde(flatten)]
    tokens: Tokens,
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

#[derive(Serialize, ToSchema)]
pub(crate) struct Message {
    message: &'static str,
}

/// Sign in.
///
/// Also sets the session cookie. An unknown, wrong, inactive or locked account is answered alike.
#[utoipa::path(post, path = "/api/auth/login", tag = "auth", request_body = LoginBody, security(()),
    responses((status = 200, body = LoggedIn), (status = 401, body = ProblemBody), (status = 422, body = ProblemBody),
        (status = 429, body = ProblemBody)))]
pub(crate) async fn login(
    State(app): State<App>,
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
    let answer = app.auth().login(request).await?.into_inner();
    logged_in(&app, &client, &request_headers, answer)
}

/// The response to a sign-in that succeeded.
pub(crate) fn logged_in(
    app: &App,
    client: &Client,
    request_headers: &HeaderMap,
    answer: pb::LoginResponse,
) -> Answer<(HeaderMap, Json<LoggedIn>)> {
    let (Some(tokens), Some(user)) = (answer.tokens, answer.user) else {
        return Err(Fault::internal().into());
    };
    // Another site's page may not sign a visitor in as somebody else: without the cookie, its answer is for who can read it.
    let headers = match app.identity.is_foreign(request_headers) {
        true => HeaderMap::new(),
        false => set_cookie(&answer.session_token, COOKIE_SECONDS, client.secure),
    };
    Ok((headers, Json(LoggedIn { message: "Login successful", tokens: tokens.into(), user: user.into() })))
}

/// How long a browser keeps the cookie: as long as auth keeps the session.
const COOKIE_SECONDS: u32 = 24 * 3600;

/// `session_token`, which scripts can't read and other sites can't send.
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
/// The old refresh token is used up; presenting it again within 30 s gives the same pair, later it ends the session.
#[utoipa::path(post, path = "/api/auth/refresh", tag = "auth", request_body = Refresh, security(()),
    responses((status = 200, body = Tokens), (status = 401, body = ProblemBody)))]
pub(crate) async fn refresh(
    State(app): State<App>,
    Body(body, _): Body<Refresh, SMALL>,
) -> Answer<(HeaderMap, Json<Tokens>)> {
    let pair = app.auth().refresh(pb::RefreshRequest { refresh_token: body.refresh_token }).await?.into_inner();
    Ok((no_store(), Json(pair.into())))
}

fn no_store() -> HeaderMap {
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))].into_iter().collect()
}

/// Sign out.
///
/// Always succeeds. Ends the session of the access token or the cookie, and closes its sockets.
#[utoipa::path(post, path = "/api/auth/logout", tag = "auth", security((), ("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = Message)))]
pub(crate) async fn logout(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
) -> Answer<(HeaderMap, Json<Message>)> {
    // Another site's page may not put anybody out.
    if app.identity.is_foreign(&headers) && bearer(&headers).is_none() {
        return Ok((HeaderMap::new(), Json(Message { message: "Logout successful" })));
    }
    let cookie = session_cookie(&headers).unwrap_or_default().to_owned();
    let token = bearer(&headers);
    if token.is_some() || !cookie.is_empty() {
        let message = pb::LogoutRequest { refresh_token: String::new(), session_token: cookie };
        let request = match token {
            Some(token) => AccessToken::new(token).request(message),
            None => tonic::Request::new(message),
        };
        app.auth().logout(request).await?;
    }
    Ok((set_cookie("", 0, client.secure), Json(Message { message: "Logout successful" })))
}

/// Who I am.
#[utoipa::path(get, path = "/api/auth/me", tag = "auth",
    responses((status = 200, body = User), (status = 401, body = ProblemBody)))]
pub(crate) async fn me(State(app): State<App>, SignedIn(caller): SignedIn) -> Answer<Json<User>> {
    Ok(Json(app.auth().get_me(caller.token.request(pb::GetMeRequest {})).await?.into_inner().into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePassword {
    current_password: String,
    /// Hard to guess, and at most 256 bytes.
    #[schema(min_length = 12, max_length = 256)]
    new_password: String,
}

/// Change my password. My other sessions end.
///
/// `Idempotency-Key` makes a repeated request get the first one's answer for 24 hours.
#[utoipa::path(post, path = "/api/auth/change-password", tag = "auth", request_body = ChangePassword,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Message), (status = 400, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn change_password(
    State(app): State<App>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Body(body, _): Body<ChangePassword, SMALL>,
) -> Answer<(HeaderMap, Json<Message>)> {
    let message = pb::ChangePasswordRequest {
        current_password: body.current_password,
        new_password: body.new_password,
        idempotency_key: idempotency::key(&headers)?,
    };
    let answer = app.auth().change_password(caller.token.request(message)).await?.into_inner();
    Ok((idempotency::replayed(answer.replayed), Json(Message { message: "Password changed" })))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    #[schema(format = Uuid)]
    id: String,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    #[schema(format = DateTime)]
    last_seen_at: Option<String>,
    ip: String,
    user_agent: String,
    /// The one that asks.
    current: bool,
}

impl From<pb::Session> for Session {
    fn from(session: pb::Session) -> Self {
        Self {
            id: session.id,
            created_at: rfc3339(session.created_at),
            last_seen_at: rfc3339(session.last_seen_at),
            ip: session.ip,
            user_agent: session.user_agent,
            current: session.current,
        }
    }
}

/// Where I am signed in.
#[utoipa::path(get, path = "/api/auth/sessions", tag = "auth", responses((status = 200, body = Vec<Session>)))]
pub(crate) async fn sessions(State(app): State<App>, SignedIn(caller): SignedIn) -> Answer<Json<Vec<Session>>> {
    let answer = app.auth().list_sessions(caller.token.request(pb::ListSessionsRequest {})).await?.into_inner();
    Ok(Json(answer.sessions.into_iter().map(Session::from).collect()))
}

/// Sign out elsewhere.
#[utoipa::path(delete, path = "/api/auth/sessions/{id}", tag = "auth", params(("id" = String, Path, format = Uuid)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(crate) async fn end_session(
    State(app): State<App>,
    SignedIn(caller): SignedIn,
    Id(id): Id<SessionId>,
) -> Answer<StatusCode> {
    app.auth().end_session(caller.token.request(pb::EndSessionRequest { session_id: id.to_string() })).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Ticket {
    /// For `Sec-WebSocket-Protocol: turnpike.v1, ticket.<ticket>`.
    ticket: String,
    /// Seconds.
    #[schema(example = 30)]
    expires_in: u32,
}

/// A single-use credential for opening a WebSocket, so that no token stands in a URL.
#[utoipa::path(post, path = "/api/auth/tickets", tag = "auth",
    responses((status = 201, body = Ticket), (status = 429, body = ProblemBody)))]
pub(crate) async fn ticket(
    State(app): State<App>,
    SignedIn(caller): SignedIn,
) -> Answer<(StatusCode, HeaderMap, Json<Ticket>)> {
    let ticket = app.auth().create_ticket(caller.token.request(pb::CreateTicketRequest {})).await?.into_inner();
    let body = Ticket { ticket: ticket.ticket, expires_in: ticket.expires_in };
    Ok((StatusCode::CREATED, no_store(), Json(body)))
}

/// The public keys that verify access tokens (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "auth", security(()),
    responses((status = 200, description = "A JSON Web Key Set", content_type = "application/jwk-set+json")))]
pub(crate) async fn jwks(State(app): State<App>) -> Answer<(HeaderMap, String)> {
    let keys = app.auth().get_jwks(pb::GetJwksRequest {}).await?.into_inner();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
    ];
    Ok((headers.into_iter().collect(), keys.jwks_json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_the_names_that_access_tokens_use() {
        for role in [Role::User, Role::Operator, Role::Engineer, Role::Admin] {
            let name = serde_json::to_value(role).expect("a name");
            assert!(turnpike_token::Role::from_word(name.as_str().expect("text")).is_some());
        }
    }
}
