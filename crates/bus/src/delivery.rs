//! Where a follower begins to read, and what [`crate::Follower::next`] returns.

use turnpike_topic::Offset;

use crate::{history::ResetReason, record::Record};

/// Where a follower begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the topic's first event.
    Start,
    /// With the event after this one.
    After(Offset),
    /// With the first event that is published from now on.
    Live,
}

/// The result of [`crate::Follower::next`].
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// The next event. After another record of the same epoch it has the next number, unless a reset came in between.
    Record(Record),
    /// All events that existed when the follower began have been delivered. Comes once at the beginning, and once after each
    /// reset.
    CaughtUp {
        /// The latest event; `None` while the topic does not exist.
        head: Option<Offset>,
    },
    /// The next record does not continue the records before: it is the first event that is kept.
    Reset {
        /// The reason: the epoch ended, or events were trimmed.
        reason: ResetReason,
        /// The latest event; `None` if the topic is gone. Then the follower waits for its next epoch.
        head: Option<Offset>,
    },
    /// The final event has been delivered. Comes once; no delivery follows.
    Closed,
}
