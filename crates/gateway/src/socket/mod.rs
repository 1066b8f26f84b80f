//! WebSockets: who may open one, and how it is refused.

pub(crate) mod grammar;
pub(crate) mod registry;
mod session;

use axum::{
    extract::{
        Path, State, WebSocketUpgrade,
        rejection::PathRejection,
        ws::{CloseFrame, Message, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, header};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::{self, error::ProtocolError};
use turnpike_event::{CommandId, Topic};
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{Caller, Context, Death, Refusal};

use grammar::since;
use session::Kinds;

use crate::{
    App,
    config::MAX_FRAME,
    http::{Problem, extract::Query},
    hub::Since,
};

/// The subprotocol that a client may name, and must name to send a ticket.
const PROTOCOL: &str = "turnpike.v1";

/// How a socket ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// The topic is closed: 1000.
    Done,
    /// The gateway stops; another one, or this one soon, goes on: 1001.
    Stopping,
    /// Not allowed: 1008 with one of the reasons of the contract.
    Refused(&'static str),
    /// A frame beyond all measure: 1009.
    TooBig,
    /// Text that is not UTF-8: 1007.
    NotText,
    /// Not WebSocket as it is written (RFC 6455): 1002.
    NotWebSocket,
    /// Something that is needed is away: 1013.
    TryAgain,
    /// The session is over, or its token has expired: 4401.
    SessionEnded,
    /// The account was switched off: 1008, as at the door.
    Inactive,
    /// Nothing was heard for too long: 4408.
    NoHeartbeat,
    /// The user has too many: 4429.
    TooMany,
    /// The other side is gone, or has said goodbye.
    Gone,
}

impl Close {
    pub(crate) const fn code(&self) -> u16 {
        match self {
            Self::Done | Self::Gone => 1000,
            Self::Stopping => 1001,
            Self::Refused(_) | Self::Inactive => 1008,
            Self::TooBig => 1009,
            Self::NotText => 1007,
            Self::NotWebSocket => 1002,
            Self::TryAgain => 1013,
            Self::SessionEnded => 4401,
            Self::NoHeartbeat => 4408,
            Self::TooMany => 4429,
        }
    }

    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Done | Self::Gone => "",
            Self::Stopping => "retry_after=1",
            Self::Refused(reason) => reason,
            Self::TooBig => "Frame too large",
            Self::NotText => "Text that is not UTF-8",
            Self::NotWebSocket => "Protocol error",
            Self::TryAgain => "Try again shortly",
            Self::SessionEnded => "Session ended",
            Self::Inactive => "User account is inactive",
            Self::NoHeartbeat => "No heartbeat",
            Self::TooMany => "Too many connections",
        }
    }

    /// What a connection that could not be read is told, if it can be told anything.
    pub(crate) fn broken(error: axum::Error) -> Self {
        match error.into_inner().downcast_ref() {
            Some(tungstenite::Error::Capacity(_)) => Self::TooBig,
            Some(tungstenite::Error::Utf8(_)) => Self::NotText,
            // a client that went without a word has broken the protocol, too
            Some(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Self::Gone,
            Some(tungstenite::Error::Protocol(_)) => Self::NotWebSocket,
            _ => Self::Gone,
        }
    }

    /// How a fault is told on a socket that is open already.
    pub(crate) fn refused(fault: &Fault) -> Self {
        match (fault.kind(), fault.code()) {
            (Kind::Unauthenticated, "UNAUTHENTICATED") => Self::Refused("Missing authentication token"),
            (Kind::Unauthenticated, "ACCOUNT_INACTIVE") => Self::Refused("User account is inactive"),
            (Kind::Unauthenticated, _) => Self::Refused("Invalid authentication token"),
            (Kind::NotFound, _) => Self::Refused("Not found"),
            (Kind::Unavailable | Kind::Timeout | Kind::Internal, _) => Self::TryAgain,
            _ => Self::Refused("Not allowed"),
        }
    }
}

/// What may stand after the question mark.
#[derive(Deserialize)]
pub(crate) struct Opening {
    token: Option<String>,
    since: Option<String>,
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// `GET /ws`: one socket for everything. Refused before the upgrade, where a program reads the status; with `?token=` after
/// it, where a browser reads the reason.
pub(crate) async fn multiplexed(
    State(app): State<App>,
    Query(opening): Query<Opening>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    match (caller(&app, &opening, &headers).await, opening.token.is_some()) {
        (Ok(caller), _) => Ok(accept(app.clone(), prepared(upgrade, &app)?, &caller, Kinds::Multiplexed)),
        (Err(fault), false) => Err(fault.into()),
        (Err(fault), true) if fault.kind() == Kind::Forbidden => Err(fault.into()),
        (Err(fault), true) => Ok(refuse(app.clone(), prepared(upgrade, &app)?, Close::refused(&fault))),
    }
}

/// `GET /ws/responses/{command_id}`: the whole of one command. Refused after the upgrade, because browsers hide what comes
/// before; only a page of somebody else's is not let in at all.
pub(crate) async fn responses(
    State(app): State<App>,
    command_id: Result<Path<CommandId>, PathRejection>,
    Query(opening): Query<Opening>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    let upgrade = prepared(upgrade, &app)?;
    let caller = match caller(&app, &opening, &headers).await {
        Ok(caller) => caller,
        Err(fault) if fault.kind() == Kind::Forbidden => return Err(fault.into()),
        Err(fault) => return Ok(refuse(app, upgrade, Close::refused(&fault))),
    };
    let Ok(Path(command_id)) = command_id else {
        return Ok(refuse(app, upgrade, Close::Refused("Not found")));
    };
    let Ok(since) = opening.since.as_deref().map_or(Ok(Since::Start), since) else {
        return Ok(refuse(app, upgrade, Close::Refused("since is not an offset")));
    };
    Ok(accept(app, upgrade, &caller, Kinds::One(Topic::Response(command_id), since)))
}

/// The credentials of a handshake: `?token=`, then a ticket in the subprotocols, then what any request has.
async fn caller(app: &App, opening: &Opening, headers: &HeaderMap) -> Result<Caller, Fault> {
    if let Some(token) = &opening.token {
        let refusal = if token.is_empty() { Some(Refusal::Missing) } else { None };
        return match refusal {
            Some(refusal) => Err(refusal.into()),
            None => Ok(app.identity.of_token(token).await?),
        };
    }
    if let Some(ticket) = ticket(headers) {
        return app.identity.of_ticket(ticket).await;
    }
    app.identity.of_request(&Method::GET, headers, true).await
}

/// `Sec-WebSocket-Protocol: turnpike.v1, ticket.<ticket>`.
fn ticket(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).find_map(|protocol| protocol.trim().strip_prefix("ticket."))
}

fn prepared(upgrade: Upgrade, app: &App) -> Result<WebSocketUpgrade, Problem> {
    let upgrade = upgrade.map_err(|_| {
        Fault::new(Kind::Invalid, "This address speaks WebSocket: send an upgrade (RFC 6455)")
            .code_is("NOT_A_WEBSOCKET")
    })?;
    // The library's defaults hold 128 KiB for each socket from the start. A larger frame than the buffer grows it; our
    // clients say little.
    Ok(upgrade
        .read_buffer_size(1 << 10)
        .write_buffer_size(1 << 10)
        .max_write_buffer_size(MAX_FRAME.max(app.config.limits.frame_bytes) * 2)
        // What is a little too large is read to its end: a connection that is closed with bytes unread is reset, and the
        // reset overtakes the close frame that says why.
        .max_message_size(MAX_FRAME * 4)
        .max_frame_size(MAX_FRAME * 4)
        .protocols([PROTOCOL]))
}

fn accept(app: App, upgrade: WebSocketUpgrade, caller: &Caller, kind: Kinds) -> Response {
    let Some(place) = app.sockets.enter(caller) else {
        return refuse(app, upgrade, Close::TooMany);
    };
    let (tasks, context) = (app.tasks.clone(), Context::current());
    upgrade
        .on_upgrade(async move |socket| {
            tasks.spawn("socket", Death::Ends, context.scope(session::run(app, socket, place, kind)));
        })
        .into_response()
}

/// Lets somebody in to show them out, with a reason that a browser passes on.
fn refuse(app: App, upgrade: WebSocketUpgrade, close: Close) -> Response {
    metrics::counter!("turnpike_gateway_sockets_refused_total", "code" => close.code().to_string()).increment(1);
    upgrade
        .on_upgrade(async move |mut socket: WebSocket| {
            app.tasks.spawn("socket refused", Death::Ends, async move {
                let frame = CloseFrame { code: close.code(), reason: close.reason().into() };
                let parting = async {
                    socket.send(Message::Close(Some(frame))).await?;
                    while let Some(Ok(_)) = socket.recv().await {}
                    Ok::<_, axum::Error>(())
                };
                let _ = tokio::time::timeout(std::time::Duration::from_secs(1), parting).await;
            });
        })
        .into_response()
}
