//! One page of history, and whether events are missing before it.

use bytes::Bytes;
use turnpike_topic::Offset;

use crate::record::{self, Fingerprint, Record};

/// The extent of a topic: its epoch, its first and its latest event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicState {
    /// The time at which the epoch began, in milliseconds since 1970.
    pub epoch: u64,
    /// The number of its latest event.
    pub n: u64,
    /// The number of the first event that is still kept; `n + 1` if none is.
    pub first: u64,
    /// The latest event is the final one.
    pub closed: bool,
}

impl TopicState {
    /// The offset of the latest event.
    pub const fn head(&self) -> Offset {
        Offset { epoch: self.epoch, n: self.n }
    }
}

/// Why a record does not continue the records before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// The epoch ended; a new one may have begun.
    Epoch,
    /// Events in between are no longer kept, or are missing.
    Trimmed,
}

/// One page of history.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The topic when the page was read; `None` if it does not exist.
    pub state: Option<TopicState>,
    /// Records at consecutive offsets.
    pub records: Vec<Record>,
    /// Why the first record is not the one after the requested offset; `None` if it is. After a gap, the page begins with the
    /// first record that is kept.
    pub gap: Option<ResetReason>,
    /// Fingerprint of the record at the requested offset itself, if it is kept.
    pub(crate) before: Option<Fingerprint>,
    /// Fingerprint of the last record of this page.
    pub(crate) last: Option<Fingerprint>,
}

/// The result of a backend's read after an offset, which is one atomic step.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) state: Option<TopicState>,
    /// The record at the offset itself, if it is kept.
    pub(crate) before: Option<Bytes>,
    /// Numbers and bytes of the records after the offset, or of the first records if history does not continue there.
    pub(crate) entries: Vec<(u64, Bytes)>,
}

impl Found {
    /// `after` and `limit` are those of the request.
    pub(crate) fn page(self, after: Option<Offset>, limit: usize) -> Page {
        let (mut gap, mut next) = continue_after(after, self.state.as_ref());
        let TopicState { epoch, n: newest, .. } =
            self.state.unwrap_or(TopicState { epoch: 0, n: 0, first: 1, closed: false });
        if self.entries.is_empty() && limit > 0 && next <= newest {
            gap = gap.or(Some(ResetReason::Trimmed)); // the head counts events that history does not have
        }
        let mut records = Vec::with_capacity(self.entries.len());
        let mut last = None;
        for (n, bytes) in self.entries {
            if n != next && records.is_empty() {
                gap = gap.or(Some(ResetReason::Trimmed));
            } else if n != next {
                break; // another program removed an entry: the next page begins after the gap and reports it
            }
            next = n + 1;
            last = Some(Fingerprint::of(&bytes));
            records.push(record_at(Offset { epoch, n }, bytes));
        }
        Page { state: self.state, records, gap, before: self.before.as_deref().map(Fingerprint::of), last }
    }
}

/// Whether history continues after this offset, and the number of the event that comes next.
pub(crate) fn continue_after(after: Option<Offset>, state: Option<&TopicState>) -> (Option<ResetReason>, u64) {
    match (after, state) {
        (None, None) => (None, 1),
        (Some(_), None) => (Some(ResetReason::Epoch), 1),
        // An offset beyond the head belongs to an event that was lost.
        (Some(after), Some(state)) if after.epoch != state.epoch || after.n > state.n => {
            (Some(ResetReason::Epoch), state.first)
        }
        (after, Some(state)) => match after.map_or(0, |after| after.n) + 1 {
            next if next < state.first => (Some(ResetReason::Trimmed), state.first),
            next => (None, next),
        },
    }
}

/// An entry that is not a record keeps its offset: its bytes are delivered as an event, which readers cannot decode and skip.
fn record_at(offset: Offset, bytes: Bytes) -> Record {
    match record::decode(bytes.clone()) {
        Ok(record) if record.offset == offset => record,
        _ => Record { offset, is_final: false, event: bytes },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: TopicState = TopicState { epoch: 7, n: 9, first: 4, closed: false };

    fn at(epoch: u64, n: u64) -> Option<Offset> {
        Some(Offset { epoch, n })
    }

    #[test]
    fn every_gap_has_its_reason() {
        use ResetReason::{Epoch, Trimmed};
        assert_eq!(continue_after(None, None), (None, 1));
        assert_eq!(continue_after(at(7, 1), None), (Some(Epoch), 1));
        assert_eq!(continue_after(None, Some(&STATE)), (Some(Trimmed), 4));
        assert_eq!(continue_after(at(7, 2), Some(&STATE)), (Some(Trimmed), 4));
        assert_eq!(continue_after(at(7, 3), Some(&STATE)), (None, 4));
        assert_eq!(continue_after(at(7, 9), Some(&STATE)), (None, 10));
        assert_eq!(continue_after(at(7, 10), Some(&STATE)), (Some(Epoch), 4));
        assert_eq!(continue_after(at(6, 5), Some(&STATE)), (Some(Epoch), 4));
        assert_eq!(continue_after(at(8, 5), Some(&STATE)), (Some(Epoch), 4));
        assert_eq!(continue_after(at(u64::MAX, u64::MAX), Some(&STATE)), (Some(Epoch), 4));
        assert_eq!(continue_after(None, Some(&TopicState { first: 1, ..STATE })), (None, 1));
    }

    #[test]
    fn a_page_ends_at_a_gap_and_the_next_page_reports_it() {
        let found = |ns: &[u64]| Found {
            state: Some(TopicState { first: 1, ..STATE }),
            entries: ns.iter().map(|n| (*n, Bytes::new())).collect(),
            ..Found::default()
        };
        let page = found(&[2, 3, 6]).page(at(7, 1), 10);
        assert_eq!((page.gap, page.records.last().map(|r| r.offset.n)), (None, Some(3)));
        let page = found(&[6, 7]).page(at(7, 3), 10);
        assert_eq!((page.gap, page.records.first().map(|r| r.offset.n)), (Some(ResetReason::Trimmed), Some(6)));
        let page = found(&[]).page(at(7, 8), 10);
        assert_eq!(page.gap, Some(ResetReason::Trimmed), "a head without its record");
        assert_eq!(found(&[]).page(at(7, 8), 0).gap, None, "no records were asked for");
        assert_eq!(found(&[]).page(at(7, 9), 10).gap, None);
    }

    #[test]
    fn an_entry_that_is_not_a_record_keeps_its_place_and_its_bytes() {
        let offset = Offset { epoch: 7, n: 5 };
        let elsewhere = record::encode(Offset { n: 6, ..offset }, true, b"an event");
        for bytes in [Bytes::from_static(b"not a record"), elsewhere] {
            assert_eq!(record_at(offset, bytes.clone()), Record { offset, is_final: false, event: bytes });
        }
    }
}
