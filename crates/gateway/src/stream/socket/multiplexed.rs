//! `GET /ws`: one socket for every topic that the client subscribes to.

use std::time::Duration;

use axum::{
    extract::{State, ws::Utf8Bytes},
    response::Response,
};
use http::HeaderMap;
use turnpike_token::Claims;
use turnpike_topic::{Offset, Topic};

use super::{
    context::SocketContext,
    handshake::{Opening, PROTOCOL, Upgrade, accept, caller, is_status, prepare, refuse},
    protocol::{Protocol, Start},
    request::Parsed,
    session::MAX_TOPICS,
};
use crate::{
    access::scope::ApiKeys,
    config::Limits,
    http::{extract::Query, problem::Problem},
    stream::{control_frames, ending::Close},
};

/// Without `?token=`, a refusal is an HTTP status, which programs read. With `?token=`, the connection is upgraded and closed
/// with a reason, because browsers hide the status of a refused upgrade.
pub(crate) async fn open(
    State(context): State<SocketContext>,
    Query(opening): Query<Opening>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    match (caller(&context, ApiKeys::Any, &opening, &headers).await, opening.token.is_some()) {
        (Ok(caller), _) => {
            let protocol = Multiplexed { limits: context.limits, heartbeat: context.heartbeat };
            let upgrade = prepare(&context, upgrade)?;
            Ok(accept(context, upgrade, &caller, Box::new(protocol)))
        }
        (Err(fault), true) if !is_status(&fault) => {
            let upgrade = prepare(&context, upgrade)?;
            Ok(refuse(context, upgrade, Close::refused(&fault)))
        }
        (Err(fault), _) => Err(fault.into()),
    }
}

struct Multiplexed {
    limits: Limits,
    heartbeat: Duration,
}

impl Protocol for Multiplexed {
    fn start(&self, claims: &Claims) -> Start {
        let session = claims.session_id.to_string();
        Start::Frame(control_frames::hello(PROTOCOL, &self.limits, MAX_TOPICS, self.heartbeat.as_secs(), &session))
    }

    fn parse(&self, text: &str) -> Parsed {
        Parsed::new(text)
    }

    fn caught_up(&self, topic: Topic, head: Option<Offset>) -> Option<Utf8Bytes> {
        Some(control_frames::caught_up(topic, head))
    }

    fn topic_closed(&self, topic: Topic) -> Result<Utf8Bytes, Close> {
        Ok(control_frames::closed(topic))
    }
}
