//! A connector with its clients, its bus and its clock.

use std::time::Duration;

use jiff::Timestamp;
use tonic::Status;
use turnpike_bus::{Bus, Delivery, Follower, From, Limits};
use turnpike_event::{Body, CommandEvent, Event, Record};
use turnpike_kit::{Clock, ClockControl, Environment, Process};
use turnpike_mock_vehicle_connector::{Config, Deps, Service};
use turnpike_proto::vehicle::v1::{
    self as pb, mock_vehicle_control_client::MockVehicleControlClient, vehicle_connector_client::VehicleConnectorClient,
};
use turnpike_rpc::Transport;
use turnpike_testkit::{eventually, within};
use turnpike_topic::{CommandId, Topic};
use uuid::Uuid;

pub struct Bench {
    pub connector: VehicleConnectorClient<Transport>,
    pub control: MockVehicleControlClient<Transport>,
    pub bus: Bus,
    pub clock: Clock,
    pub hand: ClockControl,
    pub vins: Vec<String>,
    process: Process,
    tasks_at_rest: usize,
}

/// The deadline of every command.
pub const TIMEOUT: Duration = Duration::from_secs(30);

impl Bench {
    /// Without delays.
    pub async fn new() -> Self {
        Self::of(1, 0).await
    }

    pub async fn of(seed: u64, delay_ms: u32) -> Self {
        let (clock, hand) = Clock::controlled(Timestamp::from_second(1_763_700_000).expect("in range"));
        let pairs = [("TURNPIKE_MOCK_SEED", seed.to_string()), ("TURNPIKE_MOCK_DELAY_MS", delay_ms.to_string())];
        let env = Environment::new(pairs).expect("known names");
        let config = Config::new(&env).expect("valid");
        let process = Process::new(env, clock.clone()).expect("a process");
        let shown = clock.clone();
        let bus = Bus::memory_at(Limits::default(), move || shown.now());
        let service = Service::bind(config, &process, Deps { bus: bus.clone() }).await.expect("it starts");
        let transport = Transport::direct(service.routes());
        Self {
            connector: VehicleConnectorClient::new(transport.clone()),
            control: MockVehicleControlClient::new(transport),
            bus,
            clock,
            hand,
            vins: service.vins().to_vec(),
            tasks_at_rest: process.tasks.len(),
            process,
        }
    }

    pub fn request(&self, id: CommandId, name: &str, params: &str) -> pb::ExecuteRequest {
        let deadline = self.clock.now() + TIMEOUT;
        pb::ExecuteRequest {
            command_id: id.to_string(),
            vin: self.vins[0].clone(),
            name: name.to_owned(),
            params_json: params.to_owned(),
            deadline: Some(prost_types::Timestamp { seconds: deadline.as_second(), nanos: 0 }),
        }
    }

    /// Sends command number `n` to the first vehicle.
    pub async fn execute(&self, n: u128, name: &str, params: &str) -> Result<CommandId, Status> {
        let id = CommandId::from(Uuid::from_u128(n));
        self.connector.clone().execute(self.request(id, name, params)).await.map(|_| id)
    }

    /// Sends a command and follows it to its end.
    pub async fn outcome(&self, n: u128, name: &str, params: &str) -> Vec<String> {
        let id = self.execute(n, name, params).await.expect("accepted");
        summaries(&self.to_the_end(id).await)
    }

    /// Everything on a command's topic, which must be closed.
    pub async fn to_the_end(&self, id: CommandId) -> Vec<Record> {
        let mut follower = self.follow(id);
        let mut records = Vec::new();
        within("the end of a command", 10, async {
            loop {
                match follower.next().await {
                    Delivery::Record(record) => records.push(record.map(Event::from_bytes)),
                    Delivery::Closed => return,
                    Delivery::CaughtUp { .. } => {}
                    Delivery::Reset { .. } => panic!("nothing was lost"),
                }
            }
        })
        .await;
        records
    }

    /// Waits for this number of events.
    pub async fn so_far(&self, id: CommandId, count: usize) -> Vec<String> {
        let records = eventually("events", 10, || async {
            let records = self.records(id).await;
            (records.len() >= count).then_some(records)
        })
        .await;
        summaries(&records)
    }

    pub async fn records(&self, id: CommandId) -> Vec<Record> {
        let page = self.bus.read(&Topic::Response(id), None, 1000).await.expect("a bus in memory");
        page.records.into_iter().map(|record| record.map(Event::from_bytes)).collect()
    }

    pub fn follow(&self, id: CommandId) -> Follower {
        self.bus.follow(Topic::Response(id), From::Start)
    }

    pub async fn set(&self, faults: pb::Faults) {
        let request = pb::SetFaultsRequest { vin: self.vins[0].clone(), faults: Some(faults) };
        self.control.clone().set_faults(request).await.expect("valid faults");
    }

    pub async fn drive(&self, speed_kmh: Option<f64>, connected: Option<bool>) {
        let request = pb::DriveRequest { vin: self.vins[0].clone(), speed_kmh, connected };
        self.control.clone().drive(request).await.expect("a known vehicle");
    }

    pub async fn cancel(&self, id: CommandId) -> Result<(), Status> {
        self.connector.clone().cancel(pb::CancelRequest { command_id: id.to_string() }).await.map(|_| ())
    }

    /// Waits until no command is running.
    pub async fn at_rest(&self) {
        let rest = || async { (self.process.tasks.len() <= self.tasks_at_rest).then_some(()) };
        eventually("the connector to stop its commands", 10, rest).await;
    }

    pub async fn executions(&self) -> Vec<pb::Execution> {
        let request = pb::ListExecutionsRequest::default();
        self.control.clone().list_executions(request).await.expect("an answer").into_inner().executions
    }
}

/// Short texts for events.
pub fn summaries(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| words(&record.event, record.is_final)).collect()
}

fn words(event: &Event, closes: bool) -> String {
    let end = if closes { "." } else { "" };
    match &event.body {
        Body::Command(CommandEvent::Status { state, .. }) => format!("{}{end}", state.as_str()),
        Body::Command(CommandEvent::Response { sequence_number, is_final, .. }) => {
            format!("response {sequence_number}{}", if *is_final { " final" } else { "" })
        }
        Body::Command(CommandEvent::Error { error_code, .. }) => format!("error {error_code}"),
        other => panic!("not of a command: {other:?}"),
    }
}

/// The message of the error event.
pub fn message(records: &[Record]) -> String {
    let error = records.iter().find_map(|record| match &record.event.body {
        Body::Command(CommandEvent::Error { error_message, .. }) => Some(error_message.clone()),
        _ => None,
    });
    error.expect("an error")
}
