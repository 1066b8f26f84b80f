//! The WebSocket of one client: receives, sends, pings and closes.

use std::{collections::VecDeque, future::poll_fn, task::Poll, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;

use super::heartbeat::{Due, Heartbeat};
use crate::stream::{connections::Handle, ending::Close};

/// How long the client may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Frames that are received while a send waits. Further frames stay in the kernel until the session has handled these.
const MAX_EARLY: usize = 16;

pub(super) struct Wire {
    socket: WebSocket,
    pub(super) heartbeat: Heartbeat,
    /// Frames that were received while a send waited.
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
        self.heartbeat.received(Instant::now());
        received
    }

    /// Pings the client, if that is due.
    pub(super) async fn beat(&mut self, handle: &Handle) -> Result<(), Close> {
        match self.heartbeat.check(Instant::now()) {
            Due::Nothing => Ok(()),
            Due::Ping => self.send(vec![Message::Ping(axum::body::Bytes::new())], handle).await,
            Due::Dead => Err(Close::NoHeartbeat),
        }
    }

    /// Writes all messages and flushes once.
    ///
    /// A client that does not read delays only itself. Its frames are received meanwhile, so that a slow client does not count
    /// as dead. The registry and the heartbeat can end the wait.
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
                if early.len() == MAX_EARLY {
                    return Poll::Pending;
                }
                match socket.poll_next_unpin(context) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Some(Ok(message))) => {
                        heartbeat.received(Instant::now());
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

    /// Sends a close frame and waits for the answer of the client (RFC 6455, section 7.1.2).
    pub(super) async fn close(mut self, close: Close) {
        if close == Close::Gone {
            // A close frame of the client is answered. On a broken connection this fails at once.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.socket.close()).await;
            return;
        }
        let frame = CloseFrame { code: close.code(), reason: close.reason().into() };
        let closing = async {
            self.socket.send(Message::Close(Some(frame))).await?;
            while let Some(message) = self.socket.next().await {
                message?;
            }
            Ok::<_, axum::Error>(())
        };
        // The socket is dropped with or without an answer.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }
}
