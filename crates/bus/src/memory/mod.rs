//! The bus within one process.

mod topics;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use turnpike_topic::{Offset, Topic};

use self::topics::{Swept, Topics};
use crate::{
    append::{Append, Appended},
    error::{Cause, PublishError, Unavailable},
    followed::{FollowedTopics, Signal, Signals},
    history::{Found, TopicState, continue_after},
    limits::{Limits, MAX_PAGE_BYTES},
    record,
    status::Status,
};

pub(crate) struct Memory {
    limits: Limits,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    topics: Mutex<Topics>,
    followed: Arc<FollowedTopics>,
    status: watch::Sender<Status>,
}

/// How many expired topics one publish removes: more than a publish can add, so that expired topics do not accumulate.
const SWEEP: usize = 2;

impl Memory {
    pub(crate) fn new(limits: Limits, now: Box<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        Self {
            limits,
            now,
            topics: Mutex::default(),
            followed: FollowedTopics::at_once(),
            status: watch::Sender::new(Status::Up),
        }
    }

    pub(crate) fn append(&self, topic: &Topic, event: &[u8], how: Append) -> Result<Appended, PublishError> {
        let is_final = how.is_final();
        let now = self.now_ms();
        let mut topics = self.topics.lock();
        for _ in 0..SWEEP {
            match topics.sweep(now) {
                Some(Swept::Removed(expired)) => self.followed.send(&expired, Signal::ReadHistory),
                Some(Swept::Kept) => {}
                None => break,
            }
        }
        self.expire(&mut topics, topic, now);

        let state = match topics.get(topic).map(|log| log.state) {
            Some(state) if state.closed => return Err(PublishError::Closed { final_offset: state.head() }),
            Some(state) if how == Append::First => return Ok(Appended::NotFirst { head: state.head() }),
            Some(state) => state,
            None => TopicState { epoch: now.max(topics.newest_epoch() + 1), n: 0, first: 1, closed: false },
        };
        let offset = Offset { epoch: state.epoch, n: state.n + 1 };
        let bytes = record::encode(offset, is_final, event);
        while !topics.has_room_for(&bytes, self.limits.max_memory) {
            let Some(ended) = topics.remove_oldest_ended() else {
                if is_final {
                    break; // the final event makes its topic one that can be removed
                }
                let full = Cause::Full { limit: self.limits.max_memory };
                return Err(PublishError::Unavailable(Unavailable(full)));
            };
            self.followed.send(&ended, Signal::ReadHistory);
        }
        let expires = now + self.limits.retention_ms(is_final);
        topics.push(topic, offset.epoch, is_final, bytes.clone(), expires, self.limits.max_events());
        // Sent under the lock, so that followers get events in their order.
        self.followed.send(topic, Signal::Record(bytes));
        Ok(Appended::At(offset))
    }

    pub(crate) fn notify(&self, topic: &Topic, event: &[u8]) -> usize {
        usize::from(self.followed.send_notice(*topic, Bytes::copy_from_slice(event)))
    }

    pub(crate) fn notices(&self) -> broadcast::Receiver<(Topic, Bytes)> {
        self.followed.notices()
    }

    pub(crate) fn read(&self, topic: &Topic, after: Option<Offset>, limit: usize) -> Found {
        let now = self.now_ms();
        let mut topics = self.topics.lock();
        self.expire(&mut topics, topic, now);
        let Some(log) = topics.get(topic) else { return Found::default() };
        let (_, from) = continue_after(after, Some(&log.state));
        let mut bytes = 0;
        let entries = (from..=log.state.n)
            .zip(log.records.range((from - log.state.first) as usize..))
            .take(limit)
            .take_while(|(_, record)| {
                let is_first = bytes == 0;
                bytes += record.len();
                is_first || bytes <= MAX_PAGE_BYTES
            })
            .map(|(n, record)| (n, record.clone()))
            .collect();
        Found { state: Some(log.state), before: None, entries }
    }

    pub(crate) fn forget(&self, topic: &Topic) {
        self.topics.lock().remove(topic);
        self.followed.send(topic, Signal::ReadHistory);
    }

    pub(crate) fn signals(&self, topic: Topic) -> Signals {
        self.followed.signals(topic)
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Removes the topic if its retention has ended.
    fn expire(&self, topics: &mut Topics, topic: &Topic, now: u64) {
        if topics.get(topic).is_some_and(|log| log.expires <= now) {
            topics.remove(topic);
            self.followed.send(topic, Signal::ReadHistory);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from((self.now)().as_millisecond()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
