//! From which page a browser sends a request. The session cookie is accepted from allowed origins only.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};

/// The origins besides the gateway's own whose pages may use the session cookie.
#[derive(Clone)]
pub(crate) struct AllowedOrigins(Arc<[String]>);

/// The origin of a request.
enum Origin {
    /// Allowed. `named`: by the header `Origin`, not only by Fetch Metadata.
    Allowed {
        named: bool,
    },
    Foreign,
    /// The request has neither header: its sender is a program.
    Absent,
}

impl AllowedOrigins {
    pub(crate) fn new(origins: &[String]) -> Self {
        Self(origins.into())
    }

    /// Whether the cookie counts for a request that changes something, or, with `upgrade`, for the handshake of a WebSocket. A
    /// browser sends `Origin` with each handshake.
    pub(crate) fn allow_cookie(&self, headers: &HeaderMap, upgrade: bool) -> bool {
        match self.origin(headers) {
            Origin::Allowed { named } => named || !upgrade,
            Origin::Foreign | Origin::Absent => false,
        }
    }

    /// Whether a page of another origin sends this request. A browser names the origin of each request that changes something; a
    /// program that names none cannot be tricked into sending a request.
    pub(crate) fn is_foreign(&self, headers: &HeaderMap) -> bool {
        matches!(self.origin(headers), Origin::Foreign)
    }

    fn origin(&self, headers: &HeaderMap) -> Origin {
        let listed = |origin: &str| self.0.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
        let mut origins = headers.get_all(header::ORIGIN).iter();
        if let Some(origin) = origins.next() {
            let origin = origin.to_str().unwrap_or_default();
            let host = origin.strip_prefix("https://").or(origin.strip_prefix("http://"));
            let same = host.is_some_and(|host| headers.get(header::HOST).is_some_and(|value| value == host));
            let allowed = origins.next().is_none() && (same || listed(origin));
            return if allowed { Origin::Allowed { named: true } } else { Origin::Foreign };
        }
        match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            Some(b"same-origin" | b"none") => Origin::Allowed { named: false },
            Some(_) => Origin::Foreign,
            None => Origin::Absent,
        }
    }
}
