//! What a client hears.

use std::time::Duration;

use serde_json::Value;
use turnpike_topic::{Offset, Topic};

/// A frame as the gateway sent it.
pub type Frame = Value;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// An event of a topic. Each event comes once, in order.
    Event {
        /// The topic.
        topic: Topic,
        /// The number of the event.
        offset: Offset,
        /// The whole frame.
        frame: Frame,
    },
    /// A notice on a topic, such as `typing`: it is not stored, has no offset, and can be lost.
    Notice {
        /// The topic.
        topic: Topic,
        /// The whole frame.
        frame: Frame,
    },
    /// Every event of the topic until now has come.
    CaughtUp {
        /// The topic.
        topic: Topic,
        /// The newest event.
        head: Option<Offset>,
    },
    /// Earlier events may be missing: the next event does not continue the ones before.
    Reset {
        /// The topic.
        topic: Topic,
        /// The whole frame; `reason` is `epoch`, `trimmed` or `hole`.
        frame: Frame,
    },
    /// The final event of the topic came before. The topic is no longer followed.
    Closed {
        /// The topic.
        topic: Topic,
    },
    /// The topic cannot be followed, and is not.
    Refused {
        /// The topic.
        topic: Topic,
        /// A stable word, such as `NOT_FOUND`.
        code: String,
        /// A sentence for people.
        detail: String,
    },
    /// The answer to [`publish`](crate::Client::publish): `published`, or an `error`.
    Answer {
        /// The number that `publish` returned.
        id: u64,
        /// The whole frame.
        frame: Frame,
    },
    /// The connection was lost before this request was answered: the request was performed once or not at all.
    Unanswered {
        /// The number that `publish` returned.
        id: u64,
    },
    /// An error of the connection that concerns no topic and no request, such as `RATE_LIMITED`.
    Problem {
        /// The whole frame.
        frame: Frame,
    },
    /// The connection is open. The topics continue where they were.
    Connected,
    /// The connection was lost, or could not be opened. The client connects again after this time.
    Disconnected {
        /// Why, for people.
        reason: String,
        /// The pause.
        pause: Duration,
    },
}
