//! The interceptors of every gRPC service (request id, credential, policy, metrics), and serving it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::header::AUTHORIZATION;
use tokio::net::TcpListener;
use tonic::{
    Status,
    service::{Routes, RoutesBuilder},
    transport::{Server, server::TcpIncoming},
};
use tonic_health::ServingStatus;
use tracing::{Instrument, error, info, info_span};
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{OnExit, Process};

use crate::{Authenticate, Context, Policy, on_first_call::OnFirstCall, policy};

/// Adds what every service has: the interceptors, which each call passes whether it comes over a socket or directly, gRPC
/// health and reflection. The interceptors take over the caller's request id, verify the access token, apply the policy and
/// count the call.
///
/// The method finds the verified caller in the request's extensions.
pub fn with_interceptors(
    process: &Process,
    mut services: RoutesBuilder,
    policy: Policy,
    authenticate: impl Authenticate,
) -> Routes {
    services.add_service(health_service(process, policy));
    services.add_service(OnFirstCall::new(move || reflection(policy).build_v1().expect("our own descriptors")));
    services.add_service(OnFirstCall::new(move || reflection(policy).build_v1alpha().expect("our own descriptors")));
    // Shared: axum clones the state for each call, and a clone of a process locks its cancellation tokens.
    let interceptors = Arc::new(Interceptors { policy, authenticate, process: process.clone() });
    let router = services.routes().prepare().into_axum_router();
    router.layer(axum::middleware::from_fn_with_state(interceptors, intercept)).into()
}

/// Serves until the process stops; open calls finish, up to the process's grace.
pub fn serve(process: &Process, listener: TcpListener, routes: Routes) {
    if let Ok(address) = listener.local_addr() {
        info!(%address, "gRPC");
    }
    let stopping = process.tasks.stopping().clone().cancelled_owned();
    process.tasks.spawn("grpc", OnExit::StopProcess, async move {
        let incoming =
            TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(Duration::from_secs(30)));
        let server = Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .max_concurrent_streams(1024)
            .add_routes(routes);
        if let Err(error) = server.serve_with_incoming_shutdown(incoming, stopping).await {
            error!(%error, "the gRPC server ended");
        }
    });
}

struct Interceptors<A> {
    policy: Policy,
    authenticate: A,
    process: Process,
}

async fn intercept<A: Authenticate>(
    State(interceptors): State<Arc<Interceptors<A>>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let context = Context::from_headers(request.headers());
    let row = interceptors.policy.iter().find(|(method, _)| *method == request.uri().path());
    // Only names from the policy become labels: each label value costs memory, and a client can send any path.
    let method = row.map_or("other", |(method, _)| method);
    let span = info_span!(parent: None, "call", method, request_id = context.request_id());
    let admitted = interceptors.admit(&mut request).await;
    let work = async {
        match admitted {
            Ok(()) => next.run(request).await,
            Err(fault) => Status::from(fault).into_http(),
        }
    };
    let response = context.scope(work.instrument(span)).await;
    // A refusal is in the headers. A stream whose headers carry no status counts as a success.
    let code = Status::from_header_map(response.headers()).map_or(tonic::Code::Ok, |status| status.code());
    metrics::counter!("turnpike_grpc_calls_total", "method" => method, "code" => format!("{code:?}")).increment(1);
    metrics::histogram!("turnpike_grpc_call_seconds", "method" => method).record(started.elapsed());
    response
}

impl<A: Authenticate> Interceptors<A> {
    async fn admit(&self, request: &mut Request) -> Result<(), Fault> {
        let access = policy::access(self.policy, request.uri().path())
            .ok_or_else(|| Fault::new(Kind::Unimplemented, "There is no such method here"))?;
        if access == policy::Access::Anyone && !request.headers().contains_key(AUTHORIZATION) {
            return Ok(());
        }
        let caller = match bearer(request.headers()) {
            None => None,
            Some(token) => match self.authenticate.authenticate(token, self.process.clock.now()).await {
                Ok(caller) => Some(caller),
                // The method needs no credential, so a stale one does not matter: signing out with an expired token, say.
                Err(_) if access == policy::Access::Anyone => None,
                Err(fault) => return Err(fault),
            },
        };
        policy::admit(access, caller.as_ref().map(|(role, _)| *role))?;
        if let Some((_, caller)) = caller {
            request.extensions_mut().insert(caller);
        }
        Ok(())
    }
}

/// The token of `Authorization: Bearer …` (the scheme in any case, RFC 9110).
pub fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}

/// grpc.health.v1, as ready as the process is.
fn health_service(
    process: &Process,
    policy: Policy,
) -> tonic_health::pb::health_server::HealthServer<impl tonic_health::pb::health_server::Health + use<>> {
    let (reporter, service) = tonic_health::server::health_reporter();
    let (health, stopping) = (process.health.clone(), process.tasks.stopping().clone());
    process.tasks.spawn("grpc health", OnExit::Continue, async move {
        let mut changes = health.changes();
        loop {
            let stopped = stopping.is_cancelled();
            let well = !stopped && health.missing().is_empty();
            let status = if well { ServingStatus::Serving } else { ServingStatus::NotServing };
            for name in policy::services(policy).into_iter().chain([""]) {
                reporter.set_service_status(name, status).await;
            }
            if stopped {
                return;
            }
            tokio::select! {
                () = changes.next() => {}
                () = stopping.cancelled() => {}
            }
        }
    });
    service
}

/// grpc.reflection for the services of the policy: v1, and v1alpha, which many clients still ask for. Each has more than a megabyte of
/// descriptors, so it is built by the first call.
fn reflection(policy: Policy) -> tonic_reflection::server::Builder<'static> {
    let mut builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(turnpike_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    for name in policy::services(policy) {
        builder = builder.with_service_name(name);
    }
    builder.with_service_name("grpc.health.v1.Health")
}
