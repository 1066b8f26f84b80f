//! The generated trait: parse, call, convert.

use jiff::Timestamp;
use tonic::{Request, Response, Status};
use turnpike_event::{Body, CommandEvent, CommandState, ConnectionStatus, Event};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::{Caller, caller};
use turnpike_proto::{
    timestamp,
    vehicle::v1::{self as pb, vehicle_service_server::VehicleService},
};
use turnpike_rpc::{Access, Policy};
use turnpike_store::{Page, idempotency::Key, limits::Limit};
use turnpike_token::Role;

use crate::{
    archive, cancel, catalogue,
    commands::{self, Command},
    lifecycle::{Effect, State},
    list,
    registry::{self, Vehicle},
    resources::Resources,
    submission::{Draft, New},
    submit::{self, SubmitError, Submitted},
    supervisor::Supervisor,
};

/// The role that each method needs.
pub const POLICY: Policy = &[
    ("/turnpike.vehicle.v1.VehicleService/ListVehicles", Access::Role(Role::User)),
    ("/turnpike.vehicle.v1.VehicleService/GetVehicle", Access::Role(Role::User)),
    ("/turnpike.vehicle.v1.VehicleService/ListCommandTypes", Access::Role(Role::User)),
    ("/turnpike.vehicle.v1.VehicleService/SubmitCommand", Access::Role(Role::Operator)),
    ("/turnpike.vehicle.v1.VehicleService/GetCommand", Access::Role(Role::User)),
    ("/turnpike.vehicle.v1.VehicleService/ListCommands", Access::Role(Role::User)),
    ("/turnpike.vehicle.v1.VehicleService/ListResponses", Access::Role(Role::User)),
    ("/turnpike.vehicle.v1.VehicleService/CancelCommand", Access::Role(Role::Operator)),
    ("/turnpike.topic.v1.TopicOwner/Authorize", Access::Role(Role::User)),
    ("/turnpike.topic.v1.TopicOwner/ReadArchive", Access::Role(Role::User)),
];

pub(crate) struct Rpc {
    pub(crate) resources: Resources,
    pub(crate) supervisor: Supervisor,
    /// For the commands of one user.
    pub(crate) limit: Option<Limit>,
}

impl Rpc {
    async fn wait_until_archived(&self, command: &Command) {
        let Resources { store, bus, progress, .. } = &self.resources;
        progress.wait_until_archived(store, bus, command).await;
    }

    /// Whether the command for which a submission was refused as busy has ended. A caller can have seen its end on the topic before
    /// the end was archived.
    async fn has_ended(&self, refused: &New) -> Result<bool, Fault> {
        let running = || commands::get_unsafe(&self.resources.store, refused.vehicle_id, refused.request.ecu.as_str());
        let Some(command) = running().await.map_err(turnpike_store::fault)? else { return Ok(true) };
        self.wait_until_archived(&command).await;
        let now = running().await.map_err(turnpike_store::fault)?;
        Ok(now.is_none_or(|now| now.id != command.id))
    }

    /// The caller's own command, or any command for an admin. Commands of other users are reported as not found.
    async fn command_of(&self, caller: &Caller, id: &str) -> Result<Command, Fault> {
        let missing = || Fault::new(Kind::NotFound, "There is no such command");
        let id = id.parse().map_err(|_| missing())?;
        let user = caller.claims.user_id;
        let command = match caller.claims.role {
            Role::Admin => commands::get(&self.resources.store, id).await,
            _ => commands::get_of(&self.resources.store, id, user).await,
        };
        command.map_err(turnpike_store::fault)?.ok_or_else(missing)
    }
}

#[tonic::async_trait]
impl VehicleService for Rpc {
    async fn list_vehicles(
        &self,
        request: Request<pb::ListVehiclesRequest>,
    ) -> Result<Response<pb::ListVehiclesResponse>, Status> {
        let request = request.into_inner();
        let page = Page::new(request.limit, &request.cursor)?;
        if request.search.contains(char::is_control) {
            return Err(invalid("search", "must be text on one line").into());
        }
        let filter = registry::Filter {
            status: match request.status() {
                pb::ConnectionStatus::Unspecified => None,
                pb::ConnectionStatus::Connected => Some(ConnectionStatus::Connected),
                pb::ConnectionStatus::Disconnected => Some(ConnectionStatus::Disconnected),
                pb::ConnectionStatus::Error => Some(ConnectionStatus::Error),
            },
            search: request.search.chars().take(100).collect(),
            after: page.cursor,
        };
        let list = registry::List { filter, limit: page.rows() };
        let rows = self.resources.lists.read(list).await.map_err(turnpike_store::fault)?;
        let (vehicles, next_cursor) = page.cut(rows.to_vec(), |row| row.id);
        let vehicles = vehicles.into_iter().map(to_pb_vehicle).collect();
        Ok(Response::new(pb::ListVehiclesResponse { vehicles, next_cursor }))
    }

    async fn get_vehicle(&self, request: Request<pb::GetVehicleRequest>) -> Result<Response<pb::Vehicle>, Status> {
        let missing = || Fault::new(Kind::NotFound, "There is no such vehicle");
        let id = request.into_inner().vehicle_id.parse().map_err(|_| missing())?;
        let vehicle =
            registry::get(&self.resources.store, id).await.map_err(turnpike_store::fault)?.ok_or_else(missing)?;
        Ok(Response::new(to_pb_vehicle(vehicle)))
    }

    async fn list_command_types(
        &self,
        _: Request<pb::ListCommandTypesRequest>,
    ) -> Result<Response<pb::ListCommandTypesResponse>, Status> {
        let command_types = catalogue::entries()
            .map(|entry| pb::CommandType {
                name: entry.name.to_owned(),
                description: entry.description.to_owned(),
                effect: entry.effect.as_str().to_owned(),
                role: entry.effect.role().to_string(),
                params_schema_json: entry.params_schema.to_string(),
            })
            .collect();
        Ok(Response::new(pb::ListCommandTypesResponse { command_types }))
    }

    async fn submit_command(
        &self,
        request: Request<pb::SubmitCommandRequest>,
    ) -> Result<Response<pb::SubmitCommandResponse>, Status> {
        let caller = caller(&request)?.clone();
        let new = New::validate(caller.claims.user_id, caller.claims.role, &to_draft(request.into_inner()))?;
        self.supervisor.can_begin()?;
        let submit = || submit::submit(&self.resources.store, new.clone(), self.limit, self.resources.clock.now());
        let submitted = match submit().await {
            Err(SubmitError::Busy) if self.has_ended(&new).await? => submit().await,
            submitted => submitted,
        };
        let (command, replayed) = match submitted.map_err(Fault::from)? {
            Submitted::New(open) => {
                let command = open.command.clone();
                self.supervisor.begin(*open);
                (command, false)
            }
            Submitted::Before(command) => (*command, true),
        };
        Ok(Response::new(pb::SubmitCommandResponse {
            command: Some(to_pb_command(command.into_submitted())),
            replayed,
        }))
    }

    async fn get_command(&self, request: Request<pb::GetCommandRequest>) -> Result<Response<pb::Command>, Status> {
        let caller = caller(&request)?.clone();
        let request = request.into_inner();
        let mut command = self.command_of(&caller, &request.command_id).await?;
        if request.recorded {
            self.wait_until_archived(&command).await;
            command = self.command_of(&caller, &request.command_id).await?;
        }
        Ok(Response::new(to_pb_command(command)))
    }

    async fn list_commands(
        &self,
        request: Request<pb::ListCommandsRequest>,
    ) -> Result<Response<pb::ListCommandsResponse>, Status> {
        let caller = caller(&request)?.clone();
        let request = request.into_inner();
        let page = Page::new(request.limit, &request.cursor)?;
        let vehicle_id = match request.vehicle_id.as_str() {
            "" => None,
            // no command has an id of another form
            id => match id.parse() {
                Ok(id) => Some(id),
                Err(_) => return Ok(Response::new(pb::ListCommandsResponse::default())),
            },
        };
        let states = match request.status.as_str() {
            "" => Vec::new(),
            word => State::shown_as(CommandState::from_word(word).ok_or_else(|| {
                let words: Vec<_> = CommandState::ALL.iter().map(|state| state.as_str()).collect();
                invalid("status", format!("must be one of {}", words.join(", ")))
            })?)
            .collect(),
        };
        let filter = list::Filter {
            user_id: (caller.claims.role != Role::Admin).then_some(caller.claims.user_id),
            vehicle_id,
            states,
            since: request.since.map(|at| time("since", at)).transpose()?,
            until: request.until.map(|at| time("until", at)).transpose()?,
            before: page.cursor,
        };
        let rows = list::list(&self.resources.store, &filter, page.rows()).await.map_err(turnpike_store::fault)?;
        let (commands, next_cursor) = page.cut(rows, |row| row.id);
        let commands = commands.into_iter().map(to_pb_command).collect();
        Ok(Response::new(pb::ListCommandsResponse { commands, next_cursor }))
    }

    async fn list_responses(
        &self,
        request: Request<pb::ListResponsesRequest>,
    ) -> Result<Response<pb::ListResponsesResponse>, Status> {
        let caller = caller(&request)?.clone();
        let request = request.into_inner();
        let command = self.command_of(&caller, &request.command_id).await?;
        let page = Page::new(request.limit, &request.cursor)?;
        self.wait_until_archived(&command).await;
        let rows = archive::read(&self.resources.store, command.id, page.cursor.unwrap_or(0), true, page.rows())
            .await
            .map_err(turnpike_store::fault)?;
        let (rows, next_cursor) = page.cut(rows, |row| row.position);
        let responses =
            rows.into_iter().filter_map(|row| to_pb_response(Event::from_bytes(row.event.into()))).collect();
        Ok(Response::new(pb::ListResponsesResponse { responses, next_cursor }))
    }

    async fn cancel_command(
        &self,
        request: Request<pb::CancelCommandRequest>,
    ) -> Result<Response<pb::CancelCommandResponse>, Status> {
        let caller = caller(&request)?.clone();
        let request = request.into_inner();
        let command = self.command_of(&caller, &request.command_id).await?;
        let hash = format!("cancel {}", command.id);
        let key = Key::new(caller.claims.user_id, &request.idempotency_key, hash)?;
        let now = self.resources.clock.now();
        let (ended, replayed) = cancel::once(&self.resources, command, key.as_ref(), now).await.map_err(Fault::from)?;
        Ok(Response::new(pb::CancelCommandResponse { command: Some(to_pb_command(ended)), replayed }))
    }
}

fn to_draft(request: pb::SubmitCommandRequest) -> Draft {
    let pb::SubmitCommandRequest { vehicle_id, name, params_json, timeout_seconds, idempotency_key } = request;
    Draft { vehicle_id, name, params_json, timeout_seconds, idempotency_key }
}

fn invalid(field: &str, message: impl Into<String>) -> Fault {
    Fault::new(Kind::Validation, "The request is not valid").field(field, message)
}

fn time(field: &str, at: prost_types::Timestamp) -> Result<Timestamp, Fault> {
    timestamp::from_protobuf(at).ok_or_else(|| invalid(field, "must be a time"))
}

fn to_pb_vehicle(vehicle: Vehicle) -> pb::Vehicle {
    let status = match vehicle.connection_status {
        ConnectionStatus::Connected => pb::ConnectionStatus::Connected,
        ConnectionStatus::Disconnected => pb::ConnectionStatus::Disconnected,
        ConnectionStatus::Error => pb::ConnectionStatus::Error,
    };
    pb::Vehicle {
        id: vehicle.id.to_string(),
        vin: vehicle.vin,
        make: vehicle.make,
        model: vehicle.model,
        year: vehicle.year,
        connection_status: status.into(),
        last_seen_at: Some(timestamp::to_protobuf(vehicle.last_seen_at)),
        connector: vehicle.connector,
    }
}

fn to_pb_command(command: Command) -> pb::Command {
    let state = match command.state {
        State::Pending => pb::CommandState::Pending,
        State::Dispatched => pb::CommandState::Dispatched,
        State::InProgress => pb::CommandState::InProgress,
        State::Completed => pb::CommandState::Completed,
        State::Failed => pb::CommandState::Failed,
        State::Rejected => pb::CommandState::Rejected,
        State::Cancelled => pb::CommandState::Cancelled,
        State::TimedOut => pb::CommandState::TimedOut,
        State::Unknown => pb::CommandState::Unknown,
    };
    let effect = match command.effect {
        Effect::Read => pb::Effect::Read,
        Effect::Idempotent => pb::Effect::Idempotent,
        Effect::Unsafe => pb::Effect::Unsafe,
    };
    let (error_code, error_message) = command.error.unwrap_or_default();
    pb::Command {
        id: command.id.to_string(),
        user_id: command.user_id.to_string(),
        vehicle_id: command.vehicle_id.to_string(),
        name: command.name,
        params_json: command.params,
        state: state.into(),
        effect: effect.into(),
        submitted_at: Some(timestamp::to_protobuf(command.submitted_at)),
        completed_at: command.completed_at.map(timestamp::to_protobuf),
        timeout_seconds: command.timeout_seconds,
        error_code,
        error_message,
    }
}

fn to_pb_response(event: Event) -> Option<pb::Response> {
    let Body::Command(CommandEvent::Response { sequence_number, is_final, response, .. }) = event.body else {
        return None;
    };
    Some(pb::Response {
        sequence_number,
        is_final,
        response_json: response.as_str().to_owned(),
        at: Some(timestamp::to_protobuf(event.at)),
    })
}
