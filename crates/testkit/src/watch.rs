//! A WebSocket as its user sees it.

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

/// An open socket.
pub struct Watch(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// How a socket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// 1006 if the connection just broke.
    pub code: u16,
    /// In words.
    pub reason: String,
}

/// So long a test waits for a frame.
const PATIENCE: u64 = 30;

impl Watch {
    /// Opens a socket that is let in.
    pub async fn open(base: &str, path: &str) -> Self {
        Self::open_with(base, path, &[]).await.expect("a socket")
    }

    /// Opens a socket with headers; an error has the HTTP status of the refusal.
    pub async fn open_with(base: &str, path: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let url = format!("{}{path}", base.replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a header");
            request.headers_mut().insert(name, value.parse().expect("a header"));
        }
        match within("a socket to open", PATIENCE, connect_async(request)).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next frame, or how the socket ended.
    pub async fn next(&mut self) -> Result<Value, Closed> {
        self.next_text().await.map(|text| serde_json::from_str(&text).expect("JSON"))
    }

    /// The next frame as its text, or how the socket ended.
    pub async fn next_text(&mut self) -> Result<String, Closed> {
        loop {
            match within("a frame", PATIENCE, self.0.next()).await {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(Some(close)))) => {
                    let closed = Closed { code: close.code.into(), reason: close.reason.to_string() };
                    // Answers the close, as a browser does.
                    let _ = self.0.flush().await;
                    return Err(closed);
                }
                Some(Ok(Message::Close(None))) => return Err(Closed { code: 1005, reason: String::new() }),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(Closed { code: 1006, reason: String::new() }),
            }
        }
    }

    /// The next frame of an open socket.
    pub async fn frame(&mut self) -> Value {
        self.next().await.unwrap_or_else(|closed| panic!("the socket was closed: {closed:?}"))
    }

    /// The next frame that is of one of these events; others are passed over.
    pub async fn frame_of(&mut self, events: &[&str]) -> Value {
        loop {
            let frame = self.frame().await;
            if events.iter().any(|event| frame["event"] == *event) {
                return frame;
            }
        }
    }

    /// Every frame until the end.
    pub async fn to_the_end(mut self) -> (Vec<Value>, Closed) {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Ok(frame) => frames.push(frame),
                Err(closed) => return (frames, closed),
            }
        }
    }

    /// Says something.
    pub async fn say(&mut self, frame: Value) {
        self.say_text(&frame.to_string()).await;
    }

    /// Says any text.
    pub async fn say_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("an open socket");
    }

    /// Says any text; false if the socket is closed.
    pub async fn try_say_text(&mut self, text: &str) -> bool {
        self.0.send(Message::text(text)).await.is_ok()
    }

    /// Sends a ping, or a pong that nobody asked for; false if the socket is closed.
    pub async fn try_control(&mut self, ping: bool) -> bool {
        let nothing = Default::default();
        self.0.send(if ping { Message::Ping(nothing) } else { Message::Pong(nothing) }).await.is_ok()
    }

    /// Stays open for a while and answers pings; an error is how the socket ended meanwhile.
    pub async fn idle(&mut self, time: Duration) -> Result<(), Closed> {
        tokio::time::timeout(time, self.next()).await.map_or(Ok(()), |said| said.map(|_| ()))
    }

    /// Sends a text frame of any bytes.
    pub async fn say_bytes(&mut self, bytes: &[u8]) {
        let frame = Frame::message(bytes.to_vec(), OpCode::Data(Data::Text), true);
        self.0.send(Message::Frame(frame)).await.expect("an open socket");
    }

    /// Says goodbye, and waits to hear it.
    pub async fn leave(mut self) -> Closed {
        let close = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
        self.0.send(Message::Close(Some(close))).await.expect("an open socket");
        self.to_the_end().await.1
    }

    /// Goes without a word: the connection is reset as by a broken network.
    pub fn cut(self) {
        drop(self);
    }
}
