//! The generated trait of topic owners: the topics `captions:{session}`, which are not archived.

use tonic::{Request, Response, Status};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::caller;
use turnpike_proto::topic::v1::{self as pb, topic_owner_server::TopicOwner};
use turnpike_topic::Topic;

use crate::session::Registry;

pub(crate) struct TopicRpc {
    pub(crate) registry: Registry,
}

impl TopicRpc {
    /// Only the owner of a session may follow its topic.
    fn admit<T>(&self, request: &Request<T>, topic: &str) -> Result<(), Fault> {
        let owner = caller(request)?.claims.user_id;
        let invalid = |_| Fault::new(Kind::Validation, "The request is not valid").field("topic", "must be a topic");
        let found = match topic.parse().map_err(invalid)? {
            Topic::Captions(id) => self.registry.get(id, owner),
            _ => None,
        };
        found.map(drop).ok_or_else(|| Fault::new(Kind::NotFound, "There is no such caption session"))
    }
}

#[tonic::async_trait]
impl TopicOwner for TopicRpc {
    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        self.admit(&request, &request.get_ref().topic)?;
        Ok(Response::new(pb::AuthorizeResponse { archive: pb::Archive::None.into(), first: String::new() }))
    }

    async fn read_archive(
        &self,
        request: Request<pb::ReadArchiveRequest>,
    ) -> Result<Response<pb::ReadArchiveResponse>, Status> {
        self.admit(&request, &request.get_ref().topic)?;
        match request.get_ref().after.as_str() {
            "" => Ok(Response::new(pb::ReadArchiveResponse::default())),
            _ => Err(Fault::new(Kind::NotFound, "No event was archived at this offset").into()),
        }
    }
}
