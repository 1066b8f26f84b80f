//! One configured server, or the scripted model in its place.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
};
use http_body_util::Full;
use secrecy::ExposeSecret;

use crate::{
    config,
    upstream::{
        Endpoint,
        body::Body,
        breaker::Breaker,
        error::{Failure, FailureKind},
        http::Http,
        listed::Listed,
        response::{Path, Response},
        scripted::Scripted,
    },
};

#[derive(Debug)]
pub struct Server {
    /// Its position in the configuration, from 1; 0: the scripted model.
    pub number: u32,
    /// For logs: its address without path or credentials.
    pub name: String,
    pub breaker: Breaker,
    pub listed: Listed,
    /// It refused `stream_options` once, which older servers do not know.
    no_stream_options: AtomicBool,
    backend: Backend,
}

enum Backend {
    Http(Box<Remote>),
    Scripted(Scripted),
}

/// How a server is reached.
struct Remote {
    http: Http,
    base: String,
    endpoints: [Uri; Endpoint::ALL.len()],
    headers: HeaderMap,
    /// For the header `x-admin-key`.
    key: Option<HeaderValue>,
}

impl Server {
    pub fn new(number: u32, server: &config::Server, http: &Http) -> anyhow::Result<Self> {
        let base = server.base_url.clone();
        let uri = |path: &str| -> anyhow::Result<Uri> { Ok(format!("{base}{path}").parse()?) };
        let [chat, completions, responses, embeddings] = Endpoint::ALL.map(|endpoint| uri(endpoint.path()));
        let endpoints = [chat?, completions?, responses?, embeddings?];
        let host = endpoints[0].host().unwrap_or_default();
        let name = endpoints[0].port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("turnpike/", env!("CARGO_PKG_VERSION"))));
        let mut key = None;
        if let Some(secret) = &server.api_key {
            let visible = |text: &str| {
                HeaderValue::from_str(text).map(|mut value| {
                    value.set_sensitive(true);
                    value
                })
            };
            let refused = |_| anyhow::anyhow!("TURNPIKE_LLM_API_KEY must be of visible ASCII characters");
            headers.insert(AUTHORIZATION, visible(&format!("Bearer {}", secret.expose_secret())).map_err(refused)?);
            key = Some(visible(secret.expose_secret()).map_err(refused)?);
        }
        let backend = Backend::Http(Box::new(Remote { http: http.clone(), base, endpoints, headers, key }));
        Ok(Self::with(number, name, backend))
    }

    /// The scripted model in place of a server.
    pub fn scripted(scripted: Scripted) -> Self {
        Self::with(0, "the scripted model".to_owned(), Backend::Scripted(scripted))
    }

    fn with(number: u32, name: String, backend: Backend) -> Self {
        let no_stream_options = AtomicBool::new(false);
        Self { number, name, breaker: Breaker::default(), listed: Listed::default(), no_stream_options, backend }
    }

    /// Sends a request of a client, and waits for the head of the response.
    pub async fn call(&self, endpoint: Endpoint, body: Bytes) -> Result<Response, Failure> {
        match &self.backend {
            Backend::Scripted(scripted) => Ok(scripted.call(endpoint, &body)),
            Backend::Http(remote) => {
                let uri =
                    Endpoint::ALL.iter().position(|other| *other == endpoint).map(|at| remote.endpoints[at].clone());
                remote.send(Method::POST, uri.unwrap_or_default(), false, body).await
            }
        }
    }

    /// Sends a request for the management of models. `path` is appended to the base URL, or to the base URL without its `/v1`.
    pub async fn manage(&self, method: Method, path: Path, body: Bytes) -> Result<Response, Failure> {
        match &self.backend {
            Backend::Scripted(scripted) => Ok(scripted.manage(path)),
            Backend::Http(remote) => {
                let base = &remote.base;
                let uri = match path {
                    Path::InBase(path) => format!("{base}{path}"),
                    Path::OutsideBase(path) => format!("{}{path}", base.strip_suffix("/v1").unwrap_or(base)),
                };
                let uri = uri.parse().map_err(|error| Failure::new(FailureKind::Refused, error))?;
                remote.send(method, uri, true, body).await
            }
        }
    }

    pub fn is_scripted(&self) -> bool {
        matches!(self.backend, Backend::Scripted(_))
    }

    /// Whether streams of this server may be asked for their usage.
    pub fn knows_stream_options(&self) -> bool {
        !self.no_stream_options.load(Ordering::Relaxed)
    }

    pub fn forget_stream_options(&self) {
        self.no_stream_options.store(true, Ordering::Relaxed);
    }
}

impl Remote {
    async fn send(&self, method: Method, uri: Uri, as_admin: bool, body: Bytes) -> Result<Response, Failure> {
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        *request.headers_mut() = self.headers.clone();
        if let (true, Some(key)) = (as_admin, &self.key) {
            request.headers_mut().insert("x-admin-key", key.clone());
        }
        let response = self.http.send(request).await?;
        let (head, body) = response.into_parts();
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Response {
            status: head.status,
            content_type: text(CONTENT_TYPE).unwrap_or_default().to_owned(),
            // A date (RFC 9110) is not used by model servers.
            retry_after: text(RETRY_AFTER).and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs),
            body: Body::Http(body),
        })
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Scripted(_)) { "Scripted" } else { "Http" })
    }
}
