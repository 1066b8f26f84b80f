//! What a client reads when it follows a topic: first the record, where the topic itself no longer has the beginning, then
//! the topic.

use std::sync::Arc;

use tokio::sync::Notify;
use tracing::debug;
use turnpike_event::{Body, CommandId, CommandState, Event, Offset, Record, Topic};
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{AccessToken, Caller, Transport};
use turnpike_proto::vehicle::v1::{self as pb, vehicle_service_client::VehicleServiceClient};

use crate::{
    App,
    hub::{Batch, Frame, Since, Subscription},
};

/// Events that are asked of the record at once.
const PAGE: u32 = 256;

/// An authorised way through one topic.
pub(crate) struct Source {
    subscription: Subscription,
    /// What the record has before the topic goes on.
    archive: Option<Archive>,
}

struct Archive {
    vehicles: VehicleServiceClient<Transport>,
    token: AccessToken,
    command: CommandId,
    /// The last offset that was handed over.
    after: Option<Offset>,
}

/// Opens a topic for a caller. What the caller may not see does not exist.
pub(crate) async fn open(
    app: &App,
    caller: &Caller,
    topic: Topic,
    since: Since,
    wake: &Arc<Notify>,
) -> Result<Source, Fault> {
    authorise(app, caller, topic).await?;
    let subscription = app.hub.subscribe(topic, since, wake);
    let archive = match topic {
        Topic::Response(command) => archive(app, caller, command, since).await,
        _ => None,
    };
    Ok(Source { subscription, archive })
}

async fn authorise(app: &App, caller: &Caller, topic: Topic) -> Result<(), Fault> {
    let missing = || Fault::new(Kind::NotFound, "Not found");
    match topic {
        Topic::Response(id) => {
            let request = caller.token.request(pb::GetCommandRequest { command_id: id.to_string(), recorded: false });
            app.vehicles().get_command(request).await?;
        }
        Topic::Vehicle(id) => {
            let request = caller.token.request(pb::GetVehicleRequest { vehicle_id: id.to_string() });
            app.vehicles().get_vehicle(request).await?;
        }
        Topic::User(id) if id == caller.claims.user_id => {}
        // Nobody else's, nothing of between services, and nothing whose service is not built.
        Topic::User(_) | Topic::Sessions | Topic::Conversation(_) | Topic::Room(_) | Topic::Captions(_) => {
            return Err(missing());
        }
    }
    Ok(())
}

/// Whether the record must help out: the topic does not exist (expired, lost, or not yet begun: then the record is empty),
/// or its beginning is not the command's.
async fn archive(app: &App, caller: &Caller, command: CommandId, since: Since) -> Option<Archive> {
    let after = match since {
        Since::Live => return None,
        Since::Start => None,
        Since::After(offset) => Some(offset),
    };
    // If the bus can't be read now, the subscription will wait for it; and a topic that was not lost needs no archive.
    let page = app.bus.read(&Topic::Response(command), after, 1).await.ok()?;
    let whole = match (&page.state, after) {
        (None, _) => false,
        (Some(_), Some(_)) => page.gap.is_none(),
        (Some(_), None) => page.gap.is_none() && page.records.first().is_some_and(begins),
    };
    (!whole).then(|| Archive { vehicles: app.vehicles(), token: caller.token.clone(), command, after })
}

fn begins(record: &Record) -> bool {
    matches!(record.event.body, Body::CommandStatus { state: CommandState::Pending, .. } | Body::Unknown(_))
}

impl Source {
    pub(crate) fn topic(&self) -> Topic {
        self.subscription.topic()
    }

    /// Where the topic is, once that is known.
    pub(crate) fn head(&self) -> Option<Option<Offset>> {
        self.subscription.head()
    }

    /// Takes what comes next; see [`Subscription::take`].
    pub(crate) async fn take(&mut self, bytes: usize) -> Batch {
        let Some(archive) = &mut self.archive else {
            return self.subscription.take(bytes).await;
        };
        // Where the record ends and the topic goes on is only known once the follower has found its place.
        let Some(head) = self.subscription.head() else {
            return Batch::Nothing;
        };
        match archive.page().await {
            Ok(frames) if frames.is_empty() => {
                let reached = archive.after;
                self.archive = None;
                match reached {
                    // The record stands where the topic does.
                    Some(offset) if head.is_some_and(|head| head.epoch == offset.epoch) => {
                        self.subscription.seek(Since::After(offset));
                    }
                    // The topic is in another life, of which nothing is recorded yet, or is yet to be born.
                    Some(_) => self.subscription.seek(Since::Start),
                    None => {}
                }
                self.subscription.take(bytes).await
            }
            Ok(frames) => {
                archive.after = frames.last().map(|frame| frame.offset);
                if frames.last().is_some_and(|frame| frame.is_final) {
                    // Nothing follows an end, whatever the topic holds.
                    self.archive = None;
                    self.subscription.finish();
                }
                Batch::Frames(frames)
            }
            Err(fault) if fault.kind() == Kind::NotFound => {
                // The offset is of no event on record: the topic itself says what became of it.
                self.archive = None;
                self.subscription.take(bytes).await
            }
            Err(fault) => {
                debug!(%fault, "the record could not be read");
                Batch::Unavailable
            }
        }
    }
}

impl Archive {
    async fn page(&self) -> Result<Vec<Arc<Frame>>, Fault> {
        let request = self.token.request(pb::ListEventsRequest {
            command_id: self.command.to_string(),
            after: self.after.map(|offset| offset.to_string()).unwrap_or_default(),
            limit: PAGE,
        });
        let recorded = self.vehicles.clone().list_events(request).await?.into_inner().events;
        let topic = Topic::Response(self.command);
        let frame = |event: pb::RecordedEvent| {
            let offset = event.offset.parse().ok()?;
            let record = Record { offset, is_final: event.r#final, event: Event::from_bytes(event.event.into()) };
            Some(Arc::new(Frame::new(&topic, &record)))
        };
        Ok(recorded.into_iter().filter_map(frame).collect())
    }
}
