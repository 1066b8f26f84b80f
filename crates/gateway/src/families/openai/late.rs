//! A stream that begins before the model's server has answered. It has the status 200, so an error is an event.

use std::io;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use serde_json::Value;
use tokio::time::sleep;
use tonic::{Status, Streaming};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::chat::v1::{self as pb, forward_part::Part};

use super::{
    error::OpenAiError,
    relay::{Answered, EVENTS, KEEP_ALIVE_INTERVAL, Relay, revoked},
};
use crate::stream::{
    connections::Registration,
    sse::{self, COMMENT},
};

/// The longest error of a model's server that is passed on.
const MAX_ERROR: usize = 64 << 10;

enum Late {
    /// The request waits for the head of its response.
    Waiting(Registration, BoxFuture<'static, Result<Answered, Status>>),
    Relaying(Box<Relay>),
    Ended,
}

pub(super) fn respond(registration: Registration, call: BoxFuture<'static, Result<Answered, Status>>) -> Response {
    let late = Late::Waiting(registration, call);
    let first = stream::iter([Ok(COMMENT)]);
    let rest = stream::unfold(late, Late::next);
    sse::response(Body::from_stream(futures_util::StreamExt::chain(first, rest)))
}

impl Late {
    async fn next(self) -> Option<(io::Result<Bytes>, Self)> {
        let mut relay = match self {
            Self::Relaying(relay) => relay,
            Self::Ended => return None,
            Self::Waiting(registration, mut call) => {
                let answered = tokio::select! {
                    biased;
                    answered = &mut call => answered,
                    ending = revoked(&registration.handle) => return Some((Ok(error(ending.into())), Self::Ended)),
                    () = sleep(KEEP_ALIVE_INTERVAL) => return Some((Ok(COMMENT), Self::Waiting(registration, call))),
                };
                match answered {
                    Ok((head, parts)) if head.status == 200 && head.content_type.starts_with(EVENTS) => {
                        Box::new(Relay::new(registration, parts, true))
                    }
                    Ok((head, parts)) => return Some((Ok(whole(&head, parts).await), Self::Ended)),
                    Err(status) => return Some((Ok(error(status.into())), Self::Ended)),
                }
            }
        };
        let bytes = relay.next_counted().await?;
        Some((bytes, Self::Relaying(relay)))
    }
}

fn error(error: OpenAiError) -> Bytes {
    error.event().into()
}

/// A response that is no stream, as one event.
async fn whole(head: &pb::ForwardHead, mut parts: Streaming<pb::ForwardPart>) -> Bytes {
    let mut body = Vec::new();
    while let Ok(Some(part)) = parts.message().await {
        if let Some(Part::Body(bytes)) = part.part {
            if body.len() + bytes.len() > MAX_ERROR {
                break;
            }
            body.extend_from_slice(&bytes);
        }
    }
    match serde_json::from_slice(&body) {
        Ok(Value::Object(object)) => format!("data: {}\n\n", Value::Object(object)).into(),
        _ => {
            let detail = format!("The model's server answered with the status {}", head.status);
            error(Fault::new(Kind::Unavailable, detail).code_is("UPSTREAM_ERROR").into())
        }
    }
}
