//! The owner of each kind of topic: the service that decides who may follow a topic, and that archives its events.

use turnpike_fault::{Fault, Kind};
use turnpike_identity::AccessToken;
use turnpike_proto::topic::v1::{self as pb, topic_owner_client::TopicOwnerClient};
use turnpike_rpc::Transport;
use turnpike_topic::{Offset, Topic};

use super::archive::Archive;
use crate::app::App;

/// The table of owners. Topics without an owner are internal, or their service is not built: no client may follow them.
fn owner(app: &App, topic: Topic) -> Option<Transport> {
    let transport = match topic {
        Topic::Response(_) | Topic::Vehicle(_) => &app.vehicles,
        Topic::User(_) => &app.auth,
        Topic::Sessions | Topic::Conversation(_) | Topic::Room(_) | Topic::Captions(_) => return None,
    };
    Some(transport.clone())
}

/// What the owner archives of a topic.
pub(super) struct Archived {
    pub(super) archive: Archive,
    /// Offset of the first archived event.
    pub(super) first: Option<Offset>,
}

/// Asks the owner whether the bearer of the token may follow a topic. Gives its archive, if it has one, to be read behind `after`.
pub(super) async fn authorize(
    app: &App,
    token: &AccessToken,
    topic: Topic,
    after: Option<Offset>,
) -> Result<Option<Archived>, Fault> {
    let transport = owner(app, topic).ok_or_else(|| Fault::new(Kind::NotFound, "Not found"))?;
    let mut owner = TopicOwnerClient::new(transport);
    let request = token.request(pb::AuthorizeRequest { topic: topic.to_string() });
    let authorized = owner.authorize(request).await?.into_inner();
    let complete = match authorized.archive() {
        pb::Archive::None | pb::Archive::Unspecified => return Ok(None),
        pb::Archive::Open => false,
        pb::Archive::Complete => true,
    };
    let archive = Archive::new(owner, token.clone(), topic, after, complete);
    Ok(Some(Archived { archive, first: authorized.first.parse().ok() }))
}
