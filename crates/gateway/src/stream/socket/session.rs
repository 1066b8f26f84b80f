//! What a client says on its socket: one task, which waits for nothing but the client. It writes nothing itself (`conn`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tracing::debug;
use turnpike_fault::{Fault, Kind};
use turnpike_identity::Refusal;
use turnpike_topic::{RoomId, Topic};

use super::{
    context::SocketContext,
    incoming::Incoming,
    intake::Intake,
    protocol::{Audio, Protocol, Start},
    request::{Parsed, Request},
    upgrade::Upgraded,
};
use crate::{
    access::slots::Slot,
    config::MAX_FRAME,
    stream::{
        conn::{Conn, MAX_TOPICS},
        connections::{Registration, Target},
        control_frames,
        ending::{Close, Ending},
        format::Format,
        protobuf, reader,
        rooms::Reading,
        since::Since,
    },
};

/// A frame a little over the limit is read to its end: a connection that is closed with unread bytes is reset, and the client may
/// see the reset before it reads the close frame with the reason.
const MAX_MESSAGE: usize = MAX_FRAME * 4;

/// How long the first request of a client waits for the acknowledgement, and how often it is looked for.
const CONFIRM_WITHIN: Duration = Duration::from_secs(2);
const CONFIRM_EVERY: Duration = Duration::from_millis(5);

/// The topics of one request whose owners are asked at the same time.
const OPENED_AT_ONCE: usize = 8;

/// One socket. Boxed by its task, so that an idle task is small.
pub(super) struct Session {
    pub(super) context: SocketContext,
    pub(super) conn: Arc<Conn>,
    incoming: Incoming,
    intake: Intake,
    pub(super) registration: Registration,
    protocol: Box<dyn Protocol>,
    /// Where audio goes, if the socket takes audio.
    audio: Option<mpsc::Sender<Audio>>,
    _slot: Slot,
}

impl Session {
    pub(super) fn open(
        context: SocketContext,
        upgraded: Upgraded,
        registration: Registration,
        protocol: Box<dyn Protocol>,
    ) -> Box<Self> {
        let Upgraded { stream, slot, early, format } = upgraded;
        let conn = Conn::new(registration.id, &context.shared, (stream, format), protocol.topic_frames());
        let incoming = Incoming::new(conn.clone(), early, MAX_MESSAGE);
        let intake = Intake::new(context.limits.messages_per_minute);
        let audio = protocol.audio(&conn, &registration.handle);
        Box::new(Self { context, conn, incoming, intake, registration, protocol, audio, _slot: slot })
    }

    /// Serves the client until either side ends the socket.
    pub(super) async fn run(self: Box<Self>) {
        let mut session = Serving(self);
        Box::pin(session.0.start()).await;
        while let Some(message) = session.0.incoming.next().await {
            // Boxed, like everything that is awaited only now and then: the task of an idle socket has no room for it.
            Box::pin(session.0.take(message)).await;
        }
        Box::pin(session.0.incoming.drain()).await;
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Binary(samples) if self.audio.is_some() => self.send_audio(samples).await,
            message => {
                if let Some(text) = self.accept(message) {
                    self.answer(&text).await;
                }
            }
        }
    }

    async fn start(&mut self) {
        let caller = self.registration.handle.caller();
        match self.protocol.start(&caller.claims) {
            Start::Frame(text) => {
                self.conn.say(text);
                self.registration.attach(Target::Socket(self.conn.clone()));
            }
            Start::Topic(topic, since, ack) => {
                let is_acknowledged = ack.is_some();
                self.registration.attach(Target::Socket(self.conn.clone()));
                if let Err(fault) = self.open_topic(topic, since, ack.map(Some)).await {
                    self.conn.end(Close::refused(&fault));
                } else if is_acknowledged {
                    self.until_confirmed(topic).await;
                }
            }
        }
    }

    /// Waits until the acknowledgement is written, so that no answer comes before it; not for long, if the bus is not available.
    async fn until_confirmed(&self, topic: Topic) {
        let confirmed = async {
            while !self.conn.is_confirmed(topic) {
                tokio::time::sleep(CONFIRM_EVERY).await;
            }
        };
        let _ = tokio::time::timeout(CONFIRM_WITHIN, confirmed).await;
    }

    /// Passes audio on, which is not counted as messages: the session that takes it sets the pace.
    async fn send_audio(&mut self, samples: Bytes) {
        self.conn.acts();
        if samples.len() > MAX_FRAME {
            return self.conn.end(Close::TooBig);
        }
        self.pass_on(Audio::Samples(samples)).await;
    }

    async fn pass_on(&self, audio: Audio) {
        // The receiver ends with the caption session, which also ends the socket.
        if let Some(sender) = &self.audio {
            let _ = sender.send(audio).await;
        }
    }

    /// Counts a frame of the client. Returns its text if it is a request; no other frame changes anything.
    fn accept(&mut self, message: Message) -> Option<Utf8Bytes> {
        if self.conn.is_ending() {
            return None;
        }
        if !matches!(message, Message::Pong(_)) {
            self.conn.acts();
        }
        let now = Instant::now();
        let limit = self.context.limits.frame_bytes;
        // Its size counts first, then it is counted, and only then it is parsed: a frame over a limit costs next to nothing.
        let counted = match &message {
            Message::Text(text) if text.len() > MAX_FRAME => return self.end(Close::TooBig),
            Message::Binary(bytes) if bytes.len() > MAX_FRAME => return self.end(Close::TooBig),
            Message::Text(_) | Message::Binary(_) if limit > 0 && message.len() > limit => {
                if self.intake.is_flood(now) {
                    return self.end(Close::Flood);
                }
                let detail = format!("A frame has at most {limit} bytes");
                return self.say(control_frames::error(None, "MESSAGE_TOO_LARGE", &detail));
            }
            Message::Pong(_) if self.conn.is_answer() => return None,
            Message::Ping(_) | Message::Pong(_) => self.intake.control(now),
            Message::Text(_) | Message::Binary(_) => self.context.messages.count(self.registration.user_id()),
            Message::Close(_) | Message::Frame(_) => return None, // handled by the caller; never read
        };
        if let Err(fault) = counted {
            if self.intake.is_flood(now) {
                return self.end(Close::Flood);
            }
            return self.say(control_frames::fault(None, None, &fault));
        }
        // Every frame within the limits is activity in the room, also one that is not valid.
        if let Some(room) = self.protocol.room().filter(|_| matches!(message, Message::Text(_) | Message::Binary(_))) {
            self.context.rooms.touch(room, self.registration.user_id());
        }
        match message {
            Message::Text(text) => Some(text),
            Message::Binary(bytes) if self.conn.format == Format::Protobuf => match protobuf::request(bytes) {
                Some(text) => Some(text.into()),
                None => {
                    let detail = "A binary message is a turnpike.stream.v1.ClientFrame with a request";
                    self.say(control_frames::error(None, "INVALID_PROTOBUF", detail))
                }
            },
            Message::Binary(_) => self.say(control_frames::error(None, "INVALID_JSON", "Frames are text")),
            // tungstenite answers pings by itself
            _ => None,
        }
    }

    fn say<T>(&self, text: String) -> Option<T> {
        self.conn.say(text);
        None
    }

    fn end<T>(&self, close: Close) -> Option<T> {
        self.conn.end(close);
        None
    }

    async fn answer(&self, text: &str) {
        let Parsed { id, request } = self.protocol.parse(text);
        match request {
            Err(invalid) => self.conn.say(invalid.frame(id.as_ref())),
            Ok(Request::Ping) => self.conn.say(control_frames::pong(id.as_ref())),
            Ok(Request::Audio(control)) => self.pass_on(Audio::Control(control)).await,
            Ok(Request::Unsubscribe { topic }) => self.unsubscribe(id.as_ref(), topic),
            Ok(Request::Heartbeat { client_timestamp }) => {
                self.conn.beats();
                self.conn.say(control_frames::heartbeat_ack(client_timestamp, self.context.rooms.now()));
            }
            // Boxed: most messages need less than these.
            Ok(Request::Publish { room, what }) => Box::pin(self.publish(id.as_ref(), room, what)).await,
            Ok(Request::Analyze { room, data }) => Box::pin(self.analyze(id.as_ref(), room, data)).await,
            Ok(Request::Authenticate { token }) => Box::pin(self.renew(id, &token)).await,
            Ok(Request::Subscribe(topics)) => {
                let opening = stream::iter(topics).for_each_concurrent(OPENED_AT_ONCE, async |(topic, since)| {
                    self.subscribe(id.as_ref(), topic, since).await;
                });
                Box::pin(opening).await;
            }
        }
    }

    async fn subscribe(&self, id: Option<&Value>, topic: Topic, since: Since) {
        let opened = if self.conn.follows(topic) {
            Err(Fault::new(Kind::Conflict, "This socket follows the topic already").code_is("ALREADY_SUBSCRIBED"))
        } else {
            self.open_topic(topic, since, Some(id.cloned())).await
        };
        if let Err(fault) = opened {
            self.conn.say(control_frames::fault(id, Some(topic), &fault));
        }
    }

    async fn open_topic(&self, topic: Topic, since: Since, confirm: Option<Option<Value>>) -> Result<(), Fault> {
        let Some((slot, wake)) = self.conn.reserve(topic) else {
            let detail = format!("A socket follows at most {MAX_TOPICS} topics");
            return Err(Fault::new(Kind::RateLimited, detail).code_is("TOO_MANY_TOPICS"));
        };
        let caller = self.registration.handle.caller();
        match reader::open(&self.context.topics, &caller, topic, since, &wake).await {
            Ok(reader) => {
                let reader = match topic {
                    Topic::Room(room) => reader.with(Box::new(self.enter(room))),
                    _ => reader,
                };
                self.conn.subscribe(slot, reader, confirm);
                Ok(())
            }
            Err(fault) => {
                self.conn.unsubscribe(topic);
                Err(fault)
            }
        }
    }

    fn enter(&self, room: RoomId) -> Reading {
        let Registration { id, handle, .. } = &self.registration;
        self.context.rooms.enter(room, self.registration.user_id(), *id, handle, true)
    }

    fn unsubscribe(&self, id: Option<&Value>, topic: Topic) {
        self.conn.say(match self.conn.unsubscribe(topic) {
            true => control_frames::unsubscribed(id, topic),
            false => {
                let fault =
                    Fault::new(Kind::NotFound, "This socket does not follow the topic").code_is("NOT_SUBSCRIBED");
                control_frames::fault(id, Some(topic), &fault)
            }
        });
    }

    /// A new access token on the open socket. It must belong to the same user.
    async fn renew(&self, id: Option<Value>, token: &str) {
        let answer = match self.context.identity.of_bearer(token).await {
            Ok(caller) if caller.claims.user_id == self.registration.user_id() => {
                let expires_at = caller.claims.expires_at;
                match self.registration.renew(caller) {
                    Ok(()) => control_frames::authenticated(id.as_ref(), expires_at),
                    Err(refusal) => return self.conn.end(Ending::from(refusal).into()),
                }
            }
            Ok(_) => control_frames::fault(id.as_ref(), None, &Refusal::Invalid.into()),
            Err(fault) => control_frames::fault(id.as_ref(), None, &fault),
        };
        self.conn.say(answer);
    }
}

/// Gives back the topics of a socket, however its task ends.
struct Serving(Box<Session>);

impl Drop for Serving {
    fn drop(&mut self) {
        let close = self.0.conn.gone();
        debug!(?close, "socket closed");
        metrics::counter!("turnpike_gateway_sockets_closed_total", "code" => close.code().to_string()).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F>(_: impl Fn(Box<Session>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_socket_is_small() {
        // Ten thousand sockets wait at a time, so the rare branches are boxed.
        let (task, session, conn) = (size(Session::run), size_of::<Session>(), size_of::<Conn>());
        assert!(task <= 128 && session <= 448 && conn <= 384, "{task}, {session} and {conn} bytes");
    }
}
