//! The bus: two backends, one behaviour.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit, broadcast, watch};
use turnpike_topic::{Offset, Topic};

use crate::{
    append::{Append, Appended},
    error::{InvalidUrl, PublishError, Unavailable},
    followed::Signals,
    history::Page,
    limits::{Limits, MAX_EVENT_BYTES, MAX_PAGE_RECORDS},
    memory::Memory,
    redis::Redis,
    status::Status,
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

/// A publish or a read that takes longer fails as [`Unavailable`].
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// A timeout for callers that have their own deadline and cancel [`Bus::publish_within`] by dropping the future. However long an
/// outage lasts, the event is appended at most once.
pub const UNTIL_DROPPED: Duration = Duration::from_secs(24 * 3600);

/// Followers of a process that read history at the same time.
const CONCURRENT_READS: usize = 32;

impl Bus {
    /// A bus within this process, which ends with it.
    pub fn memory(limits: Limits) -> Self {
        Self::memory_at(limits, system_time)
    }

    /// A bus within this process whose epochs and retention go by `now`.
    pub fn memory_at(limits: Limits, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self::new(Backend::Memory(Memory::new(limits, Box::new(now))))
    }

    /// A bus that all processes with the same Redis share. Connects in the background and must be called within a Tokio
    /// runtime. An error means that the URL is malformed.
    pub fn redis(url: &str, limits: Limits) -> Result<Self, InvalidUrl> {
        Ok(Self::new(Backend::Redis(Box::new(Redis::open(url, limits)?))))
    }

    fn new(backend: Backend) -> Self {
        Self(Arc::new(Inner { backend, reads: Semaphore::new(CONCURRENT_READS) }))
    }

    /// Appends an event. When this returns `Ok`, the event is stored and has been sent to the followers. Takes at most
    /// [`TIMEOUT`].
    ///
    /// If the connection breaks, the publish is repeated within the timeout, and the event is appended once, not twice. A caller
    /// that calls again after `Unavailable` may append the event twice; a caller that has more time uses
    /// [`Bus::publish_within`].
    pub async fn publish(&self, topic: &Topic, event: &[u8]) -> Result<Offset, PublishError> {
        self.publish_within(TIMEOUT, topic, event).await
    }

    /// Appends the final event and closes the topic in the same atomic step: the first final event wins.
    pub async fn close(&self, topic: &Topic, event: &[u8]) -> Result<Offset, PublishError> {
        self.close_within(TIMEOUT, topic, event).await
    }

    /// As [`Bus::publish`], with another timeout.
    pub async fn publish_within(&self, timeout: Duration, topic: &Topic, event: &[u8]) -> Result<Offset, PublishError> {
        self.append(timeout, topic, event, Append::Next).await.map(Appended::offset)
    }

    /// Appends the first event of a topic. Of any number of concurrent calls exactly one appends its event. `None`: the topic has
    /// events already, and nothing was written.
    ///
    /// A topic that expired or was forgotten can be opened again. A topic that lost events in a crash of Redis cannot, as long as
    /// one of its events is left. After `Unavailable` a caller may call again: the topic still gets one first event.
    pub async fn open_within(
        &self,
        timeout: Duration,
        topic: &Topic,
        event: &[u8],
    ) -> Result<Option<Offset>, PublishError> {
        match self.append(timeout, topic, event, Append::First).await? {
            Appended::At(offset) => Ok(Some(offset)),
            Appended::NotFirst { .. } => Ok(None),
        }
    }

    /// As [`Bus::close`], with another timeout.
    pub async fn close_within(&self, timeout: Duration, topic: &Topic, event: &[u8]) -> Result<Offset, PublishError> {
        self.append(timeout, topic, event, Append::Final).await.map(Appended::offset)
    }

    async fn append(
        &self,
        timeout: Duration,
        topic: &Topic,
        event: &[u8],
        how: Append,
    ) -> Result<Appended, PublishError> {
        if event.len() > MAX_EVENT_BYTES {
            return Err(PublishError::TooLarge { bytes: event.len(), limit: MAX_EVENT_BYTES });
        }
        match &self.0.backend {
            Backend::Memory(memory) => memory.append(topic, event, how),
            Backend::Redis(redis) => redis.append(timeout, topic, event, how).await,
        }
    }

    /// Sends an event to the processes that follow the topic now, see [`Bus::notices`]. It is not stored and has no offset. It can be
    /// lost, and after an outage it can arrive twice.
    ///
    /// Returns the number of processes to which it was sent, this one included if it follows the topic.
    pub async fn notify(&self, topic: &Topic, event: &[u8]) -> Result<usize, PublishError> {
        if event.len() > MAX_EVENT_BYTES {
            return Err(PublishError::TooLarge { bytes: event.len(), limit: MAX_EVENT_BYTES });
        }
        Ok(match &self.0.backend {
            Backend::Memory(memory) => memory.notify(topic, event),
            Backend::Redis(redis) => redis.notify(TIMEOUT, topic, event).await?,
        })
    }

    /// The notices of all topics that this process follows, from now on. A receiver that falls behind loses the oldest.
    pub fn notices(&self) -> broadcast::Receiver<(Topic, Bytes)> {
        match &self.0.backend {
            Backend::Memory(memory) => memory.notices(),
            Backend::Redis(redis) => redis.notices(),
        }
    }

    /// Reads one page of history: up to `limit` (at most 1,000) records after an offset, or from the start. The page may be
    /// shorter when its records are large, but has at least one record while there are any.
    pub async fn read(&self, topic: &Topic, after: Option<Offset>, limit: usize) -> Result<Page, Unavailable> {
        let limit = limit.min(MAX_PAGE_RECORDS);
        let found = match &self.0.backend {
            Backend::Memory(memory) => memory.read(topic, after, limit),
            Backend::Redis(redis) => redis.read(TIMEOUT, topic, after, limit).await?,
        };
        Ok(found.page(after, limit))
    }

    /// Removes a topic and all its events. Its followers get a reset and wait for the next epoch.
    pub async fn forget(&self, topic: &Topic) -> Result<(), Unavailable> {
        match &self.0.backend {
            Backend::Memory(memory) => {
                memory.forget(topic);
                Ok(())
            }
            Backend::Redis(redis) => redis.forget(TIMEOUT, topic).await,
        }
    }

    /// Whether the bus works, now and after each change. An outage is reported within 2 s.
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

    pub(crate) fn signals(&self, topic: Topic) -> Signals {
        match &self.0.backend {
            Backend::Memory(memory) => memory.signals(topic),
            Backend::Redis(redis) => redis.signals(topic),
        }
    }

    /// The backend lost events that a follower has read: the next publish must start a new epoch, so that no offset is used
    /// twice.
    pub(crate) async fn mark_lost(&self, topic: &Topic, epoch: u64) -> Result<(), Unavailable> {
        match &self.0.backend {
            Backend::Memory(_) => Ok(()), // loses no events
            Backend::Redis(redis) => redis.mark_lost(TIMEOUT, topic, epoch).await,
        }
    }

    /// Waits until one of the concurrent reads of history is free.
    pub(crate) async fn read_permit(&self) -> Option<SemaphorePermit<'_>> {
        // An error would mean that the semaphore is closed; it never is.
        self.0.reads.acquire().await.ok()
    }
}

#[expect(clippy::disallowed_methods, reason = "the default clock of Bus::memory; Bus::memory_at takes another")]
fn system_time() -> Timestamp {
    Timestamp::now()
}
