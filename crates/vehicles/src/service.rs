//! The service: what it is made of, and the tasks that keep commands going.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use sqlx::migrate::Migrator;
use tonic::service::{Routes, RoutesBuilder};
use tracing::{info, warn};
use turnpike_bus::Bus;
use turnpike_identity::Verifier;
use turnpike_kit::{OnExit, Process};
use turnpike_proto::{
    topic::v1::topic_owner_server::TopicOwnerServer, vehicle::v1::vehicle_service_server::VehicleServiceServer,
};
use turnpike_rpc::Transport;
use turnpike_store::{Migrations, Store, limits::Limit};

use crate::{
    Config, conductor::Conductor, fleet::Fleet, leases, outbox, progress::Progress, registry, renewal::Leases,
    retention, rpc, topic_rpc::TopicRpc,
};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// What the service talks to.
pub struct Deps {
    /// Where commands are told and followed.
    pub bus: Bus,
    /// Who is calling.
    pub verifier: Verifier,
    /// The connectors by name.
    pub connectors: Vec<(String, Transport)>,
}

/// Registry, commands, history.
pub struct Service {
    routes: Routes,
}

/// How often this instance looks for commands that nobody conducts.
const LOOK: Duration = Duration::from_secs(1);
/// How many are taken over at one look.
const AT_ONCE: u32 = 500;

impl Service {
    /// Opens the database, connects to the connectors, takes over what an earlier run left open.
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
        let conductor = Conductor {
            store: store.clone(),
            bus: deps.bus,
            fleet,
            clock: process.clock.clone(),
            tasks: process.tasks.clone(),
            leases: Leases::default(),
            progress: Progress::default(),
            conducting: Arc::default(),
        };
        conductor.leases.renew(process, &store);
        take_over(process, conductor.clone());
        retention::sweep(process, &store, config.command_retention);
        let limit = Limit::per_minute(config.commands_per_minute);
        let mut services = RoutesBuilder::default();
        services.add_service(TopicOwnerServer::new(TopicRpc { store }));
        services.add_service(VehicleServiceServer::new(rpc::Rpc { conductor, limit }));
        Ok(Self { routes: turnpike_rpc::with_interceptors(process, services, rpc::POLICY, deps.verifier) })
    }

    /// What clients call.
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }
}

/// Commands that another instance left, or an earlier run of this one.
fn take_over(process: &Process, conductor: Conductor) {
    let stopping = process.tasks.stopping().clone();
    process.tasks.spawn("take over", OnExit::StopProcess, async move {
        while !stopping.is_cancelled() {
            match leases::claim(&conductor.store, conductor.clock.now(), AT_ONCE).await {
                Ok(claimed) => {
                    for open in claimed {
                        info!(command_id = %open.command.id, state = open.command.state.as_str(), "taken over");
                        conductor.begin(open);
                    }
                }
                Err(error) => warn!(%error, "open commands could not be looked for"),
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = conductor.clock.sleep(LOOK) => {}
            }
        }
    });
}
