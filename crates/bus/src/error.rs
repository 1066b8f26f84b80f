//! Why an operation of the bus failed.

use std::time::Duration;

use turnpike_topic::Offset;

/// Why an event was not appended.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The topic has its final event already; nothing was written.
    #[error("the topic is closed since {final_offset}")]
    Closed {
        /// The offset of the final event.
        final_offset: Offset,
    },
    /// The event has more bytes than any event may have; nothing was written.
    #[error("an event of {bytes} bytes is more than the {limit} that are allowed")]
    TooLarge {
        /// The encoded size of the event.
        bytes: usize,
        /// The largest size that is allowed.
        limit: usize,
    },
    /// The backend did not answer in time: the event was appended once, or not at all.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The backend did not answer in time, or answered that it cannot do this.
#[derive(Debug, thiserror::Error)]
#[error("the event bus is not available")]
pub struct Unavailable(#[source] pub(crate) Cause);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("no connection to Redis within {0:?}")]
    NoConnection(Duration),
    #[error("no answer from Redis within {0:?}")]
    NoAnswer(Duration),
    #[error("Redis refused")]
    Redis(#[source] ::redis::RedisError),
    #[error("the topics of this process have more than {limit} bytes")]
    Full { limit: u64 },
}

/// Text that is not a Redis URL. It may hold a password, so the error does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a Redis URL looks like redis://[user:password@]host[:port][/database]")]
pub struct InvalidUrl;
