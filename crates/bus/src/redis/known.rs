//! What this process has published: the newest acknowledged event of each topic, to tell whether a Redis that was restarted
//! still has it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use turnpike_topic::{Offset, Topic};

/// Names one publish: the publisher's random number, then a count.
pub(super) type PublishId = [u8; 16];

/// The newest acknowledged event of each topic. Bounded: the topics that were published to least recently are dropped, and a
/// topic that is not known here starts a new epoch when Redis was restarted, unless a follower of this process knows it.
#[derive(Default)]
pub(super) struct Known(Mutex<Generations>);

/// Two maps instead of a list ordered by use: when the recent one is full, it replaces the older one.
#[derive(Default)]
struct Generations {
    recent: HashMap<Topic, (Offset, PublishId)>,
    older: HashMap<Topic, (Offset, PublishId)>,
}

/// Topics a generation; 5 MB at most for both.
const TOPICS: usize = 32_768;

impl Known {
    pub(super) fn published(&self, topic: &Topic, offset: Offset, id: PublishId) {
        let mut known = self.lock();
        if let Some(newest) = known.recent.get_mut(topic) {
            // Answers to concurrent publishes arrive in any order.
            if newest.0 < offset {
                *newest = (offset, id);
            }
            return;
        }
        let newest = known.older.remove(topic).filter(|older| older.0 > offset).unwrap_or((offset, id));
        if known.recent.len() >= TOPICS {
            known.older = std::mem::take(&mut known.recent);
        }
        known.recent.insert(*topic, newest);
    }

    pub(super) fn get(&self, topic: &Topic) -> Option<(Offset, PublishId)> {
        let known = self.lock();
        known.recent.get(topic).or_else(|| known.older.get(topic)).copied()
    }

    /// The topic is closed or forgotten: no later publish depends on what was known.
    pub(super) fn remove(&self, topic: &Topic) {
        let mut known = self.lock();
        known.recent.remove(topic);
        known.older.remove(topic);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().expect("no panic while it is held")
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
    fn the_newest_event_of_a_topic_counts_whatever_answer_comes_first() {
        let known = Known::default();
        known.published(&topic(1), at(2), [2; 16]);
        known.published(&topic(1), at(1), [1; 16]);
        assert_eq!(known.get(&topic(1)), Some((at(2), [2; 16])));
        known.remove(&topic(1));
        assert_eq!(known.get(&topic(1)), None);
    }

    #[test]
    fn what_is_known_is_bounded_and_what_is_used_stays() {
        let known = Known::default();
        known.published(&topic(0), at(1), [1; 16]);
        for n in 1..=4 * TOPICS {
            known.published(&topic(n), at(1), [1; 16]);
            if n % 1_000 == 0 {
                known.published(&topic(0), at(2), [2; 16]);
            }
        }
        assert_eq!(known.get(&topic(0)), Some((at(2), [2; 16])));
        assert_eq!(known.get(&topic(1)), None);
        let kept = known.lock();
        assert!(kept.recent.len() + kept.older.len() <= 2 * TOPICS);
    }
}
