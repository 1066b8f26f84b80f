//! The middleware of every request: its context, its time limit, its metrics, and security headers for browsers.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{HeaderValue, Method, StatusCode, Uri, header};
use tracing::{Instrument, error, info, info_span};
use turnpike_fault::{Fault, Kind};
use turnpike_rpc::{Context, REQUEST_ID};

use super::{problem::Problem, request_body::Unread};
use crate::{
    app::MODEL_TIMEOUT,
    families::openai::{self, OpenAiError},
};

/// The longest time until a response begins. Responses of streams and sockets begin at once.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a response of this route may take to begin.
fn response_timeout(route: &str) -> Duration {
    match route {
        // A model is loaded, which takes as long as it takes.
        "/api/admin/models/load" | "/api/admin/models/unload" => MODEL_TIMEOUT,
        // A model writes its whole answer before the response begins.
        route if route.starts_with(openai::PREFIX) => MODEL_TIMEOUT,
        _ => RESPONSE_TIMEOUT,
    }
}

const KNOWN_METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let context = Context::from_headers(request.headers());
    // Invented methods would fill the memory as labels of metrics.
    let method = Some(request.method())
        .filter(|method| KNOWN_METHODS.contains(method))
        .map_or("other", Method::as_str)
        .to_owned();
    // Labels and log lines have the route. The path and the query are left out: the query may contain a token.
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let span = info_span!("request", method, route, request_id = context.request_id());
    let request_id = HeaderValue::from_str(context.request_id());
    let (request, unread) = Unread::watch(request);
    let work = async {
        let answered = std::panic::AssertUnwindSafe(tokio::time::timeout(response_timeout(&route), next.run(request)))
            .catch_unwind()
            .await;
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => Problem(Fault::new(Kind::Timeout, "This took too long")).into_response(),
            Err(_) => {
                error!("a handler panicked");
                Problem(Fault::internal()).into_response()
            }
        };
        let status = response.status().as_u16();
        let took = started.elapsed();
        info!(status, ms = took.as_millis() as u64, "request handled");
        metrics::histogram!("turnpike_http_request_seconds", "route" => route.clone()).record(took);
        let labels = [("route", route.clone()), ("method", method), ("status", status.to_string())];
        metrics::counter!("turnpike_http_requests_total", &labels).increment(1);
        response
    };
    let mut response = context.scope(work.instrument(span.clone())).await;
    let headers = response.headers_mut();
    if unread.is_some() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(request_id) = request_id {
        headers.insert(REQUEST_ID, request_id);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

pub(crate) async fn not_found(uri: Uri) -> Response {
    refuse(&uri, StatusCode::NOT_FOUND, Fault::new(Kind::NotFound, "Not found"))
}

pub(crate) async fn method_not_allowed(uri: Uri) -> Response {
    let fault = Fault::new(Kind::Invalid, "This method is not for this address").code_is("METHOD_NOT_ALLOWED");
    refuse(&uri, StatusCode::METHOD_NOT_ALLOWED, fault)
}

fn refuse(uri: &Uri, status: StatusCode, fault: Fault) -> Response {
    match uri.path().starts_with(openai::PREFIX) {
        true => OpenAiError::with_status(status, fault).into_response(),
        false => Problem(fault).with_status(status),
    }
}
