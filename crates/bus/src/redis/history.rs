//! Reading a topic, forgetting it, and marking it as incomplete: one script call each.

use std::time::Duration;

use bytes::Bytes;
use redis::{FromRedisValue, ParsingError, Script, Value};
use turnpike_topic::{Offset, Topic};

use super::{keys::Keys, link::Link};
use crate::{
    error::Unavailable,
    history::{Found, TopicState},
    limits::MAX_PAGE_BYTES,
};

pub(super) struct History {
    link: Link,
    read: Script,
    forget: Script,
    lost: Script,
}

/// How long the epoch of a forgotten topic is kept, so that a new epoch in the same millisecond gets another number.
const KEEP_EPOCH: Duration = Duration::from_secs(60);

impl History {
    pub(super) fn new(link: Link) -> Self {
        let [read, forget, lost] =
            [include_str!("read.lua"), include_str!("forget.lua"), include_str!("lost.lua")].map(Script::new);
        Self { link, read, forget, lost }
    }

    pub(super) async fn read(
        &self,
        timeout: Duration,
        topic: &Topic,
        after: Option<Offset>,
        limit: usize,
    ) -> Result<Found, Unavailable> {
        let keys = Keys::of(&topic.to_string());
        let Offset { epoch, n } = after.unwrap_or(Offset { epoch: 0, n: 0 });
        self.link
            .call(timeout, &self.read, |call, _, _| {
                call.key(&keys.stream).key(&keys.head).arg(epoch).arg(n).arg(limit).arg(MAX_PAGE_BYTES);
            })
            .await
    }

    pub(super) async fn forget(&self, timeout: Duration, topic: &Topic) -> Result<(), Unavailable> {
        let channel = topic.to_string();
        let keys = Keys::of(&channel);
        self.link
            .call::<()>(timeout, &self.forget, |call, _, _| {
                call.key(&keys.stream).key(&keys.head).arg(KEEP_EPOCH.as_millis() as u64).arg(&channel);
            })
            .await
    }

    pub(super) async fn mark_lost(&self, timeout: Duration, topic: &Topic, epoch: u64) -> Result<(), Unavailable> {
        let keys = Keys::of(&topic.to_string());
        self.link
            .call(timeout, &self.lost, |call, _, _| {
                call.key(&keys.head).arg(epoch);
            })
            .await
    }
}

/// The answer of read.lua.
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
