//! How many events of a topic are kept, and for how long.

use std::time::Duration;

/// How far back a topic can be resumed. The same for every topic of a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a topic is kept after its latest event. Counted in whole milliseconds, at least one.
    pub retention: Duration,
    /// How long a closed topic is kept after its final event; at most `retention`. Shorter, because the owner of the topic has
    /// archived its events by then.
    pub ended_retention: Duration,
    /// How many of its latest events a topic keeps. At least one.
    pub max_events: u64,
    /// Bytes of all events that the backend in memory keeps. Redis has a limit of its own, `maxmemory`.
    pub max_memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(86_400),
            ended_retention: Duration::from_secs(3_600),
            max_events: 10_000,
            max_memory: 256 << 20,
        }
    }
}

impl Limits {
    /// How long a topic is kept after an event.
    pub(crate) fn retention_ms(&self, is_final: bool) -> u64 {
        let retention = if is_final { self.ended_retention.min(self.retention) } else { self.retention };
        u64::try_from(retention.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 50)
    }

    pub(crate) fn max_events(&self) -> u64 {
        self.max_events.clamp(1, 1 << 50)
    }
}

/// A larger event is refused, so that one event cannot fill the memory of all processes.
pub(crate) const MAX_EVENT_BYTES: usize = 1 << 20;

/// A page has at most this many bytes, or one record if that is larger.
pub(crate) const MAX_PAGE_BYTES: usize = 1 << 20;

/// A page has at most this many records, also if the caller asks for more.
pub(crate) const MAX_PAGE_RECORDS: usize = 1_000;
