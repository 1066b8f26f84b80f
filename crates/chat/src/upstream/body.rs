//! The body of a response, from a server or from the scripted model.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::BoxStream};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::upstream::http::chain;

pub enum Body {
    Http(Incoming),
    Scripted(BoxStream<'static, Bytes>),
}

impl Body {
    /// The next bytes; an error says why there are no more.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, String>>> {
        match self {
            Self::Scripted(stream) => stream.poll_next_unpin(cx).map(|bytes| bytes.map(Ok)),
            Self::Http(incoming) => loop {
                match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(chain(&error)))),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Poll::Ready(Some(Ok(data)));
                        }
                    }
                }
            },
        }
    }

    /// The whole body, if it has at most `most` bytes.
    pub async fn collect(&mut self, most: usize) -> Result<Bytes, String> {
        let mut whole = BytesMut::new();
        let mut first: Option<Bytes> = None;
        while let Some(data) = poll_fn(|cx| self.poll_data(cx)).await {
            let data = data?;
            if whole.len() + data.len() + first.as_ref().map_or(0, Bytes::len) > most {
                return Err(format!("the response is longer than {most} bytes"));
            }
            // Most bodies come in one piece, which is not copied.
            match first.take() {
                None if whole.is_empty() => first = Some(data),
                before => {
                    whole.extend_from_slice(&before.unwrap_or_default());
                    whole.extend_from_slice(&data);
                }
            }
        }
        Ok(first.unwrap_or_else(|| whole.freeze()))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}
