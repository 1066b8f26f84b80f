//! From an HTTP request to the TCP stream itself: a WebSocket has no layers of HTTP around it.

use axum::{
    body::Body,
    extract::{FromRef, FromRequestParts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::debug;
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{OnExit, Tasks};

use crate::{
    access::{client::TrustedProxies, slots::Slot},
    http::{client_stream::ClientStream, problem::Problem},
    stream::{connections::Origin, format::Format},
};

/// A client that does not read can make the kernel hold this much (which it doubles for its own records), instead of the 4 MiB up
/// to which it otherwise grows. It is more than a run, and a round trip of 100 ms still allows 1 MB a second.
const SEND_BUFFER: usize = 128 << 10;

/// A valid handshake that is not answered yet (RFC 6455, section 4.2).
pub(crate) struct Upgrade {
    upgrade: OnUpgrade,
    accept: String,
    /// Where the request comes from.
    pub(super) origin: Origin,
    /// The format of the first of our subprotocols that the client named. It must name one to send a ticket.
    format: Option<Format>,
}

/// An upgraded connection.
pub(super) struct Upgraded {
    pub(super) stream: TcpStream,
    pub(super) slot: Slot,
    pub(super) format: Format,
    /// What the client sent right behind its request.
    pub(super) early: Bytes,
}

impl<S: Sync> FromRequestParts<S> for Upgrade
where
    TrustedProxies: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let invalid = || {
            Fault::new(Kind::Invalid, "This address speaks WebSocket: send an upgrade (RFC 6455)")
                .code_is("NOT_A_WEBSOCKET")
        };
        let fits = parts.method == Method::GET
            && names(&parts.headers, header::CONNECTION, "upgrade")
            && names(&parts.headers, header::UPGRADE, "websocket")
            && names(&parts.headers, header::SEC_WEBSOCKET_VERSION, "13");
        let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| fits).ok_or_else(invalid)?;
        let accept = derive_accept_key(key.as_bytes());
        let format = elements(&parts.headers, &header::SEC_WEBSOCKET_PROTOCOL)
            .find_map(|name| Format::ALL.into_iter().find(|format| name.eq_ignore_ascii_case(format.subprotocol())));
        let upgrade = parts.extensions.remove::<OnUpgrade>().ok_or_else(invalid)?;
        let Ok(origin) = Origin::from_request_parts(parts, state).await;
        Ok(Self { upgrade, accept, origin, format })
    }
}

/// Whether a header, which is a list, has this element.
fn names(headers: &HeaderMap, header: HeaderName, element: &str) -> bool {
    elements(headers, &header).any(|value| value.eq_ignore_ascii_case(element))
}

/// The elements of a header that is a list.
fn elements<'a>(headers: &'a HeaderMap, header: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

impl Upgrade {
    /// The format of the socket.
    pub(super) fn format(&self) -> Format {
        self.format.unwrap_or(Format::Json)
    }

    /// Answers the handshake. `open` gets the connection once the answer is written. From here on a stopping process waits for it.
    pub(super) fn start(self, tasks: &Tasks, open: impl FnOnce(Upgraded) + Send + 'static) -> Response {
        let format = self.format();
        tasks.spawn("socket upgrade", OnExit::Continue, async move {
            let upgraded = match self.upgrade.await {
                Ok(upgraded) => upgraded,
                Err(error) => return debug!(%error, "the client left during its upgrade"),
            };
            // The type that the listener gives to hyper.
            let Ok(parts) = upgraded.downcast::<TokioIo<ClientStream>>() else {
                return debug!("an upgrade of another connection");
            };
            let (stream, slot) = parts.io.into_inner().into_parts();
            let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
            open(Upgraded { stream, slot, format, early: parts.read_buf });
        });
        let mut response = (StatusCode::SWITCHING_PROTOCOLS, Body::empty()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(format) = self.format {
            let name = HeaderValue::from_static(format.subprotocol());
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, name);
        }
        response
    }
}
