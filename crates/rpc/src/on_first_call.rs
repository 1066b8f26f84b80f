//! A gRPC service that is built when it is called.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use http::Request;
use tonic::{body::Body, server::NamedService};
use tower::Service;

/// Builds a service on its first call, once for all clones.
pub(crate) struct OnFirstCall<S, F> {
    built: Arc<OnceLock<S>>,
    build: F,
}

impl<S, F: Fn() -> S> OnFirstCall<S, F> {
    pub(crate) fn new(build: F) -> Self {
        Self { built: Arc::default(), build }
    }
}

impl<S, F: Clone> Clone for OnFirstCall<S, F> {
    fn clone(&self) -> Self {
        Self { built: self.built.clone(), build: self.build.clone() }
    }
}

impl<S: NamedService, F> NamedService for OnFirstCall<S, F> {
    const NAME: &'static str = S::NAME;
}

impl<S, F> Service<Request<Body>> for OnFirstCall<S, F>
where
    S: Service<Request<Body>, Error = Infallible> + Clone,
    F: Fn() -> S,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(())) // as every service that tonic generates
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.built.get_or_init(&self.build).clone().call(request)
    }
}
