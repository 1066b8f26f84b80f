//! The sessions of the caller, and tickets for WebSockets.

use axum::{Json, extract::State};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use turnpike_proto::auth::v1 as pb;
use turnpike_topic::SessionId;
use utoipa::ToSchema;

use super::sign_in::no_store;
use crate::{
    access::caller::SignedIn,
    app::Auth,
    http::{Answer, extract::Id, problem::ProblemBody, rfc3339},
};

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
    /// The session of this request.
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

/// The sessions of the caller.
#[utoipa::path(get, path = "/api/auth/sessions", tag = "auth", responses((status = 200, body = Vec<Session>)))]
pub(crate) async fn sessions(State(auth): State<Auth>, SignedIn(caller): SignedIn) -> Answer<Json<Vec<Session>>> {
    let answer = auth.client().list_sessions(caller.token.request(pb::ListSessionsRequest {})).await?.into_inner();
    Ok(Json(answer.sessions.into_iter().map(Session::from).collect()))
}

/// End a session of the caller.
#[utoipa::path(delete, path = "/api/auth/sessions/{id}", tag = "auth", params(("id" = String, Path, format = Uuid)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(crate) async fn end_session(
    State(auth): State<Auth>,
    SignedIn(caller): SignedIn,
    Id(id): Id<SessionId>,
) -> Answer<StatusCode> {
    auth.client().end_session(caller.token.request(pb::EndSessionRequest { session_id: id.to_string() })).await?;
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

/// A single-use credential for opening a WebSocket, so that URLs contain no tokens. The ticket of an API key permits what the key
/// permits.
#[utoipa::path(post, path = "/api/auth/tickets", tag = "auth",
    responses((status = 201, body = Ticket), (status = 429, body = ProblemBody)))]
pub(crate) async fn ticket(
    State(auth): State<Auth>,
    SignedIn(caller): SignedIn,
) -> Answer<(StatusCode, HeaderMap, Json<Ticket>)> {
    let ticket = auth.client().create_ticket(caller.token.request(pb::CreateTicketRequest {})).await?.into_inner();
    let body = Ticket { ticket: ticket.ticket, expires_in: ticket.expires_in };
    Ok((StatusCode::CREATED, no_store(), Json(body)))
}
