//! A WebSocket client.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::HeaderName,
        protocol::{
            CloseFrame,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};

use crate::within;

/// An open WebSocket. Dropping it closes the connection without a close frame.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// How a socket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// 1006 if the connection ended without a close frame.
    pub code: u16,
    pub reason: String,
}

/// Seconds until a missing frame fails the test.
const FRAME_TIMEOUT: u64 = 30;

impl Socket {
    /// Opens a socket that the gateway accepts.
    pub async fn open(base: &str, path: &str) -> Self {
        Self::open_with(base, path, &[]).await.expect("the socket is accepted")
    }

    /// Opens a socket with additional headers. The error is the HTTP status of a refusal.
    pub async fn open_with(base: &str, path: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let url = format!("{}{path}", base.replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("the URL is valid");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("the header is valid");
            request.headers_mut().insert(name, value.parse().expect("the header is valid"));
        }
        match within("a socket to open", FRAME_TIMEOUT, connect_async(request)).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next frame as JSON, or how the socket ended.
    pub async fn next(&mut self) -> Result<Value, Closed> {
        self.next_text().await.map(|text| serde_json::from_str(&text).expect("the frame is JSON"))
    }

    /// The next frame as text, or how the socket ended.
    pub async fn next_text(&mut self) -> Result<String, Closed> {
        loop {
            if let Message::Text(text) = self.next_message().await? {
                return Ok(text.to_string());
            }
        }
    }

    /// The next binary message, or how the socket ended.
    pub async fn next_binary(&mut self) -> Result<Vec<u8>, Closed> {
        loop {
            if let Message::Binary(bytes) = self.next_message().await? {
                return Ok(bytes.to_vec());
            }
        }
    }

    async fn next_message(&mut self) -> Result<Message, Closed> {
        match within("a frame", FRAME_TIMEOUT, self.0.next()).await {
            Some(Ok(Message::Close(Some(close)))) => {
                let closed = Closed { code: close.code.into(), reason: close.reason.to_string() };
                // Sends the close frame in return, as a browser does.
                let _ = self.0.flush().await;
                Err(closed)
            }
            Some(Ok(Message::Close(None))) => Err(Closed { code: 1005, reason: String::new() }),
            Some(Ok(message)) => Ok(message),
            Some(Err(_)) | None => Err(Closed { code: 1006, reason: String::new() }),
        }
    }

    /// The next frame. Panics if the socket is closed.
    pub async fn frame(&mut self) -> Value {
        self.next().await.unwrap_or_else(|closed| panic!("the socket was closed: {closed:?}"))
    }

    /// The next frame with one of these events. Other frames are skipped.
    pub async fn frame_of(&mut self, events: &[&str]) -> Value {
        loop {
            let frame = self.frame().await;
            if events.iter().any(|event| frame["event"] == *event) {
                return frame;
            }
        }
    }

    /// All further frames, and how the socket ended.
    pub async fn until_closed(mut self) -> (Vec<Value>, Closed) {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Ok(frame) => frames.push(frame),
                Err(closed) => return (frames, closed),
            }
        }
    }

    pub async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("the socket is open");
    }

    /// Sends text; returns false if the socket is closed.
    pub async fn try_send_text(&mut self, text: &str) -> bool {
        self.0.send(Message::text(text)).await.is_ok()
    }

    /// Sends a ping or an unsolicited pong; returns false if the socket is closed.
    pub async fn try_send_control(&mut self, ping: bool) -> bool {
        let empty = Default::default();
        self.0.send(if ping { Message::Ping(empty) } else { Message::Pong(empty) }).await.is_ok()
    }

    /// Answers pings for this time, or until the first frame. The error is how the socket ended.
    pub async fn idle(&mut self, time: Duration) -> Result<(), Closed> {
        tokio::time::timeout(time, self.next()).await.map_or(Ok(()), |frame| frame.map(|_| ()))
    }

    /// Sends a text frame with any bytes, which need not be UTF-8.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let frame = Frame::message(bytes.to_vec(), OpCode::Data(Data::Text), true);
        self.0.send(Message::Frame(frame)).await.expect("the socket is open");
    }

    /// Sends a binary frame. What the gateway does not accept any more is lost, as for any client.
    pub async fn send_binary(&mut self, bytes: &[u8]) {
        let _ = self.0.send(Message::binary(bytes.to_vec())).await;
    }

    /// Sends a close frame with code 1000 and waits until the gateway has closed the socket.
    pub async fn close(mut self) -> Closed {
        let close = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
        self.0.send(Message::Close(Some(close))).await.expect("the socket is open");
        self.until_closed().await.1
    }

    /// Drops the connection without a close frame.
    pub fn abort(self) {
        drop(self);
    }
}
