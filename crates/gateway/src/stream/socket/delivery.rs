//! The topics of one socket, and the delivery of their events.

use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes};
use serde_json::Value;
use tokio::time::Instant;
use turnpike_topic::Topic;

use super::{protocol::Protocol, wire::Wire};
use crate::stream::{connections::Handle, control_frames, ending::Close, hub::topic_reader::Batch, reader::Reader};

/// The bytes of one topic that are sent before the next topic gets its turn.
const TURN_BYTES: usize = 32 << 10;
/// The delay before history that could not be read is read again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Delivery {
    topics: Vec<Followed>,
    /// Some history could not be read; when to read it again.
    retry_at: Option<Instant>,
}

struct Followed {
    reader: Reader,
    confirmation: Confirmation,
    done: bool,
}

/// Whether a subscription must be confirmed.
pub(super) enum Confirmation {
    /// The client did not subscribe, or its subscription was confirmed.
    None,
    /// A confirmation with the client's id, once the head of the topic is known.
    Due { id: Option<Value> },
}

/// The client's side of a socket.
pub(super) struct Client<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) handle: &'a Handle,
    pub(super) protocol: &'a dyn Protocol,
}

impl Client<'_> {
    async fn send_text(&mut self, text: Utf8Bytes) -> Result<(), Close> {
        self.wire.send(vec![Message::Text(text)], self.handle).await
    }
}

impl Delivery {
    pub(super) fn add(&mut self, reader: Reader, confirmation: Confirmation) {
        self.topics.push(Followed { reader, confirmation, done: false });
    }

    /// Whether the topic was there.
    pub(super) fn remove(&mut self, topic: Topic) -> bool {
        let before = self.topics.len();
        self.topics.retain(|followed| followed.reader.topic() != topic);
        self.topics.len() < before
    }

    pub(super) fn follows(&self, topic: Topic) -> bool {
        self.topics.iter().any(|followed| followed.reader.topic() == topic)
    }

    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Forgets a retry whose time has come.
    pub(super) fn clear_retry(&mut self, now: Instant) {
        self.retry_at = self.retry_at.filter(|retry| *retry > now);
    }

    /// Delivers one turn of each topic. Returns whether there may be more to deliver.
    pub(super) async fn round(&mut self, client: &mut Client<'_>) -> Result<bool, Close> {
        let mut more = false;
        for followed in &mut self.topics {
            let batch = match followed.confirm(client).await? {
                true => followed.take(client.handle).await?,
                false => Batch::Nothing,
            };
            more |= !matches!(batch, Batch::Nothing | Batch::Unavailable);
            if matches!(batch, Batch::Unavailable) {
                self.retry_at = Some(Instant::now() + RETRY_DELAY);
            }
            followed.deliver(client, batch).await?;
        }
        self.topics.retain(|followed| !followed.done);
        Ok(more)
    }
}

impl Followed {
    /// A subscription is confirmed, with the topic's head, before its first event. Returns whether nothing is left to confirm.
    async fn confirm(&mut self, client: &mut Client<'_>) -> Result<bool, Close> {
        if matches!(self.confirmation, Confirmation::None) {
            return Ok(true);
        }
        let Some(head) = self.reader.head() else { return Ok(false) };
        if let Confirmation::Due { id } = std::mem::replace(&mut self.confirmation, Confirmation::None) {
            client.send_text(control_frames::subscribed(id.as_ref(), self.reader.topic(), head)).await?;
        }
        Ok(true)
    }

    /// Reading history may take a while; the end of the socket does not wait for it.
    async fn take(&mut self, handle: &Handle) -> Result<Batch, Close> {
        tokio::select! {
            biased;
            batch = self.reader.take(TURN_BYTES) => Ok(batch),
            ending = handle.ended() => Err(ending.into()),
        }
    }

    async fn deliver(&mut self, client: &mut Client<'_>, batch: Batch) -> Result<(), Close> {
        let topic = self.reader.topic();
        match batch {
            Batch::Frames(frames) => {
                let frames = frames.iter().map(|frame| Message::Text(frame.text()));
                client.wire.send(frames.collect(), client.handle).await
            }
            Batch::CaughtUp { head } => match client.protocol.caught_up(topic, head) {
                Some(frame) => client.send_text(frame).await,
                None => Ok(()),
            },
            Batch::Reset { reason, head } => client.send_text(control_frames::reset(topic, reason, head)).await,
            Batch::Closed => {
                let frame = client.protocol.topic_closed(topic)?;
                self.done = true;
                client.send_text(frame).await
            }
            Batch::Nothing | Batch::Unavailable => Ok(()),
        }
    }
}
