//! The headers of idempotent requests. The service that handles a request stores its result.

use http::{HeaderMap, HeaderName, HeaderValue};
use turnpike_fault::{Fault, Kind};

static KEY: HeaderName = HeaderName::from_static("idempotency-key");
static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Visible ASCII characters with spaces between them.
pub(crate) const KEY_PATTERN: &str = "^[!-~]([ -~]*[!-~])?$";

/// `Idempotency-Key`; empty if absent, as services expect it. Services check the length again, for callers that use gRPC.
pub(crate) fn key(headers: &HeaderMap) -> Result<String, Fault> {
    let Some(key) = headers.get(&KEY) else { return Ok(String::new()) };
    let key = key.to_str().ok().map(str::trim).filter(|key| (1..=255).contains(&key.len()));
    key.map(str::to_owned).ok_or_else(|| {
        Fault::new(Kind::Validation, "A header is not valid")
            .field("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    })
}

/// `Idempotency-Replayed: true` on the answer of an earlier request.
pub(crate) fn replayed(replayed: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if replayed {
        headers.insert(&REPLAYED, HeaderValue::from_static("true"));
    }
    headers
}
