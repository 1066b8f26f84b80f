//! The bus: two backends, one behaviour.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::Instant,
};
use turnpike_topic::{Offset, Topic};

use crate::{
    Follower, From, Limits, Page,
    feeds::Subscription,
    limits::{MAX_EVENT_BYTES, MAX_PAGE_RECORDS},
    memory::Memory,
    redis::Redis,
};

/// Topics: append-only, numbered, resumable sequences of events. A clone is another handle to the same bus.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    backend: Backend,
    reads: Semaphore,
}

enum Backend {
    Memory(Memory),
    Redis(Box<Redis>),
}

/// How long a publish or a read may take before it is given up.
pub const BOUND: Duration = Duration::from_secs(2);

/// For [`Bus::publish_within`] by who has a deadline of their own, and drops the call when it comes: over an outage of any
/// length the event is appended once.
pub const UNTIL_DROPPED: Duration = Duration::from_secs(24 * 3600);

/// How many followers read history at the same time.
const READS: usize = 32;

/// Why an event was not appended.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The topic's final event is there already; nothing was written.
    #[error("the topic is closed since {final_offset}")]
    Closed {
        /// Where the final event is.
        final_offset: Offset,
    },
    /// The event has more bytes than any event may have; nothing was written.
    #[error("an event of {bytes} bytes is more than the {limit} that are allowed")]
    TooLarge {
        /// The encoded size of the event.
        bytes: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// The backend did not answer in time: the event is there once, or not at all.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The backend did not answer within the bound, or answered that it cannot.
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

/// Text that is no Redis URL. It may hold a password, so it is not repeated here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a Redis URL looks like redis://[user:password@]host[:port][/database]")]
pub struct InvalidUrl;

/// Whether the bus works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does.
    Up,
    /// Nothing can be published, or nothing arrives.
    Down {
        /// When the bus stopped working.
        since: Instant,
        /// Why.
        reason: DownReason,
    },
}

/// Why the bus does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// There is no connection to Redis, or Redis does not answer.
    Unreachable,
    /// Redis answers and refuses writes: its memory or disk is full, it is a replica, or the user may not write.
    ReadOnly,
}

impl Bus {
    /// A bus within this process, which ends with it.
    pub fn memory(limits: Limits) -> Self {
        Self::memory_at(limits, system_time)
    }

    /// A bus within this process whose epochs and retention go by `now`.
    pub fn memory_at(limits: Limits, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self::new(Backend::Memory(Memory::new(limits, Box::new(now))))
    }

    /// A bus that all processes with the same Redis share. Connects in the background, returns at once, and must be called
    /// within a Tokio runtime. An error means that the URL is malformed.
    pub fn redis(url: &str, limits: Limits) -> Result<Self, InvalidUrl> {
        Ok(Self::new(Backend::Redis(Box::new(Redis::open(url, limits)?))))
    }

    fn new(backend: Backend) -> Self {
        Self(Arc::new(Inner { backend, reads: Semaphore::new(READS) }))
    }

    /// Appends an event; it is durable and announced when this returns `Ok`. Takes at most [`BOUND`].
    ///
    /// A broken connection is survived within the bound, and the event is appended once, not twice. A caller that calls again
    /// after `Unavailable` may append it twice: whoever has more time than the bound uses [`Bus::publish_within`].
    pub async fn publish(&self, topic: &Topic, event: &[u8]) -> Result<Offset, PublishError> {
        self.publish_within(BOUND, topic, event).await
    }

    /// Appends the final event and closes the topic in the same atomic step: the first final event wins.
    pub async fn close(&self, topic: &Topic, event: &[u8]) -> Result<Offset, PublishError> {
        self.close_within(BOUND, topic, event).await
    }

    /// As [`Bus::publish`], with another bound.
    pub async fn publish_within(&self, bound: Duration, topic: &Topic, event: &[u8]) -> Result<Offset, PublishError> {
        self.append(bound, topic, event, false).await
    }

    /// As [`Bus::close`], with another bound.
    pub async fn close_within(&self, bound: Duration, topic: &Topic, event: &[u8]) -> Result<Offset, PublishError> {
        self.append(bound, topic, event, true).await
    }

    async fn append(
        &self,
        bound: Duration,
        topic: &Topic,
        event: &[u8],
        is_final: bool,
    ) -> Result<Offset, PublishError> {
        if event.len() > MAX_EVENT_BYTES {
            return Err(PublishError::TooLarge { bytes: event.len(), limit: MAX_EVENT_BYTES });
        }
        match &self.0.backend {
            Backend::Memory(memory) => memory.append(topic, event, is_final),
            Backend::Redis(redis) => redis.append(bound, topic, event, is_final).await,
        }
    }

    /// Reads one page of history: up to `limit` (at most 1,000) records after an offset, or from the start. The page may be
    /// shorter when its records are large, but has at least one record while there are any.
    pub async fn read(&self, topic: &Topic, after: Option<Offset>, limit: usize) -> Result<Page, Unavailable> {
        let limit = limit.min(MAX_PAGE_RECORDS);
        let found = match &self.0.backend {
            Backend::Memory(memory) => memory.read(topic, after, limit),
            Backend::Redis(redis) => redis.read(BOUND, topic, after, limit).await?,
        };
        Ok(found.page(after, limit))
    }

    /// Follows a topic. Returns at once: the follower connects, waits and tries again by itself.
    pub fn follow(&self, topic: Topic, from: From) -> Follower {
        Follower::new(self.clone(), topic, from)
    }

    /// Forgets a topic and all its events now. Its followers are told, and wait for its next life.
    pub async fn forget(&self, topic: &Topic) -> Result<(), Unavailable> {
        match &self.0.backend {
            Backend::Memory(memory) => {
                memory.forget(topic);
                Ok(())
            }
            Backend::Redis(redis) => redis.forget(BOUND, topic).await,
        }
    }

    /// Whether the bus works, now and whenever that changes. An outage shows within two seconds.
    pub fn status(&self) -> watch::Receiver<Status> {
        match &self.0.backend {
            Backend::Memory(memory) => memory.status(),
            Backend::Redis(redis) => redis.status(),
        }
    }

    /// Ends the background tasks and the connections. Later publishes and reads are `Unavailable`, followers wait forever.
    pub async fn shutdown(&self) {
        match &self.0.backend {
            Backend::Memory(_) => {}
            Backend::Redis(redis) => redis.shutdown().await,
        }
    }

    pub(crate) fn join(&self, topic: Topic) -> Subscription {
        match &self.0.backend {
            Backend::Memory(memory) => memory.join(topic),
            Backend::Redis(redis) => redis.join(topic),
        }
    }

    /// Events that a follower has read were lost by the backend: their offsets must not be used again.
    pub(crate) async fn mark_lost(&self, topic: &Topic, epoch: u64) -> Result<(), Unavailable> {
        match &self.0.backend {
            Backend::Memory(_) => Ok(()), // loses nothing
            Backend::Redis(redis) => redis.mark_lost(BOUND, topic, epoch).await,
        }
    }

    pub(crate) async fn turn_to_read(&self) -> Option<SemaphorePermit<'_>> {
        // An error would mean that the semaphore is closed, which nobody does.
        self.0.reads.acquire().await.ok()
    }
}

#[expect(clippy::disallowed_methods, reason = "the default clock of Bus::memory; Bus::memory_at takes another")]
fn system_time() -> Timestamp {
    Timestamp::now()
}
