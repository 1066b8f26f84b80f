//! The messages of a client on an upgraded connection. tungstenite parses them and answers pings and close frames.

use std::{future::poll_fn, io::ErrorKind, sync::Arc, task::Poll};

use bytes::Bytes;
use tokio_tungstenite::tungstenite::{
    Error, Message,
    protocol::{Role, WebSocketConfig, WebSocketContext},
};

use crate::stream::{
    conn::{Ahead, Conn, Input},
    ending::Close,
};

/// tungstenite's read buffer of an idle socket. A longer frame grows it, and [`Ahead`] saves system calls.
const READ_BUFFER: usize = 32;
/// A client that sends requests and does not read the answers is not read beyond this many bytes of answers.
const MAX_UNREAD: usize = 16 << 10;

pub(super) struct Incoming {
    conn: Arc<Conn>,
    context: WebSocketContext,
    ahead: Ahead,
    /// The client sent a close frame.
    closed: bool,
}

pub(super) fn config(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0) // every frame goes to the connection's queue at once
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}

impl Incoming {
    /// `early` came right behind the request of the upgrade. A message that is longer than `max_message` closes the socket.
    pub(super) fn new(conn: Arc<Conn>, early: Bytes, max_message: usize) -> Self {
        let context = WebSocketContext::new(Role::Server, Some(config(max_message)));
        Self { conn, context, ahead: Ahead::new(early), closed: false }
    }

    /// The next message. `None`: the client has closed the socket, broken the protocol or left; `drain` must follow.
    pub(super) async fn next(&mut self) -> Option<Message> {
        loop {
            tokio::task::coop::consume_budget().await;
            if self.conn.unread() > MAX_UNREAD {
                let _ = Box::pin(self.conn.stream.writable()).await; // boxed: an idle socket has no room for it
                // Readiness takes nothing from the task's budget, and another task writes the answers.
                tokio::task::yield_now().await;
                continue;
            }
            if let Poll::Ready(next) = self.parse() {
                return next;
            }
            self.readable().await;
        }
    }

    /// As [`Incoming::next`]. `Pending`: the stream has nothing more to read now.
    fn parse(&mut self) -> Poll<Option<Message>> {
        let mut input = Input { conn: &self.conn, ahead: &mut self.ahead };
        match self.context.read(&mut input) {
            Ok(Message::Close(_)) => {
                let _ = self.context.flush(&mut input); // queues the answer
                self.closed = true;
                Poll::Ready(None)
            }
            Ok(message) => {
                self.conn.heard();
                Poll::Ready(Some(message))
            }
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => {
                self.conn.end(Close::broken(&error));
                Poll::Ready(None)
            }
        }
    }

    /// Not `TcpStream::readable`: hyper's task has left its waker with the stream, and the memory of a task lives as long as its last
    /// waker. Polling puts the waker of this task in its place.
    async fn readable(&self) {
        let _ = poll_fn(|context| self.conn.stream.poll_read_ready(context)).await;
    }

    /// Waits until the client has ended the stream, at most for the second after which the timer wheel shuts it down. A connection
    /// that is closed with unread bytes is reset, and the client may see the reset before it reads the close frame.
    pub(super) async fn drain(&self) {
        if self.conn.is_drained() {
            if self.closed {
                return;
            }
            self.conn.finish();
        }
        let mut rest = [0; 256];
        loop {
            match self.conn.stream.try_read(&mut rest) {
                Ok(1..) => tokio::task::coop::consume_budget().await,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable().await,
                Ok(0) | Err(_) => return,
            }
        }
    }
}
