//! The handshake of a WebSocket: credentials, acceptance and refusal.

use std::time::Duration;

use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, header};
use serde::Deserialize;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::{Caller, Refusal};
use turnpike_kit::OnExit;
use turnpike_rpc::Context;

use super::{
    context::SocketContext,
    protocol::Protocol,
    session::Session,
    upgrade::{Upgrade, Upgraded},
};
use crate::{
    access::scope::{self, ApiKeys},
    stream::ending::Close,
};

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

pub(super) fn accept(
    context: SocketContext,
    upgrade: Upgrade,
    caller: &Caller,
    protocol: Box<dyn Protocol>,
) -> Response {
    let registration = match context.connections.register(caller, upgrade.origin.clone()) {
        Ok(registration) => registration,
        Err(ending) => return refuse(&context, upgrade, ending.into()),
    };
    let (tasks, log_context) = (context.tasks.clone(), Context::current());
    upgrade.start(&tasks, move |upgraded| {
        // A new task: the memory of the upgrade's task is as large as everything that an upgrade needs.
        let tasks = context.tasks.clone();
        let session = Session::open(context, upgraded, registration, protocol);
        tasks.spawn_long("socket", OnExit::Continue, log_context.scope(session.run()));
    })
}

/// Upgrades a connection only to close it with a reason, because browsers hide the status of a refused upgrade.
pub(super) fn refuse(context: &SocketContext, upgrade: Upgrade, close: Close) -> Response {
    metrics::counter!("turnpike_gateway_sockets_refused_total", "code" => close.code().to_string()).increment(1);
    let tasks = context.tasks.clone();
    upgrade.start(&context.tasks, move |Upgraded { stream, slot, early, .. }| {
        tasks.spawn("socket refused", OnExit::Continue, async move {
            let _slot = slot;
            // The client may have no credential, so its frames are not stored.
            let config = WebSocketConfig::default()
                .read_buffer_size(128)
                .write_buffer_size(0)
                .max_message_size(Some(REFUSED_FRAME_BYTES))
                .max_frame_size(Some(REFUSED_FRAME_BYTES));
            let closing = async {
                let mut socket =
                    WebSocketStream::from_partially_read(stream, early.into(), Role::Server, Some(config)).await;
                let frame = CloseFrame { code: close.code().into(), reason: close.reason().into() };
                socket.send(Message::Close(Some(frame))).await?;
                while let Some(Ok(_)) = socket.next().await {}
                Ok::<_, tungstenite::Error>(())
            };
            let _ = tokio::time::timeout(REFUSED_CLOSE_TIMEOUT, closing).await;
        });
    })
}
