//! The gateway as a service.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tracing::info;
use turnpike_bus::Bus;
use turnpike_identity::{Revocations, Verifier};
use turnpike_kit::{OnExit, Process, descriptors, host};
use turnpike_rpc::Transport;

use crate::{
    access::{
        caller::Identity,
        client::TrustedProxies,
        messages::PerMinute,
        origin::AllowedOrigins,
        slots::{ConnectionSlots, slots_for},
    },
    app::{self, App, Auth, Captions, Chat, Services, Vehicles},
    config::Config,
    http::listener::accept,
    router::router,
    stream::{
        conn::Shared,
        connections::Connections,
        hub::Hub,
        owners::Owners,
        peers::Peers,
        rooms::Rooms,
        socket::context::{self, SocketContext},
        topics::Topics,
    },
};

/// The bus and the services that the gateway uses.
pub struct Deps {
    /// The bus that carries the events.
    pub bus: Bus,
    /// The auth service.
    pub auth: Transport,
    /// The vehicles service.
    pub vehicles: Transport,
    /// The chat service.
    pub chat: Transport,
    /// The captions service.
    pub captions: Transport,
    /// Sessions and accounts that have ended.
    pub revocations: Revocations,
}

/// The gateway.
pub struct Service {
    router: Router,
    slots: Arc<ConnectionSlots>,
    peers: Peers,
}

impl Service {
    /// Builds the shared state and starts the tasks that watch sessions and the bus.
    pub async fn bind(config: Config, process: &Process, deps: Deps) -> anyhow::Result<Self> {
        let verifier = Verifier::remote(deps.auth.clone(), deps.revocations.clone());
        let origins = AllowedOrigins::new(&config.allowed_origins);
        let identity = Identity::new(verifier, deps.auth.clone(), process.clock.clone(), origins.clone());
        let total = slots_for(descriptors::limit());
        let slots = ConnectionSlots::new(total, config.limits.connections_per_address, config.trusted_proxies.clone());
        info!(connections = total, "the limit of open files bounds the number of connections");
        let revocations = deps.revocations.clone();
        let connections = Connections::new(config.limits.sockets_per_user, process.clock.clone(), move |claims| {
            revocations.check(claims)
        });
        connections.watch(process, &deps.revocations, &deps.bus, config.drain);
        connections.renew_api_keys(process, &identity);
        let peers = Peers::new(deps.bus.clone(), process.clock.clone(), connections.clone());
        let owners = Owners {
            auth: deps.auth.clone(),
            vehicles: deps.vehicles.clone(),
            chat: deps.chat.clone(),
            captions: deps.captions.clone(),
        };
        let chat = Chat(deps.chat.clone());
        let rooms = Rooms::new(deps.bus.clone(), process.clock.clone());
        rooms.serve(process, chat.rooms(), connections.drained());
        let seen = rooms.clone();
        let seen = Arc::new(move |topic, event: &_| seen.see(topic, event));
        let hub = Hub::new(deps.bus.clone(), process.tasks.clone(), connections.drained(), seen);
        let topics = Topics { bus: deps.bus, hub: hub.clone(), owners };
        let sockets = SocketContext::new(context::Parts {
            identity: identity.clone(),
            connections: connections.clone(),
            topics: topics.clone(),
            messages: PerMinute::new(process, config.limits.messages_per_minute),
            rooms: rooms.clone(),
            chat: chat.rooms(),
            tasks: process.tasks.clone(),
            limits: config.limits,
            heartbeat: config.heartbeat,
            shared: Arc::new(Shared {
                tasks: process.tasks.clone(),
                wheel: connections.wheel().clone(),
                heartbeat: config.heartbeat,
            }),
        });
        let app = App::new(app::Parts {
            health: process.health.clone(),
            identity,
            proxies: TrustedProxies(config.trusted_proxies.into()),
            origins,
            bodies: Arc::default(),
            hub,
            topics,
            connections,
            peers: peers.clone(),
            sockets,
            rooms,
            auth: Auth(deps.auth.clone()),
            vehicles: Vehicles(deps.vehicles.clone()),
            chat,
            captions: Captions(deps.captions.clone()),
            services: Services(
                [("auth", deps.auth), ("vehicles", deps.vehicles), ("chat", deps.chat), ("captions", deps.captions)]
                    .into(),
            ),
        });
        Ok(Self { router: router(app, process.health.clone()), slots, peers })
    }

    /// Serves until the process stops; requests that have begun are answered.
    pub fn serve(&self, process: &Process, listener: TcpListener) -> anyhow::Result<()> {
        let address = listener.local_addr().context("the public address")?;
        info!(%address, "public HTTP and WebSocket");
        self.peers.serve(process, format!("{}:{}", host::name(), address.port()));
        let accepting = accept(listener, self.router.clone(), self.slots.clone(), process.tasks.clone());
        process.tasks.spawn("public http", OnExit::StopProcess, accepting);
        Ok(())
    }
}
