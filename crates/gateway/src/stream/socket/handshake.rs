//! The handshake of a WebSocket: credentials, acceptance and refusal.

use std::time::Duration;

use axum::{
    extract::{
        WebSocketUpgrade,
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

use super::{context::SocketContext, protocol::Protocol, session};
use crate::{
    access::scope::{self, ApiKeys},
    config::MAX_FRAME,
    http::problem::Problem,
    stream::ending::Close,
};

/// The subprotocol that a client may name, and must name to send a ticket.
pub(super) const PROTOCOL: &str = "turnpike.v1";
/// The longest frame that a refused client may send before its connection is dropped.
const REFUSED_FRAME_BYTES: usize = 4 << 10;
/// How long a refused client has to answer the close frame.
const REFUSED_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The query of a WebSocket route.
#[derive(Deserialize)]
pub(crate) struct Opening {
    pub(super) token: Option<String>,
    pub(super) since: Option<String>,
}

pub(super) type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// The caller of a handshake, whose API key, if it is one, must be among those that the route admits.
pub(super) async fn caller(
    context: &SocketContext,
    api_keys: ApiKeys,
    opening: &Opening,
    headers: &HeaderMap,
) -> Result<Caller, Fault> {
    let caller = credential(context, opening, headers).await?;
    scope::admit(&caller.claims, Some(api_keys), true)?;
    Ok(caller)
}

/// The credentials of a handshake: `?token=`, then a ticket in the subprotocols, then those of any request.
async fn credential(context: &SocketContext, opening: &Opening, headers: &HeaderMap) -> Result<Caller, Fault> {
    if let Some(token) = &opening.token {
        return match token.is_empty() {
            true => Err(Refusal::Missing.into()),
            false => context.identity.of_bearer(token).await,
        };
    }
    if let Some(ticket) = ticket(headers) {
        return context.identity.of_ticket(ticket).await;
    }
    context.identity.of_request(&Method::GET, headers, true).await
}

/// `Sec-WebSocket-Protocol: turnpike.v1, ticket.<ticket>`.
fn ticket(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).find_map(|protocol| protocol.trim().strip_prefix("ticket."))
}

/// Whether a refusal is an HTTP status also on a route that hides no refusal behind an upgrade: pages of other origins must not get
/// a socket, and programs with API keys read statuses.
pub(super) fn is_status(fault: &Fault) -> bool {
    matches!(fault.kind(), Kind::Forbidden | Kind::RateLimited)
}

pub(super) fn prepare(context: &SocketContext, upgrade: Upgrade) -> Result<WebSocketUpgrade, Problem> {
    let upgrade = upgrade.map_err(|_| {
        Fault::new(Kind::Invalid, "This address speaks WebSocket: send an upgrade (RFC 6455)")
            .code_is("NOT_A_WEBSOCKET")
    })?;
    // The library's default buffers hold 128 KiB for each socket from the start. A frame that is larger than the buffer grows
    // the buffer, and clients send small frames.
    Ok(upgrade
        .read_buffer_size(1 << 10)
        .write_buffer_size(1 << 10)
        .max_write_buffer_size(MAX_FRAME.max(context.limits.frame_bytes) * 2)
        // A frame a little over the limit is read to its end: a connection that is closed with unread bytes is reset, and the
        // client may see the reset before it reads the close frame with the reason.
        .max_message_size(MAX_FRAME * 4)
        .max_frame_size(MAX_FRAME * 4)
        .protocols([PROTOCOL]))
}

pub(super) fn accept(
    context: SocketContext,
    upgrade: WebSocketUpgrade,
    caller: &Caller,
    protocol: Box<dyn Protocol>,
) -> Response {
    let registration = match context.connections.register(caller) {
        Ok(registration) => registration,
        Err(ending) => return refuse(context, upgrade, ending.into()),
    };
    // From here on a stopping process waits for this socket, although its task starts only after the upgrade.
    let (tasks, held, log_context) = (context.tasks.clone(), context.tasks.hold(), Context::current());
    upgrade
        .on_upgrade(async move |socket| {
            let session = session::run(context, socket, registration, protocol);
            tasks.spawn("socket", OnExit::Continue, log_context.scope(session));
            drop(held);
        })
        .into_response()
}

/// Upgrades a connection only to close it with a reason, because browsers hide the status of a refused upgrade.
pub(super) fn refuse(context: SocketContext, upgrade: WebSocketUpgrade, close: Close) -> Response {
    metrics::counter!("turnpike_gateway_sockets_refused_total", "code" => close.code().to_string()).increment(1);
    let held = context.tasks.hold();
    upgrade
        // The client may have no credential, so its frames are not stored.
        .max_message_size(REFUSED_FRAME_BYTES)
        .max_frame_size(REFUSED_FRAME_BYTES)
        .on_upgrade(async move |mut socket: WebSocket| {
            context.tasks.spawn("socket refused", OnExit::Continue, async move {
                let frame = CloseFrame { code: close.code(), reason: close.reason().into() };
                let closing = async {
                    socket.send(Message::Close(Some(frame))).await?;
                    while let Some(Ok(_)) = socket.recv().await {}
                    Ok::<_, axum::Error>(())
                };
                let _ = tokio::time::timeout(REFUSED_CLOSE_TIMEOUT, closing).await;
            });
            drop(held);
        })
        .into_response()
}
