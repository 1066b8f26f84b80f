//! The generated traits: parse, call, convert.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::{Instrument, info_span};
use turnpike_bus::Bus;
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{Clock, OnExit, Tasks};
use turnpike_proto::{
    timestamp,
    vehicle::v1::{
        self as pb, mock_vehicle_control_server::MockVehicleControl, vehicle_connector_server::VehicleConnector,
    },
};
use turnpike_rpc::{Access, Context, Policy};
use turnpike_topic::CommandId;

use crate::{
    command,
    execution::Execution,
    fleet::{Fleet, NotAsked, Seen},
    link::Faults,
    running::{Entry, Running, Stop},
};

/// Every method can be called without a credential: the port is private.
pub const POLICY: Policy = &[
    ("/turnpike.vehicle.v1.VehicleConnector/Execute", Access::Anyone),
    ("/turnpike.vehicle.v1.VehicleConnector/Cancel", Access::Anyone),
    ("/turnpike.vehicle.v1.VehicleConnector/WatchVehicles", Access::Anyone),
    ("/turnpike.vehicle.v1.MockVehicleControl/SetFaults", Access::Anyone),
    ("/turnpike.vehicle.v1.MockVehicleControl/ListExecutions", Access::Anyone),
    ("/turnpike.vehicle.v1.MockVehicleControl/Drive", Access::Anyone),
];

#[derive(Clone)]
pub(crate) struct Rpc {
    pub(crate) instance_id: String,
    pub(crate) fleet: Fleet,
    pub(crate) running: Running,
    pub(crate) bus: Bus,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
}

impl From<NotAsked> for Fault {
    fn from(why: NotAsked) -> Self {
        match why {
            NotAsked::Unknown => {
                Self::new(Kind::NotFound, "There is no such vehicle here").field("vin", "names no vehicle")
            }
            NotAsked::Disconnected => Self::new(Kind::Unavailable, "The vehicle is not connected"),
        }
    }
}

#[tonic::async_trait]
impl VehicleConnector for Rpc {
    async fn execute(&self, request: Request<pb::ExecuteRequest>) -> Result<Response<pb::ExecuteResponse>, Status> {
        let request = request.into_inner();
        let invalid = |field: &str, message: &str| Fault::new(Kind::Invalid, message.to_owned()).field(field, message);
        let id: CommandId = request.command_id.parse().map_err(|_| invalid("command_id", "must be a UUID"))?;
        let command =
            command::parse(&request.name, &request.params_json).map_err(|wrong| invalid("params_json", &wrong))?;
        let deadline = request.deadline.and_then(timestamp::from_protobuf);
        let deadline = deadline.ok_or_else(|| invalid("deadline", "must be a time"))?;
        let accepted = Ok(Response::new(pb::ExecuteResponse { instance_id: self.instance_id.clone() }));
        let kind = command.kind;
        if self.running.knows(id) {
            return accepted;
        }
        self.fleet.check(&request.vin).map_err(Fault::from)?;
        let (place, cancelled) = match self.running.enter(id, kind) {
            Entry::Begin(place, cancelled) => (place, cancelled),
            Entry::Known => return accepted,
            Entry::Full => return Err(Fault::new(Kind::Unavailable, "Too many commands are running").into()),
        };
        self.fleet.count(&request.command_id, &request.vin, &request.name);
        metrics::counter!("turnpike_mock_commands_total", "command" => request.name.clone()).increment(1);
        let span = info_span!(parent: None, "command", command_id = %id, name = request.name);
        let execution = Execution {
            id,
            vin: request.vin,
            command,
            deadline,
            cancelled,
            bus: self.bus.clone(),
            clock: self.clock.clone(),
            fleet: self.fleet.clone(),
        };
        let work = async move {
            let _place = place;
            execution.run().await;
        };
        self.tasks.spawn("execution", OnExit::Continue, Context::current().scope(work.instrument(span)));
        accepted
    }

    async fn cancel(&self, request: Request<pb::CancelRequest>) -> Result<Response<pb::CancelResponse>, Status> {
        let missing = || Fault::new(Kind::NotFound, "Nothing is running under this id");
        let id = request.into_inner().command_id.parse().map_err(|_| missing())?;
        match self.running.stop(id) {
            Stop::Asked => Ok(Response::new(pb::CancelResponse {})),
            Stop::Refused => Err(Fault::new(Kind::Conflict, "A control unit that restarts cannot be stopped").into()),
            Stop::NotRunning => Err(missing().into()),
        }
    }

    type WatchVehiclesStream = ReceiverStream<Result<pb::WatchVehiclesResponse, Status>>;

    async fn watch_vehicles(
        &self,
        _: Request<pb::WatchVehiclesRequest>,
    ) -> Result<Response<Self::WatchVehiclesStream>, Status> {
        let (sender, receiver) = mpsc::channel(4);
        let (rpc, mut changes) = (self.clone(), self.fleet.changes());
        self.tasks.spawn("watch", OnExit::Continue, async move {
            loop {
                changes.mark_unchanged();
                // Each message has the whole fleet, which is small, so that no change can be missed.
                let message = pb::WatchVehiclesResponse {
                    instance_id: rpc.instance_id.clone(),
                    vehicles: rpc.fleet.seen().into_iter().map(to_pb_vehicle).collect(),
                    snapshot: true,
                };
                let gone = tokio::select! {
                    sent = sender.send(Ok(message)) => sent.is_err(),
                    () = rpc.tasks.stopping().cancelled() => true,
                };
                if gone {
                    return;
                }
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                    () = rpc.tasks.stopping().cancelled() => return,
                    // repeated, so that `last_seen_at` advances
                    () = tokio::time::sleep(Duration::from_secs(10)) => {}
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl MockVehicleControl for Rpc {
    async fn set_faults(
        &self,
        request: Request<pb::SetFaultsRequest>,
    ) -> Result<Response<pb::SetFaultsResponse>, Status> {
        let request = request.into_inner();
        let faults = parse_faults(&request.faults.unwrap_or_default())?;
        self.fleet.set_faults(&request.vin, faults).map_err(Fault::from)?;
        Ok(Response::new(pb::SetFaultsResponse {}))
    }

    async fn list_executions(
        &self,
        request: Request<pb::ListExecutionsRequest>,
    ) -> Result<Response<pb::ListExecutionsResponse>, Status> {
        let runs = self.fleet.runs(&request.into_inner().vin).into_iter();
        let to_pb = |run: crate::fleet::Run| pb::Execution {
            command_id: run.command_id,
            vin: run.vin,
            name: run.name,
            times_run: run.times,
        };
        Ok(Response::new(pb::ListExecutionsResponse { executions: runs.map(to_pb).collect() }))
    }

    async fn drive(&self, request: Request<pb::DriveRequest>) -> Result<Response<pb::DriveResponse>, Status> {
        let request = request.into_inner();
        if request.speed_kmh.is_some_and(|speed| !(0.0..=250.0).contains(&speed)) {
            return Err(Fault::new(Kind::Invalid, "The speed is not one")
                .field("speed_kmh", "must be from 0 to 250")
                .into());
        }
        self.fleet.drive(&request.vin, request.speed_kmh, request.connected).map_err(Fault::from)?;
        Ok(Response::new(pb::DriveResponse {}))
    }
}

fn parse_faults(faults: &pb::Faults) -> Result<Faults, Fault> {
    let invalid =
        |field: &str, message: &str| Fault::new(Kind::Invalid, "The faults are not valid").field(field, message);
    let probability = |field: &str, p: f64| {
        if (0.0..=1.0).contains(&p) { Ok(p) } else { Err(invalid(field, "must be from 0 to 1")) }
    };
    let nrc = match faults.nrc {
        0 => None,
        code @ 1..=255 => Some((code as u8, probability("nrc_probability", faults.nrc_probability)?)),
        _ => return Err(invalid("nrc", "must be from 1 to 255")),
    };
    let latency = faults.latency.map(|latency| (latency.mean_ms, latency.spread_ms));
    if latency.is_some_and(|(mean, spread)| mean > 600_000 || spread > mean) {
        return Err(invalid("latency", "must be at most ten minutes, with a spread no larger than the mean"));
    }
    if faults.response_pending > 1000 {
        return Err(invalid("response_pending", "must be at most 1000"));
    }
    Ok(Faults {
        latency,
        nrc,
        pending: faults.response_pending,
        silent: faults.silent,
        disconnect_at: Some(faults.disconnect_at).filter(|at| *at > 0),
        duplicate: probability("duplicate_probability", faults.duplicate_probability)?,
        reorder: probability("reorder_probability", faults.reorder_probability)?,
        malformed: probability("malformed_probability", faults.malformed_probability)?,
        lose_final: faults.lose_final,
    })
}

fn to_pb_vehicle(seen: Seen) -> pb::ConnectedVehicle {
    let status = if seen.connected { pb::ConnectionStatus::Connected } else { pb::ConnectionStatus::Disconnected };
    pb::ConnectedVehicle {
        vin: seen.vin,
        make: seen.make.to_owned(),
        model: seen.model.to_owned(),
        year: seen.year,
        connection_status: status.into(),
    }
}
