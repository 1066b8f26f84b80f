//! The generated trait of topic owners: parse, call, convert.

use tonic::{Request, Response, Status};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::caller;
use turnpike_proto::topic::v1::{self as pb, topic_owner_server::TopicOwner};
use turnpike_store::Store;
use turnpike_topic::{Topic, UserId};

use crate::topics::{self, TopicError};

pub(crate) struct TopicRpc {
    pub(crate) store: Store,
}

#[tonic::async_trait]
impl TopicOwner for TopicRpc {
    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        let user_id = user_id(&request)?;
        let topic = parse_topic(&request.into_inner().topic)?;
        topics::authorize(&self.store, topic, user_id).await.map_err(Fault::from)?;
        Ok(Response::new(pb::AuthorizeResponse { archive: pb::Archive::None.into(), first: String::new() }))
    }

    async fn read_archive(
        &self,
        request: Request<pb::ReadArchiveRequest>,
    ) -> Result<Response<pb::ReadArchiveResponse>, Status> {
        let user_id = user_id(&request)?;
        let request = request.into_inner();
        topics::authorize(&self.store, parse_topic(&request.topic)?, user_id).await.map_err(Fault::from)?;
        match request.after.as_str() {
            "" => Ok(Response::new(pb::ReadArchiveResponse::default())),
            _ => Err(Fault::from(TopicError::NotArchived).into()),
        }
    }
}

fn user_id<T>(request: &Request<T>) -> Result<UserId, Status> {
    Ok(caller(request)?.claims.user_id)
}

fn parse_topic(text: &str) -> Result<Topic, Fault> {
    text.parse().map_err(|_| {
        Fault::new(Kind::Validation, "The request is not valid").field("topic", "must be the name of a topic")
    })
}
