//! The frames of a topic. When the connection breaks, the client connects again and resumes after the last offset.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue},
};

use super::{api::Api, credential::is_signed_out};

/// The topic to follow, and the WebSocket route that serves it.
pub(crate) enum Target {
    /// `/ws/responses/{id}`.
    Command(String),
    /// A topic on `/ws`.
    Topic { topic: String, since: String },
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The frames of a target, in order, each once.
pub(crate) struct Frames {
    api: Api,
    target: Target,
    socket: Option<Socket>,
    last: Option<String>,
    ready: VecDeque<Value>,
    failures: u32,
    /// The gateway has refused the access token, or closed the socket because it expired.
    token_refused: bool,
    ended: bool,
}

/// Failed attempts in a row until the client gives up: about a minute, with pauses of up to 5 s.
const MAX_ATTEMPTS: u32 = 15;

const SILENCE_TIMEOUT: Duration = Duration::from_secs(90);

impl Frames {
    pub(crate) fn open(api: Api, target: Target) -> Self {
        Self {
            api,
            target,
            socket: None,
            last: None,
            ready: VecDeque::new(),
            failures: 0,
            token_refused: false,
            ended: false,
        }
    }

    /// The next frame; `None` after the topic's end.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            if self.ended {
                return Ok(None);
            }
            let Some(socket) = &mut self.socket else {
                self.connect().await?;
                continue;
            };
            // The gateway sends pings more often than this, so a silent connection is dead.
            match tokio::time::timeout(SILENCE_TIMEOUT, socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => self.handle(&text)?,
                Ok(Some(Ok(Message::Close(Some(close))))) => self.closed(close.code.into(), &close.reason)?,
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) | Err(_) => self.socket = None,
            }
        }
    }

    fn handle(&mut self, text: &str) -> anyhow::Result<()> {
        let frame: Value = serde_json::from_str(text).context("the gateway sent a frame that is not JSON")?;
        self.failures = 0;
        if let Some(offset) = frame["offset"].as_str() {
            self.last = Some(offset.to_owned());
        }
        match frame["event"].as_str().unwrap_or_default() {
            "hello" | "subscribed" | "caught_up" | "pong" => {}
            "closed" => self.ended = true,
            // The error answers the subscribe request, which has the id 1. Other errors without an offset are temporary.
            "error" if frame["offset"].is_null() && frame["id"] == 1 => {
                bail!(
                    "{} ({})",
                    frame["detail"].as_str().unwrap_or_default(),
                    frame["code"].as_str().unwrap_or_default()
                );
            }
            _ => self.ready.push_back(frame),
        }
        Ok(())
    }

    fn closed(&mut self, code: u16, reason: &str) -> anyhow::Result<()> {
        self.socket = None;
        match code {
            1000 => self.ended = true,
            4401 => self.token_refused = true,
            1008 | 4429 => bail!("the gateway refused: {reason}"),
            _ => {}
        }
        Ok(())
    }

    async fn connect(&mut self) -> anyhow::Result<()> {
        if self.failures > 0 {
            tokio::time::sleep(Duration::from_millis(250 * u64::from(self.failures)).min(Duration::from_secs(5))).await;
        }
        self.failures += 1;
        if self.token_refused {
            match self.api.renew().await {
                Ok(()) => self.token_refused = false,
                Err(error) if self.failures >= MAX_ATTEMPTS || is_signed_out(&error) => return Err(error),
                Err(_) => return Ok(()),
            }
        }
        let path = match (&self.target, &self.last) {
            (Target::Command(id), None) => format!("/ws/responses/{id}"),
            (Target::Command(id), Some(offset)) => format!("/ws/responses/{id}?since={offset}"),
            (Target::Topic { .. }, _) => "/ws".to_owned(),
        };
        let (url, authorization) = self.api.socket(&path);
        let mut request = url.into_client_request()?;
        let mut authorization = HeaderValue::try_from(authorization)?;
        authorization.set_sensitive(true);
        request.headers_mut().insert("authorization", authorization);
        let opened = tokio::time::timeout(Duration::from_secs(10), connect_async(request)).await;
        let mut socket = match opened {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(tungstenite::Error::Http(answer))) if answer.status() == 401 && self.failures < MAX_ATTEMPTS => {
                self.token_refused = true;
                return Ok(());
            }
            Ok(Err(error)) if self.failures >= MAX_ATTEMPTS => {
                return Err(error).context("the gateway cannot be reached");
            }
            Err(_) if self.failures >= MAX_ATTEMPTS => bail!("the gateway does not answer"),
            _ => return Ok(()),
        };
        if let Target::Topic { topic, since } = &self.target {
            let since = self.last.as_ref().unwrap_or(since);
            let request = json!({ "action": "subscribe", "id": 1, "topic": topic, "since": since });
            if socket.send(Message::text(request.to_string())).await.is_err() {
                return Ok(());
            }
        }
        self.socket = Some(socket);
        Ok(())
    }
}
