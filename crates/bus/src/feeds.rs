//! Who in this process follows which topic, and what they are told.
//!
//! A feed is one followed topic. It exists while anybody follows, and says three things: here is the next record; this is
//! where the topic's head is; look for yourself, something may have been missed. None of the three has to arrive: whoever
//! falls behind is told to look.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{Notify, broadcast};
use turnpike_topic::{Offset, Topic};

use crate::history::Mark;

/// How many signals wait for a slow follower before it is sent to the history. Small, because every followed topic pays for it.
const BACKLOG: usize = 16;

/// What a feed says.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    /// The bytes of a record, as published.
    Record(Bytes),
    /// Where the head is.
    Head(Option<Offset>),
    /// History must be read.
    Look,
}

/// The feeds of a process.
pub(crate) struct Feeds {
    inner: Mutex<Inner>,
    /// Whether a server must be asked before records come; else they come at once.
    by_server: bool,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    followed: HashMap<Topic, Followed>,
    /// Topics whose subscription at the server may not be what it should be.
    changes: HashSet<Topic>,
}

struct Followed {
    followers: usize,
    feed: Arc<Feed>,
}

struct Feed {
    signals: broadcast::Sender<Signal>,
    /// Every record published from now on comes, or a Look in its place.
    confirmed: AtomicBool,
    /// The head that was told last.
    told: Mutex<Option<Option<Offset>>>,
    /// The newest event that a follower here has read.
    read: Mutex<Option<(Offset, Mark)>>,
}

/// What to ask of the server.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) subscribe: Vec<Topic>,
    pub(crate) unsubscribe: Vec<Topic>,
}

impl Feeds {
    /// Feeds that are live as soon as they exist.
    pub(crate) fn at_once() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), by_server: false, changed: Notify::new() })
    }

    /// Feeds that somebody must subscribe to at a server, see [`Feeds::take_changes`].
    pub(crate) fn by_server() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), by_server: true, changed: Notify::new() })
    }

    /// Begins to follow.
    pub(crate) fn join(self: &Arc<Self>, topic: Topic) -> Subscription {
        let mut inner = self.lock();
        let followed = inner.followed.entry(topic).or_insert_with(|| Followed {
            followers: 0,
            feed: Arc::new(Feed {
                signals: broadcast::Sender::new(BACKLOG),
                confirmed: AtomicBool::new(!self.by_server),
                told: Mutex::new(None),
                read: Mutex::new(None),
            }),
        });
        followed.followers += 1;
        let (feed, signals) = (followed.feed.clone(), followed.feed.signals.subscribe());
        if followed.followers == 1 && self.by_server {
            inner.changes.insert(topic);
            self.changed.notify_one();
        }
        drop(inner);
        Subscription { feeds: self.clone(), topic, feed, signals }
    }

    fn leave(&self, topic: &Topic) {
        let mut inner = self.lock();
        let Some(followed) = inner.followed.get_mut(topic) else { return };
        followed.followers -= 1;
        if followed.followers > 0 {
            return;
        }
        if self.by_server {
            inner.changes.insert(*topic);
            self.changed.notify_one();
        } else {
            inner.followed.remove(topic);
        }
    }

    /// Says something to the followers of a topic, if there are any.
    pub(crate) fn tell(&self, topic: &Topic, signal: Signal) {
        if let Some(feed) = self.feed(topic) {
            // Fails only where the last follower is leaving.
            let _ = feed.signals.send(signal);
        }
    }

    /// Says where the head of a topic is, unless that is old news.
    pub(crate) fn tell_head(&self, topic: &Topic, head: Option<Offset>) {
        let Some(feed) = self.feed(topic) else { return };
        let told = feed.told.lock().expect("no panic while it is held").replace(head);
        if told != Some(head) {
            let _ = feed.signals.send(Signal::Head(head));
        }
    }

    /// The newest event of a topic that a follower of this process has read.
    pub(crate) fn read_up_to(&self, topic: &Topic) -> Option<(Offset, Mark)> {
        *self.feed(topic)?.read.lock().expect("no panic while it is held")
    }

    fn feed(&self, topic: &Topic) -> Option<Arc<Feed>> {
        self.lock().followed.get(topic).map(|followed| followed.feed.clone())
    }

    /// Waits until [`Feeds::take_changes`] has something to give.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes over up to `most` topics whose subscription must change. Feeds without followers end here.
    pub(crate) fn take_changes(&self, most: usize) -> Option<Changes> {
        let mut inner = self.lock();
        let topics: Vec<Topic> = inner.changes.iter().take(most).copied().collect();
        if topics.is_empty() {
            return None;
        }
        let mut changes = Changes::default();
        for topic in topics {
            inner.changes.remove(&topic);
            let Some(followed) = inner.followed.get(&topic) else { continue };
            if followed.followers == 0 {
                inner.followed.remove(&topic);
                changes.unsubscribe.push(topic);
            } else if !followed.feed.confirmed.load(Ordering::Acquire) {
                changes.subscribe.push(topic);
            }
        }
        Some(changes)
    }

    /// From now on every record of these topics comes; what was published before is in the history.
    pub(crate) fn confirm(&self, topics: &[Topic]) {
        for feed in topics.iter().filter_map(|topic| self.feed(topic)) {
            feed.confirmed.store(true, Ordering::Release);
            let _ = feed.signals.send(Signal::Look);
        }
    }

    /// Nothing comes any more: every topic has to be subscribed to again.
    pub(crate) fn unconfirm_all(&self) {
        let mut inner = self.lock();
        let Inner { followed, changes } = &mut *inner;
        for (topic, followed) in followed {
            followed.feed.confirmed.store(false, Ordering::Release);
            changes.insert(*topic);
        }
    }

    /// The topics that somebody follows.
    pub(crate) fn topics(&self) -> Vec<Topic> {
        self.lock().followed.keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while it is held")
    }
}

/// One follower's end of a feed. Dropping it is leaving.
pub(crate) struct Subscription {
    feeds: Arc<Feeds>,
    topic: Topic,
    feed: Arc<Feed>,
    signals: broadcast::Receiver<Signal>,
}

impl Subscription {
    /// Whether history may be read without missing what comes after it. If not, a [`Signal::Look`] says when.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.feed.confirmed.load(Ordering::Acquire)
    }

    /// The follower has read this event.
    pub(crate) fn has_read(&self, at: Offset, mark: Mark) {
        let mut read = self.feed.read.lock().expect("no panic while it is held");
        if read.is_none_or(|newest| newest.0 < at) {
            *read = Some((at, mark));
        }
    }

    /// The next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        match self.signals.recv().await {
            Ok(signal) => signal,
            // The other error, an end of the feed, cannot be: this end holds the sender.
            Err(_) => Signal::Look,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feeds.leave(&self.topic);
    }
}

#[cfg(test)]
mod tests {
    use turnpike_topic::RoomId;
    use uuid::Uuid;

    use super::*;

    fn topic(n: u128) -> Topic {
        Topic::Room(RoomId::from(Uuid::from_u128(n)))
    }

    #[test]
    fn the_server_is_asked_once_for_many_followers_and_told_when_the_last_one_leaves() {
        let feeds = Feeds::by_server();
        let first = feeds.join(topic(1));
        let second = feeds.join(topic(1));
        let changes = feeds.take_changes(10).expect("a topic to subscribe to");
        assert_eq!((changes.subscribe, changes.unsubscribe), (vec![topic(1)], vec![]));
        assert!(!second.is_confirmed());
        feeds.confirm(&[topic(1)]);
        assert!(second.is_confirmed());

        drop(first);
        assert!(feeds.take_changes(10).is_none());
        drop(second);
        let changes = feeds.take_changes(10).expect("a topic to leave");
        assert_eq!((changes.subscribe, changes.unsubscribe), (vec![], vec![topic(1)]));
        assert!(feeds.topics().is_empty());
    }

    #[test]
    fn leaving_and_coming_back_in_between_changes_nothing() {
        let feeds = Feeds::by_server();
        let first = feeds.join(topic(1));
        feeds.take_changes(10);
        feeds.confirm(&[topic(1)]);
        drop(first);
        let again = feeds.join(topic(1));
        let changes = feeds.take_changes(10).expect("a topic that was touched");
        assert!(changes.subscribe.is_empty() && changes.unsubscribe.is_empty());
        assert!(again.is_confirmed());
    }

    #[test]
    fn a_lost_connection_asks_for_everything_again() {
        let feeds = Feeds::by_server();
        let all: Vec<_> = (0..5).map(|n| feeds.join(topic(n))).collect();
        while let Some(changes) = feeds.take_changes(2) {
            assert!(changes.subscribe.len() <= 2, "a batch has its size");
            feeds.confirm(&changes.subscribe);
        }
        feeds.unconfirm_all();
        assert!(all.iter().all(|subscription| !subscription.is_confirmed()));
        assert_eq!(feeds.take_changes(10).map(|changes| changes.subscribe.len()), Some(5));
    }

    #[tokio::test]
    async fn whoever_falls_behind_is_told_to_look() {
        let feeds = Feeds::at_once();
        let mut slow = feeds.join(topic(1));
        for n in 0..=BACKLOG {
            feeds.tell(&topic(1), Signal::Record(Bytes::from(vec![u8::try_from(n).expect("small")])));
        }
        assert!(matches!(slow.next().await, Signal::Look));
        assert!(matches!(slow.next().await, Signal::Record(bytes) if bytes[0] == 1));
    }

    #[tokio::test]
    async fn a_head_is_told_when_it_is_news() {
        let feeds = Feeds::at_once();
        let mut follower = feeds.join(topic(1));
        let head = Some(Offset { epoch: 1, n: 1 });
        feeds.tell_head(&topic(1), None);
        feeds.tell_head(&topic(1), None);
        feeds.tell_head(&topic(1), head);
        assert!(matches!(follower.next().await, Signal::Head(None)));
        assert!(matches!(follower.next().await, Signal::Head(told) if told == head));
    }
}
