//! One socket, from its first frame to its last: everything that can happen to it is one of three things, and each is
//! handled to its end before the next is looked at.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::time::Instant;
use tracing::debug;
use turnpike_event::Topic;
use turnpike_fault::{Fault, Kind};
use turnpike_kit::Refusal;

use super::{
    Close,
    grammar::{self, Ask},
    registry::Place,
};
use crate::{
    App,
    config::MAX_FRAME,
    hub::{Batch, Since},
    source::{self, Source},
};

/// Topics on one socket.
pub(crate) const MAX_TOPICS: usize = 100;
/// What is taken from one topic before the next gets its turn.
const TURN_BYTES: usize = 32 << 10;
/// Before history that could not be read is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How long the other side has to answer a close.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// `/ws`: whatever the client subscribes to.
    Multiplexed,
    /// `/ws/responses/{id}`: one topic, and nothing said besides its events.
    One(Topic, Since),
}

struct Session {
    app: App,
    socket: WebSocket,
    place: Place,
    kind: Kinds,
    topics: Vec<Followed>,
    /// The client was last heard then.
    heard: Instant,
    /// The next ping.
    beat: Instant,
    /// Some history could not be read; when to try again.
    retry: Option<Instant>,
    told_bus_away: bool,
}

struct Followed {
    source: Source,
    /// The client's id of a subscription that is yet to be confirmed.
    unconfirmed: Option<Option<Value>>,
    done: bool,
}

enum Happening {
    /// A topic moved, or the registry has a word.
    Woken,
    /// The client said something, or is gone.
    Said(Option<Result<Message, axum::Error>>),
    /// Time to look at the clock.
    Beat,
}

/// Serves a socket until either side ends it.
pub(crate) async fn run(app: App, socket: WebSocket, place: Place, kind: Kinds) {
    let now = Instant::now();
    let beat = now + app.config.heartbeat;
    let mut session =
        Session { app, socket, place, kind, topics: Vec::new(), heard: now, beat, retry: None, told_bus_away: false };
    let close = match session.serve().await {
        Ok(never) => match never {},
        Err(close) => close,
    };
    debug!(?close, "socket closed");
    metrics::counter!("turnpike_gateway_sockets_closed_total", "code" => close.code().to_string()).increment(1);
    Box::pin(session.part(close)).await;
}

type Served = Result<std::convert::Infallible, Close>;

impl Session {
    async fn serve(&mut self) -> Served {
        match self.kind {
            Kinds::Multiplexed => {
                let claims = self.place.handle.caller().claims;
                let heartbeat = self.app.config.heartbeat.as_secs();
                let hello = grammar::hello(&self.app.config.limits, heartbeat, &claims.session_id.to_string());
                self.say(hello).await?;
            }
            Kinds::One(topic, since) => {
                let caller = self.place.handle.caller();
                let source = Box::pin(source::open(&self.app, &caller, topic, since, &self.place.handle.wake)).await;
                let source = source.map_err(|fault| Close::refused(&fault))?;
                self.topics.push(Followed { source, unconfirmed: None, done: false });
            }
        }
        loop {
            // A busy topic does not make the socket deaf: between two rounds, what was said meanwhile is heard.
            let more = Box::pin(self.pump()).await?;
            match self.next(more).await {
                Happening::Woken => {}
                Happening::Said(None) => return Err(Close::Gone),
                Happening::Said(Some(Err(error))) => return Err(Close::broken(error)),
                // Boxed: an idle socket's future holds room for its wait alone, not for everything that may happen to it.
                Happening::Said(Some(Ok(message))) => Box::pin(self.hear(message)).await?,
                Happening::Beat => Box::pin(self.look_at_the_clock()).await?,
            }
        }
    }

    /// With `more` to hand over, whatever has happened already; else whatever happens next.
    async fn next(&mut self, more: bool) -> Happening {
        let due = self.retry.map_or(self.beat, |retry| retry.min(self.beat));
        let woken = async {
            if !more {
                self.place.handle.wake.notified().await;
            }
        };
        tokio::select! {
            biased; // a client is not dead while something of it is unread
            said = self.socket.next() => Happening::Said(said),
            () = tokio::time::sleep_until(due) => Happening::Beat,
            () = woken => Happening::Woken,
        }
    }

    /// Hands over what each topic has, a turn of each. Says whether there may be more.
    async fn pump(&mut self) -> Result<bool, Close> {
        self.check_ending()?;
        self.tell_if_bus_is_away().await?;
        let mut more = false;
        let mut at = 0;
        while at < self.topics.len() {
            let batch = match self.confirm(at).await? {
                true => self.take(at).await?,
                false => Batch::Nothing,
            };
            more |= !matches!(batch, Batch::Nothing | Batch::Unavailable);
            self.hand_over(at, batch).await?;
            at += 1;
        }
        self.topics.retain(|followed| !followed.done);
        Ok(more)
    }

    /// Reading history may take a while; the socket's end does not wait for it.
    async fn take(&mut self, at: usize) -> Result<Batch, Close> {
        let handle = self.place.handle.clone();
        let mut taking = std::pin::pin!(self.topics[at].source.take(TURN_BYTES));
        loop {
            tokio::select! {
                biased;
                batch = &mut taking => return Ok(batch),
                () = handle.wake.notified() => if let Some(close) = handle.ending() { return Err(close) },
            }
        }
    }

    async fn hand_over(&mut self, at: usize, batch: Batch) -> Result<(), Close> {
        let topic = self.topics[at].source.topic();
        match batch {
            Batch::Frames(frames) => {
                let frames = frames.iter().map(|frame| Message::Text(frame.text()));
                return self.send(frames.collect()).await;
            }
            Batch::CaughtUp { head } if self.kind == Kinds::Multiplexed => {
                self.say(grammar::caught_up(topic, head)).await?;
            }
            Batch::CaughtUp { .. } | Batch::Nothing => {}
            Batch::Reset { reason, head } => self.say(grammar::reset(topic, reason, head)).await?,
            Batch::Unavailable => self.retry = Some(Instant::now() + RETRY),
            Batch::Closed => match self.kind {
                Kinds::One(..) => return Err(Close::Done),
                Kinds::Multiplexed => {
                    self.topics[at].done = true;
                    self.say(grammar::closed(topic)).await?;
                }
            },
        }
        Ok(())
    }

    /// A subscription is confirmed, with the topic's head, before its first event. Says whether it is.
    async fn confirm(&mut self, at: usize) -> Result<bool, Close> {
        let followed = &mut self.topics[at];
        if followed.unconfirmed.is_none() {
            return Ok(true);
        }
        let Some(head) = followed.source.head() else { return Ok(false) };
        let id = followed.unconfirmed.take().flatten();
        let topic = followed.source.topic();
        self.say(grammar::subscribed(id.as_ref(), topic, head)).await?;
        Ok(true)
    }

    async fn hear(&mut self, message: Message) -> Result<(), Close> {
        self.heard = Instant::now();
        let caller = self.place.handle.caller();
        let counted = match message {
            Message::Text(_) | Message::Binary(_) => self.app.messages.count(caller.claims.user_id),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(()),
        };
        let text = match message {
            Message::Text(text) if text.len() > MAX_FRAME => return Err(Close::TooBig),
            Message::Binary(bytes) if bytes.len() > MAX_FRAME => return Err(Close::TooBig),
            Message::Text(text) => text,
            Message::Close(_) => return Err(Close::Gone),
            // tungstenite answers pings by itself
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Binary(_) => {
                return match counted {
                    Ok(()) => self.say(grammar::error(None, "INVALID_JSON", "Frames are text")).await,
                    Err(fault) => self.say(grammar::fault(None, None, &fault)).await,
                };
            }
        };
        let limits = &self.app.config.limits;
        if limits.frame_bytes > 0 && text.len() > limits.frame_bytes {
            let detail = format!("A frame has at most {} bytes", limits.frame_bytes);
            return self.say(grammar::error(None, "MESSAGE_TOO_LARGE", &detail)).await;
        }
        let (id, asked) = grammar::parse(&text);
        if let Err(fault) = counted {
            return self.say(grammar::fault(id.as_ref(), None, &fault)).await;
        }
        match asked {
            Err(misunderstood) => {
                self.say(grammar::error(id.as_ref(), misunderstood.code, &misunderstood.detail)).await
            }
            Ok(Ask::Ping) => self.say(grammar::pong(id.as_ref())).await,
            Ok(Ask::Auth { token }) => self.renew(id, &token).await,
            Ok(Ask::Subscribe { .. } | Ask::Unsubscribe { .. }) if self.kind != Kinds::Multiplexed => {
                self.say(grammar::error(id.as_ref(), "UNKNOWN_MESSAGE_TYPE", "This socket has its one topic")).await
            }
            Ok(Ask::Subscribe { topic, since }) => self.subscribe(id, topic, since).await,
            Ok(Ask::Unsubscribe { topic }) => self.unsubscribe(id, topic).await,
        }
    }

    async fn subscribe(&mut self, id: Option<Value>, topic: Topic, since: Since) -> Result<(), Close> {
        let refused = if self.topics.iter().any(|followed| followed.source.topic() == topic) {
            Some(Fault::new(Kind::Conflict, "This socket follows the topic already").code_is("ALREADY_SUBSCRIBED"))
        } else if self.topics.len() >= MAX_TOPICS {
            Some(
                Fault::new(Kind::RateLimited, format!("A socket follows at most {MAX_TOPICS} topics"))
                    .code_is("TOO_MANY_TOPICS"),
            )
        } else {
            None
        };
        let caller = self.place.handle.caller();
        let opened = match refused {
            Some(fault) => Err(fault),
            None => source::open(&self.app, &caller, topic, since, &self.place.handle.wake).await,
        };
        match opened {
            Err(fault) => self.say(grammar::fault(id.as_ref(), Some(topic), &fault)).await,
            Ok(source) => {
                self.topics.push(Followed { source, unconfirmed: Some(id), done: false });
                Ok(())
            }
        }
    }

    async fn unsubscribe(&mut self, id: Option<Value>, topic: Topic) -> Result<(), Close> {
        let before = self.topics.len();
        self.topics.retain(|followed| followed.source.topic() != topic);
        if self.topics.len() == before {
            let fault = Fault::new(Kind::NotFound, "This socket does not follow the topic").code_is("NOT_SUBSCRIBED");
            return self.say(grammar::fault(id.as_ref(), Some(topic), &fault)).await;
        }
        self.say(grammar::unsubscribed(id.as_ref(), topic)).await
    }

    /// A new access token on the open socket. It must be the same user's.
    async fn renew(&mut self, id: Option<Value>, token: &str) -> Result<(), Close> {
        match self.app.identity.of_token(token).await {
            Ok(caller) if caller.claims.user_id == self.place.handle.caller().claims.user_id => {
                let expires_at = caller.claims.expires_at;
                self.place.handle.renew(caller);
                self.say(grammar::authenticated(id.as_ref(), expires_at)).await
            }
            Ok(_) => self.say(grammar::fault(id.as_ref(), None, &Refusal::Invalid.into())).await,
            Err(refusal) => self.say(grammar::fault(id.as_ref(), None, &refusal.into())).await,
        }
    }

    async fn look_at_the_clock(&mut self) -> Result<(), Close> {
        let now = Instant::now();
        self.retry = self.retry.filter(|retry| *retry > now);
        if now < self.beat {
            return Ok(());
        }
        self.beat = now + self.app.config.heartbeat;
        if now.duration_since(self.heard) >= self.patience() {
            return Err(Close::NoHeartbeat);
        }
        self.send(vec![Message::Ping(axum::body::Bytes::new())]).await
    }

    /// Dead after two and a half heartbeats without a frame.
    fn patience(&self) -> Duration {
        self.app.config.heartbeat * 5 / 2
    }

    fn check_ending(&self) -> Result<(), Close> {
        self.place.handle.ending().map_or(Ok(()), Err)
    }

    /// Nothing is lost: what is published while the bus is away comes when it is back, or a reset says otherwise.
    async fn tell_if_bus_is_away(&mut self) -> Result<(), Close> {
        let away = self.app.sockets.bus_away();
        if away == self.told_bus_away {
            return Ok(());
        }
        self.told_bus_away = away;
        if !away {
            return Ok(());
        }
        self.say(grammar::error(None, "UPSTREAM_UNAVAILABLE", "Events are delayed; they continue when the bus is back"))
            .await
    }

    async fn say(&mut self, text: axum::extract::ws::Utf8Bytes) -> Result<(), Close> {
        self.send(vec![Message::Text(text)]).await
    }

    /// Feeds all, flushes once. A client that does not read holds up only itself, and not for ever: the registry can end it,
    /// and so can the clock.
    async fn send(&mut self, messages: Vec<Message>) -> Result<(), Close> {
        let (handle, patience) = (self.place.handle.clone(), self.patience());
        let socket = &mut self.socket;
        let sending = async {
            for message in messages {
                socket.feed(message).await?;
            }
            socket.flush().await
        };
        let ended = async {
            loop {
                handle.wake.notified().await;
                if let Some(close) = handle.ending() {
                    return close;
                }
            }
        };
        tokio::select! {
            biased;
            sent = sending => sent.map_err(|_| Close::Gone),
            close = ended => Err(close),
            () = tokio::time::sleep(patience) => Err(Close::NoHeartbeat),
        }
    }

    /// Says why, and waits a moment for the other side to agree (RFC 6455, section 7.1.2).
    async fn part(mut self, close: Close) {
        if close == Close::Gone {
            // If it has said goodbye, it is answered; if not, this fails at once.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F>(_: impl Fn(App, WebSocket, Place, Kinds) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_socket_is_small() {
        // Ten thousand of them wait at a time: what is rare is boxed.
        assert!(size(run) <= 2048, "{} bytes", size(run));
    }
}
