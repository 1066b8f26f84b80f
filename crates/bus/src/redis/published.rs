//! The newest event of each topic that this process has published and Redis has acknowledged. After a restart of Redis it
//! shows whether the topic is complete.

use std::collections::HashMap;

use parking_lot::Mutex;
use turnpike_topic::{Offset, Topic};

/// Identifies one publish: the publisher's random number, then a count.
pub(super) type PublishId = [u8; 16];

/// Bounded: the topics that were published to least recently are dropped. A topic that is missing here starts a new epoch after a
/// restart of Redis, unless a follower of this process has read its newest event.
#[derive(Default)]
pub(super) struct Published(Mutex<Generations>);

/// Two maps instead of a list ordered by use: when the recent one is full, it replaces the older one.
#[derive(Default)]
struct Generations {
    recent: HashMap<Topic, (Offset, PublishId)>,
    older: HashMap<Topic, (Offset, PublishId)>,
}

/// Topics per generation; both take 5 MB at most.
const TOPICS: usize = 32_768;

impl Published {
    pub(super) fn acknowledged(&self, topic: &Topic, offset: Offset, id: PublishId) {
        let mut topics = self.0.lock();
        if let Some(newest) = topics.recent.get_mut(topic) {
            // Answers to concurrent publishes arrive in any order.
            if newest.0 < offset {
                *newest = (offset, id);
            }
            return;
        }
        let newest = topics.older.remove(topic).filter(|older| older.0 > offset).unwrap_or((offset, id));
        if topics.recent.len() >= TOPICS {
            topics.older = std::mem::take(&mut topics.recent);
        }
        topics.recent.insert(*topic, newest);
    }

    pub(super) fn get(&self, topic: &Topic) -> Option<(Offset, PublishId)> {
        let topics = self.0.lock();
        topics.recent.get(topic).or_else(|| topics.older.get(topic)).copied()
    }

    /// The topic is closed or forgotten: no later publish depends on its newest event.
    pub(super) fn remove(&self, topic: &Topic) {
        let mut topics = self.0.lock();
        topics.recent.remove(topic);
        topics.older.remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use turnpike_topic::RoomId;
    use uuid::Uuid;

    use super::*;

    fn topic(n: usize) -> Topic {
        Topic::Room(RoomId::from(Uuid::from_u128(n as u128)))
    }

    fn at(n: u64) -> Offset {
        Offset { epoch: 7, n }
    }

    #[test]
    fn the_newest_event_of_a_topic_is_kept_in_any_order_of_answers() {
        let published = Published::default();
        published.acknowledged(&topic(1), at(2), [2; 16]);
        published.acknowledged(&topic(1), at(1), [1; 16]);
        assert_eq!(published.get(&topic(1)), Some((at(2), [2; 16])));
        published.remove(&topic(1));
        assert_eq!(published.get(&topic(1)), None);
    }

    #[test]
    fn the_number_of_topics_is_bounded_and_recently_used_topics_stay() {
        let published = Published::default();
        published.acknowledged(&topic(0), at(1), [1; 16]);
        for n in 1..=4 * TOPICS {
            published.acknowledged(&topic(n), at(1), [1; 16]);
            if n % 1_000 == 0 {
                published.acknowledged(&topic(0), at(2), [2; 16]);
            }
        }
        assert_eq!(published.get(&topic(0)), Some((at(2), [2; 16])));
        assert_eq!(published.get(&topic(1)), None);
        let kept = published.0.lock();
        assert!(kept.recent.len() + kept.older.len() <= 2 * TOPICS);
    }
}
