//! The position of a follower, and how pages, records and heads move it. Pure: no waiting, no I/O.

use std::collections::VecDeque;

use bytes::Bytes;
use turnpike_topic::Offset;

use crate::{
    delivery::Delivery,
    history::{Page, ResetReason},
    record::{self, Fingerprint},
};

/// The position of a follower in its topic.
#[derive(Debug)]
pub(crate) struct Position {
    point: Point,
    /// The epoch that lost events, until [`Position::take_lost`].
    lost: Option<u64>,
    /// `CaughtUp` must be delivered as soon as all events have been delivered.
    owes_caught_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// Before the first event.
    Start,
    /// After the event that is the head when history is first read.
    Head,
    /// After an event.
    After(Offset, Known),
    /// The topic has lost events that were delivered. A reset must be delivered, then the topic from its first event.
    Diverged,
}

/// A follower's knowledge of the event at its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing: a client sent the offset.
    Claimed,
    /// The topic had an event at this offset; its bytes are not known.
    Existed,
    /// The event was read, and had this fingerprint.
    Read(Fingerprint),
}

impl Known {
    /// Whether a page shows that the topic has lost this event although its epoch has not changed. A client may send any offset,
    /// so an offset that was only claimed proves nothing.
    fn is_lost(self, at: Offset, page: &Page) -> bool {
        let is_behind = page.state.is_some_and(|state| state.epoch == at.epoch && state.n < at.n);
        match self {
            Self::Claimed => false,
            Self::Existed => is_behind,
            Self::Read(fingerprint) => is_behind || page.before.is_some_and(|there| there != fingerprint),
        }
    }
}

/// The next step of the follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Read history, which has or may have more events.
    Read,
    /// Wait for a signal.
    Wait,
    /// The final event was delivered.
    End,
}

impl Position {
    pub(crate) const fn start() -> Self {
        Self::at(Point::Start)
    }

    pub(crate) const fn head() -> Self {
        Self::at(Point::Head)
    }

    pub(crate) const fn after(offset: Offset) -> Self {
        Self::at(Point::After(offset, Known::Claimed))
    }

    const fn at(point: Point) -> Self {
        Self { point, lost: None, owes_caught_up: true }
    }

    /// The newest event that was delivered, if the follower knows its bytes.
    pub(crate) const fn newest_read(&self) -> Option<(Offset, Fingerprint)> {
        match self.point {
            Point::After(at, Known::Read(fingerprint)) => Some((at, fingerprint)),
            _ => None,
        }
    }

    /// The epoch that lost events, if the latest page has shown a loss.
    pub(crate) const fn take_lost(&mut self) -> Option<u64> {
        self.lost.take()
    }

    /// The arguments for reading the next page, of at most `limit` records.
    pub(crate) fn next_page(&self, limit: usize) -> (Option<Offset>, usize) {
        match self.point {
            Point::Start | Point::Diverged => (None, limit),
            Point::Head => (None, 0),
            Point::After(offset, _) => (Some(offset), limit),
        }
    }

    /// Takes the page that was read with [`Position::next_page`].
    pub(crate) fn take_page(&mut self, page: Page, out: &mut VecDeque<Delivery>) -> Next {
        let head = page.state.map(|state| state.head());
        let gap = match self.point {
            Point::Head => {
                self.point = head.map_or(Point::Start, |head| Point::After(head, Known::Existed));
                None
            }
            Point::Diverged => Some(ResetReason::Epoch),
            Point::After(at, known) if known.is_lost(at, &page) => {
                (self.point, self.lost) = (Point::Diverged, Some(at.epoch));
                return Next::Read;
            }
            Point::After(at, known) if page.gap.is_none() => {
                // The page confirms the offset.
                let known =
                    if let Known::Read(_) = known { known } else { page.before.map_or(Known::Existed, Known::Read) };
                self.point = Point::After(at, known);
                None
            }
            Point::Start | Point::After(..) => page.gap,
        };
        if let Some(reason) = gap {
            out.push_back(Delivery::Reset { reason, head });
            self.owes_caught_up = true;
            // If the page has records, they move the position below; otherwise the position is at the head.
            self.point = head.map_or(Point::Start, |head| Point::After(head, Known::Existed));
        }
        if let (Some(last), Some(fingerprint)) = (page.records.last(), page.last) {
            self.point = Point::After(last.offset, Known::Read(fingerprint));
        }
        out.extend(page.records.into_iter().map(Delivery::Record));

        match (self.point, head) {
            (Point::After(seen, _), Some(head)) if seen != head => return Next::Read,
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

    /// Takes a record that was published just now.
    pub(crate) fn take_live(&mut self, bytes: Bytes, out: &mut VecDeque<Delivery>) -> Next {
        // Without an event before it, this record may not be the topic's first: history shows which one is the first.
        let Point::After(seen, _) = self.point else { return Next::Read };
        let Ok(record) = record::decode(bytes.clone()) else { return Next::Read };
        if record.offset.epoch != seen.epoch || record.offset.n > seen.n + 1 {
            return Next::Read;
        }
        if record.offset.n <= seen.n {
            return Next::Wait; // delivered from history
        }
        self.point = Point::After(record.offset, Known::Read(Fingerprint::of(&bytes)));
        let is_final = record.is_final;
        out.push_back(Delivery::Record(record));
        if is_final {
            out.push_back(Delivery::Closed);
            return Next::End;
        }
        Next::Wait
    }

    /// Compares the position with the head of the topic, which may be slightly out of date.
    pub(crate) fn compare_head(&self, head: Option<Offset>) -> Next {
        match (self.point, head) {
            (Point::Start, None) => Next::Wait,
            (Point::After(seen, _), Some(head)) if head.epoch == seen.epoch && head.n <= seen.n => Next::Wait,
            _ => Next::Read,
        }
    }
}
