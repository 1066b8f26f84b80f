//! The owner of each kind of topic: the service that decides who may follow a topic, and that archives its events.

use turnpike_proto::topic::v1::topic_owner_client::TopicOwnerClient;
use turnpike_rpc::Transport;
use turnpike_topic::Topic;

#[derive(Clone)]
pub(crate) struct Owners {
    pub(crate) auth: Transport,
    pub(crate) vehicles: Transport,
    pub(crate) chat: Transport,
    pub(crate) captions: Transport,
}

impl Owners {
    /// The table of owners. Topics without an owner are internal, or their service is not built: no client may follow them.
    pub(super) fn of(&self, topic: Topic) -> Option<TopicOwnerClient<Transport>> {
        let owner = match topic {
            Topic::Response(_) | Topic::Vehicle(_) => &self.vehicles,
            Topic::User(_) => &self.auth,
            Topic::Conversation(_) | Topic::Room(_) => &self.chat,
            Topic::Captions(_) => &self.captions,
            Topic::Sessions | Topic::Answers | Topic::Gateways => return None,
        };
        Some(TopicOwnerClient::new(owner.clone()))
    }
}
