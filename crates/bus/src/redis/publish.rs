//! Appending an event: one script call, and a check of the topic's newest events after Redis was restarted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use redis::Script;
use tokio::time::Instant;
use tracing::{debug, warn};
use turnpike_topic::{Offset, Topic};

use super::{
    call::Attempt,
    keys::Keys,
    link::Link,
    published::{PublishId, Published},
};
use crate::{
    append::{Append, Appended},
    error::{PublishError, Unavailable},
    followed::FollowedTopics,
    limits::Limits,
    record::{Fingerprint, event_field},
};

pub(super) struct Publisher {
    limits: Limits,
    link: Link,
    followed: Arc<FollowedTopics>,
    append: Script,
    check: Script,
    /// Random, and different from that of all other publishers.
    id: u64,
    count: AtomicU64,
    published: Published,
}

/// A head that was found after a restart of Redis, and whether no later event was lost.
struct Checked {
    head: Offset,
    is_complete: bool,
}

/// Events of one topic that this process may have published without an acknowledgement. With more of them a topic is not
/// recognised as complete.
const UNACKNOWLEDGED: usize = 1_024;

impl Publisher {
    pub(super) fn new(limits: Limits, link: Link, followed: Arc<FollowedTopics>) -> Self {
        let [append, check] = [include_str!("publish.lua"), include_str!("check.lua")].map(Script::new);
        let (id, count) = (rand::random(), AtomicU64::new(0));
        Self { limits, link, followed, append, check, id, count, published: Published::default() }
    }

    /// The id of one publish, by which its attempts are recognised as one.
    fn next_id(&self) -> PublishId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        (u128::from(self.id) << 64 | u128::from(count)).to_be_bytes()
    }

    fn is_own(&self, id: &[u8]) -> bool {
        id.starts_with(&self.id.to_be_bytes())
    }

    pub(super) async fn append(
        &self,
        timeout: Duration,
        topic: &Topic,
        event: &[u8],
        how: Append,
    ) -> Result<Appended, PublishError> {
        let deadline = Instant::now() + timeout;
        let channel = topic.to_string();
        let keys = Keys::of(&channel);
        let (event, id) = (event_field(event), self.next_id());
        // Once true, it stays true: an earlier attempt may have arrived even if a later one was answered.
        let sent_before = AtomicBool::new(false);
        let mut checked = Checked { head: Offset { epoch: 0, n: 0 }, is_complete: false };
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            let answer: (u8, u64, u64) = self
                .link
                .call(remaining, &self.append, |call, attempt, run| {
                    let again = attempt == Attempt::Again || sent_before.load(Ordering::Relaxed);
                    sent_before.store(again, Ordering::Relaxed);
                    call.key(&keys.stream)
                        .key(&keys.head)
                        .arg(&event)
                        .arg(how.is_final())
                        .arg(&id)
                        .arg(again)
                        .arg(self.limits.retention_ms(how.is_final()))
                        .arg(self.limits.max_events())
                        .arg(&channel)
                        .arg(run)
                        .arg(how == Append::First);
                    if checked.head.n > 0 {
                        call.arg(checked.head.to_string()).arg(checked.is_complete);
                    }
                })
                .await?;
            let offset = Offset { epoch: answer.1, n: answer.2 };
            match answer.0 {
                0 => {
                    self.published.remove(topic);
                    return Err(PublishError::Closed { final_offset: offset });
                }
                1 => {
                    match how.is_final() {
                        true => self.published.remove(topic),
                        false => self.published.acknowledged(topic, offset, id),
                    }
                    return Ok(Appended::At(offset));
                }
                3 => return Ok(Appended::NotFirst { head: offset }),
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

    /// The topic was forgotten.
    pub(super) fn forget(&self, topic: &Topic) {
        self.published.remove(topic);
    }

    /// Whether no event was lost after a head that another Redis process wrote: it is the newest event that this process has
    /// published or read, or after that event there are only events of this process, whose acknowledgements were lost.
    async fn is_complete(
        &self,
        timeout: Duration,
        topic: &Topic,
        keys: &Keys,
        head: Offset,
    ) -> Result<bool, Unavailable> {
        let (published, read) = (self.published.get(topic), self.followed.read_up_to(topic));
        let Some(at) = published.map(|(at, _)| at).max(read.map(|(at, _)| at)) else { return Ok(false) };
        if at.epoch != head.epoch || at.n > head.n || head.n - at.n > UNACKNOWLEDGED as u64 {
            return Ok(false);
        }
        let found: Vec<redis::Value> = self
            .link
            .call(timeout, &self.check, |call, _, _| {
                call.key(&keys.stream).arg(at.epoch).arg(at.n).arg(UNACKNOWLEDGED);
            })
            .await?;
        let found = redis::Value::Array(found);
        let Ok((record, id, after)) = redis::from_redis_value::<(Bytes, Bytes, Vec<Bytes>)>(found) else {
            return Ok(false); // the entry is not kept
        };
        let is_same = published.is_some_and(|known| known.0 == at && known.1 == *id)
            || read.is_some_and(|known| known.0 == at && known.1 == Fingerprint::of(&record));
        Ok(is_same && after.len() as u64 == head.n - at.n && after.iter().all(|id| self.is_own(id)))
    }
}
