//! One WebSocket to a gateway.

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig},
};

/// How long the gateway has to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// The gateway sends no longer frames.
const MAX_MESSAGE: usize = 4 << 20;

pub(crate) struct Connection(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// Why a connection cannot be opened.
pub(crate) enum Failed {
    /// The gateway does not accept the token.
    Unauthorized,
    /// It does not admit this client: the status and its meaning.
    Forbidden(String),
    Other(String),
}

/// What the gateway says.
pub(crate) enum Heard {
    Text(String),
    /// A ping, a pong.
    Other,
    Closed {
        code: u16,
        reason: String,
    },
}

impl Connection {
    /// `base` is the address of the gateway, `ws://…`.
    pub(crate) async fn open(base: &str, token: &SecretString) -> Result<Self, Failed> {
        let other = |error: &dyn std::fmt::Display| Failed::Other(error.to_string());
        let mut request = format!("{base}/ws").into_client_request().map_err(|error| other(&error))?;
        let bearer = format!("Bearer {}", token.expose_secret());
        let mut authorization = HeaderValue::try_from(bearer).map_err(|error| other(&error))?;
        authorization.set_sensitive(true);
        request.headers_mut().insert("authorization", authorization);
        let config = WebSocketConfig::default().read_buffer_size(16 << 10).max_message_size(Some(MAX_MESSAGE));
        match timeout(PATIENCE, connect_async_with_config(request, Some(config), true)).await {
            Ok(Ok((socket, _))) => Ok(Self(socket)),
            Ok(Err(tungstenite::Error::Http(answer))) => Err(match answer.status().as_u16() {
                401 => Failed::Unauthorized,
                403 => Failed::Forbidden("this credential may not open a connection (403)".to_owned()),
                status => Failed::Other(format!("the gateway answered with the status {status}")),
            }),
            Ok(Err(error)) => Err(other(&error)),
            Err(_) => Err(Failed::Other("the gateway does not answer".to_owned())),
        }
    }

    /// Sends what is queued, and waits for the gateway. Neither waits for the other: a gateway whose answers are not read does not read,
    /// either. Cancel-safe.
    pub(crate) async fn turn(&mut self, outbox: &mut VecDeque<String>) -> Heard {
        poll_fn(|context| self.poll_turn(outbox, context)).await
    }

    fn poll_turn(&mut self, outbox: &mut VecDeque<String>, context: &mut Context<'_>) -> Poll<Heard> {
        let broken = |error: &tungstenite::Error| Poll::Ready(Heard::Closed { code: 1006, reason: error.to_string() });
        while !outbox.is_empty() {
            match self.0.poll_ready_unpin(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return broken(&error),
                Poll::Pending => break,
            }
            if let Some(text) = outbox.pop_front()
                && let Err(error) = self.0.start_send_unpin(Message::text(text))
            {
                return broken(&error);
            }
        }
        if let Poll::Ready(Err(error)) = self.0.poll_flush_unpin(context) {
            return broken(&error);
        }
        let closed = |code, reason: String| Heard::Closed { code, reason };
        Poll::Ready(match ready!(self.0.poll_next_unpin(context)) {
            Some(Ok(Message::Text(text))) => Heard::Text(text.to_string()),
            Some(Ok(Message::Close(Some(close)))) => closed(close.code.into(), close.reason.to_string()),
            Some(Ok(Message::Close(None))) => closed(1005, String::new()),
            Some(Ok(_)) => Heard::Other,
            Some(Err(error)) => return broken(&error),
            None => closed(1006, "the connection ended".to_owned()),
        })
    }
}
