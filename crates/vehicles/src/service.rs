//! The service: its parts and its tasks.

use anyhow::Context;
use sqlx::migrate::Migrator;
use tonic::service::{Routes, RoutesBuilder};
use turnpike_bus::Bus;
use turnpike_identity::Verifier;
use turnpike_kit::Process;
use turnpike_proto::{
    topic::v1::topic_owner_server::TopicOwnerServer, vehicle::v1::vehicle_service_server::VehicleServiceServer,
};
use turnpike_rpc::Transport;
use turnpike_store::{Migrations, Reads, Store, limits::Limit};

use crate::{
    Config, fleet::Fleet, outbox, progress::Progress, registry, renewal::Leases, resources::Resources, retention, rpc,
    supervisor::Supervisor, topic_rpc::TopicRpc,
};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

pub struct Deps {
    pub bus: Bus,
    pub verifier: Verifier,
    /// The connectors by name.
    pub connectors: Vec<(String, Transport)>,
}

/// Registry, commands and their archive.
pub struct Service {
    routes: Routes,
}

impl Service {
    /// Opens the database, connects to the connectors, and takes over the commands that an earlier run left open.
    pub async fn bind(config: Config, process: &Process, deps: Deps) -> anyhow::Result<Self> {
        process.outbound.permit(&config.database_url)?;
        let store = Store::open(&config.database_url, Migrations { sqlite: &SQLITE, postgres: &POSTGRES })
            .await
            .context("TURNPIKE_VEHICLES_DATABASE_URL")?;
        let asked = store.clone();
        turnpike_kit::probe(process, "vehicles database", "the database does not answer", move || {
            let store = asked.clone();
            async move { store.answers().await }
        });
        store.serve(process);
        while registry::fill_search(&store, 1000).await.context("TURNPIKE_VEHICLES_DATABASE_URL")? == 1000 {}
        let bell = outbox::publish(process, &store, &deps.bus);
        let fleet = Fleet::watch(process, deps.connectors, &store, &bell);
        let resources = Resources {
            lists: Reads::new(&store, &process.tasks),
            store: store.clone(),
            bus: deps.bus,
            fleet,
            clock: process.clock.clone(),
            tasks: process.tasks.clone(),
            leases: Leases::default(),
            progress: Progress::default(),
        };
        resources.leases.renew(process, &store);
        let supervisor = Supervisor::new(resources.clone());
        supervisor.clone().take_over(process);
        retention::sweep(process, &store, config.command_retention);
        let limit = Limit::per_minute(config.commands_per_minute);
        let mut services = RoutesBuilder::default();
        services.add_service(TopicOwnerServer::new(TopicRpc { store }));
        services.add_service(VehicleServiceServer::new(rpc::Rpc { resources, supervisor, limit }));
        Ok(Self { routes: turnpike_rpc::with_interceptors(process, services, rpc::POLICY, deps.verifier) })
    }

    /// What clients call.
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }
}
