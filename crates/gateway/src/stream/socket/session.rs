//! One socket from its first frame to its last. The loop handles one input to its end before it waits for the next.

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use serde_json::Value;
use tokio::time::Instant;
use tracing::debug;
use turnpike_fault::{Fault, Kind};
use turnpike_identity::Refusal;
use turnpike_topic::Topic;

use super::{
    context::SocketContext,
    delivery::{Client, Confirmation, Delivery},
    intake::Intake,
    protocol::{Protocol, Start},
    request::{Parsed, Request},
    wire::Wire,
};
use crate::{
    config::MAX_FRAME,
    stream::{
        connections::Registration,
        control_frames,
        ending::{Close, Ending},
        reader,
        since::Since,
    },
};

/// Topics on one socket.
pub(super) const MAX_TOPICS: usize = 100;
/// Frames that change nothing (control frames, refused frames) may follow one another before the topics get another turn.
const FRAMES_WITHOUT_DELIVERY: u32 = 32;

struct Session {
    context: SocketContext,
    wire: Wire,
    intake: Intake,
    registration: Registration,
    protocol: Box<dyn Protocol>,
    delivery: Delivery,
    /// The outage of the bus was reported to the client.
    bus_outage_reported: bool,
}

enum Input {
    /// A topic may have new frames, or the registry of connections ends the socket.
    Woken,
    /// A frame of the client; `None`: the connection ended.
    Received(Option<Result<Message, axum::Error>>),
    /// A heartbeat or a retry is due.
    TimerDue,
}

/// Serves a socket until either side ends it.
pub(super) async fn run(
    context: SocketContext,
    socket: WebSocket,
    registration: Registration,
    protocol: Box<dyn Protocol>,
) {
    let wire = Wire::new(socket, context.heartbeat);
    let intake = Intake::new(context.limits.messages_per_minute);
    let delivery = Delivery::default();
    let mut session = Session { context, wire, intake, registration, protocol, delivery, bus_outage_reported: false };
    let close = match session.serve().await {
        Ok(never) => match never {},
        Err(close) => close,
    };
    debug!(?close, "socket closed");
    metrics::counter!("turnpike_gateway_sockets_closed_total", "code" => close.code().to_string()).increment(1);
    Box::pin(session.wire.close(close)).await;
}

type Served = Result<std::convert::Infallible, Close>;

impl Session {
    async fn serve(&mut self) -> Served {
        Box::pin(self.start()).await?;
        let mut more = Box::pin(self.deliver()).await?;
        let mut frames_without_delivery = 0;
        loop {
            // A busy topic does not keep the socket from reading: frames that arrived are handled between two rounds.
            match self.next(more).await {
                Input::Woken => {}
                Input::Received(None) => return Err(Close::Gone),
                Input::Received(Some(Err(error))) => return Err(Close::broken(error)),
                // Boxed: an idle socket's future holds room for its wait alone, not for the handling of every input.
                Input::Received(Some(Ok(message))) => {
                    let is_request = Box::pin(self.receive(message)).await?;
                    frames_without_delivery += 1;
                    if !is_request && frames_without_delivery < FRAMES_WITHOUT_DELIVERY {
                        self.check_ending()?;
                        continue;
                    }
                }
                Input::TimerDue => {
                    self.delivery.clear_retry(Instant::now());
                    Box::pin(self.wire.beat(&self.registration.handle)).await?;
                }
            }
            frames_without_delivery = 0;
            more = Box::pin(self.deliver()).await?;
        }
    }

    async fn start(&mut self) -> Result<(), Close> {
        let caller = self.registration.handle.caller();
        match self.protocol.start(&caller.claims) {
            Start::Frame(frame) => self.send_text(frame).await,
            Start::Topic(topic, since) => {
                let wake = &self.registration.handle.wake;
                let opened = reader::open(&self.context.topics, &caller, topic, since, wake).await;
                let reader = opened.map_err(|fault| Close::refused(&fault))?;
                self.delivery.add(reader, Confirmation::None);
                Ok(())
            }
        }
    }

    /// If there is `more` to deliver, an input that is there already; else the next one.
    async fn next(&mut self, more: bool) -> Input {
        let beat = self.wire.heartbeat.due();
        let due = self.delivery.retry_at().map_or(beat, |retry| retry.min(beat));
        let woken = async {
            if !more {
                self.registration.handle.wake.notified().await;
            }
        };
        tokio::select! {
            biased; // a client with an unread frame is not dead
            received = self.wire.next() => Input::Received(received),
            () = tokio::time::sleep_until(due) => Input::TimerDue,
            () = woken => Input::Woken,
        }
    }

    /// Delivers one turn of each topic. Returns whether there may be more.
    async fn deliver(&mut self) -> Result<bool, Close> {
        self.check_ending()?;
        self.report_bus_outage().await?;
        let (handle, protocol) = (&*self.registration.handle, &*self.protocol);
        self.delivery.round(&mut Client { wire: &mut self.wire, handle, protocol }).await
    }

    /// Handles a frame of the client. Returns whether it is a request; no other frame changes anything for the topics.
    async fn receive(&mut self, message: Message) -> Result<bool, Close> {
        let now = Instant::now();
        // Counted before it is parsed: a frame over the limit costs next to nothing.
        let counted = match &message {
            Message::Close(_) => return Err(Close::Gone),
            Message::Text(text) if text.len() > MAX_FRAME => return Err(Close::TooBig),
            Message::Binary(bytes) if bytes.len() > MAX_FRAME => return Err(Close::TooBig),
            Message::Pong(_) if self.wire.heartbeat.is_answer() => return Ok(false),
            Message::Ping(_) | Message::Pong(_) => self.intake.control(now),
            Message::Text(_) | Message::Binary(_) => self.context.messages.count(self.registration.user_id),
        };
        if let Err(fault) = counted {
            if self.intake.is_flood(now) {
                return Err(Close::Flood);
            }
            self.send_text(control_frames::fault(None, None, &fault)).await?;
            return Ok(false);
        }
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => {
                self.send_text(control_frames::error(None, "INVALID_JSON", "Frames are text")).await?;
                return Ok(false);
            }
            // tungstenite answers pings by itself
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(false),
        };
        let limits = &self.context.limits;
        if limits.frame_bytes > 0 && text.len() > limits.frame_bytes {
            let detail = format!("A frame has at most {} bytes", limits.frame_bytes);
            self.send_text(control_frames::error(None, "MESSAGE_TOO_LARGE", &detail)).await?;
            return Ok(false);
        }
        self.handle_request(&text).await?;
        Ok(true)
    }

    async fn handle_request(&mut self, text: &str) -> Result<(), Close> {
        let Parsed { id, request } = self.protocol.parse(text);
        match request {
            Err(invalid) => self.send_text(control_frames::error(id.as_ref(), invalid.code, &invalid.detail)).await,
            Ok(Request::Ping) => self.send_text(control_frames::pong(id.as_ref())).await,
            Ok(Request::Authenticate { token }) => self.renew(id, &token).await,
            Ok(Request::Subscribe { topic, since }) => self.subscribe(id, topic, since).await,
            Ok(Request::Unsubscribe { topic }) => self.unsubscribe(id, topic).await,
        }
    }

    async fn subscribe(&mut self, id: Option<Value>, topic: Topic, since: Since) -> Result<(), Close> {
        let refused = if self.delivery.follows(topic) {
            Some(Fault::new(Kind::Conflict, "This socket follows the topic already").code_is("ALREADY_SUBSCRIBED"))
        } else if self.delivery.len() >= MAX_TOPICS {
            Some(
                Fault::new(Kind::RateLimited, format!("A socket follows at most {MAX_TOPICS} topics"))
                    .code_is("TOO_MANY_TOPICS"),
            )
        } else {
            None
        };
        let handle = &self.registration.handle;
        let opened = match refused {
            Some(fault) => Err(fault),
            None => reader::open(&self.context.topics, &handle.caller(), topic, since, &handle.wake).await,
        };
        match opened {
            Err(fault) => self.send_text(control_frames::fault(id.as_ref(), Some(topic), &fault)).await,
            Ok(reader) => {
                self.delivery.add(reader, Confirmation::Due { id });
                Ok(())
            }
        }
    }

    async fn unsubscribe(&mut self, id: Option<Value>, topic: Topic) -> Result<(), Close> {
        if !self.delivery.remove(topic) {
            let fault = Fault::new(Kind::NotFound, "This socket does not follow the topic").code_is("NOT_SUBSCRIBED");
            return self.send_text(control_frames::fault(id.as_ref(), Some(topic), &fault)).await;
        }
        self.send_text(control_frames::unsubscribed(id.as_ref(), topic)).await
    }

    /// A new access token on the open socket. It must belong to the same user.
    async fn renew(&mut self, id: Option<Value>, token: &str) -> Result<(), Close> {
        let answer = match self.context.identity.of_bearer(token).await {
            Ok(caller) if caller.claims.user_id == self.registration.user_id => {
                let expires_at = caller.claims.expires_at;
                self.registration.renew(caller).map_err(|refusal| Close::from(Ending::from(refusal)))?;
                control_frames::authenticated(id.as_ref(), expires_at)
            }
            Ok(_) => control_frames::fault(id.as_ref(), None, &Refusal::Invalid.into()),
            Err(fault) => control_frames::fault(id.as_ref(), None, &fault),
        };
        self.send_text(answer).await
    }

    fn check_ending(&self) -> Result<(), Close> {
        self.registration.handle.ending().map_or(Ok(()), |ending| Err(ending.into()))
    }

    /// An outage loses no event silently: the events arrive when the bus is back, or a reset reports the loss.
    async fn report_bus_outage(&mut self) -> Result<(), Close> {
        let outage = self.context.connections.bus_outage();
        if outage == self.bus_outage_reported {
            return Ok(());
        }
        self.bus_outage_reported = outage;
        if !outage {
            return Ok(());
        }
        let detail = "Events are delayed; they continue when the bus is back";
        self.send_text(control_frames::error(None, "UPSTREAM_UNAVAILABLE", detail)).await
    }

    async fn send_text(&mut self, text: Utf8Bytes) -> Result<(), Close> {
        self.wire.send(vec![Message::Text(text)], &self.registration.handle).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F>(_: impl Fn(SocketContext, WebSocket, Registration, Box<dyn Protocol>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_socket_is_small() {
        // Ten thousand sockets wait at a time, so the rare branches are boxed.
        assert!(size(run) <= 2048, "{} bytes", size(run));
    }
}
