//! `GET /ws/responses/{command_id}`: the whole of one command. The socket is closed with 1000 after the final event.

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use http::HeaderMap;
use turnpike_token::{Claims, Scope};
use turnpike_topic::{CommandId, Offset, Topic};

use super::{
    context::SocketContext,
    handshake::{Opening, accept, caller, is_status, refuse},
    invalid::Invalid,
    protocol::{Protocol, Start},
    request::{Parsed, Request},
    upgrade::Upgrade,
};
use crate::{
    access::scope::ApiKeys,
    http::{extract::Query, problem::Problem},
    stream::{conn::TopicFrames, ending::Close, since::Since},
};

/// The connection is upgraded before it is refused, because browsers hide the status of a refused upgrade. Only a page of
/// another origin, and an API key without the scope or over its limit, are refused without an upgrade.
pub(crate) async fn open(
    State(context): State<SocketContext>,
    command_id: Result<Path<CommandId>, PathRejection>,
    Query(opening): Query<Opening>,
    headers: HeaderMap,
    upgrade: Result<Upgrade, Problem>,
) -> Result<Response, Problem> {
    let upgrade = upgrade?;
    let caller = match caller(&context, ApiKeys::Of(Scope::Vehicles), &opening, &headers).await {
        Ok(caller) => caller,
        Err(fault) if is_status(&fault) => return Err(fault.into()),
        Err(fault) => return Ok(refuse(&context, upgrade, Close::refused(&fault))),
    };
    let Ok(Path(command_id)) = command_id else {
        return Ok(refuse(&context, upgrade, Close::Refused("Not found")));
    };
    let Ok(since) = opening.since.as_deref().map_or(Ok(Since::Start), str::parse) else {
        return Ok(refuse(&context, upgrade, Close::Refused("since is not an offset")));
    };
    let protocol = CommandResponse { topic: Topic::Response(command_id), since };
    Ok(accept(context, upgrade, &caller, Box::new(protocol)))
}

struct CommandResponse {
    topic: Topic,
    since: Since,
}

impl Protocol for CommandResponse {
    fn start(&self, _: &Claims) -> Start {
        Start::Topic(self.topic, self.since, None)
    }

    fn parse(&self, text: &str) -> Parsed {
        let mut parsed = Parsed::new(text);
        if let Ok(Request::Subscribe(_) | Request::Unsubscribe { .. } | Request::Publish { .. }) = parsed.request {
            let detail = "This socket has its one topic".to_owned();
            parsed.request = Err(Invalid { code: "UNKNOWN_MESSAGE_TYPE", detail, details: None });
        }
        parsed
    }

    fn topic_frames(&self) -> &'static dyn TopicFrames {
        &EndsWithTopic
    }
}

/// The socket has one topic and ends with it.
pub(super) struct EndsWithTopic;

impl TopicFrames for EndsWithTopic {
    fn caught_up(&self, _: Topic, _: Option<Offset>) -> Option<String> {
        None
    }

    fn topic_closed(&self, _: Topic) -> Result<String, Close> {
        Err(Close::Done)
    }
}
