//! A caller of the service.

use tonic::Status;
use turnpike_event::{Event, Record};
use turnpike_fault::Fault;
use turnpike_proto::{
    topic::v1::{self as topic, topic_owner_client::TopicOwnerClient},
    vehicle::v1::{self as pb, vehicle_service_client::VehicleServiceClient},
};
use turnpike_rpc::Transport;
use turnpike_testkit::eventually;
use turnpike_topic::{CommandId, Topic};

use crate::world::{Person, World, summaries};

pub use pb::CommandState as State;

pub const MOTOR: &str = r#"{"ecuAddress":"0x10"}"#;

#[derive(Clone)]
pub struct Caller {
    pub person: Person,
    client: VehicleServiceClient<Transport>,
    topics: TopicOwnerClient<Transport>,
}

impl Caller {
    pub fn new(person: Person, transport: Transport) -> Self {
        let topics = TopicOwnerClient::new(transport.clone());
        Self { person, client: VehicleServiceClient::new(transport), topics }
    }

    /// The first vehicle there is.
    pub async fn vehicle(&self) -> String {
        self.vehicles().await.remove(0).id
    }

    pub async fn vehicles(&self) -> Vec<pb::Vehicle> {
        self.list_vehicles(pb::ListVehiclesRequest::default()).await.expect("a list").vehicles
    }

    pub async fn list_vehicles(&self, request: pb::ListVehiclesRequest) -> Result<pb::ListVehiclesResponse, Status> {
        Ok(self.client.clone().list_vehicles(self.person.token.request(request)).await?.into_inner())
    }

    pub async fn get_vehicle(&self, id: &str) -> Result<pb::Vehicle, Status> {
        let request = pb::GetVehicleRequest { vehicle_id: id.to_owned() };
        Ok(self.client.clone().get_vehicle(self.person.token.request(request)).await?.into_inner())
    }

    /// Sends a command to the first vehicle.
    pub async fn send(&self, name: &str, params: &str) -> CommandId {
        let command = self.try_send(name, params).await.expect("accepted");
        command.id.parse().expect("an id")
    }

    pub async fn try_send(&self, name: &str, params: &str) -> Result<pb::Command, Fault> {
        let request = self.request(name, params).await;
        Ok(self.submit(request).await?.command.expect("a command"))
    }

    /// A submission for the first vehicle.
    pub async fn request(&self, name: &str, params: &str) -> pb::SubmitCommandRequest {
        pb::SubmitCommandRequest {
            vehicle_id: self.vehicle().await,
            name: name.to_owned(),
            params_json: params.to_owned(),
            ..pb::SubmitCommandRequest::default()
        }
    }

    pub async fn submit(&self, request: pb::SubmitCommandRequest) -> Result<pb::SubmitCommandResponse, Fault> {
        Ok(self.client.clone().submit_command(self.person.token.request(request)).await?.into_inner())
    }

    pub async fn get(&self, id: CommandId) -> pb::Command {
        self.try_get(&id.to_string()).await.expect("the caller's own")
    }

    pub async fn try_get(&self, id: &str) -> Result<pb::Command, Fault> {
        let request = pb::GetCommandRequest { command_id: id.to_owned(), recorded: false };
        Ok(self.client.clone().get_command(self.person.token.request(request)).await?.into_inner())
    }

    /// The command once everything on its topic is archived.
    pub async fn get_archived(&self, id: CommandId) -> pb::Command {
        let request = pb::GetCommandRequest { command_id: id.to_string(), recorded: true };
        let request = self.person.token.request(request);
        self.client.clone().get_command(request).await.expect("the caller's own").into_inner()
    }

    pub async fn list(&self, request: pb::ListCommandsRequest) -> Result<pb::ListCommandsResponse, Fault> {
        Ok(self.client.clone().list_commands(self.person.token.request(request)).await?.into_inner())
    }

    pub async fn responses(&self, request: pb::ListResponsesRequest) -> Result<pb::ListResponsesResponse, Fault> {
        Ok(self.client.clone().list_responses(self.person.token.request(request)).await?.into_inner())
    }

    pub async fn authorize(&self, topic: &str) -> Result<topic::AuthorizeResponse, Fault> {
        let request = topic::AuthorizeRequest { topic: topic.to_owned() };
        Ok(self.topics.clone().authorize(self.person.token.request(request)).await?.into_inner())
    }

    pub async fn archive(&self, request: topic::ReadArchiveRequest) -> Result<topic::ReadArchiveResponse, Fault> {
        Ok(self.topics.clone().read_archive(self.person.token.request(request)).await?.into_inner())
    }

    pub async fn cancel(&self, id: CommandId) -> Result<pb::Command, Fault> {
        Ok(self.cancel_once(id, "").await?.command.expect("a command"))
    }

    pub async fn cancel_once(&self, id: CommandId, key: &str) -> Result<pb::CancelCommandResponse, Fault> {
        let request = pb::CancelCommandRequest { command_id: id.to_string(), idempotency_key: key.to_owned() };
        Ok(self.client.clone().cancel_command(self.person.token.request(request)).await?.into_inner())
    }

    /// Waits until a command is in this state.
    pub async fn until(&self, id: CommandId, state: State) -> pb::Command {
        eventually(state.as_str_name(), 20, || async {
            let command = self.get(id).await;
            (command.state() == state).then_some(command)
        })
        .await
    }

    /// Waits for a command's end.
    pub async fn end(&self, id: CommandId) -> pb::Command {
        eventually("the end of a command", 20, || async {
            let command = self.get(id).await;
            command.completed_at.is_some().then_some(command)
        })
        .await
    }

    /// The archived events of a command.
    pub async fn archived(&self, id: CommandId) -> Vec<Record> {
        let request = topic::ReadArchiveRequest { limit: 1000, ..archive_of(id) };
        let read = |event: topic::ArchivedEvent| Record {
            offset: event.offset.parse().expect("an offset"),
            is_final: event.r#final,
            event: Event::from_bytes(event.event.into()),
        };
        self.archive(request).await.expect("the caller's own").events.into_iter().map(read).collect()
    }

    /// Summaries of the archived events, which must equal those of the topic.
    pub async fn summary(&self, world: &World, id: CommandId) -> Vec<String> {
        let record = self.archived(id).await;
        assert_eq!(record, world.topic(id).await, "the archive equals the topic");
        summaries(&record)
    }
}

/// The archive of a command's topic, from its beginning.
pub fn archive_of(id: CommandId) -> topic::ReadArchiveRequest {
    topic::ReadArchiveRequest { topic: Topic::Response(id).to_string(), ..Default::default() }
}
