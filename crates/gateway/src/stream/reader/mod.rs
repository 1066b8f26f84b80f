//! What a client reads when it follows a topic: the events of the topic, and of a command also its recorded events, where
//! the topic does not have them.

mod archive;
mod order;

use std::{sync::Arc, time::Duration};

use tokio::{sync::Notify, time::Instant};
use tracing::debug;
use turnpike_bus::{Record, ResetReason};
use turnpike_event::{Body, CommandState, Event};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::Caller;
use turnpike_proto::vehicle::v1 as pb;
use turnpike_topic::{CommandId, Offset, Topic};

use self::{archive::Recorded, order::Order};
use crate::stream::{
    hub::{Batch, Frame, Subscription},
    since::Since,
    topics::Topics,
};

/// An authorised reader of one topic.
pub(crate) struct Source {
    subscription: Subscription,
    /// Of commands only.
    recorded: Option<Recorded>,
    stage: Stage,
    /// Behind which event the reader is.
    position: Since,
    order: Order<Arc<Frame>>,
    /// When the recorded events may be looked at next, while the topic does not exist.
    look_again: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The recorded events come first. Those of an ended command are all there is.
    Recorded,
    Topic,
}

/// A command can end without its topic, if Redis loses the topic after the end was recorded. So while there is no topic, the
/// recorded events are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Opens a topic for a caller. A topic that the caller may not see is reported as not found.
pub(crate) async fn open(
    topics: &Topics,
    caller: &Caller,
    topic: Topic,
    since: Since,
    wake: &Arc<Notify>,
) -> Result<Source, Fault> {
    let command = authorise(topics, caller, topic).await?;
    let after = match since {
        Since::After(offset) => Some(offset),
        Since::Start | Since::Live => None,
    };
    let (mut recorded, mut stage) = (None, Stage::Topic);
    if let Some(Authorised { id, ended }) = command {
        let mut events = Recorded::new(topics.vehicles(), caller.token.clone(), id, after);
        if ended {
            stage = Stage::Recorded;
            events.ended = true;
            match events.fetch().await {
                Ok(_) if since == Since::Live => events.skip_to_the_end(),
                Ok(_) => {}
                // The command has no such event: the reader begins again, and `order` notices that.
                Err(fault) if fault.kind() == Kind::NotFound => {
                    events.seek(None);
                    events.fetch().await?;
                }
                Err(fault) => return Err(fault),
            }
        } else if since != Since::Live && !topic_is_whole(topics, id, after).await {
            stage = Stage::Recorded;
        }
        recorded = Some(events);
    }
    let subscription = topics.hub.subscribe(topic, since, wake);
    let order = Order::new(after, |frame: &Arc<Frame>| frame.offset);
    let look_again = Instant::now() + LOOK_EVERY;
    Ok(Source { subscription, recorded, stage, position: since, order, look_again })
}

struct Authorised {
    id: CommandId,
    ended: bool,
}

/// Gives the command, if the topic is a command's.
async fn authorise(topics: &Topics, caller: &Caller, topic: Topic) -> Result<Option<Authorised>, Fault> {
    match topic {
        Topic::Response(id) => {
            let request = caller.token.request(pb::GetCommandRequest { command_id: id.to_string(), recorded: false });
            let command = topics.vehicles().get_command(request).await?.into_inner();
            let open = [pb::CommandState::Pending, pb::CommandState::Dispatched, pb::CommandState::InProgress];
            return Ok(Some(Authorised { id, ended: !open.contains(&command.state()) }));
        }
        Topic::Vehicle(id) => {
            let request = caller.token.request(pb::GetVehicleRequest { vehicle_id: id.to_string() });
            topics.vehicles().get_vehicle(request).await?;
        }
        Topic::User(id) if id == caller.claims.user_id => {}
        // Topics of other users and internal topics are reported as not found, as are topics whose service is not built.
        Topic::User(_) | Topic::Sessions | Topic::Conversation(_) | Topic::Room(_) | Topic::Captions(_) => {
            return Err(Fault::new(Kind::NotFound, "Not found"));
        }
    }
    Ok(None)
}

/// Whether the topic of an open command has every event after the offset. A topic that does not exist (lost, expired, or not
/// begun yet) has not, nor has a topic that does not begin with the command's first event.
async fn topic_is_whole(topics: &Topics, command: CommandId, after: Option<Offset>) -> bool {
    // If the bus cannot be read now, the subscription waits for it; a topic that was not lost needs no recorded events.
    let Ok(page) = topics.bus.read(&Topic::Response(command), after, 1).await else { return true };
    match (&page.state, after) {
        (None, _) => false,
        (Some(_), Some(_)) => page.gap.is_none(),
        (Some(_), None) => page.gap.is_none() && page.records.into_iter().next().is_some_and(begins),
    }
}

fn begins(record: Record) -> bool {
    matches!(
        Event::from_bytes(record.event).body,
        Body::CommandStatus { state: CommandState::Pending, .. } | Body::Unknown(_)
    )
}

impl Source {
    pub(crate) fn topic(&self) -> Topic {
        self.subscription.topic()
    }

    /// The topic's newest event, once it is known.
    pub(crate) fn head(&self) -> Option<Option<Offset>> {
        match &self.recorded {
            Some(recorded) if recorded.ended => Some(recorded.head),
            _ => self.subscription.head(),
        }
    }

    /// The topic is closed, and the reader has its final event.
    pub(crate) fn is_finished(&self) -> bool {
        self.stage == Stage::Recorded && self.recorded.as_ref().is_some_and(Recorded::is_finished)
    }

    /// Takes what comes next; see [`Subscription::take`].
    pub(crate) async fn take(&mut self, bytes: usize) -> Batch {
        loop {
            let taken = match (self.order.take_held(), self.stage) {
                (Some(frames), _) => Some(Batch::Frames(frames)),
                (None, Stage::Recorded) => self.take_recorded().await,
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
        self.subscription.owe_caught_up();
        Batch::Reset { reason: ResetReason::Epoch, head: self.head().flatten() }
    }

    /// `None`: look again, what comes next is elsewhere.
    async fn take_recorded(&mut self) -> Option<Batch> {
        let Some(recorded) = &mut self.recorded else {
            self.stage = Stage::Topic;
            return None;
        };
        // Whether the topic continues the recorded events is known once the follower has found its place.
        let topic = self.subscription.head();
        if !recorded.ended && topic.is_none() {
            return Some(Batch::Nothing);
        }
        if !recorded.has_page() {
            match recorded.fetch().await {
                Ok(_) => {}
                Err(fault) if fault.kind() == Kind::NotFound && recorded.after.is_some() => {
                    // The command has no such event: the reader begins again.
                    recorded.seek(None);
                    self.position = Since::Start;
                    return Some(self.reset());
                }
                Err(fault) => {
                    debug!(%fault, "recorded events could not be read");
                    return Some(Batch::Unavailable);
                }
            }
        }
        let frames = recorded.take_page();
        if !frames.is_empty() {
            return Some(Batch::Frames(frames));
        }
        self.stage = Stage::Topic;
        if recorded.ended {
            self.subscription.finish(recorded.head);
        } else {
            let continues = |after: &Offset| topic.flatten().is_some_and(|head| head.epoch == after.epoch);
            self.subscription.seek(recorded.after.filter(continues).map_or(Since::Start, Since::After));
        }
        None
    }

    async fn take_from_topic(&mut self, bytes: usize) -> Option<Batch> {
        let batch = self.subscription.take(bytes).await;
        match batch {
            // The lost events may be recorded: then the reader misses nothing.
            Batch::Reset { reason: ResetReason::Epoch, .. } => match self.continue_recorded().await {
                true => None,
                false => Some(batch),
            },
            Batch::Nothing if self.recorded.is_some() && self.subscription.head() == Some(None) => {
                if Instant::now() < self.look_again {
                    return Some(Batch::Unavailable);
                }
                self.look_again = Instant::now() + LOOK_EVERY;
                match self.continue_recorded().await {
                    true => None,
                    false => Some(Batch::Unavailable),
                }
            }
            _ => Some(batch),
        }
    }

    /// Whether the recorded events go on behind the reader, or end the command.
    async fn continue_recorded(&mut self) -> bool {
        let Some(recorded) = &mut self.recorded else { return false };
        recorded.seek(match self.position {
            Since::After(offset) => Some(offset),
            Since::Start | Since::Live => None,
        });
        let found = match recorded.fetch().await {
            Ok(has_events) => has_events && self.position != Since::Live,
            // The reader's latest event is not recorded, at least not yet.
            Err(_) => false,
        };
        if recorded.ended && self.position == Since::Live {
            recorded.skip_to_the_end();
        }
        if found || recorded.ended {
            self.stage = Stage::Recorded;
        }
        found || recorded.ended
    }
}
