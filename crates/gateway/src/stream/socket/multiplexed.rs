//! `GET /ws`: one socket for every topic that the client subscribes to.

use std::time::Duration;

use axum::{extract::State, response::Response};
use http::HeaderMap;
use turnpike_token::Claims;
use turnpike_topic::{Offset, Topic};

use super::{
    context::SocketContext,
    handshake::{Opening, accept, caller, is_status, refuse},
    protocol::{Protocol, Start},
    request::Parsed,
    upgrade::Upgrade,
};
use crate::{
    access::scope::ApiKeys,
    config::Limits,
    http::{extract::Query, problem::Problem},
    stream::{
        conn::{MAX_TOPICS, TopicFrames},
        control_frames,
        ending::Close,
        format::Format,
    },
};

/// Without `?token=`, a refusal is an HTTP status, which programs read. With `?token=`, the connection is upgraded and closed
/// with a reason, because browsers hide the status of a refused upgrade.
pub(crate) async fn open(
    State(context): State<SocketContext>,
    Query(opening): Query<Opening>,
    headers: HeaderMap,
    upgrade: Result<Upgrade, Problem>,
) -> Result<Response, Problem> {
    match (caller(&context, ApiKeys::Any, &opening, &headers).await, opening.token.is_some()) {
        (Ok(caller), _) => {
            let upgrade = upgrade?;
            let (limits, heartbeat) = (context.limits, context.heartbeat);
            let protocol = Multiplexed { format: upgrade.format(), limits, heartbeat };
            Ok(accept(context, upgrade, &caller, Box::new(protocol)))
        }
        (Err(fault), true) if !is_status(&fault) => Ok(refuse(&context, upgrade?, Close::refused(&fault))),
        (Err(fault), _) => Err(fault.into()),
    }
}

struct Multiplexed {
    format: Format,
    limits: Limits,
    heartbeat: Duration,
}

impl Protocol for Multiplexed {
    fn start(&self, claims: &Claims) -> Start {
        let session = claims.session_id.to_string();
        Start::Frame(control_frames::hello(
            self.format.subprotocol(),
            &self.limits,
            MAX_TOPICS,
            self.heartbeat.as_secs(),
            &session,
        ))
    }

    fn parse(&self, text: &str) -> Parsed {
        Parsed::new(text)
    }

    fn topic_frames(&self) -> &'static dyn TopicFrames {
        &AllReported
    }
}

/// The client has several topics, and learns everything about each.
struct AllReported;

impl TopicFrames for AllReported {
    fn caught_up(&self, topic: Topic, head: Option<Offset>) -> Option<String> {
        Some(control_frames::caught_up(topic, head))
    }

    fn topic_closed(&self, topic: Topic) -> Result<String, Close> {
        Ok(control_frames::closed(topic))
    }
}
