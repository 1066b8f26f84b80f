//! The WebSocket of one session: receives, sends, pings and closes.

use std::{collections::VecDeque, future::poll_fn, task::Poll, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;

use super::heartbeat::{Due, Heartbeat};
use crate::stream::{connections::Handle, ending::Close};

/// How long the other side has to answer a close.
const FAREWELL: Duration = Duration::from_secs(1);
/// Frames that are received while a send waits. Further frames stay with the kernel until the session has handled these.
const MOST_EARLY: usize = 16;

pub(super) struct Wire {
    socket: WebSocket,
    pub(super) heartbeat: Heartbeat,
    /// Received while a send waited.
    early: VecDeque<Message>,
}

impl Wire {
    pub(super) fn new(socket: WebSocket, interval: Duration) -> Self {
        Self { socket, heartbeat: Heartbeat::new(interval, Instant::now()), early: VecDeque::new() }
    }

    /// The next frame of the client. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Result<Message, axum::Error>> {
        if let Some(message) = self.early.pop_front() {
            return Some(Ok(message));
        }
        let received = self.socket.next().await;
        self.heartbeat.heard(Instant::now());
        received
    }

    /// Pings the client, if that is due.
    pub(super) async fn beat(&mut self, handle: &Handle) -> Result<(), Close> {
        match self.heartbeat.look(Instant::now()) {
            Due::Nothing => Ok(()),
            Due::Ping => self.send(vec![Message::Ping(axum::body::Bytes::new())], handle).await,
            Due::Dead => Err(Close::NoHeartbeat),
        }
    }

    /// Feeds all messages and flushes once.
    ///
    /// A client that does not read delays only itself. Its frames are received meanwhile, so that a slow client is not
    /// mistaken for a dead one; the registry and the heartbeat can end the wait.
    pub(super) async fn send(&mut self, messages: Vec<Message>, handle: &Handle) -> Result<(), Close> {
        let mut messages = messages.into_iter();
        loop {
            let dead_at = self.heartbeat.dead_at();
            let (socket, early, heartbeat) = (&mut self.socket, &mut self.early, &mut self.heartbeat);
            let progress = poll_fn(|context| {
                let written = loop {
                    match socket.poll_ready_unpin(context) {
                        Poll::Ready(Ok(())) => {}
                        failed_or_full => break failed_or_full,
                    }
                    let Some(message) = messages.next() else { break socket.poll_flush_unpin(context) };
                    if let Err(error) = socket.start_send_unpin(message) {
                        break Poll::Ready(Err(error));
                    }
                };
                if let Poll::Ready(written) = written {
                    return Poll::Ready(written.map(|()| true).map_err(|_| Close::Gone));
                }
                if early.len() == MOST_EARLY {
                    return Poll::Pending;
                }
                match socket.poll_next_unpin(context) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Some(Ok(message))) => {
                        heartbeat.heard(Instant::now());
                        early.push_back(message);
                        Poll::Ready(Ok(false))
                    }
                    Poll::Ready(Some(Err(error))) => Poll::Ready(Err(Close::broken(error))),
                    Poll::Ready(None) => Poll::Ready(Err(Close::Gone)),
                }
            });
            let all_sent = tokio::select! {
                biased;
                progress = progress => progress?,
                ending = handle.ended() => return Err(ending.into()),
                () = tokio::time::sleep_until(dead_at) => return Err(Close::NoHeartbeat),
            };
            if all_sent {
                return Ok(());
            }
        }
    }

    /// Closes with a reason, and waits a moment for the other side to agree (RFC 6455, section 7.1.2).
    pub(super) async fn close(mut self, close: Close) {
        if close == Close::Gone {
            // A close of the client is answered; a broken connection fails at once.
            let _ = tokio::time::timeout(FAREWELL, self.socket.close()).await;
            return;
        }
        let frame = CloseFrame { code: close.code(), reason: close.reason().into() };
        let parting = async {
            self.socket.send(Message::Close(Some(frame))).await?;
            while let Some(message) = self.socket.next().await {
                message?;
            }
            Ok::<_, axum::Error>(())
        };
        // Whatever comes of it, the socket is dropped.
        let _ = tokio::time::timeout(FAREWELL, parting).await;
    }
}
