//! The topics that are followed in this process, and the signals to their followers.
//!
//! There are three signals: the next record, the head of the topic, and "read history, because records may have been missed". No
//! signal is guaranteed to arrive: a follower that falls behind gets `ReadHistory` in place of the signals that it missed.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};
use turnpike_topic::{Offset, Topic};

use crate::record::Fingerprint;

/// Signals that wait for a slow follower before it has to read history. Few, because each followed topic reserves the memory.
const BACKLOG: usize = 16;
/// Notices that wait for a slow receiver before it loses the oldest.
const NOTICES: usize = 1024;

/// A signal to the followers of a topic.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    /// The bytes of a record, as published.
    Record(Bytes),
    /// The head of the topic.
    Head(Option<Offset>),
    /// Records may have been missed: read history.
    ReadHistory,
}

/// The followed topics of a process.
pub(crate) struct FollowedTopics {
    inner: Mutex<Inner>,
    notices: broadcast::Sender<(Topic, Bytes)>,
    /// Records arrive only after this process has subscribed to the topic's channel at a server.
    by_server: bool,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    followed: HashMap<Topic, Followed>,
    /// Topics whose channel may have to be joined or left.
    changes: HashSet<Topic>,
}

struct Followed {
    followers: usize,
    topic: Arc<FollowedTopic>,
}

struct FollowedTopic {
    signals: broadcast::Sender<Signal>,
    /// Every record that is published from now on arrives, or `ReadHistory` in its place.
    confirmed: AtomicBool,
    /// The head that was sent last.
    head: Mutex<Option<Option<Offset>>>,
    /// The newest event that a follower of this process has delivered.
    read: Mutex<Option<(Offset, Fingerprint)>>,
}

/// Channels to join and to leave at the server.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) subscribe: Vec<Topic>,
    pub(crate) unsubscribe: Vec<Topic>,
}

impl FollowedTopics {
    /// Records arrive as soon as a topic is followed.
    pub(crate) fn at_once() -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            notices: broadcast::Sender::new(NOTICES),
            by_server: false,
            changed: Notify::new(),
        })
    }

    /// Records arrive after the topic's channel was joined at a server, see [`FollowedTopics::take_changes`].
    pub(crate) fn by_server() -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            notices: broadcast::Sender::new(NOTICES),
            by_server: true,
            changed: Notify::new(),
        })
    }

    /// Adds a follower of a topic.
    pub(crate) fn signals(self: &Arc<Self>, topic: Topic) -> Signals {
        let mut inner = self.inner.lock();
        let entry = inner.followed.entry(topic).or_insert_with(|| Followed {
            followers: 0,
            topic: Arc::new(FollowedTopic {
                signals: broadcast::Sender::new(BACKLOG),
                confirmed: AtomicBool::new(!self.by_server),
                head: Mutex::new(None),
                read: Mutex::new(None),
            }),
        });
        entry.followers += 1;
        let (followed, receiver) = (entry.topic.clone(), entry.topic.signals.subscribe());
        if entry.followers == 1 && self.by_server {
            inner.changes.insert(topic);
            self.changed.notify_one();
        }
        drop(inner);
        Signals { all: self.clone(), topic, followed, receiver }
    }

    fn remove_follower(&self, topic: &Topic) {
        let mut inner = self.inner.lock();
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

    /// Sends a signal to the followers of a topic, if there are any.
    pub(crate) fn send(&self, topic: &Topic, signal: Signal) {
        if let Some(followed) = self.get(topic) {
            let _ = followed.signals.send(signal); // an error means that the last follower has just been dropped
        }
    }

    /// Passes a notice on, if the topic is followed. Returns whether it is.
    pub(crate) fn send_notice(&self, topic: Topic, event: Bytes) -> bool {
        let is_followed = self.get(&topic).is_some();
        if is_followed {
            let _ = self.notices.send((topic, event)); // an error means that there is no receiver
        }
        is_followed
    }

    /// The notices from now on.
    pub(crate) fn notices(&self) -> broadcast::Receiver<(Topic, Bytes)> {
        self.notices.subscribe()
    }

    /// Sends the head of a topic, unless the same head was sent last.
    pub(crate) fn send_head(&self, topic: &Topic, head: Option<Offset>) {
        let Some(followed) = self.get(topic) else { return };
        let sent = followed.head.lock().replace(head);
        if sent != Some(head) {
            let _ = followed.signals.send(Signal::Head(head));
        }
    }

    /// The newest event of a topic that a follower of this process has delivered.
    pub(crate) fn read_up_to(&self, topic: &Topic) -> Option<(Offset, Fingerprint)> {
        *self.get(topic)?.read.lock()
    }

    fn get(&self, topic: &Topic) -> Option<Arc<FollowedTopic>> {
        self.inner.lock().followed.get(topic).map(|followed| followed.topic.clone())
    }

    /// Waits until there may be changes for [`FollowedTopics::take_changes`].
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes up to `most` topics whose channel must be joined or left. Topics without followers are removed here.
    pub(crate) fn take_changes(&self, most: usize) -> Option<Changes> {
        let mut inner = self.inner.lock();
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
            } else if !followed.topic.confirmed.load(Ordering::Acquire) {
                changes.subscribe.push(topic);
            }
        }
        Some(changes)
    }

    /// The channels of these topics were joined: later records arrive, and earlier records are in history.
    pub(crate) fn confirm(&self, topics: &[Topic]) {
        for followed in topics.iter().filter_map(|topic| self.get(topic)) {
            followed.confirmed.store(true, Ordering::Release);
            let _ = followed.signals.send(Signal::ReadHistory);
        }
    }

    /// The connection was lost: the channels of all topics must be joined again.
    pub(crate) fn unconfirm_all(&self) {
        let mut inner = self.inner.lock();
        let Inner { followed, changes } = &mut *inner;
        for (topic, followed) in followed {
            followed.topic.confirmed.store(false, Ordering::Release);
            changes.insert(*topic);
        }
    }

    /// All followed topics.
    pub(crate) fn topics(&self) -> Vec<Topic> {
        self.inner.lock().followed.keys().copied().collect()
    }
}

/// The signals to one follower. Dropping them ends the following.
pub(crate) struct Signals {
    all: Arc<FollowedTopics>,
    topic: Topic,
    followed: Arc<FollowedTopic>,
    receiver: broadcast::Receiver<Signal>,
}

impl Signals {
    /// Whether history can be read without missing later records. Otherwise the follower waits for [`Signal::ReadHistory`].
    pub(crate) fn are_confirmed(&self) -> bool {
        self.followed.confirmed.load(Ordering::Acquire)
    }

    /// The follower has delivered this event.
    pub(crate) fn has_read(&self, at: Offset, fingerprint: Fingerprint) {
        let mut read = self.followed.read.lock();
        if read.is_none_or(|newest| newest.0 < at) {
            *read = Some((at, fingerprint));
        }
    }

    /// The next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        match self.receiver.recv().await {
            Ok(signal) => signal,
            // The follower was too slow. The other error, a closed channel, is impossible: this value holds the sender.
            Err(_) => Signal::ReadHistory,
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.all.remove_follower(&self.topic);
    }
}

#[cfg(test)]
mod tests;
