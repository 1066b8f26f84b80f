//! All topics of the process: their events, when they expire, and how many bytes they take.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use turnpike_topic::Topic;

use crate::history::TopicState;

#[derive(Default)]
pub(super) struct Topics {
    logs: HashMap<Topic, Log>,
    /// Every open topic once, by the time at which it expires if nothing more is published.
    open: BTreeMap<Due, Topic>,
    /// Every closed topic once; the first one was closed first.
    ended: BTreeMap<Due, Topic>,
    entered: u64,
    newest_epoch: u64,
    bytes: u64,
}

/// One topic.
pub(super) struct Log {
    pub(super) state: TopicState,
    pub(super) records: VecDeque<Bytes>,
    /// Milliseconds since 1970.
    pub(super) expires: u64,
    bytes: u64,
    due: Due,
}

/// The result of looking at a topic that was due.
pub(super) enum Swept {
    Removed(Topic),
    Kept,
}

/// The time at which a topic may have expired, in milliseconds since 1970; then a number that makes the key unique.
type Due = (u64, u64);

/// Memory of a record besides its bytes.
const RECORD_OVERHEAD: u64 = 64;
/// Memory of a topic besides its records.
const TOPIC_OVERHEAD: u64 = 256;

impl Topics {
    pub(super) fn get(&self, topic: &Topic) -> Option<&Log> {
        self.logs.get(topic)
    }

    pub(super) const fn newest_epoch(&self) -> u64 {
        self.newest_epoch
    }

    /// Whether another event fits, also as the first event of its topic.
    pub(super) const fn has_room_for(&self, event: &Bytes, limit: u64) -> bool {
        self.bytes + event.len() as u64 + RECORD_OVERHEAD + TOPIC_OVERHEAD <= limit
    }

    /// Appends a record to a topic that is open or does not exist yet.
    pub(super) fn push(
        &mut self,
        topic: &Topic,
        epoch: u64,
        is_final: bool,
        bytes: Bytes,
        expires: u64,
        max_events: u64,
    ) {
        if !self.logs.contains_key(topic) {
            let due = self.enter(expires);
            self.open.insert(due, *topic);
            self.newest_epoch = epoch;
            self.bytes += TOPIC_OVERHEAD;
            let state = TopicState { epoch, n: 0, first: 1, closed: false };
            self.logs.insert(*topic, Log { state, records: VecDeque::new(), expires, bytes: TOPIC_OVERHEAD, due });
        }
        let ended = is_final.then(|| self.enter(expires));
        let Some(log) = self.logs.get_mut(topic) else { return };
        if let Some(due) = ended {
            self.open.remove(&log.due);
            self.ended.insert(due, *topic);
            log.due = due;
        }
        let before = log.bytes;
        log.expires = expires;
        log.state.n += 1;
        log.state.closed = is_final;
        log.bytes += bytes.len() as u64 + RECORD_OVERHEAD;
        log.records.push_back(bytes);
        while log.records.len() as u64 > max_events {
            let oldest = log.records.pop_front().map_or(0, |oldest| oldest.len() as u64 + RECORD_OVERHEAD);
            log.bytes -= oldest;
            log.state.first += 1;
        }
        self.bytes = self.bytes - before + log.bytes;
    }

    pub(super) fn remove(&mut self, topic: &Topic) {
        let Some(log) = self.logs.remove(topic) else { return };
        self.open.remove(&log.due);
        self.ended.remove(&log.due);
        self.bytes -= log.bytes;
    }

    /// Looks at one topic that is due, and removes the topic if its retention has ended. `None` when no topic is due.
    pub(super) fn sweep(&mut self, now: u64) -> Option<Swept> {
        let is_due = |(due, topic): (&Due, &Topic)| (due.0 <= now).then_some((*due, *topic));
        if let Some((_, topic)) = self.ended.first_key_value().and_then(is_due) {
            self.remove(&topic);
            return Some(Swept::Removed(topic));
        }
        let (due, topic) = self.open.first_key_value().and_then(is_due)?;
        let expires = self.logs.get(&topic)?.expires;
        if expires <= now {
            self.remove(&topic);
            return Some(Swept::Removed(topic));
        }
        // Events were published since the topic was entered here.
        self.open.remove(&due);
        let due = self.enter(expires);
        self.open.insert(due, topic);
        self.logs.get_mut(&topic)?.due = due;
        Some(Swept::Kept)
    }

    /// Removes the topic that was closed first: its owner has archived its events.
    pub(super) fn remove_oldest_ended(&mut self) -> Option<Topic> {
        let (_, topic) = self.ended.first_key_value()?;
        let topic = *topic;
        self.remove(&topic);
        Some(topic)
    }

    const fn enter(&mut self, at: u64) -> Due {
        self.entered += 1;
        (at, self.entered)
    }

    /// Topics, entries that say when they expire, and bytes.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, u64) {
        (self.logs.len(), self.open.len() + self.ended.len(), self.bytes)
    }
}
