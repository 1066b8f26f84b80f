//! The events of one running answer in the memory of the process that generates it. Its callers read them from here and not from the
//! bus, so that an outage of the bus does not affect them.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use turnpike_topic::Offset;

/// One event of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Its offset on the topic; `None` if the bus was not available.
    pub(crate) offset: Option<Offset>,
    /// A `turnpike.event.v1.Event`.
    pub(crate) event: Bytes,
}

/// Appends the events. Readers end after the last one, or when it is dropped.
pub(super) struct Log {
    entries: Arc<Mutex<Vec<Entry>>>,
    /// The number of events; `None` once the last one is there.
    count: Option<watch::Sender<usize>>,
}

/// Where a reader of the events begins. It keeps no event in memory once the answer has ended and its readers are gone.
#[derive(Clone)]
pub(super) struct Source {
    entries: Arc<Mutex<Vec<Entry>>>,
    count: watch::Receiver<usize>,
}

/// A reader of the events.
pub(crate) struct Tail {
    source: Source,
    next: usize,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { entries: Arc::default(), count: Some(watch::channel(0).0) }
    }

    /// Appends an event, unless the last one is there.
    pub(super) fn push(&mut self, entry: Entry, is_last: bool) {
        let Some(count) = &self.count else { return };
        let mut entries = self.entries.lock();
        entries.push(entry);
        count.send_replace(entries.len());
        drop(entries);
        if is_last {
            self.count = None;
        }
    }

    /// Where to read the events.
    pub(super) fn source(&self) -> Source {
        let count = self.count.as_ref().map_or_else(|| watch::channel(0).1, watch::Sender::subscribe);
        Source { entries: self.entries.clone(), count }
    }
}

impl Source {
    /// Reads from the first event.
    pub(super) fn tail(&self) -> Tail {
        Tail { source: self.clone(), next: 0 }
    }

    /// Returns when the answer has ended.
    pub(super) async fn ended(mut self) {
        while self.count.changed().await.is_ok() {}
    }
}

impl Tail {
    /// The next event; `None` after the last one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Entry> {
        let next = self.next;
        // An error means that the log was dropped; events that it has got before are still read.
        let _ = self.source.count.wait_for(|count| *count > next).await;
        let entry = self.source.entries.lock().get(next).cloned();
        self.next += usize::from(entry.is_some());
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64) -> Entry {
        Entry { offset: Some(Offset { epoch: 7, n }), event: Bytes::from(n.to_string()) }
    }

    #[tokio::test]
    async fn every_reader_gets_every_event_also_after_the_end() {
        let mut log = Log::new();
        let source = log.source();
        let mut early = source.tail();
        log.push(entry(1), false);
        assert_eq!(early.next().await, Some(entry(1)));
        log.push(entry(2), true);
        log.push(entry(3), false);
        let mut late = source.tail();
        assert_eq!([early.next().await, early.next().await], [Some(entry(2)), None]);
        assert_eq!([late.next().await, late.next().await, late.next().await], [Some(entry(1)), Some(entry(2)), None]);
        source.ended().await;
    }
}
