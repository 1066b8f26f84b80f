//! The request that work is done for: its id and its place in a trace, carried across HTTP and gRPC.

use std::{fmt, future::Future};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header of the request id, in HTTP and in gRPC.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// For which request something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    request_id: String,
    trace: Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trace {
    id: u128,
    span: u64,
    sampled: bool,
}

tokio::task_local! {
    static CURRENT: Context;
}

impl Context {
    /// A context of our own making.
    pub fn fresh() -> Self {
        let request_id = format!("{:032x}", rand::random::<u128>());
        Self { request_id, trace: Trace { id: rand::random::<u128>().max(1), span: new_span(), sampled: true } }
    }

    /// Takes over what a caller sent, as far as it is well-formed; the rest is fresh. The span is ours.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut context = Self::fresh();
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(id) = text(REQUEST_ID).filter(|id| well_formed(id)) {
            id.clone_into(&mut context.request_id);
        }
        if let Some(trace) = text(TRACEPARENT).and_then(Trace::parse) {
            context.trace = Trace { span: new_span(), ..trace };
        }
        context
    }

    /// The context of the running task; a fresh one where there is none.
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_else(|_| Self::fresh())
    }

    /// Runs something within this context.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Writes it into the headers of a request that goes out.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        let value = |text: &str| HeaderValue::from_str(text).expect("checked on the way in: visible ASCII");
        headers.insert(REQUEST_ID, value(&self.request_id));
        headers.insert(TRACEPARENT, value(&self.trace.to_string()));
    }

    /// The id under which everything about the request is logged.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }
}

/// 1–128 characters that are harmless in logs and headers.
fn well_formed(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
}

fn new_span() -> u64 {
    rand::random::<u64>().max(1)
}

impl Trace {
    /// Version 00 of `traceparent`; later versions begin with the same fields (W3C Trace Context, section 3.2.2).
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let [version, id, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let hex = |part: &str, len: usize| {
            part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let known = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        if !(known && hex(id, 32) && hex(span, 16) && hex(flags, 2)) {
            return None;
        }
        let trace = Self {
            id: u128::from_str_radix(id, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        };
        (trace.id != 0 && trace.span != 0).then_some(trace)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.id, self.span, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_callers_id_and_trace_are_taken_over() {
        let sent = headers(&[
            (REQUEST_ID, "abc-123"),
            (TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ]);
        let context = Context::from_headers(&sent);
        let mut out = HeaderMap::new();
        context.write_to(&mut out);
        assert_eq!(out[REQUEST_ID], "abc-123");
        let trace = out[TRACEPARENT].to_str().expect("text");
        assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "the trace goes on");
        assert!(!trace.contains("b7ad6b7169203331"), "in a span of its own");
    }

    #[test]
    fn malformed_ids_are_replaced() {
        for bad in ["", "has space", "new\u{7f}line", &"x".repeat(129)] {
            let mut sent = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_str(bad) {
                sent.insert(REQUEST_ID, value);
            }
            assert_ne!(Context::from_headers(&sent).request_id(), bad);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_traceparent_is_judged_without_panic(text: String) {
            let _ = Trace::parse(&text).map(|trace| trace.to_string());
        }
    }
}
