//! Passing a request on, and its response back.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::StatusCode;

use crate::{
    ledger::Account,
    upstream::{Call, UpstreamError, Upstreams, attempt::Answer, relay::Relay},
};

/// The response to a client. Dropping its body ends the request upstream.
pub struct Forwarded {
    pub status: StatusCode,
    pub content_type: String,
    pub retry_after: Option<Duration>,
    pub body: BoxStream<'static, Bytes>,
}

impl Upstreams {
    /// Passes a request on to the first server that answers. An error response of a server is passed back; an error is ours.
    pub async fn forward(&self, call: Call, mut account: Account) -> Result<Forwarded, UpstreamError> {
        let once = |body| stream::iter([body]).boxed();
        match self.open(&call).await {
            Ok(Answer::Stream(events)) => Ok(Forwarded {
                status: StatusCode::OK,
                content_type: "text/event-stream".to_owned(),
                retry_after: None,
                body: Relay::new(*events, call.endpoint, call.strips_usage(), account).boxed(),
            }),
            Ok(Answer::Whole(whole)) => {
                account.whole(whole.model, whole.usage, whole.body.len());
                let (content_type, body) = (whole.content_type, once(whole.body));
                Ok(Forwarded { status: StatusCode::OK, content_type, retry_after: None, body })
            }
            Err(failure) => {
                account.void();
                match failure.response {
                    Some(response) => Ok(Forwarded {
                        status: response.status,
                        content_type: response.content_type,
                        retry_after: response.retry_after,
                        body: once(response.body),
                    }),
                    None => Err(failure.to_error()),
                }
            }
        }
    }
}
