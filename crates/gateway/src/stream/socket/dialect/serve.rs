//! The task of a socket that speaks another service's protocol.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, sync::Notify, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::Caller;
use turnpike_kit::OnExit;
use turnpike_proto::captions::v1::transcribe_request::Control;
use turnpike_rpc::Context;

use super::{Dialect, Heard, Read, session::Session};
use crate::{
    app::Captions,
    http::problem::Problem,
    stream::{
        connections::{Registration, Target},
        ending::Close,
        hub::topic_reader::Batch,
        socket::{
            context::SocketContext,
            upgrade::{Upgrade, Upgraded},
        },
    },
};

/// The longest message: some clients send a whole file at once.
const MAX_MESSAGE: usize = 4 << 20;
/// A client that does not take a message for this long is gone.
const WRITE: Duration = Duration::from_secs(30);
/// How long a client that sends no audio may keep the socket, and how long it has to answer the close frame.
const FIRST: Duration = Duration::from_secs(60);
const CLOSING: Duration = Duration::from_secs(1);
/// Pause before events that could not be read are read again.
const RETRY: Duration = Duration::from_millis(500);
/// The bytes of events that are taken at once.
const TURN: usize = 32 << 10;

type Socket = WebSocketStream<TcpStream>;

/// Upgrades the connection of a caller and serves it.
pub(super) fn accept(
    context: SocketContext,
    captions: Captions,
    upgrade: Upgrade,
    caller: Caller,
    dialect: Box<dyn Dialect>,
) -> Result<Response, Problem> {
    let registration = context.connections.register(&caller, upgrade.origin.clone()).map_err(Fault::from)?;
    let tasks = context.tasks.clone();
    let log_context = Context::current();
    Ok(upgrade.start(&context.tasks.clone(), move |upgraded| {
        let speech = Speech { context, captions, caller, dialect };
        tasks.spawn("speech socket", OnExit::Continue, log_context.scope(serve(speech, registration, upgraded)));
    }))
}

async fn serve(mut speech: Speech, registration: Registration, upgraded: Upgraded) {
    let Upgraded { stream, slot, early, .. } = upgraded;
    let _slot = slot;
    let ended = Arc::new(Notify::new());
    registration.attach(Target::Stream(ended));
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let mut socket = WebSocketStream::from_partially_read(stream, early.into(), Role::Server, Some(config)).await;
    let close = tokio::select! {
        close = speech.run(&mut socket) => close,
        ending = registration.handle.ended() => ending.into(),
    };
    metrics::counter!("turnpike_gateway_sockets_closed_total", "code" => close.code().to_string()).increment(1);
    if close == Close::Gone {
        return;
    }
    let closing = async {
        let frame = CloseFrame { code: close.code().into(), reason: close.reason().into() };
        let _ = socket.send(Message::Close(Some(frame))).await;
        while let Some(Ok(_)) = socket.next().await {}
    };
    let _ = timeout(CLOSING, closing).await;
}

struct Speech {
    context: SocketContext,
    captions: Captions,
    caller: Caller,
    dialect: Box<dyn Dialect>,
}

impl Speech {
    async fn run(&mut self, socket: &mut Socket) -> Close {
        match self.talk(socket).await {
            Ok(close) => close,
            Err(fault) => {
                if let Some(text) = self.dialect.fail(&fault) {
                    let _ = say(socket, text).await;
                }
                Close::refused(&fault)
            }
        }
    }

    async fn talk(&mut self, socket: &mut Socket) -> Result<Close, Fault> {
        let first = loop {
            let message = timeout(FIRST, next(socket)).await;
            let Some(message) = message.map_err(|_| Fault::new(Kind::Invalid, "No audio arrived"))? else {
                return Ok(Close::Gone);
            };
            match self.dialect.read(message)? {
                Read::Audio(audio) => break audio,
                Read::Stop => {
                    say(socket, self.dialect.end()).await?;
                    return Ok(Close::Done);
                }
                Read::Finalize | Read::KeepAlive | Read::Nothing => {}
            }
        };
        let (mut session, opened) =
            Session::open(&self.captions, &self.context.topics, &self.caller, self.dialect.opening()).await?;
        self.dialect.opened(&opened);
        session.send(first).await;
        let ended = self.converse(socket, &mut session).await;
        if ended != Ok(Close::Done) {
            session.leave().await;
        }
        ended
    }

    async fn converse(&mut self, socket: &mut Socket, session: &mut Session) -> Result<Close, Fault> {
        say(socket, self.dialect.answer()).await?;
        let (mut stopping, mut sending) = (false, true);
        loop {
            let mut retry = Duration::MAX;
            match session.reader.take(TURN).await {
                Batch::Frames(frames) => {
                    for heard in frames.iter().filter_map(|frame| Heard::parse(&frame.text())) {
                        say(socket, self.dialect.hear(heard)).await?;
                    }
                    continue;
                }
                // Partials were trimmed; a client of these protocols cannot be told.
                Batch::CaughtUp { .. } | Batch::Reset { .. } => continue,
                Batch::Closed => {
                    say(socket, self.dialect.end()).await?;
                    return Ok(Close::Done);
                }
                Batch::Unavailable => retry = RETRY,
                Batch::Nothing => {}
            }
            let wake = session.wake.clone();
            tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep(retry), if retry < Duration::MAX => {}
                ended = session.audio_ended(), if sending => {
                    ended?;
                    sending = false;
                }
                message = next(socket) => {
                    let Some(message) = message else { return Ok(Close::Gone) };
                    match self.dialect.read(message)? {
                        _ if stopping => {}
                        Read::Audio(audio) => {
                            session.send(audio).await;
                            say(socket, self.dialect.answer()).await?;
                        }
                        Read::KeepAlive => session.send(bytes::Bytes::new()).await,
                        Read::Finalize => session.control(Control::Finalize).await,
                        Read::Stop => {
                            stopping = true;
                            session.control(Control::Stop).await;
                        }
                        Read::Nothing => {}
                    }
                }
            }
        }
    }
}

/// The next text or binary message; `None`: the client has left. Cancel-safe.
async fn next(socket: &mut Socket) -> Option<Message> {
    loop {
        match socket.next().await? {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => return Some(message),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

async fn say(socket: &mut Socket, text: impl Into<Option<String>>) -> Result<(), Fault> {
    let Some(text) = text.into() else { return Ok(()) };
    let sent = timeout(WRITE, socket.send(Message::text(text))).await;
    sent.ok().and_then(Result::ok).ok_or_else(|| Fault::new(Kind::Timeout, "The client takes no message"))
}
