//! How a client reaches a service: over a socket, or by calling the server in the same process.

use std::{
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::{
    Status,
    body::Body,
    service::Routes,
    transport::{Channel, Endpoint},
};
use tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};
use turnpike_kit::{Outbound, Refused};

use crate::Context;

/// What every generated client calls. Each call carries the request id of the running task, and has a deadline until its
/// answer begins.
#[derive(Clone)]
pub struct Transport {
    /// Shared, because a clone of the service is an allocation.
    service: Arc<BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>>,
    deadline: Duration,
}

/// Why a transport cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The process may not connect to this address.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The address is not a URL.
    #[error("{0:?} is not a URL such as http://127.0.0.1:50051")]
    InvalidUrl(String),
}

impl Transport {
    /// The deadline of a call unless [`Transport::deadline`] sets another one.
    pub const DEADLINE: Duration = Duration::from_secs(5);

    /// Over a socket. The first call connects, and after each break the next one; this function does not wait.
    pub fn connect(url: &str, outbound: &Outbound) -> Result<Self, TransportError> {
        outbound.permit(url)?;
        let invalid = || TransportError::InvalidUrl(url.to_owned());
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| invalid())?;
        if endpoint.uri().host().is_none() {
            return Err(invalid());
        }
        let channel: Channel = endpoint
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true)
            // A peer that disappears without closing the connection is noticed within 8 s, also by streams.
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(3))
            .connect_lazy();
        let service = Arc::new(BoxCloneSyncService::new(channel.map_err(BoxError::from)));
        Ok(Self { service, deadline: Self::DEADLINE })
    }

    /// Calls the generated servers: the same types and the same codec, without a socket.
    pub fn direct(routes: Routes) -> Self {
        let routes = ServiceExt::<Request<Body>>::map_err(routes.prepare(), |never| match never {});
        Self { service: Arc::new(BoxCloneSyncService::new(routes)), deadline: Self::DEADLINE }
    }

    /// The same transport with another deadline.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // readiness is awaited inside the call, under its deadline
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        Context::current().write_to(request.headers_mut());
        let (service, deadline) = (BoxCloneSyncService::clone(&self.service), self.deadline);
        Box::pin(async move {
            match tokio::time::timeout(deadline, service.oneshot(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(Status::deadline_exceeded("no answer in time").into()),
            }
        })
    }
}
