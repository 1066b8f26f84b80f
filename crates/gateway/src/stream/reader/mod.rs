//! What a client reads when it follows a topic: the events on the topic, and the archived events where the topic does not have
//! them.

mod archive;
mod order;

use std::{sync::Arc, time::Duration};

use tokio::{sync::Notify, time::Instant};
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
    hub::{
        frame::Frame,
        topic_reader::{Batch, TopicReader},
    },
    since::Since,
    topics::Topics,
};

/// An authorised reader of one topic.
pub(crate) struct Reader {
    topic_reader: TopicReader,
    /// If the topic is archived.
    archive: Option<Archive>,
    stage: Stage,
    /// Behind which event the reader is.
    position: Since,
    order: Order<Arc<Frame>>,
    /// When the archive may be read next, while the topic does not exist.
    look_again: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The archived events come first. Those of an ended topic are all there is.
    Archive,
    Topic,
}

/// If Redis loses a topic after its final event was archived, only the archive says that the topic has ended. So while there is
/// no topic on the bus, the archive is read this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Opens a topic for a caller. A topic that the caller may not see is reported as not found.
pub(crate) async fn open(
    topics: &Topics,
    caller: &Caller,
    topic: Topic,
    since: Since,
    wake: &Arc<Notify>,
) -> Result<Reader, Fault> {
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
                // The archive has no such event: the reader begins again, and `order` notices that.
                Err(fault) if fault.kind() == Kind::NotFound => {
                    events.seek(None);
                    events.fetch().await?;
                }
                Err(fault) => return Err(fault),
            }
        } else if since != Since::Live && !topic_is_whole(topics, topic, after, first).await {
            stage = Stage::Archive;
        }
        archive = Some(events);
    }
    let topic_reader = TopicReader::open(&topics.hub, topic, since, wake);
    let order = Order::new(after, |frame: &Arc<Frame>| frame.offset);
    let look_again = Instant::now() + LOOK_EVERY;
    Ok(Reader { topic_reader, archive, stage, position: since, order, look_again })
}

/// Whether a topic that has not ended has every event after the offset. A topic that does not exist (lost, expired, or not
/// begun yet) has not, nor has a topic that does not begin with the first archived event.
async fn topic_is_whole(topics: &Topics, topic: Topic, after: Option<Offset>, first: Option<Offset>) -> bool {
    // If the bus cannot be read now, the topic reader waits for it; a topic that was not lost needs no archived events.
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
    pub(crate) fn topic(&self) -> Topic {
        self.topic_reader.topic()
    }

    /// The topic's newest event, once it is known.
    pub(crate) fn head(&self) -> Option<Option<Offset>> {
        match &self.archive {
            Some(archive) if archive.complete => Some(archive.head),
            _ => self.topic_reader.head(),
        }
    }

    /// The topic is closed, and the reader has its final event.
    pub(crate) fn is_finished(&self) -> bool {
        self.stage == Stage::Archive && self.archive.as_ref().is_some_and(Archive::is_finished)
    }

    /// Takes what comes next; see [`TopicReader::take`].
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

    /// What comes next does not continue what the reader has.
    fn reset(&mut self) -> Batch {
        self.order.reset();
        self.topic_reader.report_caught_up_again();
        Batch::Reset { reason: ResetReason::Epoch, head: self.head().flatten() }
    }

    /// `None`: look again, what comes next is elsewhere.
    async fn take_archived(&mut self) -> Option<Batch> {
        let Some(archive) = &mut self.archive else {
            self.stage = Stage::Topic;
            return None;
        };
        // Whether the topic continues the archived events is known once the follower has found its place.
        let topic = self.topic_reader.head();
        if !archive.complete && topic.is_none() {
            return Some(Batch::Nothing);
        }
        if !archive.has_page() {
            match archive.fetch().await {
                Ok(_) => {}
                Err(fault) if fault.kind() == Kind::NotFound && archive.after.is_some() => {
                    // The archive has no such event: the reader begins again.
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
            // The lost events may be archived: then the reader misses nothing.
            Batch::Reset { reason: ResetReason::Epoch, .. } => match self.continue_archived().await {
                true => None,
                false => Some(batch),
            },
            Batch::Nothing if self.archive.is_some() && self.topic_reader.head() == Some(None) => {
                if Instant::now() < self.look_again {
                    return Some(Batch::Unavailable);
                }
                self.look_again = Instant::now() + LOOK_EVERY;
                match self.continue_archived().await {
                    true => None,
                    false => Some(Batch::Unavailable),
                }
            }
            _ => Some(batch),
        }
    }

    /// Whether the archived events go on behind the reader, or end the topic.
    async fn continue_archived(&mut self) -> bool {
        let Some(archive) = &mut self.archive else { return false };
        archive.seek(match self.position {
            Since::After(offset) => Some(offset),
            Since::Start | Since::Live => None,
        });
        let found = match archive.fetch().await {
            Ok(has_events) => has_events && self.position != Since::Live,
            // The reader's latest event is not archived, at least not yet.
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
