//! A scripted connector, which can also do what no connector should.

use std::{
    collections::HashSet,
    pin::Pin,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt, wrappers::WatchStream};
use tonic::{Code, Request, Response, Status, service::RoutesBuilder};
use turnpike_bus::Bus;
use turnpike_event::{Body, CommandEvent, CommandState, Event, Json};
use turnpike_kit::Clock;
use turnpike_proto::vehicle::v1::{
    self as pb,
    vehicle_connector_server::{VehicleConnector, VehicleConnectorServer},
};
use turnpike_rpc::Transport;
use turnpike_testkit::eventually;
use turnpike_topic::{CommandId, Topic};

/// What the connector does with a command.
#[derive(Clone, Debug)]
pub enum OnExecute {
    /// Accepts it; the test publishes the rest.
    Accept,
    /// Accepts it and publishes all of its events at once.
    Play,
    /// Refuses it before anything runs.
    Refuse(Code),
    /// Has it, and never answers.
    Mute,
    /// Has it, and accepts it once [`Script::accept`] is called.
    Hold,
}

/// What the connector does with a cancellation.
#[derive(Clone, Copy, Debug)]
pub enum OnCancel {
    Stop,
    Refuse,
    /// Accepts it, and nothing happens.
    Ignore,
}

#[derive(Clone)]
pub struct Script(Arc<Inner>);

struct Inner {
    bus: Bus,
    clock: Clock,
    fleet: watch::Sender<Fleet>,
    on_execute: Mutex<OnExecute>,
    on_cancel: Mutex<OnCancel>,
    /// Every command that it received, once for each call.
    taken: Mutex<Vec<String>>,
    /// Every command that it was asked to cancel, once for each call.
    cancels: Mutex<Vec<String>>,
    /// Every command that it refused.
    refused: Mutex<Vec<String>>,
    /// Its message when it refuses one.
    refusal: Mutex<String>,
    /// The commands that it has accepted; only these can be cancelled.
    accepted: watch::Sender<HashSet<String>>,
}

#[derive(Clone)]
struct Fleet {
    /// The incarnation that executes commands.
    incarnation: String,
    /// The incarnation that the stream of vehicles shows.
    shown: String,
    alive: bool,
    make: String,
    model: String,
    vehicles: Vec<(String, bool)>,
}

pub const VINS: [&str; 3] = ["1M8GDM9AXKP042788", "11111111111111111", "5GZCZ43D13S812715"];

impl Script {
    pub fn new(bus: Bus, clock: Clock) -> Self {
        let vehicles = VINS.iter().map(|vin| ((*vin).to_owned(), true)).collect();
        let (make, model) = ("Volta".to_owned(), "100%_real".to_owned());
        let (incarnation, shown) = ("incarnation 1".to_owned(), "incarnation 1".to_owned());
        let fleet = Fleet { incarnation, shown, alive: true, make, model, vehicles };
        Self(Arc::new(Inner {
            bus,
            clock,
            fleet: watch::Sender::new(fleet),
            on_execute: Mutex::new(OnExecute::Accept),
            on_cancel: Mutex::new(OnCancel::Stop),
            taken: Mutex::default(),
            cancels: Mutex::default(),
            refused: Mutex::default(),
            refusal: Mutex::new("not today".to_owned()),
            accepted: watch::Sender::default(),
        }))
    }

    pub fn transport(&self) -> Transport {
        let mut services = RoutesBuilder::default();
        services.add_service(VehicleConnectorServer::new(self.clone()));
        Transport::direct(services.routes())
    }

    pub fn on_execute(&self, what: OnExecute) {
        *self.0.on_execute.lock().expect("no panic") = what;
    }

    pub fn on_cancel(&self, what: OnCancel) {
        *self.0.on_cancel.lock().expect("no panic") = what;
    }

    pub fn refuse_with(&self, message: &str) {
        message.clone_into(&mut self.0.refusal.lock().expect("no panic"));
    }

    /// Accepts a command that it holds.
    pub fn accept(&self, id: CommandId) {
        self.0.accepted.send_modify(|accepted| _ = accepted.insert(id.to_string()));
    }

    /// How often it was asked to cancel a command.
    pub fn times_cancelled(&self, id: CommandId) -> usize {
        let id = id.to_string();
        self.0.cancels.lock().expect("no panic").iter().filter(|cancelled| **cancelled == id).count()
    }

    /// How often it refused a command.
    pub fn times_refused(&self, id: CommandId) -> usize {
        let id = id.to_string();
        self.0.refused.lock().expect("no panic").iter().filter(|refused| **refused == id).count()
    }

    /// Stops. Streams break, and no call is answered until [`Script::revive`].
    pub fn die(&self) {
        self.0.fleet.send_modify(|fleet| fleet.alive = false);
    }

    /// Starts again as another incarnation.
    pub fn revive(&self, incarnation: &str) {
        self.0.fleet.send_modify(|fleet| {
            (fleet.incarnation, fleet.shown, fleet.alive) = (incarnation.to_owned(), incarnation.to_owned(), true);
        });
    }

    /// Can be reached again, in the same incarnation.
    pub fn return_unchanged(&self) {
        self.0.fleet.send_modify(|fleet| fleet.alive = true);
    }

    /// Starts another incarnation, which the stream of vehicles does not show yet.
    pub fn change_unseen(&self, incarnation: &str) {
        self.0.fleet.send_modify(|fleet| incarnation.clone_into(&mut fleet.incarnation));
    }

    pub fn connect(&self, vin: &str, connected: bool) {
        self.0.fleet.send_modify(|fleet| {
            for vehicle in fleet.vehicles.iter_mut().filter(|vehicle| vehicle.0 == vin) {
                vehicle.1 = connected;
            }
        });
    }

    /// Sets make and model of all of its vehicles.
    pub fn describe(&self, make: &str, model: &str) {
        self.0.fleet.send_modify(|fleet| (fleet.make, fleet.model) = (make.to_owned(), model.to_owned()));
    }

    pub fn remove(&self, vin: &str) {
        self.0.fleet.send_modify(|fleet| fleet.vehicles.retain(|vehicle| vehicle.0 != vin));
    }

    pub fn add(&self, vin: &str) {
        self.0.fleet.send_modify(|fleet| fleet.vehicles.push((vin.to_owned(), true)));
    }

    /// How often it received a command.
    pub fn times(&self, id: CommandId) -> usize {
        let id = id.to_string();
        self.0.taken.lock().expect("no panic").iter().filter(|taken| **taken == id).count()
    }

    /// How many commands it received.
    pub fn total(&self) -> usize {
        self.0.taken.lock().expect("no panic").len()
    }

    /// Waits until it has received a command.
    pub async fn has(&self, id: CommandId) {
        eventually("the connector to have it", 10, || async { (self.times(id) > 0).then_some(()) }).await;
    }

    /// Waits until it has refused a command.
    pub async fn has_refused(&self, id: CommandId) {
        let id = id.to_string();
        let refused = || async { self.0.refused.lock().expect("no panic").contains(&id).then_some(()) };
        eventually("the connector to refuse it", 10, refused).await;
    }

    async fn play(&self, command_id: CommandId) {
        let topic = Topic::Response(command_id);
        let event = |body| Event { at: self.0.clock.now(), body };
        let response = Json::parse(r#"{"status":"complete"}"#.to_owned()).expect("an object");
        let begun = Body::Command(CommandEvent::Status { command_id, state: CommandState::InProgress });
        let answer = Body::Command(CommandEvent::Response { command_id, sequence_number: 1, is_final: true, response });
        let done = Body::Command(CommandEvent::Status { command_id, state: CommandState::Completed });
        // The command may have ended in the meantime.
        let _ = self.0.bus.publish(&topic, &event(begun).to_bytes()).await;
        let _ = self.0.bus.publish(&topic, &event(answer).to_bytes()).await;
        let _ = self.0.bus.close(&topic, &event(done).to_bytes()).await;
    }
}

#[tonic::async_trait]
impl VehicleConnector for Script {
    async fn execute(&self, request: Request<pb::ExecuteRequest>) -> Result<Response<pb::ExecuteResponse>, Status> {
        let id = request.into_inner().command_id;
        let fleet = self.0.fleet.borrow().clone();
        if !fleet.alive {
            return Err(Status::unavailable("the connector is stopped"));
        }
        let on_execute = self.0.on_execute.lock().expect("no panic").clone();
        if let OnExecute::Refuse(code) = on_execute {
            self.0.refused.lock().expect("no panic").push(id);
            return Err(Status::new(code, self.0.refusal.lock().expect("no panic").clone()));
        }
        self.0.taken.lock().expect("no panic").push(id.clone());
        match &on_execute {
            OnExecute::Mute => std::future::pending().await,
            OnExecute::Hold => {
                let mut accepted = self.0.accepted.subscribe();
                accepted.wait_for(|accepted| accepted.contains(&id)).await.expect("the sender exists as long as this");
            }
            OnExecute::Accept | OnExecute::Play | OnExecute::Refuse(_) => {
                self.0.accepted.send_modify(|accepted| _ = accepted.insert(id.clone()));
            }
        }
        if let OnExecute::Play = on_execute {
            self.play(id.parse().expect("an id")).await;
        }
        Ok(Response::new(pb::ExecuteResponse { instance_id: fleet.incarnation }))
    }

    async fn cancel(&self, request: Request<pb::CancelRequest>) -> Result<Response<pb::CancelResponse>, Status> {
        let command_id: CommandId = request.into_inner().command_id.parse().expect("an id");
        self.0.cancels.lock().expect("no panic").push(command_id.to_string());
        if !self.0.accepted.borrow().contains(&command_id.to_string()) {
            return Err(Status::not_found("nothing is running under this id"));
        }
        let on_cancel = *self.0.on_cancel.lock().expect("no panic");
        match on_cancel {
            OnCancel::Refuse => return Err(Status::failed_precondition("it goes on")),
            OnCancel::Ignore => {}
            OnCancel::Stop => {
                let body = Body::Command(CommandEvent::Status { command_id, state: CommandState::Cancelled });
                let event = Event { at: self.0.clock.now(), body };
                let _ = self.0.bus.close(&Topic::Response(command_id), &event.to_bytes()).await;
            }
        }
        Ok(Response::new(pb::CancelResponse {}))
    }

    type WatchVehiclesStream = Pin<Box<dyn Stream<Item = Result<pb::WatchVehiclesResponse, Status>> + Send>>;

    async fn watch_vehicles(
        &self,
        _: Request<pb::WatchVehiclesRequest>,
    ) -> Result<Response<Self::WatchVehiclesStream>, Status> {
        let changes = self.0.fleet.subscribe();
        let shown = changes.borrow().shown.clone();
        if !changes.borrow().alive {
            return Err(Status::unavailable("the connector is stopped"));
        }
        let is_current = move |fleet: &Fleet| fleet.alive && fleet.shown == shown;
        let stream = WatchStream::new(changes).take_while(is_current).map(|fleet| Ok(snapshot(fleet)));
        Ok(Response::new(Box::pin(stream)))
    }
}

fn snapshot(fleet: Fleet) -> pb::WatchVehiclesResponse {
    let vehicle = |(vin, connected): (String, bool)| pb::ConnectedVehicle {
        vin,
        make: fleet.make.clone(),
        model: fleet.model.clone(),
        year: 2024,
        connection_status: if connected { 1 } else { 2 },
    };
    pb::WatchVehiclesResponse {
        instance_id: fleet.shown,
        vehicles: fleet.vehicles.into_iter().map(vehicle).collect(),
        snapshot: true,
    }
}
