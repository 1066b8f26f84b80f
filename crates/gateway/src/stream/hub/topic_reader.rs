//! A reader's position in a topic, and how the reader takes the frames after it.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use turnpike_bus::ResetReason;
use turnpike_topic::{Offset, Topic};

use super::{
    Hub,
    channel::Channel,
    frame::Frame,
    members::{Member, Wake},
    ring::Run,
};
use crate::stream::{format::Format, since::Since};

/// The result of [`TopicReader::take`].
pub(crate) enum Batch {
    /// The next frames. More may follow.
    Frames(Vec<Arc<Frame>>),
    /// The reader has every event up to the head. Returned once, and once more after each reset.
    CaughtUp { head: Option<Offset> },
    /// The next events are lost. The reader continues with the events that exist.
    Reset { reason: ResetReason, head: Option<Offset> },
    /// The final event was taken.
    Closed,
    /// There is nothing to take now. The reader is woken when that changes.
    Nothing,
    /// History cannot be read at present. The reader must try again later.
    Unavailable,
}

/// The result of [`TopicReader::current`].
pub(crate) enum Current {
    /// The reader has everything.
    Nothing,
    /// The next frames.
    Run(Run),
    /// The reader is not current: [`TopicReader::take`] is needed.
    No,
}

pub(crate) struct TopicReader {
    member: Member,
    hub: Hub,
    channel: Arc<Channel>,
    position: Position,
    caught_up_reported: bool,
    /// The serial number of the ring that the reader knows. Another one shows that the topic was reset.
    ring: NonZeroU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// At the head of the topic, once the follower knows it.
    Head,
    /// Before the first event.
    Start,
    After(Offset),
    /// After the final event, which the reader has from the archive.
    Finished(Option<Offset>),
}

impl Position {
    const fn new(since: Since) -> Self {
        match since {
            Since::Start => Self::Start,
            Since::After(offset) => Self::After(offset),
            Since::Live => Self::Head,
        }
    }
}

/// How many events are read from history at once.
const PAGE: usize = 128;
/// The longest wait for history. It is short because the reader's socket is not served meanwhile.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(3);

impl TopicReader {
    /// A reader of a topic, which is woken whenever there may be something new to take. It must take at least once before it
    /// waits: the ring may be ready already.
    pub(crate) fn open(hub: &Hub, topic: Topic, since: Since, wake: &Wake) -> Self {
        let channel = hub.join(topic);
        let member = channel.enter(wake);
        if let Wake::Task(wake) = wake {
            wake.notify_one();
        }
        let ring = channel.ring().serial;
        let position = Position::new(since);
        Self { hub: hub.clone(), channel, member, position, caught_up_reported: false, ring }
    }

    pub(crate) fn topic(&self) -> Topic {
        self.channel.topic
    }

    /// The head of the topic, once the follower knows it.
    pub(crate) fn head(&self) -> Option<Option<Offset>> {
        let ring = self.channel.ring();
        ring.ready.then(|| ring.head())
    }

    /// The position, if it is after an event.
    pub(crate) const fn offset(&self) -> Option<Offset> {
        match self.position {
            Position::After(offset) => Some(offset),
            Position::Head | Position::Start | Position::Finished(_) => None,
        }
    }

    pub(crate) fn seek(&mut self, since: Since) {
        self.position = Position::new(since);
    }

    /// Moves the reader to the end of a topic whose events it has taken from the archive, up to the final event at `head`.
    pub(crate) fn finish(&mut self, head: Option<Offset>) {
        self.position = Position::Finished(head);
    }

    /// Makes [`TopicReader::take`] return [`Batch::CaughtUp`] once more, after a reset that this reader did not report itself.
    pub(crate) fn report_caught_up_again(&mut self) {
        self.caught_up_reported = false;
    }

    /// Takes the next frames, of about `bytes` bytes together, and moves the position past them. Cancel-safe: if the future is
    /// dropped while it reads history, the position stays.
    pub(crate) async fn take(&mut self, bytes: usize) -> Batch {
        match self.take_from_ring(bytes) {
            Some(batch) => batch,
            None => self.take_from_history(bytes).await,
        }
    }

    /// What follows for a reader that is current: its position is in the ring, and only frames follow it. The position stays
    /// until [`TopicReader::advance`].
    pub(crate) fn current(&self, format: Format) -> Current {
        let (Position::After(Offset { epoch, n }), true) = (self.position, self.caught_up_reported) else {
            return Current::No;
        };
        let mut ring = self.channel.ring();
        let head = match ring.head() {
            Some(head) if ring.ready && head.epoch == epoch && ring.serial == self.ring => head.n,
            _ => return Current::No,
        };
        if n < ring.base || n > head || (n == head && ring.closed) {
            return Current::No;
        }
        if n == head {
            return Current::Nothing;
        }
        Current::Run(ring.run(n, format))
    }

    /// Moves the position of a reader that is current past the event `n` of its epoch. Returns the position.
    pub(crate) fn advance(&mut self, n: u64) -> Option<Offset> {
        let Position::After(offset) = &mut self.position else { return None };
        offset.n = n;
        Some(*offset)
    }

    /// `None`: the position is outside the ring.
    fn take_from_ring(&mut self, bytes: usize) -> Option<Batch> {
        if let Position::Finished(head) = self.position {
            return Some(match std::mem::replace(&mut self.caught_up_reported, true) {
                false => Batch::CaughtUp { head },
                true => Batch::Closed,
            });
        }
        let ring = self.channel.ring();
        if !ring.ready {
            return Some(Batch::Nothing);
        }
        let head = ring.head();
        if self.ring != ring.serial {
            self.ring = ring.serial;
            // If the topic was trimmed instead, the read of history below shows whether the reader's next event is lost.
            if matches!(self.position, Position::After(offset) if ring.lost == Some(offset.epoch)) {
                self.position = Position::Start;
                self.caught_up_reported = false;
                return Some(Batch::Reset { reason: ResetReason::Epoch, head });
            }
        }
        let after = match self.position {
            Position::Head => {
                self.position = head.map_or(Position::Start, Position::After);
                head.map_or(0, |head| head.n)
            }
            Position::Start | Position::Finished(_) => 0,
            Position::After(offset) if head.is_some_and(|head| offset.epoch == head.epoch && offset.n <= head.n) => {
                offset.n
            }
            // The offset has another epoch or is ahead of the head. Either the follower is late, or no such event exists; history
            // shows which of the two is true.
            Position::After(_) => return None,
        };
        if ring.epoch.is_some() && after < ring.base {
            return None;
        }
        let skip = ring.index(after);
        let mut taken = Vec::new();
        let mut size = 0;
        for frame in ring.frames.iter().skip(skip) {
            taken.push(frame.clone());
            size += frame.len();
            if size >= bytes {
                break;
            }
        }
        if let Some(last) = taken.last() {
            self.position = Position::After(last.offset);
            return Some(Batch::Frames(taken));
        }
        Some(if !self.caught_up_reported {
            self.caught_up_reported = true;
            Batch::CaughtUp { head }
        } else if ring.closed {
            Batch::Closed
        } else {
            Batch::Nothing
        })
    }

    async fn take_from_history(&mut self, bytes: usize) -> Batch {
        let after = match self.position {
            Position::After(offset) => Some(offset),
            Position::Head | Position::Start | Position::Finished(_) => None,
        };
        let topic = self.channel.topic;
        let read = tokio::time::timeout(HISTORY_TIMEOUT, self.hub.bus().read(&topic, after, PAGE)).await;
        let Ok(Ok(page)) = read else {
            return Batch::Unavailable;
        };
        metrics::counter!("turnpike_gateway_history_reads_total").increment(1);
        if self.channel.follow_again_if_outdated(page.state.map(|state| state.epoch), self.hub.bus(), &self.hub.0.tasks)
        {
            return Batch::Nothing; // the new follower wakes the reader
        }
        if let Some(reason) = page.gap {
            self.caught_up_reported = false;
            let head = page.state.as_ref().map(turnpike_bus::TopicState::head);
            // The reader continues right before the first event of the page.
            self.position = match page.records.first() {
                Some(first) if first.offset.n > 1 => Position::After(Offset { n: first.offset.n - 1, ..first.offset }),
                _ => Position::Start,
            };
            return Batch::Reset { reason, head };
        }
        let mut taken = Vec::new();
        let mut size = 0;
        for record in page.records {
            let frame = Frame::new(&topic, record);
            size += frame.len();
            taken.push(Arc::new(frame));
            if size >= bytes {
                break;
            }
        }
        match taken.last() {
            Some(last) => {
                self.position = Position::After(last.offset);
                Batch::Frames(taken)
            }
            // The follower has not seen the newest events or the loss of the topic yet; it wakes the reader when it does.
            None => Batch::Nothing,
        }
    }
}

impl Drop for TopicReader {
    fn drop(&mut self) {
        self.channel.leave(&self.member);
        self.hub.leave(&self.channel.topic);
    }
}
