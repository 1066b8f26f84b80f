//! The events of an answer that an earlier request has started.

use bytes::Bytes;
use turnpike_bus::{Delivery, From};
use turnpike_event::{Body, ChatEvent, Event};
use turnpike_topic::{MessageId, Offset, Topic};

use super::{Entry, Resources, Tail, ending, leases};

/// A reader of an answer's events.
pub(crate) enum Replay {
    /// This instance generates it.
    Here(Tail),
    /// Another instance generates it: its events come from the topic.
    Elsewhere(Box<Following>),
    /// It has ended: its last event.
    Ended(Option<Entry>),
}

pub(crate) struct Following {
    follower: turnpike_bus::Follower,
    message_id: MessageId,
    done: bool,
}

impl Replay {
    /// `None`: the answer is gone with its conversation.
    pub(crate) async fn of(resources: &Resources, id: MessageId) -> Result<Option<Self>, sqlx::Error> {
        if let Some(source) = resources.running.source(id) {
            return Ok(Some(Self::Here(source.tail())));
        }
        let Some(ended) = ending::load(&resources.store, id).await? else { return Ok(None) };
        match leases::started(&resources.store, id).await? {
            Some(started) => {
                let topic = Topic::Conversation(ended.conversation_id);
                let from = before(started).map_or(From::Start, From::After);
                let follower = resources.bus.follow(topic, from);
                Ok(Some(Self::Elsewhere(Box::new(Following { follower, message_id: id, done: false }))))
            }
            None => {
                let event = Event { at: resources.clock.now(), body: Body::Chat(ended.event()) };
                Ok(Some(Self::Ended(Some(Entry { offset: None, event: event.to_bytes() }))))
            }
        }
    }

    /// The next event; `None` after the last one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Entry> {
        match self {
            Self::Here(tail) => tail.next().await,
            Self::Elsewhere(following) => following.next().await,
            Self::Ended(entry) => entry.take(),
        }
    }
}

impl Following {
    async fn next(&mut self) -> Option<Entry> {
        while !self.done {
            match self.follower.next().await {
                Delivery::Record(record) => {
                    let event: Bytes = record.event;
                    let Body::Chat(chat) = Event::from_bytes(event.clone()).body else { continue };
                    if chat.message_id() == Some(self.message_id) {
                        self.done = chat.ends_answer();
                        return Some(Entry { offset: Some(record.offset), event });
                    }
                    self.done = matches!(chat, ChatEvent::Deleted { .. });
                }
                Delivery::Closed => self.done = true,
                Delivery::CaughtUp { .. } | Delivery::Reset { .. } => {}
            }
        }
        None
    }
}

/// The offset before the event `started`; `None`: it is the first of its epoch, or not known.
fn before(started: Option<Offset>) -> Option<Offset> {
    started.filter(|at| at.n > 1).map(|at| Offset { n: at.n - 1, ..at })
}
