//! A reader's place in a topic, and taking what comes after it.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;
use turnpike_bus::ResetReason;
use turnpike_topic::{Offset, Topic};

use super::{Hub, channel::Channel, frame::Frame};
use crate::stream::since::Since;

/// What there is to take.
pub(crate) enum Batch {
    /// These come next. There may be more behind them.
    Frames(Vec<Arc<Frame>>),
    /// What was there when the reader came has been taken. Said once, and again after a reset.
    CaughtUp { head: Option<Offset> },
    /// What came next is gone. The reader goes on with what there is.
    Reset { reason: ResetReason, head: Option<Offset> },
    /// The final event was taken.
    Closed,
    /// Nothing now; the reader is woken.
    Nothing,
    /// The history can't be read just now. The reader is to try again.
    Unavailable,
}

pub(crate) struct Subscription {
    hub: Hub,
    channel: Arc<Channel>,
    id: u64,
    cursor: Cursor,
    told_caught_up: bool,
    resets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cursor {
    /// Wherever the topic is when the follower has found its place.
    Head,
    /// Before the first event.
    Start,
    After(Offset),
    /// Behind the final event, wherever the topic is: the reader got the event from elsewhere.
    Finished(Option<Offset>),
}

/// How many events are read from history at once.
const PAGE: usize = 128;
/// A reader that waits for history waits no longer than this before it looks after its socket again.
const PATIENCE: Duration = Duration::from_secs(3);

impl Subscription {
    pub(super) fn new(hub: Hub, channel: Arc<Channel>, since: Since, wake: &Arc<Notify>) -> Self {
        let cursor = match since {
            Since::Start => Cursor::Start,
            Since::After(offset) => Cursor::After(offset),
            Since::Live => Cursor::Head,
        };
        let id = channel.enter(wake);
        wake.notify_one(); // the ring may be ready already
        let resets = channel.ring().resets;
        Self { hub, channel, id, cursor, told_caught_up: false, resets }
    }

    pub(crate) fn topic(&self) -> Topic {
        self.channel.topic
    }

    /// Where the topic is, once that is known.
    pub(crate) fn head(&self) -> Option<Option<Offset>> {
        let ring = self.channel.ring();
        ring.ready.then(|| ring.head())
    }

    /// Goes on elsewhere.
    pub(crate) fn seek(&mut self, since: Since) {
        self.cursor = match since {
            Since::Start => Cursor::Start,
            Since::After(offset) => Cursor::After(offset),
            Since::Live => Cursor::Head,
        };
    }

    /// The reader got everything up to the final event, at `head`, from elsewhere.
    pub(crate) fn finish(&mut self, head: Option<Offset>) {
        self.cursor = Cursor::Finished(head);
    }

    /// The reader was told of a reset from elsewhere: it is told again when it has caught up.
    pub(crate) fn owe_caught_up(&mut self) {
        self.told_caught_up = false;
    }

    /// Takes what comes next, about `bytes` of it. Moves the cursor behind it: the caller has it now. Cancel-safe: a read of
    /// history that is dropped has moved nothing.
    pub(crate) async fn take(&mut self, bytes: usize) -> Batch {
        match self.take_from_ring(bytes) {
            Some(batch) => batch,
            None => self.take_from_history(bytes).await,
        }
    }

    /// `None`: the cursor is not within the ring.
    fn take_from_ring(&mut self, bytes: usize) -> Option<Batch> {
        if let Cursor::Finished(head) = self.cursor {
            return Some(match std::mem::replace(&mut self.told_caught_up, true) {
                false => Batch::CaughtUp { head },
                true => Batch::Closed,
            });
        }
        let ring = self.channel.ring();
        if !ring.ready {
            return Some(Batch::Nothing);
        }
        let head = ring.head();
        if self.resets != ring.resets {
            self.resets = ring.resets;
            // Where the topic was trimmed, history says whether this reader's next event is among what is gone.
            if matches!(self.cursor, Cursor::After(offset) if ring.lost == Some(offset.epoch)) {
                self.cursor = Cursor::Start;
                self.told_caught_up = false;
                return Some(Batch::Reset { reason: ResetReason::Epoch, head });
            }
        }
        let after = match self.cursor {
            Cursor::Head => {
                self.cursor = head.map_or(Cursor::Start, Cursor::After);
                head.map_or(0, |head| head.n)
            }
            Cursor::Start | Cursor::Finished(_) => 0,
            Cursor::After(offset) if head.is_some_and(|head| offset.epoch == head.epoch && offset.n <= head.n) => {
                offset.n
            }
            // Another epoch, or ahead of the head: the follower is behind, or no such event exists. History knows which.
            Cursor::After(_) => return None,
        };
        if ring.epoch.is_some() && after < ring.base {
            return None;
        }
        // The ring has no hole: the frame after `after` is that many places in.
        let skip = usize::try_from(after.saturating_sub(ring.base)).unwrap_or(usize::MAX);
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
            self.cursor = Cursor::After(last.offset);
            return Some(Batch::Frames(taken));
        }
        Some(if !self.told_caught_up {
            self.told_caught_up = true;
            Batch::CaughtUp { head }
        } else if ring.closed {
            Batch::Closed
        } else {
            Batch::Nothing
        })
    }

    async fn take_from_history(&mut self, bytes: usize) -> Batch {
        let after = match self.cursor {
            Cursor::After(offset) => Some(offset),
            Cursor::Head | Cursor::Start | Cursor::Finished(_) => None,
        };
        let topic = self.channel.topic;
        let read = tokio::time::timeout(PATIENCE, self.hub.bus().read(&topic, after, PAGE)).await;
        let Ok(Ok(page)) = read else {
            return Batch::Unavailable;
        };
        metrics::counter!("turnpike_gateway_history_reads_total").increment(1);
        if self.channel.outlived(page.state.map(|state| state.epoch), self.hub.bus(), &self.hub.0.tasks) {
            return Batch::Nothing; // the new follower wakes
        }
        if let Some(reason) = page.gap {
            self.told_caught_up = false;
            let head = page.state.as_ref().map(turnpike_bus::TopicState::head);
            // The page begins with what there is: stand right before it.
            self.cursor = match page.records.first() {
                Some(first) if first.offset.n > 1 => Cursor::After(Offset { n: first.offset.n - 1, ..first.offset }),
                _ => Cursor::Start,
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
                self.cursor = Cursor::After(last.offset);
                Batch::Frames(taken)
            }
            // The topic is ahead of what the follower has noticed, or was lost since: it wakes when it has.
            None => Batch::Nothing,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.channel.leave(self.id);
        self.hub.leave(&self.channel.topic);
    }
}
