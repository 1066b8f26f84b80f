//! The generated trait of topic owners: parse, call, convert.

use tonic::{Request, Response, Status};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::caller;
use turnpike_proto::topic::v1::{self as pb, topic_owner_server::TopicOwner};
use turnpike_store::Store;
use turnpike_token::Role;
use turnpike_topic::{Offset, Topic};

use crate::{
    archive::ArchivedEvent,
    topics::{self, Caller},
};

/// Events in a page of an archive, if the caller does not say how many.
const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

pub(crate) struct TopicRpc {
    pub(crate) store: Store,
}

#[tonic::async_trait]
impl TopicOwner for TopicRpc {
    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        let caller = parse_caller(&request)?;
        let topic = parse_topic(&request.into_inner().topic)?;
        let summary = topics::authorize(&self.store, topic, caller).await.map_err(Fault::from)?;
        let archive = match &summary {
            None => pb::Archive::None,
            Some(summary) if summary.ended => pb::Archive::Complete,
            Some(_) => pb::Archive::Open,
        };
        let first = to_text(summary.and_then(|summary| summary.first));
        Ok(Response::new(pb::AuthorizeResponse { archive: archive.into(), first }))
    }

    async fn read_archive(
        &self,
        request: Request<pb::ReadArchiveRequest>,
    ) -> Result<Response<pb::ReadArchiveResponse>, Status> {
        let caller = parse_caller(&request)?;
        let request = request.into_inner();
        let topic = parse_topic(&request.topic)?;
        let after = match request.after.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| invalid("after", "must be an offset"))?),
        };
        let limit = match request.limit {
            0 => DEFAULT_LIMIT,
            limit @ 1..=MAX_LIMIT => limit,
            _ => return Err(invalid("limit", format!("must be from 1 to {MAX_LIMIT}")).into()),
        };
        let page = topics::read(&self.store, topic, caller, after, limit).await.map_err(Fault::from)?;
        let events = page.events.into_iter().map(to_pb_event).collect();
        Ok(Response::new(pb::ReadArchiveResponse { events, head: to_text(page.head), complete: page.complete }))
    }
}

fn parse_caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let claims = &caller(request)?.claims;
    Ok(Caller { user_id: claims.user_id, is_admin: claims.role == Role::Admin })
}

fn parse_topic(text: &str) -> Result<Topic, Fault> {
    text.parse().map_err(|_| invalid("topic", "must be the name of a topic"))
}

fn invalid(field: &str, message: impl Into<String>) -> Fault {
    Fault::new(Kind::Validation, "The request is not valid").field(field, message)
}

fn to_text(offset: Option<Offset>) -> String {
    offset.map(|offset| offset.to_string()).unwrap_or_default()
}

fn to_pb_event(event: ArchivedEvent) -> pb::ArchivedEvent {
    pb::ArchivedEvent { offset: event.offset.to_string(), r#final: event.is_final, event: event.event }
}
