//! What a follower has seen, and what follows from what it is shown. No waiting, no I/O.

use std::collections::VecDeque;

use bytes::Bytes;
use turnpike_topic::Offset;

use crate::{Delivery, Page, ResetReason, history::Mark, record};

/// A follower's place in its topic.
#[derive(Debug)]
pub(crate) struct Cursor {
    place: Place,
    /// The epoch of which events were lost, until [`Cursor::take_lost`].
    lost: Option<u64>,
    /// The next time everything that there is has been delivered, that is to be said.
    owes_caught_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first event.
    Start,
    /// Behind whatever is the head when history is first read.
    Head,
    /// Behind an event.
    After(Offset, Known),
    /// What was seen is not what is there now: before the first event that is, and that must be said.
    Elsewhere,
}

/// What a follower knows about the event at its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing: a client named the offset.
    Claimed,
    /// The topic had an event there.
    Existed,
    /// Which event it was.
    Read(Mark),
}

impl Known {
    /// Whether a page shows that the topic no longer has this event, in an epoch that goes on. A client may name any offset, so
    /// an offset that was only claimed proves nothing.
    fn is_lost(self, at: Offset, page: &Page) -> bool {
        let is_behind = page.state.is_some_and(|state| state.epoch == at.epoch && state.n < at.n);
        match self {
            Self::Claimed => false,
            Self::Existed => is_behind,
            Self::Read(mark) => is_behind || page.before.is_some_and(|there| there != mark),
        }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// There is more history, or there may be: read it.
    Read,
    /// Nothing more is known: wait.
    Wait,
    /// The final event was seen.
    End,
}

impl Cursor {
    pub(crate) const fn start() -> Self {
        Self::at(Place::Start)
    }

    pub(crate) const fn head() -> Self {
        Self::at(Place::Head)
    }

    pub(crate) const fn after(offset: Offset) -> Self {
        Self::at(Place::After(offset, Known::Claimed))
    }

    const fn at(place: Place) -> Self {
        Self { place, lost: None, owes_caught_up: true }
    }

    /// The newest event that was read.
    pub(crate) const fn has_read(&self) -> Option<(Offset, Mark)> {
        match self.place {
            Place::After(at, Known::Read(mark)) => Some((at, mark)),
            _ => None,
        }
    }

    /// The epoch of which events were lost, if the latest page has shown that.
    pub(crate) const fn take_lost(&mut self) -> Option<u64> {
        self.lost.take()
    }

    /// Which page to read, of at most `limit` records.
    pub(crate) fn wants(&self, limit: usize) -> (Option<Offset>, usize) {
        match self.place {
            Place::Start | Place::Elsewhere => (None, limit),
            Place::Head => (None, 0),
            Place::After(offset, _) => (Some(offset), limit),
        }
    }

    /// Takes over the page that [`Cursor::wants`] asked for.
    pub(crate) fn page(&mut self, page: Page, out: &mut VecDeque<Delivery>) -> Next {
        let head = page.state.map(|state| state.head());
        let gap = match self.place {
            Place::Head => {
                self.place = head.map_or(Place::Start, |head| Place::After(head, Known::Existed));
                None
            }
            Place::Elsewhere => Some(ResetReason::Epoch),
            Place::After(at, known) if known.is_lost(at, &page) => {
                (self.place, self.lost) = (Place::Elsewhere, Some(at.epoch));
                return Next::Read;
            }
            Place::After(at, known) if page.gap.is_none() => {
                // The page confirms the offset.
                let known =
                    if let Known::Read(_) = known { known } else { page.before.map_or(Known::Existed, Known::Read) };
                self.place = Place::After(at, known);
                None
            }
            Place::Start | Place::After(..) => page.gap,
        };
        if let Some(reason) = gap {
            out.push_back(Delivery::Reset { reason, head });
            self.owes_caught_up = true;
            // Where records follow, they say where this is; where a head is without records, it is.
            self.place = head.map_or(Place::Start, |head| Place::After(head, Known::Existed));
        }
        if let (Some(last), Some(mark)) = (page.records.last(), page.last) {
            self.place = Place::After(last.offset, Known::Read(mark));
        }
        out.extend(page.records.into_iter().map(Delivery::Record));

        match (self.place, head) {
            (Place::After(seen, _), Some(head)) if seen != head => return Next::Read,
            _ => {}
        }
        if std::mem::take(&mut self.owes_caught_up) {
            out.push_back(Delivery::CaughtUp { head });
        }
        if page.state.is_some_and(|state| state.closed) {
            out.push_back(Delivery::Closed);
            return Next::End;
        }
        Next::Wait
    }

    /// Takes over a record that was published just now.
    pub(crate) fn live(&mut self, bytes: Bytes, out: &mut VecDeque<Delivery>) -> Next {
        // Also before a topic's first event the history is asked: it knows whether this is the first.
        let Place::After(seen, _) = self.place else { return Next::Read };
        let Ok(record) = record::decode(bytes.clone()) else { return Next::Read };
        if record.offset.epoch != seen.epoch || record.offset.n > seen.n + 1 {
            return Next::Read;
        }
        if record.offset.n <= seen.n {
            return Next::Wait; // seen in the history
        }
        self.place = Place::After(record.offset, Known::Read(Mark::of(&bytes)));
        let is_final = record.is_final;
        out.push_back(Delivery::Record(record));
        if is_final {
            out.push_back(Delivery::Closed);
            return Next::End;
        }
        Next::Wait
    }

    /// Takes over where the head is, or was a moment ago.
    pub(crate) fn told(&self, head: Option<Offset>) -> Next {
        match (self.place, head) {
            (Place::Start, None) => Next::Wait,
            (Place::After(seen, _), Some(head)) if head.epoch == seen.epoch && head.n <= seen.n => Next::Wait,
            _ => Next::Read,
        }
    }
}
