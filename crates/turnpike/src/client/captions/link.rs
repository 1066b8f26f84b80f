//! The socket of a caption session: audio goes out, captions come in. When it breaks, another one continues where the service is.

use std::{future::poll_fn, task::Poll, time::Duration};

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue},
};

use super::{replay::Replay, screen::Screen, source::Source};
use crate::client::{api::Api, credential::is_signed_out};

/// Failed attempts in a row until the client gives up: about a minute, with pauses of up to 5 s.
const MAX_ATTEMPTS: u32 = 15;
/// The gateway sends pings more often than this, so a silent connection is dead.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(90);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(super) struct Link {
    api: Api,
    path: String,
    source: Source,
    screen: Screen,
    replay: Replay,
    socket: Option<Socket>,
    /// The offset of the last event.
    last: Option<String>,
    failures: u32,
    token_refused: bool,
    /// On this socket: where the service continues is known; a frame is being written; the session was asked to end.
    aligned: bool,
    flushing: bool,
    stopping: bool,
    /// There is no more audio.
    at_end: bool,
    ended: Option<Ended>,
}

/// How the session has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Ended {
    /// The user has ended the audio.
    pub(super) interrupted: bool,
    /// Why the session ended before the audio.
    pub(super) failure: Option<String>,
}

/// What happened on the socket.
enum Event {
    Message(Option<Result<Message, tungstenite::Error>>),
    Flushed(Result<(), tungstenite::Error>),
}

impl Link {
    pub(super) fn new(api: Api, id: &str, source: Source, screen: Screen) -> Self {
        let (replay, path) = (Replay::new(source.rate), format!("/ws/captions/{id}"));
        let (socket, last, ended) = Default::default();
        let (failures, token_refused) = Default::default();
        let (aligned, flushing, stopping, at_end) = Default::default();
        Self {
            api,
            path,
            source,
            screen,
            replay,
            socket,
            last,
            failures,
            token_refused,
            aligned,
            flushing,
            stopping,
            at_end,
            ended,
        }
    }

    /// Sends all of the audio, and prints captions until the session has ended. The first Ctrl C ends the audio, the second one the
    /// program.
    pub(super) async fn run(mut self) -> anyhow::Result<Ended> {
        let mut pressed = signal(SignalKind::interrupt()).context("Ctrl C cannot be awaited")?;
        let mut interrupted = false;
        loop {
            self.write()?;
            let Some(socket) = &mut self.socket else {
                match &self.ended {
                    None => self.connect().await?,
                    Some(ended) => {
                        let ended = Ended { interrupted, ..ended.clone() };
                        self.screen.clear()?;
                        return Ok(ended);
                    }
                }
                continue;
            };
            let flushing = self.flushing;
            let event = poll_fn(|context| {
                if flushing && let Poll::Ready(flushed) = socket.poll_flush_unpin(context) {
                    return Poll::Ready(Event::Flushed(flushed));
                }
                socket.poll_next_unpin(context).map(Event::Message)
            });
            tokio::select! {
                event = event => match event {
                    Event::Flushed(Ok(())) => self.flushing = false,
                    Event::Message(Some(Ok(Message::Text(text)))) => self.handle(&text)?,
                    Event::Message(Some(Ok(Message::Close(Some(close))))) => self.closed(close.code.into(), &close.reason)?,
                    Event::Message(Some(Ok(_))) => {}
                    Event::Flushed(Err(_)) | Event::Message(Some(Err(_)) | None) => self.socket = None,
                },
                piece = self.source.next(), if !self.at_end && self.replay.has_room() => match piece? {
                    Some(piece) => self.replay.add(&piece),
                    None => self.at_end = true,
                },
                _ = pressed.recv() => {
                    if std::mem::replace(&mut interrupted, true) {
                        bail!("interrupted");
                    }
                    self.at_end = true;
                }
                () = sleep(SILENCE_TIMEOUT) => self.socket = None,
            }
        }
    }

    /// Gives the next frame to the socket, if it can take one.
    fn write(&mut self) -> anyhow::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        if !self.aligned || self.flushing || self.stopping {
            return Ok(());
        }
        let message = match self.replay.take() {
            Some(frame) => Message::binary(frame),
            None if self.at_end => {
                self.stopping = true;
                Message::text(json!({ "action": "stop" }).to_string())
            }
            None => return Ok(()),
        };
        match socket.start_send_unpin(message) {
            Ok(()) => self.flushing = true,
            Err(_) => self.socket = None,
        }
        Ok(())
    }

    fn handle(&mut self, text: &str) -> anyhow::Result<()> {
        let frame: Value = serde_json::from_str(text).context("the gateway sent a frame that is not JSON")?;
        self.failures = 0;
        if let Some(offset) = frame["offset"].as_str() {
            self.last = Some(offset.to_owned());
        }
        let text = |field: &str| frame[field].as_str().unwrap_or_default();
        match text("event") {
            "ack" => {
                let samples = frame["samples"].as_u64().unwrap_or_default();
                if std::mem::replace(&mut self.aligned, true) {
                    self.replay.acknowledge(samples);
                } else {
                    self.replay.rewind(samples);
                }
                self.screen.progress(samples)?;
            }
            "partial" => self.screen.partial(text("text"))?,
            "final" => self.screen.last(text("text"))?,
            "status" if text("status") == "stopped" => {
                let complete = text("state") == "stopped" && text("reason") == "requested";
                let failure = (!complete).then(|| text("reason").to_owned());
                self.ended = Some(Ended { failure, ..Ended::default() });
            }
            "error" if frame["offset"].is_null() && text("code") == "REPLACED" => bail!("{}", text("detail")),
            _ => {}
        }
        Ok(())
    }

    fn closed(&mut self, code: u16, reason: &str) -> anyhow::Result<()> {
        self.socket = None;
        match code {
            1000 if self.ended.is_none() => bail!("the gateway closed the socket before the end of the session"),
            4401 => self.token_refused = true,
            1008 | 4429 => bail!("the gateway refused: {reason}"),
            _ => {}
        }
        Ok(())
    }

    async fn connect(&mut self) -> anyhow::Result<()> {
        if self.failures > 0 {
            sleep(Duration::from_millis(250 * u64::from(self.failures)).min(Duration::from_secs(5))).await;
        }
        self.failures += 1;
        if self.token_refused {
            match self.api.renew().await {
                Ok(()) => self.token_refused = false,
                Err(error) if self.failures >= MAX_ATTEMPTS || is_signed_out(&error) => return Err(error),
                Err(_) => return Ok(()),
            }
        }
        let since = self.last.as_ref().map(|offset| format!("?since={offset}")).unwrap_or_default();
        let (url, authorization) = self.api.socket(&format!("{}{since}", self.path));
        let mut request = url.into_client_request()?;
        let mut authorization = HeaderValue::try_from(authorization)?;
        authorization.set_sensitive(true);
        request.headers_mut().insert("authorization", authorization);
        (self.aligned, self.flushing, self.stopping) = (false, false, false);
        match tokio::time::timeout(Duration::from_secs(10), connect_async(request)).await {
            Ok(Ok((socket, _))) => self.socket = Some(socket),
            Ok(Err(tungstenite::Error::Http(answer))) if answer.status() == 401 => self.token_refused = true,
            Ok(Err(error)) if self.failures >= MAX_ATTEMPTS => {
                return Err(error).context("the gateway cannot be reached");
            }
            Err(_) if self.failures >= MAX_ATTEMPTS => bail!("the gateway does not answer"),
            _ => {}
        }
        Ok(())
    }
}
