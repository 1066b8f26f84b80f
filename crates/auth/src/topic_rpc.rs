//! The generated trait of topic owners: parse, call, convert.

use tonic::{Request, Response, Status};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::caller;
use turnpike_proto::topic::v1::{self as pb, topic_owner_server::TopicOwner};
use turnpike_topic::{Offset, Topic};

use crate::topics;

const MAX_LIMIT: u32 = 1000;

pub(crate) struct TopicRpc;

#[tonic::async_trait]
impl TopicOwner for TopicRpc {
    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let topic = parse_topic(&request.into_inner().topic)?;
        topics::authorize(topic, user_id).map_err(Fault::from)?;
        Ok(Response::new(pb::AuthorizeResponse { archive: pb::Archive::None.into(), first: String::new() }))
    }

    async fn read_archive(
        &self,
        request: Request<pb::ReadArchiveRequest>,
    ) -> Result<Response<pb::ReadArchiveResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let topic = parse_topic(&request.topic)?;
        if request.limit > MAX_LIMIT {
            return Err(invalid("limit", format!("must be from 1 to {MAX_LIMIT}")).into());
        }
        topics::authorize(topic, user_id).map_err(Fault::from)?;
        match request.after.as_str() {
            "" => Ok(Response::new(pb::ReadArchiveResponse::default())),
            text => {
                text.parse::<Offset>().map_err(|_| invalid("after", "must be an offset"))?;
                Err(Fault::new(Kind::NotFound, "No event was archived at this offset").into())
            }
        }
    }
}

fn parse_topic(text: &str) -> Result<Topic, Fault> {
    text.parse().map_err(|_| invalid("topic", "must be the name of a topic"))
}

fn invalid(field: &str, message: impl Into<String>) -> Fault {
    Fault::new(Kind::Validation, "The request is not valid").field(field, message)
}
