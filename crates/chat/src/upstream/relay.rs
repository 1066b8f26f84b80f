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
        chunk::Chunk,
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
    /// The event with the reason to stop, while the event with the usage may follow (`strips_usage` only).
    finish: Option<Event>,
    account: Account,
    is_over: bool,
}

impl Relay {
    pub fn new(events: EventStream, endpoint: Endpoint, strips_usage: bool, account: Account) -> Self {
        Self { events, endpoint, strips_usage, finish: None, account, is_over: false }
    }

    /// Adds to `parts` what the client gets of an event.
    fn pass(&mut self, event: Event, chunk: &Chunk, parts: &mut Parts) {
        if !self.strips_usage {
            parts.extend(Some(raw(event)));
            return;
        }
        if chunk.only_usage {
            // Without the request for the usage, the other members of this event stand in the event before it (llama.cpp: `timings`).
            let finish = self.finish.take();
            parts.extend(finish.map(|finish| match with_members_of(&finish.data, &event.data) {
                Some(data) => written(&finish.name, &data),
                None => raw(finish),
            }));
            return;
        }
        self.flush(parts);
        let event = match without_null_usage(&event.data) {
            Some(data) => Event { raw: written(&event.name, &data), data, ..event },
            None => event,
        };
        if chunk.finish_reason.is_some() {
            self.finish = Some(event);
        } else {
            parts.extend(Some(raw(event)));
        }
    }

    /// Passes on the event with the reason to stop: what follows it is not the usage.
    fn flush(&mut self, parts: &mut Parts) {
        parts.extend(self.finish.take().map(raw));
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
                    self.pass(event, &chunk, &mut parts);
                }
                Poll::Ready(Some(Err(broken))) => {
                    self.is_over = true;
                    self.flush(&mut parts);
                    parts.extend(Some(self.last(Some((broken.error, broken.event)))));
                }
                Poll::Ready(None) => {
                    self.is_over = true;
                    self.flush(&mut parts);
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

/// The object with the members of `other` that it does not have, except the usage; `None` if there are none.
fn with_members_of(data: &[u8], other: &[u8]) -> Option<Bytes> {
    let (object, other) = (Object::parse(data).ok()?, Object::parse(other).ok()?);
    let missing = other.members().filter(|(name, _)| *name != "usage" && object.get(name).is_none());
    let edits: Vec<_> = missing.flat_map(|(name, value)| object.slot(name).set(value).collect::<Vec<_>>()).collect();
    (!edits.is_empty()).then(|| apply(data, edits))
}

/// The server's own bytes. Clients differ in what they take for the end of an event; all of them know line feeds.
fn raw(event: Event) -> Bytes {
    match memchr::memchr(b'\r', &event.raw) {
        None => event.raw,
        Some(_) => written(&event.name, &event.data),
    }
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
