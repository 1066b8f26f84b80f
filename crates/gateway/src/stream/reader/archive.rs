//! The recorded events of a command, a page at a time.

use std::sync::Arc;

use turnpike_bus::Record;
use turnpike_fault::Fault;
use turnpike_identity::AccessToken;
use turnpike_proto::vehicle::v1::{self as pb, vehicle_service_client::VehicleServiceClient};
use turnpike_rpc::Transport;
use turnpike_topic::{CommandId, Offset, Topic};

use crate::stream::hub::Frame;

/// Events that are asked for at once.
const PAGE: u32 = 256;

pub(super) struct Recorded {
    pub(super) vehicles: VehicleServiceClient<Transport>,
    pub(super) token: AccessToken,
    pub(super) command: CommandId,
    /// Where the next page begins; `None` is the first event.
    pub(super) after: Option<Offset>,
    /// A page that was read and not handed over yet.
    page: Option<Vec<Arc<Frame>>>,
    /// The newest recorded event, as of the latest page.
    pub(super) head: Option<Offset>,
    /// The command has ended: all of its events are recorded.
    pub(super) ended: bool,
}

impl Recorded {
    pub(super) const fn new(
        vehicles: VehicleServiceClient<Transport>,
        token: AccessToken,
        command: CommandId,
        after: Option<Offset>,
    ) -> Self {
        Self { vehicles, token, command, after, page: None, head: None, ended: false }
    }

    /// Reads the page behind `after`, and says whether it has events. `NotFound`: no event was recorded at this offset.
    pub(super) async fn fetch(&mut self) -> Result<bool, Fault> {
        let request = self.token.request(pb::ListEventsRequest {
            command_id: self.command.to_string(),
            after: self.after.map(|offset| offset.to_string()).unwrap_or_default(),
            limit: PAGE,
        });
        let recorded = self.vehicles.list_events(request).await?.into_inner();
        let topic = Topic::Response(self.command);
        let frame = |event: pb::RecordedEvent| {
            let offset = event.offset.parse().ok()?;
            let record = Record { offset, is_final: event.r#final, event: event.event.into() };
            Some(Arc::new(Frame::new(&topic, record)))
        };
        (self.head, self.ended) = (recorded.head.parse().ok(), recorded.ended);
        let page = self.page.insert(recorded.events.into_iter().filter_map(frame).collect());
        Ok(!page.is_empty())
    }

    pub(super) const fn has_page(&self) -> bool {
        self.page.is_some()
    }

    /// Every event of an ended command was handed over.
    pub(super) fn is_finished(&self) -> bool {
        self.ended && self.page.as_ref().is_some_and(Vec::is_empty)
    }

    /// Hands the page over and moves behind it.
    pub(super) fn take_page(&mut self) -> Vec<Arc<Frame>> {
        let frames = self.page.take().unwrap_or_default();
        self.after = frames.last().map_or(self.after, |frame| Some(frame.offset));
        frames
    }

    /// Skips everything that is recorded.
    pub(super) fn skip_to_the_end(&mut self) {
        (self.page, self.after) = (Some(Vec::new()), self.head);
    }

    /// The next page is the one behind `after`.
    pub(super) fn seek(&mut self, after: Option<Offset>) {
        (self.page, self.after) = (None, after);
    }
}
