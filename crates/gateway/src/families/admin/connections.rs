//! `/api/admin/connections`: the open sockets and streams of all gateways.

use axum::{Json, extract::State};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use turnpike_event::OpenConnection;
use turnpike_fault::{Fault, Kind};
use turnpike_topic::{ConnectionId, UserId};
use utoipa::{IntoParams, ToSchema};

use crate::{
    access::caller::Admin,
    http::{
        Answer,
        extract::{Id, Page, Query, next_link},
        problem::ProblemBody,
    },
    stream::peers::{Closed, Peers},
};

/// The number of gateways that were asked.
const ASKED: HeaderName = HeaderName::from_static("x-gateways-asked");
/// The names of those that have not answered; absent if all have.
const MISSING: HeaderName = HeaderName::from_static("x-gateways-missing");

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// The length of the page, 1–100; 50 if absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The cursor in the `Link` header of the previous page.
    #[param(pattern = "^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})?$")]
    cursor: Option<String>,
    /// Only the connections of this user.
    #[param(format = Uuid)]
    user_id: Option<String>,
}

/// An open socket or stream.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenConnection)]
pub(crate) struct Connection {
    #[schema(format = Uuid)]
    id: String,
    /// The gateway that has it: its host and port.
    #[schema(example = "gateway-1:8080")]
    gateway: String,
    #[schema(format = Uuid)]
    user_id: String,
    username: String,
    #[schema(format = Uuid)]
    session_id: String,
    /// The API key with which it was opened.
    #[schema(format = Uuid)]
    api_key_id: Option<String>,
    /// The route on which it was opened.
    #[schema(example = "/ws/rooms/{room_id}")]
    route: String,
    /// The address of the client, behind trusted proxies.
    #[schema(example = "203.0.113.7")]
    address: String,
    user_agent: String,
    #[schema(format = DateTime)]
    since: String,
    /// When the client sent something that was no pong.
    #[schema(format = DateTime)]
    last_active: String,
    /// When the client answered a ping or sent a heartbeat; null: never.
    #[schema(format = DateTime)]
    last_heartbeat: Option<String>,
    /// At most 16 of the topics.
    topics: Vec<String>,
    topics_total: u32,
    bytes_sent: u64,
    bytes_received: u64,
    /// Events that the client has not got yet; null: not known.
    lag: Option<u64>,
}

impl From<(String, OpenConnection)> for Connection {
    fn from((gateway, one): (String, OpenConnection)) -> Self {
        Self {
            id: one.id.to_string(),
            gateway,
            user_id: one.user_id.to_string(),
            username: one.username,
            session_id: one.session_id.to_string(),
            api_key_id: one.api_key_id.map(|id| id.to_string()),
            route: one.route,
            address: one.address,
            user_agent: one.user_agent,
            since: one.since.to_string(),
            last_active: one.last_active.to_string(),
            last_heartbeat: one.last_heartbeat.map(|at| at.to_string()),
            topics: one.topics,
            topics_total: one.topics_total,
            bytes_sent: one.bytes_sent,
            bytes_received: one.bytes_received,
            lag: one.lag,
        }
    }
}

/// The open sockets and streams of all gateways, newest first.
///
/// The gateway asks the others and waits for their answers for at most a second. `X-Gateways-Asked` is the number of gateways, and
/// `X-Gateways-Missing` has the names of those that have not answered; the list is without their connections.
#[utoipa::path(get, path = "/api/admin/connections", tag = "admin", params(Filter),
    responses((status = 200, body = Vec<Connection>), (status = 403, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn list_connections(
    State(peers): State<Peers>,
    _: Admin,
    Query(filter): Query<Filter>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<Vec<Connection>>)> {
    let limit = Page { limit: filter.limit, cursor: None }.limit()?;
    let before = id::<ConnectionId>("cursor", filter.cursor)?;
    let user_id = id::<UserId>("user_id", filter.user_id)?;
    // One more than the page tells whether there is another one.
    let mut listed = peers.list(user_id, before, limit + 1).await?;
    let more = listed.connections.len() > limit as usize;
    listed.connections.truncate(limit as usize);
    let last = listed.connections.last().filter(|_| more).map(|(_, one)| one.id.to_string());
    let mut headers = next_link(&uri, &last.unwrap_or_default());
    headers.insert(ASKED, listed.asked.into());
    if !listed.missing.is_empty()
        && let Ok(names) = HeaderValue::try_from(listed.missing.join(", "))
    {
        headers.insert(MISSING, names);
    }
    Ok((headers, Json(listed.connections.into_iter().map(Connection::from).collect())))
}

/// Close a connection, at whichever gateway it is.
///
/// A socket is closed with 1008, a stream ends with an error. The client may connect again, unless its session is ended, too.
#[utoipa::path(delete, path = "/api/admin/connections/{id}", tag = "admin", params(("id" = String, Path, format = Uuid)),
    responses((status = 204), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 503, body = ProblemBody)))]
pub(crate) async fn close_connection(
    State(peers): State<Peers>,
    _: Admin,
    Id(id): Id<ConnectionId>,
) -> Answer<StatusCode> {
    match peers.close(id).await? {
        Closed::Here => Ok(StatusCode::NO_CONTENT),
        Closed::NotFound => Err(Fault::new(Kind::NotFound, "There is no such connection").into()),
        Closed::Unknown(missing) => {
            let detail =
                format!("These gateways did not answer, and no other has the connection: {}", missing.join(", "));
            Err(Fault::new(Kind::Unavailable, detail).into())
        }
    }
}

fn id<T: std::str::FromStr>(field: &'static str, text: Option<String>) -> Result<Option<T>, Fault> {
    let invalid = || Fault::new(Kind::Validation, "The query is not valid").field(field, "must be an id");
    text.filter(|text| !text.is_empty()).map(|text| text.parse().map_err(|_| invalid())).transpose()
}
