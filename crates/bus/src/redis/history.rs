//! Reading a topic, forgetting it, and marking it as incomplete: one script call each.

use std::time::Duration;

use bytes::Bytes;
use redis::{FromRedisValue, ParsingError, Script, Value};
use turnpike_topic::{Offset, Topic};

use super::{Keys, Redis};
use crate::{TopicState, Unavailable, history::Found, limits::MAX_PAGE_BYTES};

pub(super) struct History {
    read: Script,
    forget: Script,
    lost: Script,
}

/// For how long the epoch of a forgotten topic is remembered: longer than the millisecond in which it could be given again.
const REMEMBERED: Duration = Duration::from_secs(60);

impl History {
    pub(super) fn new() -> Self {
        let [read, forget, lost] =
            [include_str!("read.lua"), include_str!("forget.lua"), include_str!("lost.lua")].map(Script::new);
        Self { read, forget, lost }
    }
}

impl Redis {
    pub(crate) async fn read(
        &self,
        bound: Duration,
        topic: &Topic,
        after: Option<Offset>,
        limit: usize,
    ) -> Result<Found, Unavailable> {
        let keys = Keys::of(&topic.to_string());
        let Offset { epoch, n } = after.unwrap_or(Offset { epoch: 0, n: 0 });
        self.link
            .call(bound, &self.history.read, |call, _, _| {
                call.key(&keys.stream).key(&keys.head).arg(epoch).arg(n).arg(limit).arg(MAX_PAGE_BYTES);
            })
            .await
    }

    pub(crate) async fn forget(&self, bound: Duration, topic: &Topic) -> Result<(), Unavailable> {
        let channel = topic.to_string();
        let keys = Keys::of(&channel);
        self.link
            .call::<()>(bound, &self.history.forget, |call, _, _| {
                call.key(&keys.stream).key(&keys.head).arg(REMEMBERED.as_millis() as u64).arg(&channel);
            })
            .await?;
        self.publisher.known.remove(topic);
        Ok(())
    }

    /// Makes the topic's next publish start a new epoch, unless that has happened: events of this epoch were lost.
    pub(crate) async fn mark_lost(&self, bound: Duration, topic: &Topic, epoch: u64) -> Result<(), Unavailable> {
        let keys = Keys::of(&topic.to_string());
        self.link
            .call(bound, &self.history.lost, |call, _, _| {
                call.key(&keys.head).arg(epoch);
            })
            .await
    }
}

/// What read.lua gives.
impl FromRedisValue for Found {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        if matches!(&value, Value::Array(nothing) if nothing.is_empty()) {
            return Ok(Self::default());
        }
        let (epoch, n, closed, first, before, entries): (u64, u64, u64, u64, Bytes, Vec<(u64, Bytes)>) =
            redis::from_redis_value(value)?;
        let state = TopicState { epoch, n, first, closed: closed > 0 };
        Ok(Self { state: Some(state), before: Some(before).filter(|bytes| !bytes.is_empty()), entries })
    }

    fn from_redis_value_ref(value: &Value) -> Result<Self, ParsingError> {
        Self::from_redis_value(value.clone())
    }
}
