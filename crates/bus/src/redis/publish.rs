//! Appending an event: one script call, and a check of the topic's newest events after Redis was restarted.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use redis::Script;
use tokio::time::Instant;
use tracing::{debug, warn};
use turnpike_topic::{Offset, Topic};

use super::{
    Keys, Redis,
    call::Attempt,
    known::{Known, PublishId},
};
use crate::{PublishError, Unavailable, history::Mark, record::event_field};

pub(super) struct Publisher {
    append: Script,
    check: Script,
    /// Tells this publisher from all others.
    id: u64,
    published: AtomicU64,
    pub(super) known: Known,
}

/// A head as it was found after a restart of Redis, and whether it is the true one.
struct Checked {
    head: Offset,
    is_complete: bool,
}

/// Events of this process that may be in Redis without an acknowledgement, on one topic. With more than these, a topic is not
/// recognised as complete.
const UNACKNOWLEDGED: usize = 1_024;

impl Publisher {
    pub(super) fn new() -> Self {
        let [append, check] = [include_str!("publish.lua"), include_str!("check.lua")].map(Script::new);
        Self { append, check, id: rand::random(), published: AtomicU64::new(0), known: Known::default() }
    }

    /// Names one publish, so that its attempts can be recognised as one.
    fn next_id(&self) -> PublishId {
        let count = self.published.fetch_add(1, Ordering::Relaxed);
        (u128::from(self.id) << 64 | u128::from(count)).to_be_bytes()
    }

    fn is_own(&self, id: &[u8]) -> bool {
        id.starts_with(&self.id.to_be_bytes())
    }
}

impl Redis {
    /// `event` is an encoded event.
    pub(crate) async fn append(
        &self,
        bound: Duration,
        topic: &Topic,
        event: &[u8],
        is_final: bool,
    ) -> Result<Offset, PublishError> {
        let deadline = Instant::now() + bound;
        let channel = topic.to_string();
        let keys = Keys::of(&channel);
        let (event, id) = (event_field(event), self.publisher.next_id());
        // An earlier attempt may have arrived, whatever was answered to a later one.
        let sent_before = AtomicBool::new(false);
        let mut checked = Checked { head: Offset { epoch: 0, n: 0 }, is_complete: false };
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            let answer: (u8, u64, u64) = self
                .link
                .call(remaining, &self.publisher.append, |call, attempt, run| {
                    let again = attempt == Attempt::Again || sent_before.load(Ordering::Relaxed);
                    sent_before.store(again, Ordering::Relaxed);
                    call.key(&keys.stream)
                        .key(&keys.head)
                        .arg(&event)
                        .arg(is_final)
                        .arg(&id)
                        .arg(again)
                        .arg(self.limits.retention_ms(is_final))
                        .arg(self.limits.max_events())
                        .arg(&channel)
                        .arg(run);
                    if checked.head.n > 0 {
                        call.arg(checked.head.to_string()).arg(checked.is_complete);
                    }
                })
                .await?;
            let offset = Offset { epoch: answer.1, n: answer.2 };
            match answer.0 {
                0 => {
                    self.publisher.known.remove(topic);
                    return Err(PublishError::Closed { final_offset: offset });
                }
                1 => {
                    match is_final {
                        true => self.publisher.known.remove(topic),
                        false => self.publisher.known.published(topic, offset, id),
                    }
                    return Ok(offset);
                }
                _ => {
                    let remaining = deadline.saturating_duration_since(Instant::now());
                    let is_complete = self.is_complete(remaining, topic, &keys, offset).await?;
                    match is_complete {
                        true => debug!(%topic, head = %offset, "a topic continues after a restart of Redis"),
                        false => warn!(%topic, head = %offset, "a topic may have lost events: it starts a new epoch"),
                    }
                    checked = Checked { head: offset, is_complete };
                }
            }
        }
    }

    /// Whether a head that another Redis process wrote is the true one: it is the newest event that this process has published
    /// or read, or behind that event there are only events of this process, whose acknowledgements were lost.
    async fn is_complete(
        &self,
        bound: Duration,
        topic: &Topic,
        keys: &Keys,
        head: Offset,
    ) -> Result<bool, Unavailable> {
        let (published, read) = (self.publisher.known.get(topic), self.feeds.read_up_to(topic));
        let Some(at) = published.map(|(at, _)| at).max(read.map(|(at, _)| at)) else { return Ok(false) };
        if at.epoch != head.epoch || at.n > head.n || head.n - at.n > UNACKNOWLEDGED as u64 {
            return Ok(false);
        }
        let found: Vec<redis::Value> = self
            .link
            .call(bound, &self.publisher.check, |call, _, _| {
                call.key(&keys.stream).arg(at.epoch).arg(at.n).arg(UNACKNOWLEDGED);
            })
            .await?;
        let found = redis::Value::Array(found);
        let Ok((record, id, behind)) = redis::from_redis_value::<(Bytes, Bytes, Vec<Bytes>)>(found) else {
            return Ok(false); // the entry is not kept
        };
        let is_same = published.is_some_and(|known| known.0 == at && known.1 == *id)
            || read.is_some_and(|known| known.0 == at && known.1 == Mark::of(&record));
        Ok(is_same && behind.len() as u64 == head.n - at.n && behind.iter().all(|id| self.publisher.is_own(id)))
    }
}
