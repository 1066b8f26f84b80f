//! The connectors: how each is called, its present incarnation, and the vehicles that it reports.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::watch;
use tracing::{debug, error, info, warn};
use turnpike_event::ConnectionStatus;
use turnpike_kit::{Clock, OnExit, Process};
use turnpike_proto::vehicle::v1::{self as pb, vehicle_connector_client::VehicleConnectorClient};
use turnpike_rpc::Transport;
use turnpike_store::{Store, outbox::Bell};

use crate::{
    registry::{self, Sighting},
    text::{clean, is_clean},
};

/// A client of one connector.
pub type Client = VehicleConnectorClient<Transport>;

/// Every connector by its name.
#[derive(Clone)]
pub struct Fleet(Arc<BTreeMap<String, Connector>>);

struct Connector {
    client: Client,
    /// The id of its present incarnation, while it can be reached.
    incarnation: watch::Sender<Option<String>>,
}

/// Pause between two calls to a connector about one command.
pub const RETRY_CALL: Duration = Duration::from_millis(250);
/// Pause between two attempts to watch a connector.
const RETRY: Duration = Duration::from_millis(500);
/// One message lists the whole fleet: five thousand vehicles are well within it.
const MAX_MESSAGE: usize = 16 << 20;
/// Characters of a VIN (17 by ISO 3779; test fleets have other ids), and of a maker's or a model's name.
const MAX_VIN: usize = 64;
const MAX_NAME: usize = 100;
/// Characters of the id that a connector gives to its incarnation.
const MAX_INSTANCE: usize = 200;

/// An incarnation's id as it is stored and compared.
pub fn instance_id(text: &str) -> String {
    clean(text, MAX_INSTANCE)
}

impl Fleet {
    /// Connects to every connector and keeps the registry up to date. Rings `bell` when the status of a vehicle has changed.
    pub fn watch(process: &Process, connectors: Vec<(String, Transport)>, store: &Store, bell: &Bell) -> Self {
        let connectors = connectors.into_iter().map(|(name, transport)| {
            let client = VehicleConnectorClient::new(transport).max_decoding_message_size(MAX_MESSAGE);
            (name, Connector { client, incarnation: watch::Sender::new(None) })
        });
        let fleet = Self(Arc::new(connectors.collect()));
        for name in fleet.0.keys() {
            let watcher = Watcher {
                name: name.clone(),
                fleet: fleet.clone(),
                store: store.clone(),
                bell: bell.clone(),
                clock: process.clock.clone(),
            };
            let stopping = process.tasks.stopping().clone();
            process.tasks.spawn("connector", OnExit::StopProcess, async move {
                tokio::select! {
                    // First: a connector that stops together with this process is not reported as lost.
                    biased;
                    () = stopping.cancelled() => {}
                    () = watcher.run() => {}
                }
            });
        }
        fleet
    }

    /// The client of a connector; `None` if the configuration no longer names it.
    pub fn client(&self, name: &str) -> Option<Client> {
        self.0.get(name).map(|connector| connector.client.clone())
    }

    /// The present incarnation of a connector; `None` while it cannot be reached.
    pub fn incarnation(&self, name: &str) -> Option<String> {
        self.0.get(name)?.incarnation.borrow().clone()
    }

    /// Waits until a connector has another incarnation than `known` and than `outlived`, which is known to have ended. A
    /// connector that cannot be reached may come back in the same incarnation.
    pub async fn lost(&self, name: &str, known: &str, outlived: Option<&str>) {
        let Some(connector) = self.0.get(name) else {
            return std::future::pending().await;
        };
        let other = |seen: &Option<String>| {
            seen.as_deref().is_some_and(|seen| seen != known && outlived.is_none_or(|outlived| seen != outlived))
        };
        // Cannot fail: the fleet keeps the sender.
        let _ = connector.incarnation.subscribe().wait_for(other).await;
    }
}

struct Watcher {
    name: String,
    fleet: Fleet,
    store: Store,
    bell: Bell,
    clock: Clock,
}

impl Watcher {
    /// Watches the connector, through all of its incarnations, until this service stops.
    async fn run(self) {
        let connector = &self.fleet.0[&self.name];
        let mut known = false;
        loop {
            match connector.client.clone().watch_vehicles(pb::WatchVehiclesRequest {}).await {
                Ok(stream) => {
                    info!(connector = self.name, "connector connected");
                    let mut stream = stream.into_inner();
                    loop {
                        match stream.message().await {
                            Ok(Some(message)) => self.learn(connector, message).await,
                            Ok(None) => break,
                            Err(status) => {
                                debug!(connector = self.name, code = ?status.code(), "the connector ended its stream of vehicles");
                                break;
                            }
                        }
                    }
                    warn!(connector = self.name, "connector disconnected");
                    known = false;
                }
                Err(status) => debug!(connector = self.name, code = ?status.code(), "connector not reachable"),
            }
            connector.incarnation.send_replace(None);
            if !known {
                // Also at the start: the stored states may be out of date.
                self.lose_all_but(&[]).await;
                known = true;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn learn(&self, connector: &Connector, message: pb::WatchVehiclesResponse) {
        let mut seen = BTreeMap::new();
        for vehicle in message.vehicles {
            if !is_clean(&vehicle.vin, MAX_VIN) {
                let vin = clean(&vehicle.vin, MAX_VIN);
                warn!(connector = self.name, vin, "a vehicle with an unusable VIN is ignored");
                continue;
            }
            let connection_status = match vehicle.connection_status() {
                pb::ConnectionStatus::Connected => ConnectionStatus::Connected,
                pb::ConnectionStatus::Disconnected => ConnectionStatus::Disconnected,
                pb::ConnectionStatus::Error | pb::ConnectionStatus::Unspecified => ConnectionStatus::Error,
            };
            let sighting = Sighting {
                vin: vehicle.vin.clone(),
                make: clean(&vehicle.make, MAX_NAME),
                model: clean(&vehicle.model, MAX_NAME),
                year: vehicle.year,
                connection_status,
            };
            // If a message names a vehicle twice, the last entry counts.
            seen.insert(vehicle.vin, sighting);
        }
        let still: Vec<_> = seen.keys().cloned().collect();
        let seen: Vec<_> = seen.into_values().collect();
        self.stored(|| registry::note(&self.store, &self.name, seen.clone(), self.clock.now())).await;
        if message.snapshot {
            self.lose_all_but(&still).await;
        }
        // Last: a task that sees the incarnation also sees its vehicles.
        connector.incarnation.send_replace(Some(instance_id(&message.instance_id)));
    }

    async fn lose_all_but(&self, still: &[String]) {
        self.stored(|| registry::lose_others(&self.store, &self.name, still, self.clock.now())).await;
    }

    /// Stores a report. While the database is unavailable, this tries again: the connector sends a report only once.
    async fn stored<F: Future<Output = Result<bool, sqlx::Error>>>(&self, mut store: impl FnMut() -> F) {
        let mut delayed = false;
        loop {
            match store().await {
                Ok(changed) => {
                    if changed {
                        self.bell.ring();
                    }
                    return;
                }
                Err(error) if !turnpike_store::is_unavailable(&error) => {
                    error!(connector = self.name, %error, "a report of the connector cannot be stored");
                    return;
                }
                Err(error) if !delayed => {
                    delayed = true;
                    warn!(connector = self.name, %error, "a report of the connector is stored later");
                }
                Err(error) => debug!(connector = self.name, %error, "a report of the connector cannot be stored yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
