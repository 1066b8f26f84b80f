//! The archived events of a topic, a page at a time.

use std::sync::Arc;

use turnpike_bus::Record;
use turnpike_fault::Fault;
use turnpike_identity::AccessToken;
use turnpike_proto::topic::v1::{self as pb, topic_owner_client::TopicOwnerClient};
use turnpike_rpc::Transport;
use turnpike_topic::{Offset, Topic};

use crate::stream::hub::frame::Frame;

/// Events in one page.
const PAGE: u32 = 256;

pub(super) struct Archive {
    owner: TopicOwnerClient<Transport>,
    token: AccessToken,
    topic: Topic,
    /// The next page begins after this offset; `None`: at the first event.
    pub(super) after: Option<Offset>,
    /// A page that was read and not taken yet.
    page: Option<Vec<Arc<Frame>>>,
    /// The newest archived event, as of the latest page.
    pub(super) head: Option<Offset>,
    /// The topic has ended, and all of its events are archived.
    pub(super) complete: bool,
}

/// The archive of a topic that the caller may follow.
pub(super) struct Archived {
    pub(super) archive: Archive,
    /// Offset of the first archived event.
    pub(super) first: Option<Offset>,
}

/// Asks the owner whether the bearer of the token may follow a topic. Returns the topic's archive, if it has one, to be read
/// after the offset `after`.
pub(super) async fn authorize(
    mut owner: TopicOwnerClient<Transport>,
    token: &AccessToken,
    topic: Topic,
    after: Option<Offset>,
) -> Result<Option<Archived>, Fault> {
    let request = token.request(pb::AuthorizeRequest { topic: topic.to_string() });
    let authorized = owner.authorize(request).await?.into_inner();
    let complete = match authorized.archive() {
        pb::Archive::None | pb::Archive::Unspecified => return Ok(None),
        pb::Archive::Open => false,
        pb::Archive::Complete => true,
    };
    let token = token.clone();
    let archive = Archive { owner, token, topic, after, page: None, head: None, complete };
    Ok(Some(Archived { archive, first: authorized.first.parse().ok() }))
}

impl Archive {
    /// Reads the page after `after`. Returns whether it has events. Fails with `NotFound` if no event is archived at this offset.
    pub(super) async fn fetch(&mut self) -> Result<bool, Fault> {
        let request = self.token.request(pb::ReadArchiveRequest {
            topic: self.topic.to_string(),
            after: self.after.map(|offset| offset.to_string()).unwrap_or_default(),
            limit: PAGE,
        });
        let archived = self.owner.read_archive(request).await?.into_inner();
        let frame = |event: pb::ArchivedEvent| {
            let offset = event.offset.parse().ok()?;
            let record = Record { offset, is_final: event.r#final, event: event.event.into() };
            Some(Arc::new(Frame::new(&self.topic, record)))
        };
        (self.head, self.complete) = (archived.head.parse().ok(), archived.complete);
        let page = self.page.insert(archived.events.into_iter().filter_map(frame).collect());
        Ok(!page.is_empty())
    }

    pub(super) const fn has_page(&self) -> bool {
        self.page.is_some()
    }

    /// Whether the topic has ended and every archived event was taken.
    pub(super) fn is_finished(&self) -> bool {
        self.complete && self.page.as_ref().is_some_and(Vec::is_empty)
    }

    /// Takes the page and moves behind it.
    pub(super) fn take_page(&mut self) -> Vec<Arc<Frame>> {
        let frames = self.page.take().unwrap_or_default();
        self.after = frames.last().map_or(self.after, |frame| Some(frame.offset));
        frames
    }

    /// Moves behind the newest archived event.
    pub(super) fn skip_to_the_end(&mut self) {
        (self.page, self.after) = (Some(Vec::new()), self.head);
    }

    /// Moves to the position after `after` and discards a page that was read and not taken.
    pub(super) fn seek(&mut self, after: Option<Offset>) {
        (self.page, self.after) = (None, after);
    }
}
