//! The HTTP client: kept connections to model servers, http and https.

use std::{
    error::Error,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpStream;
use tower::{BoxError, Service};
use turnpike_kit::{Clock, Trust};

use crate::upstream::error::{Failure, FailureKind};

/// How long an unused connection is kept; servers close theirs after 5 s (uvicorn) to 75 s (nginx).
const KEPT: Duration = Duration::from_secs(90);
/// Maximum number of unused connections to one server.
const UNUSED: usize = 256;

#[derive(Clone)]
pub struct Http(Client<Connect, Full<Bytes>>);

impl Http {
    /// A client whose connections are bounded by `connect`, name resolution and TLS included.
    pub fn new(clock: &Clock, connect: Duration, trust: &Trust) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        tcp.enforce_http(false);
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(trust.client())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let connect = Connect { tls, clock: clock.clone(), bound: connect };
        // The task of a connection ends with the connection. No task is left when the client is dropped and its answers have ended.
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            .pool_max_idle_per_host(UNUSED)
            .build(connect);
        Self(client)
    }

    /// Sends a request. The connection is closed if the future, or the body of the response, is dropped before its end.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        self.0.request(request).await.map_err(|error| {
            let kind = if error.is_connect() { FailureKind::Unreachable } else { FailureKind::Closed };
            Failure::new(kind, chain(&error))
        })
    }
}

/// An error with its causes.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Connects within a bound.
#[derive(Clone)]
struct Connect {
    tls: HttpsConnector<HttpConnector>,
    clock: Clock,
    bound: Duration,
}

impl Service<Uri> for Connect {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tls.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, expired, bound) = (self.tls.call(uri), self.clock.sleep(self.bound), self.bound);
        Box::pin(async move {
            tokio::select! {
                connected = connecting => connected,
                () = expired => Err(format!("no connection within {bound:?}").into()),
            }
        })
    }
}
