//! One socket, from its first frame to its last: everything that can happen to it is one of three things, and each is
//! handled to its end before the next is looked at.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use serde_json::Value;
use tokio::time::Instant;
use tracing::debug;
use turnpike_fault::{Fault, Kind};
use turnpike_identity::Refusal;
use turnpike_topic::Topic;

use super::{
    grammar::{self, Ask},
    intake::Intake,
    wire::Wire,
};
use crate::{
    app::App,
    config::MAX_FRAME,
    stream::{
        connections::Place,
        ending::{Close, Ending},
        hub::{Batch, Since},
        reader::{self as source, Source},
    },
};

/// Topics on one socket.
pub(crate) const MAX_TOPICS: usize = 100;
/// What is taken from one topic before the next gets its turn.
const TURN_BYTES: usize = 32 << 10;
/// Before history that could not be read is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Frames that change nothing (control frames, refused frames) may follow one another before the topics are visited again.
const UNVISITED: u32 = 32;

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
    wire: Wire,
    intake: Intake,
    place: Place,
    kind: Kinds,
    topics: Vec<Followed>,
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
    let wire = Wire::new(socket, app.config.heartbeat);
    let intake = Intake::new(app.config.limits.messages_per_minute);
    let mut session = Session { app, wire, intake, place, kind, topics: Vec::new(), retry: None, told_bus_away: false };
    let close = match session.serve().await {
        Ok(never) => match never {},
        Err(close) => close,
    };
    debug!(?close, "socket closed");
    metrics::counter!("turnpike_gateway_sockets_closed_total", "code" => close.code().to_string()).increment(1);
    Box::pin(session.wire.part(close)).await;
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
        let mut more = Box::pin(self.pump()).await?;
        let mut unvisited = 0;
        loop {
            // A busy topic does not make the socket deaf: between two rounds, what was said meanwhile is heard.
            match self.next(more).await {
                Happening::Woken => {}
                Happening::Said(None) => return Err(Close::Gone),
                Happening::Said(Some(Err(error))) => return Err(Close::broken(error)),
                // Boxed: an idle socket's future holds room for its wait alone, not for everything that may happen to it.
                Happening::Said(Some(Ok(message))) => {
                    let asked = Box::pin(self.hear(message)).await?;
                    unvisited += 1;
                    if !asked && unvisited < UNVISITED {
                        self.check_ending()?;
                        continue;
                    }
                }
                Happening::Beat => Box::pin(self.look_at_the_clock()).await?,
            }
            unvisited = 0;
            more = Box::pin(self.pump()).await?;
        }
    }

    /// With `more` to hand over, whatever has happened already; else whatever happens next.
    async fn next(&mut self, more: bool) -> Happening {
        let beat = self.wire.heartbeat.due();
        let due = self.retry.map_or(beat, |retry| retry.min(beat));
        let woken = async {
            if !more {
                self.place.handle.wake.notified().await;
            }
        };
        tokio::select! {
            biased; // a client is not dead while something of it is unread
            said = self.wire.next() => Happening::Said(said),
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
        let taking = self.topics[at].source.take(TURN_BYTES);
        tokio::select! {
            biased;
            batch = taking => Ok(batch),
            ending = handle.ended() => Err(ending.into()),
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

    /// Handles a frame of the client. Whether it asked for something; everything else changes nothing for the topics.
    async fn hear(&mut self, message: Message) -> Result<bool, Close> {
        let now = Instant::now();
        // Counted before it is parsed: what is over the limit costs next to nothing.
        let counted = match &message {
            Message::Close(_) => return Err(Close::Gone),
            Message::Text(text) if text.len() > MAX_FRAME => return Err(Close::TooBig),
            Message::Binary(bytes) if bytes.len() > MAX_FRAME => return Err(Close::TooBig),
            Message::Pong(_) if self.wire.heartbeat.is_answer() => return Ok(false),
            Message::Ping(_) | Message::Pong(_) => self.intake.control(now),
            Message::Text(_) | Message::Binary(_) => self.app.messages.count(self.place.user_id),
        };
        if let Err(fault) = counted {
            if self.intake.is_flood(now) {
                return Err(Close::Flood);
            }
            self.say(grammar::fault(None, None, &fault)).await?;
            return Ok(false);
        }
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => {
                self.say(grammar::error(None, "INVALID_JSON", "Frames are text")).await?;
                return Ok(false);
            }
            // tungstenite answers pings by itself
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(false),
        };
        let limits = &self.app.config.limits;
        if limits.frame_bytes > 0 && text.len() > limits.frame_bytes {
            let detail = format!("A frame has at most {} bytes", limits.frame_bytes);
            self.say(grammar::error(None, "MESSAGE_TOO_LARGE", &detail)).await?;
            return Ok(false);
        }
        self.answer(&text).await?;
        Ok(true)
    }

    async fn answer(&mut self, text: &str) -> Result<(), Close> {
        let (id, asked) = grammar::parse(text);
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
                if let Err(refusal) = self.place.renew(caller) {
                    return Err(Ending::from(refusal).into());
                }
                self.say(grammar::authenticated(id.as_ref(), expires_at)).await
            }
            Ok(_) => self.say(grammar::fault(id.as_ref(), None, &Refusal::Invalid.into())).await,
            Err(refusal) => self.say(grammar::fault(id.as_ref(), None, &refusal.into())).await,
        }
    }

    async fn look_at_the_clock(&mut self) -> Result<(), Close> {
        let now = Instant::now();
        self.retry = self.retry.filter(|retry| *retry > now);
        self.wire.beat(&self.place.handle).await
    }

    fn check_ending(&self) -> Result<(), Close> {
        self.place.handle.ending().map_or(Ok(()), |ending| Err(ending.into()))
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

    async fn send(&mut self, messages: Vec<Message>) -> Result<(), Close> {
        self.wire.send(messages, &self.place.handle).await
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
