//! The connectors: how each is reached, which life it lives, and what it sees.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::watch;
use tracing::{debug, info, warn};
use turnpike_bus::Bus;
use turnpike_event::{Body, ConnectionStatus, Event, Topic, VehicleId};
use turnpike_kit::{Clock, Context, Death, Process, Transport};
use turnpike_proto::vehicle::v1::{self as pb, vehicle_connector_client::VehicleConnectorClient};
use turnpike_store::Store;

use crate::registry::{self, Sighting};

/// A client of one connector.
pub type Client = VehicleConnectorClient<Transport>;

/// Every connector by its name.
#[derive(Clone)]
pub struct Fleet(Arc<BTreeMap<String, Connector>>);

struct Connector {
    client: Client,
    /// The id of its present life, while it can be reached.
    life: watch::Sender<Option<String>>,
}

/// Between two attempts to reach a connector.
const RETRY: Duration = Duration::from_millis(500);
/// One message lists the whole fleet: five thousand vehicles are well within it.
const MAX_MESSAGE: usize = 16 << 20;

impl Fleet {
    /// Connects to every connector, and keeps the registry as they tell.
    pub fn watch(process: &Process, connectors: Vec<(String, Transport)>, store: &Store, bus: &Bus) -> Self {
        let connectors = connectors.into_iter().map(|(name, transport)| {
            let client = VehicleConnectorClient::new(transport).max_decoding_message_size(MAX_MESSAGE);
            (name, Connector { client, life: watch::Sender::new(None) })
        });
        let fleet = Self(Arc::new(connectors.collect()));
        for name in fleet.0.keys() {
            let watcher = Watcher {
                name: name.clone(),
                fleet: fleet.clone(),
                store: store.clone(),
                bus: bus.clone(),
                clock: process.clock.clone(),
            };
            let stopping = process.tasks.stopping().clone();
            process.tasks.spawn("connector", Death::Fatal, async move {
                tokio::select! {
                    biased; // a connector in the same process stops as well, which is no loss
                    () = stopping.cancelled() => {}
                    () = watcher.run() => {}
                }
            });
        }
        fleet
    }

    /// How to call a connector; `None` if the configuration no longer names it.
    pub fn client(&self, name: &str) -> Option<Client> {
        self.0.get(name).map(|connector| connector.client.clone())
    }

    /// Which life a connector lives, as far as it is seen; `None` while it is away.
    pub fn life(&self, name: &str) -> Option<String> {
        self.0.get(name)?.life.borrow().clone()
    }

    /// Waits until a connector lives another life than `known`, and than `outlived`, which is known to be over. One that is
    /// merely away may come back as it was.
    pub async fn lost(&self, name: &str, known: &str, outlived: Option<&str>) {
        let Some(connector) = self.0.get(name) else {
            return std::future::pending().await;
        };
        let other = |life: &Option<String>| {
            life.as_deref().is_some_and(|life| life != known && outlived.is_none_or(|outlived| life != outlived))
        };
        // Cannot fail: the sender lives as long as the fleet.
        let _ = connector.life.subscribe().wait_for(other).await;
    }
}

struct Watcher {
    name: String,
    fleet: Fleet,
    store: Store,
    bus: Bus,
    clock: Clock,
}

impl Watcher {
    /// Watches the connector for as long as this service lives, over all its lives.
    async fn run(self) {
        let connector = &self.fleet.0[&self.name];
        let mut known = false;
        loop {
            match connector.client.clone().watch_vehicles(pb::WatchVehiclesRequest {}).await {
                Ok(stream) => {
                    info!(connector = self.name, "connected");
                    let mut stream = stream.into_inner();
                    loop {
                        match stream.message().await {
                            Ok(Some(message)) => self.learn(connector, message).await,
                            Ok(None) => break,
                            Err(status) => {
                                debug!(connector = self.name, code = ?status.code(), "the watch broke");
                                break;
                            }
                        }
                    }
                    warn!(connector = self.name, "lost");
                    known = false;
                }
                Err(status) => debug!(connector = self.name, code = ?status.code(), "not reachable"),
            }
            connector.life.send_replace(None);
            if !known {
                // Also at the start: what an earlier run of this service believed may be long untrue.
                known = self.lose_all_but(&[]).await;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn learn(&self, connector: &Connector, message: pb::WatchVehiclesResponse) {
        for vehicle in &message.vehicles {
            let status = match vehicle.connection_status() {
                pb::ConnectionStatus::Connected => ConnectionStatus::Connected,
                pb::ConnectionStatus::Disconnected => ConnectionStatus::Disconnected,
                pb::ConnectionStatus::Error | pb::ConnectionStatus::Unspecified => ConnectionStatus::Error,
            };
            let seen = Sighting {
                vin: vehicle.vin.clone(),
                make: vehicle.make.clone(),
                model: vehicle.model.clone(),
                year: vehicle.year,
                connection_status: status,
            };
            match registry::note(&self.store, &self.name, &seen, self.clock.now()).await {
                Ok(None) => {}
                Ok(Some(id)) => self.tell(id, status).await,
                Err(error) => warn!(connector = self.name, %error, "a vehicle could not be noted"),
            }
        }
        if message.snapshot {
            let still: Vec<_> = message.vehicles.into_iter().map(|vehicle| vehicle.vin).collect();
            self.lose_all_but(&still).await;
        }
        // Last: who sees the life sees the vehicles too.
        connector.life.send_replace(Some(message.instance_id));
    }

    /// Says whether that could be written down.
    async fn lose_all_but(&self, still: &[String]) -> bool {
        match registry::lose_others(&self.store, &self.name, still).await {
            Ok(lost) => {
                for id in lost {
                    self.tell(id, ConnectionStatus::Disconnected).await;
                }
                true
            }
            Err(error) => {
                warn!(connector = self.name, %error, "the loss of vehicles could not be noted");
                false
            }
        }
    }

    async fn tell(&self, vehicle_id: VehicleId, connection_status: ConnectionStatus) {
        let event = Event {
            at: self.clock.now(),
            traceparent: Some(Context::current().traceparent()),
            body: Body::VehicleChanged { vehicle_id, connection_status },
        };
        if let Err(error) = self.bus.publish(&Topic::Vehicle(vehicle_id), &event).await {
            // The registry has it; who follows the vehicle sees the next change.
            warn!(%vehicle_id, %error, "a change of a vehicle could not be told");
        }
    }
}
