//! A stream as an OpenAI-compatible client gets it: the server's own bytes, and exactly one end.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;

use crate::{
    ledger::Account,
    upstream::{
        Endpoint, UpstreamError,
        edit::{Object, apply},
        sse::Event,
        stream::EventStream,
    },
};

/// Events that are there at the same time are passed on together, up to this many bytes.
const TOGETHER: usize = 64 << 10;

/// A stream for a client. It ends with `[DONE]`, or with one error.
pub struct Relay {
    events: EventStream,
    endpoint: Endpoint,
    /// The client did not ask for the usage.
    strips_usage: bool,
    account: Account,
    is_over: bool,
}

impl Relay {
    pub fn new(events: EventStream, endpoint: Endpoint, strips_usage: bool, account: Account) -> Self {
        Self { events, endpoint, strips_usage, account, is_over: false }
    }

    /// What the client gets of an event; `None`: nothing.
    fn pass(&self, event: Event, only_usage: bool) -> Option<Bytes> {
        if self.strips_usage && only_usage {
            return None;
        }
        let edited = if self.strips_usage { without_null_usage(&event.data) } else { None };
        // Clients differ in what they take for the end of an event; all of them know line feeds.
        match edited {
            None if memchr::memchr(b'\r', &event.raw).is_none() => Some(event.raw),
            edited => Some(written(&event.name, &edited.unwrap_or(event.data))),
        }
    }

    fn last(&self, error: Option<(UpstreamError, Option<Event>)>) -> Bytes {
        match (error, self.endpoint) {
            (Some((_, Some(event))), _) => event.raw,
            (Some((error, None)), Endpoint::Responses) => {
                let data = serde_json::json!({
                    "type": "error", "code": error.code, "message": error.message, "param": null, "sequence_number": null,
                });
                Bytes::from(format!("event: error\ndata: {data}\n\n"))
            }
            (Some((error, None)), _) => Bytes::from(format!("data: {}\n\n", error.to_json())),
            (None, Endpoint::Responses) => Bytes::new(), // its last event is `response.completed`
            (None, _) => Bytes::from_static(b"data: [DONE]\n\n"),
        }
    }
}

impl Stream for Relay {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut parts = Parts::default();
        while !self.is_over && parts.len() < TOGETHER {
            match self.events.poll_next(cx) {
                Poll::Ready(Some(Ok((event, chunk)))) => {
                    self.account.count(&chunk);
                    parts.extend(self.pass(event, chunk.only_usage));
                }
                Poll::Ready(Some(Err(broken))) => {
                    self.is_over = true;
                    parts.extend(Some(self.last(Some((broken.error, broken.event)))));
                }
                Poll::Ready(None) => {
                    self.is_over = true;
                    parts.extend(Some(self.last(None)));
                }
                Poll::Pending if parts.len() == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(parts.finish())
    }
}

/// Bytes that are joined only if there are several.
#[derive(Default)]
struct Parts {
    first: Option<Bytes>,
    joined: BytesMut,
}

impl Parts {
    fn extend(&mut self, part: Option<Bytes>) {
        let Some(part) = part.filter(|part| !part.is_empty()) else { return };
        match self.first.take() {
            None if self.joined.is_empty() => self.first = Some(part),
            before => {
                self.joined.extend_from_slice(&before.unwrap_or_default());
                self.joined.extend_from_slice(&part);
            }
        }
    }

    fn len(&self) -> usize {
        self.first.as_ref().map_or(self.joined.len(), Bytes::len)
    }

    fn finish(self) -> Option<Bytes> {
        self.first.or_else(|| (!self.joined.is_empty()).then(|| self.joined.freeze()))
    }
}

/// A server that was asked for the usage sends `"usage":null` in every chunk.
fn without_null_usage(data: &[u8]) -> Option<Bytes> {
    memchr::memmem::find(data, b"\"usage\"")?;
    let object = Object::parse(data).ok()?;
    let edit = object.remove("usage").filter(|_| object.get("usage") == Some("null"))?;
    Some(apply(data, vec![edit]))
}

/// An event as text.
fn written(name: &[u8], data: &[u8]) -> Bytes {
    let mut text = BytesMut::with_capacity(data.len() + name.len() + 32);
    if !name.is_empty() {
        text.extend_from_slice(b"event: ");
        text.extend_from_slice(name);
        text.extend_from_slice(b"\n");
    }
    for line in data.split(|byte| *byte == b'\n') {
        text.extend_from_slice(b"data: ");
        text.extend_from_slice(line);
        text.extend_from_slice(b"\n");
    }
    text.extend_from_slice(b"\n");
    text.freeze()
}
