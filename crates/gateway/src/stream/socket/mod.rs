//! WebSockets: who may open one, and how it is refused.

pub(crate) mod grammar;
mod heartbeat;
mod intake;
mod session;
mod wire;

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
use turnpike_fault::{Fault, Kind};
use turnpike_identity::{Caller, Refusal};
use turnpike_kit::OnExit;
use turnpike_rpc::Context;
use turnpike_topic::{CommandId, Topic};

use grammar::since;
use session::Kinds;

use crate::{
    app::App,
    config::MAX_FRAME,
    http::{extract::Query, problem::Problem},
    stream::{ending::Close, hub::Since},
};

/// The subprotocol that a client may name, and must name to send a ticket.
const PROTOCOL: &str = "turnpike.v1";

/// The longest frame that a refused client may send before its connection is dropped.
const REFUSED_BYTES: usize = 4 << 10;

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
    let place = match app.sockets.enter(caller) {
        Ok(place) => place,
        Err(ending) => return refuse(app, upgrade, ending.into()),
    };
    // From here on a stopping process waits for this socket, although its task starts only after the upgrade.
    let (tasks, held, context) = (app.tasks.clone(), app.tasks.hold(), Context::current());
    upgrade
        .on_upgrade(async move |socket| {
            tasks.spawn("socket", OnExit::Continue, context.scope(session::run(app, socket, place, kind)));
            drop(held);
        })
        .into_response()
}

/// Upgrades a connection only to close it with a reason, because browsers hide the status of a refused upgrade.
fn refuse(app: App, upgrade: WebSocketUpgrade, close: Close) -> Response {
    metrics::counter!("turnpike_gateway_sockets_refused_total", "code" => close.code().to_string()).increment(1);
    let held = app.tasks.hold();
    upgrade
        // The client may have no credential: nothing that it sends is kept.
        .max_message_size(REFUSED_BYTES)
        .max_frame_size(REFUSED_BYTES)
        .on_upgrade(async move |mut socket: WebSocket| {
            app.tasks.spawn("socket refused", OnExit::Continue, async move {
                let frame = CloseFrame { code: close.code(), reason: close.reason().into() };
                let parting = async {
                    socket.send(Message::Close(Some(frame))).await?;
                    while let Some(Ok(_)) = socket.recv().await {}
                    Ok::<_, axum::Error>(())
                };
                let _ = tokio::time::timeout(std::time::Duration::from_secs(1), parting).await;
            });
            drop(held);
        })
        .into_response()
}
