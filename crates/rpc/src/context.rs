//! The request that work is done for: its id is carried across HTTP and gRPC, so that all logs of one request have it.

use std::future::Future;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header of the request id, in HTTP and in gRPC.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The request that work is done for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    request_id: Box<str>,
}

tokio::task_local! {
    static CURRENT: Context;
}

impl Context {
    /// A context with a new request id.
    pub fn fresh() -> Self {
        Self { request_id: format!("{:032x}", rand::random::<u128>()).into() }
    }

    /// Takes over the caller's request id if it is well-formed; else the id is new.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let sent = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|id| well_formed(id));
        sent.map_or_else(Self::fresh, |id| Self { request_id: id.into() })
    }

    /// The context of the running task; a fresh one where there is none.
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_else(|_| Self::fresh())
    }

    /// Runs a future in this context.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Writes the request id into the headers of an outgoing request.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        let value = HeaderValue::from_str(&self.request_id).expect("well-formed ids are visible ASCII");
        headers.insert(REQUEST_ID, value);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_request_id_is_taken_over() {
        let sent = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_static("abc-123"))]);
        let mut out = HeaderMap::new();
        Context::from_headers(&sent).write_to(&mut out);
        assert_eq!(out[REQUEST_ID], "abc-123");
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
}
