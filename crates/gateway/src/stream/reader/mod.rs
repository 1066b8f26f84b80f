//! An authorised reader of one topic. It takes the events that the topic still has from the topic, and the others from the
//! archive.

mod archive;
mod order;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::debug;
use turnpike_bus::ResetReason;
use turnpike_fault::{Fault, Kind};
use turnpike_identity::Caller;
use turnpike_topic::{Offset, Topic};

use self::{
    archive::{Archive, Archived},
    order::Order,
};
use super::{
    format::Format,
    hub::{
        frame::Frame,
        members::Wake,
        topic_reader::{Batch, Current, TopicReader},
    },
    since::Since,
    topics::Topics,
};
use crate::access::scope;

pub(crate) struct Reader {
    topic_reader: TopicReader,
    stage: Stage,
    order: Order<Arc<Frame>>,
    /// The position: after the last event that was taken.
    position: Since,
    /// `None`: the topic is not archived. Boxed, because most topics are not.
    archive: Option<Box<Archive>>,
    /// When to read the archive next, while the topic does not exist.
    recheck_at: Instant,
    /// Dropped with the reader.
    _guard: Option<Guard>,
}

/// Something whose drop reports the end of a reader.
pub(crate) type Guard = Box<dyn Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The archived events come first. The archive of an ended topic has all of its events.
    Archive,
    Topic,
}

/// Pause between two reads of the archive while the topic does not exist on the bus. If Redis loses a topic after its final event
/// was archived, only the archive shows that the topic has ended.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Opens a topic for a caller. A topic that the caller may not see is reported as not found.
pub(crate) async fn open(
    topics: &Topics,
    caller: &Caller,
    topic: Topic,
    since: Since,
    wake: &Wake,
) -> Result<Reader, Fault> {
    scope::may_follow(&caller.claims, topic)?;
    let after = match since {
        Since::After(offset) => Some(offset),
        Since::Start | Since::Live => None,
    };
    let (mut archive, mut stage) = (None, Stage::Topic);
    let owner = topics.owners.of(topic).ok_or_else(|| Fault::new(Kind::NotFound, "Not found"))?;
    let archived = archive::authorize(owner, &caller.token, topic, after).await?;
    if let Some(Archived { archive: mut events, first }) = archived {
        if events.complete {
            stage = Stage::Archive;
            match events.fetch().await {
                Ok(_) if since == Since::Live => events.skip_to_the_end(),
                Ok(_) => {}
                // The archive has no event at this offset: the reader starts from the beginning, and `order` detects the gap.
                Err(fault) if fault.kind() == Kind::NotFound => {
                    events.seek(None);
                    events.fetch().await?;
                }
                Err(fault) => return Err(fault),
            }
        } else if since != Since::Live && !topic_is_whole(topics, topic, after, first).await {
            stage = Stage::Archive;
        }
        archive = Some(Box::new(events));
    }
    let topic_reader = TopicReader::open(&topics.hub, topic, since, wake);
    let order = Order::new(after, |frame: &Arc<Frame>| frame.offset);
    let recheck_at = Instant::now() + RECHECK_INTERVAL;
    Ok(Reader { topic_reader, archive, stage, position: since, order, recheck_at, _guard: None })
}

/// Whether a topic that has not ended still has every event after `after`. `false` for a topic that does not exist (it was lost,
/// has expired or has not begun). Without `after`, the topic must also begin with the first archived event.
async fn topic_is_whole(topics: &Topics, topic: Topic, after: Option<Offset>, first: Option<Offset>) -> bool {
    // If the bus cannot be read now, the topic is assumed to be whole: the topic reader waits for the bus and detects a loss.
    let Ok(page) = topics.bus.read(&topic, after, 1).await else { return true };
    match (&page.state, after) {
        (None, _) => false,
        (Some(_), Some(_)) => page.gap.is_none(),
        (Some(_), None) => {
            let begins = |offset: Offset| offset.n == 1 && first.is_none_or(|first| first == offset);
            page.gap.is_none() && page.records.first().is_some_and(|record| begins(record.offset))
        }
    }
}

impl Reader {
    /// For tests: a reader of a topic that is not archived, for which no owner is asked.
    #[cfg(test)]
    pub(crate) fn of_hub(topic_reader: TopicReader, since: Since) -> Self {
        let after = if let Since::After(offset) = since { Some(offset) } else { None };
        let order = Order::new(after, |frame: &Arc<Frame>| frame.offset);
        let (stage, recheck_at) = (Stage::Topic, Instant::now() + RECHECK_INTERVAL);
        Self { topic_reader, archive: None, stage, position: since, order, recheck_at, _guard: None }
    }

    /// With something that is dropped with the reader.
    pub(crate) fn with(self, guard: Guard) -> Self {
        Self { _guard: Some(guard), ..self }
    }

    pub(crate) fn topic(&self) -> Topic {
        self.topic_reader.topic()
    }

    /// Offset of the topic's newest event. `None` until it is known; `Some(None)` if the topic has no event.
    pub(crate) fn head(&self) -> Option<Option<Offset>> {
        match &self.archive {
            Some(archive) if archive.complete => Some(archive.head),
            _ => self.topic_reader.head(),
        }
    }

    /// Events of the topic after the position. `None`: not known.
    pub(crate) fn lag(&self) -> Option<u64> {
        match (self.head()?, self.position) {
            (None, _) | (_, Since::Live) => Some(0),
            (Some(head), Since::Start) => Some(head.n),
            (Some(head), Since::After(offset)) => (head.epoch == offset.epoch).then(|| head.n.saturating_sub(offset.n)),
        }
    }

    /// Whether the topic is closed and the reader has its final event.
    pub(crate) fn is_finished(&self) -> bool {
        self.stage == Stage::Archive && self.archive.as_ref().is_some_and(|archive| archive.is_finished())
    }

    /// What follows for a reader that is current; see [`TopicReader::current`].
    pub(crate) fn current(&self, format: Format) -> Current {
        let offset = self.topic_reader.offset().filter(|offset| self.order.is_at(*offset));
        match (self.stage, offset) {
            (Stage::Topic, Some(_)) => self.topic_reader.current(format),
            _ => Current::No,
        }
    }

    /// Moves the position of a reader that is current past the event `n`. The frames of a run continue one another, so `order`
    /// has nothing to check.
    pub(crate) fn advance(&mut self, n: u64) {
        if let Some(offset) = self.topic_reader.advance(n) {
            self.position = Since::After(offset);
            self.order.advance(offset);
        }
    }

    /// Takes the next frames; see [`TopicReader::take`].
    pub(crate) async fn take(&mut self, bytes: usize) -> Batch {
        loop {
            let taken = match (self.order.take_held(), self.stage) {
                (Some(frames), _) => Some(Batch::Frames(frames)),
                (None, Stage::Archive) => self.take_archived().await,
                (None, Stage::Topic) => self.take_from_topic(bytes).await,
            };
            let Some(batch) = taken else { continue };
            match batch {
                Batch::Frames(frames) => {
                    let frames = self.order.pass(frames);
                    let Some(last) = frames.last() else { return self.reset() };
                    self.position = Since::After(last.offset);
                    return Batch::Frames(frames);
                }
                Batch::Reset { reason, head } => {
                    self.order.reset();
                    return Batch::Reset { reason, head };
                }
                other => return other,
            }
        }
    }

    /// Begins again after a gap. Called if the next event does not continue the latest one.
    fn reset(&mut self) -> Batch {
        self.order.reset();
        self.topic_reader.report_caught_up_again();
        Batch::Reset { reason: ResetReason::Epoch, head: self.head().flatten() }
    }

    /// Takes a page of archived events. `None`: the stage has changed, and the caller must take again.
    async fn take_archived(&mut self) -> Option<Batch> {
        let Some(archive) = &mut self.archive else {
            self.stage = Stage::Topic;
            return None;
        };
        // The topic's head is needed below: its epoch shows whether the topic continues the archived events.
        let topic = self.topic_reader.head();
        if !archive.complete && topic.is_none() {
            return Some(Batch::Nothing);
        }
        if !archive.has_page() {
            match archive.fetch().await {
                Ok(_) => {}
                Err(fault) if fault.kind() == Kind::NotFound && archive.after.is_some() => {
                    // The archive has no event at this offset: the reader starts from the beginning.
                    archive.seek(None);
                    self.position = Since::Start;
                    return Some(self.reset());
                }
                Err(fault) => {
                    debug!(%fault, "archived events could not be read");
                    return Some(Batch::Unavailable);
                }
            }
        }
        let frames = archive.take_page();
        if !frames.is_empty() {
            return Some(Batch::Frames(frames));
        }
        self.stage = Stage::Topic;
        if archive.complete {
            self.topic_reader.finish(archive.head);
        } else {
            let continues = |after: &Offset| topic.flatten().is_some_and(|head| head.epoch == after.epoch);
            self.topic_reader.seek(archive.after.filter(continues).map_or(Since::Start, Since::After));
        }
        None
    }

    async fn take_from_topic(&mut self, bytes: usize) -> Option<Batch> {
        let batch = self.topic_reader.take(bytes).await;
        match batch {
            // If the lost events are archived, the reader misses nothing.
            Batch::Reset { reason: ResetReason::Epoch, .. } => match self.continue_archived().await {
                true => None,
                false => Some(batch),
            },
            Batch::Nothing if self.archive.is_some() && self.topic_reader.head() == Some(None) => {
                if Instant::now() < self.recheck_at {
                    return Some(Batch::Unavailable);
                }
                self.recheck_at = Instant::now() + RECHECK_INTERVAL;
                match self.continue_archived().await {
                    true => None,
                    false => Some(Batch::Unavailable),
                }
            }
            _ => Some(batch),
        }
    }

    /// Continues with the archive if it has events after the reader's position, or if the topic has ended. Returns whether it
    /// does.
    async fn continue_archived(&mut self) -> bool {
        let Some(archive) = &mut self.archive else { return false };
        archive.seek(match self.position {
            Since::After(offset) => Some(offset),
            Since::Start | Since::Live => None,
        });
        let found = match archive.fetch().await {
            Ok(has_events) => has_events && self.position != Since::Live,
            // The reader's latest event is not archived (yet), or the archive cannot be read now.
            Err(_) => false,
        };
        if archive.complete && self.position == Since::Live {
            archive.skip_to_the_end();
        }
        if found || archive.complete {
            self.stage = Stage::Archive;
        }
        found || archive.complete
    }
}
