//! The gateway as a service: its parts and their shared state.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tracing::info;
use turnpike_bus::Bus;
use turnpike_identity::{Revocations, Verifier};
use turnpike_kit::{OnExit, Process, descriptors};
use turnpike_rpc::Transport;

use crate::{
    access::{
        body::Bodies,
        caller::Identity,
        messages::PerMinute,
        slots::{Places, room},
    },
    app::{App, Parts},
    config::Config,
    http::listener::accept,
    router::router,
    stream::{connections::Sockets, hub::Hub},
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

/// The one public door.
pub struct Service {
    router: Router,
    places: Arc<Places>,
}

impl Service {
    /// Puts the parts together and starts to watch what they need watched.
    pub async fn bind(config: Config, process: &Process, deps: Deps) -> anyhow::Result<Self> {
        let verifier = Verifier::remote(deps.auth.clone(), deps.revocations.clone());
        let total = room(descriptors::limit());
        let places = Places::new(total, config.limits.connections_per_address, config.trusted_proxies.clone());
        info!(connections = total, "the limit of open files allows");
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
            bodies: Bodies::default(),
            auth: deps.auth,
            vehicles: deps.vehicles,
            config,
        }));
        Ok(Self { router: router(app), places })
    }

    /// Serves until the process stops; requests that have begun are answered.
    pub fn serve(&self, process: &Process, listener: TcpListener) -> anyhow::Result<()> {
        let address = listener.local_addr().context("the public address")?;
        info!(%address, "public HTTP and WebSocket");
        let accepting = accept(listener, self.router.clone(), self.places.clone(), process.tasks.clone());
        process.tasks.spawn("public http", OnExit::StopProcess, accepting);
        Ok(())
    }
}
