//! The gateway as a service: what it is made of, and its connections.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;
use tracing::{debug, info, warn};
use turnpike_bus::Bus;
use turnpike_kit::{Death, Health, Process, Revocations, Tasks, Transport, Verifier};
use turnpike_proto::{
    auth::v1::auth_service_client::AuthServiceClient, vehicle::v1::vehicle_service_client::VehicleServiceClient,
};

use crate::{
    Config,
    http::{Peer, router},
    hub::Hub,
    identity::Identity,
    limit::PerMinute,
    socket::registry::Sockets,
};

/// What the gateway talks to.
pub struct Deps {
    /// Where events come from.
    pub bus: Bus,
    /// Who somebody is.
    pub auth: Transport,
    /// What there is to command.
    pub vehicles: Transport,
    /// What ended before its time.
    pub revocations: Revocations,
}

/// What handlers are given; each takes what it needs.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) tasks: Tasks,
    pub(crate) health: Health,
    pub(crate) bus: Bus,
    pub(crate) hub: Hub,
    pub(crate) identity: Identity,
    pub(crate) sockets: Sockets,
    pub(crate) messages: PerMinute,
    pub(crate) auth: Transport,
    pub(crate) vehicles: Transport,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    pub(crate) fn auth(&self) -> AuthServiceClient<Transport> {
        AuthServiceClient::new(self.auth.clone())
    }

    pub(crate) fn vehicles(&self) -> VehicleServiceClient<Transport> {
        VehicleServiceClient::new(self.vehicles.clone())
    }

    /// For what is allowed to take as long as a vehicle takes to answer a cancellation.
    pub(crate) fn patient_vehicles(&self) -> VehicleServiceClient<Transport> {
        VehicleServiceClient::new(self.vehicles.clone().deadline(Duration::from_secs(8)))
    }
}

/// The one public door.
pub struct Service {
    router: Router,
}

/// Requests and streams at once; sockets are counted for each user. The system's limit on open files comes first on most
/// machines.
const MAX_CONNECTIONS: usize = 100_000;
/// How long a client may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// How long a client may leave what is written to it unread: two and a half of the default heartbeats.
const UNREAD: Duration = Duration::from_secs(75);
/// How long an open request may go on when the process stops.
const DRAIN: Duration = Duration::from_secs(10);

impl Service {
    /// Puts the parts together and starts to watch what they need watched.
    pub fn new(config: Config, process: &Process, deps: Deps) -> Self {
        let verifier = Verifier::remote(deps.auth.clone(), deps.revocations.clone());
        let revocations = deps.revocations.clone();
        let sockets = Sockets::new(config.limits.sockets_per_user, move |claims| revocations.check(claims));
        sockets.watch(process, &deps.revocations, &deps.bus);
        let app = App(Arc::new(Parts {
            tasks: process.tasks.clone(),
            health: process.health.clone(),
            hub: Hub::new(deps.bus.clone(), process.tasks.clone()),
            bus: deps.bus,
            identity: Identity::new(verifier, deps.auth.clone(), process.clock.clone(), &config.allowed_origins),
            sockets,
            messages: PerMinute::new(process, config.limits.messages_per_minute),
            auth: deps.auth,
            vehicles: deps.vehicles,
            config,
        }));
        Self { router: router(app) }
    }

    /// Serves until the process stops; requests that have begun are answered.
    pub fn serve(&self, process: &Process, listener: TcpListener) -> anyhow::Result<()> {
        let address = listener.local_addr().context("the public address")?;
        info!(%address, "public HTTP and WebSocket");
        let (router, tasks) = (self.router.clone(), process.tasks.clone());
        process.tasks.spawn("public http", Death::Fatal, accept(listener, router, tasks));
        Ok(())
    }
}

async fn accept(listener: TcpListener, router: Router, tasks: Tasks) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = tasks.stopping().cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files, mostly: the next accept would fail at once, too.
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        // Small frames go out at once; a kernel that can't do it loses nothing but time.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(UNREAD));
        let peer = Peer(peer.ip().to_canonical());
        let service = router.clone().map_request(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            request.map(axum::body::Body::new)
        });
        let stopping = tasks.stopping().clone();
        tasks.spawn("connection", Death::Ends, async move {
            let _place = place;
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(64 << 10)
                .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service))
                .with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopping.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    match tokio::time::timeout(DRAIN, connection).await {
                        Ok(ended) => ended,
                        Err(_) => return,
                    }
                }
            };
            if let Err(error) = ended {
                debug!(%error, "a connection broke");
            }
        });
    }
}
