//! `/api/commands`: commands and their results.

use axum::{Json, extract::State};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, value::RawValue};
use turnpike_fault::Fault;
use turnpike_proto::vehicle::v1 as pb;
use turnpike_topic::CommandId;
use utoipa::{IntoParams, ToSchema};

use super::states::Status;
use crate::{
    access::{
        body::Body,
        caller::{Operator, SignedIn},
    },
    app::Vehicles,
    http::{
        Answer,
        extract::{Id, NumberedPage, Page, Query, next_link, time},
        idempotency, number,
        problem::ProblemBody,
        rfc3339,
    },
};

/// The commands of the catalogue.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the names, which the vehicles service checks")]
pub(crate) enum CommandName {
    ReadDTC,
    ClearDTC,
    ReadDataByID,
    RoutineControl,
    ECUReset,
}

/// A command to a vehicle.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCommand {
    #[schema(format = Uuid)]
    vehicle_id: String,
    #[schema(value_type = CommandName, example = "ReadDTC")]
    command_name: String,
    #[schema(value_type = Object, example = json!({"ecuAddress": "0x10"}))]
    command_params: Option<Map<String, Value>>,
    /// 30 if absent.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 3600)]
    timeout_seconds: Option<Number>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Command {
    #[schema(format = Uuid)]
    command_id: String,
    #[schema(format = Uuid)]
    user_id: String,
    #[schema(format = Uuid)]
    vehicle_id: String,
    command_name: String,
    #[schema(value_type = Object)]
    command_params: Box<RawValue>,
    status: Status,
    #[schema(format = DateTime)]
    submitted_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    completed_at: Option<String>,
    timeout_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    /// The WebSocket with the events of this command.
    #[schema(example = "/ws/responses/0198c1d2-…")]
    stream: String,
}

impl TryFrom<pb::Command> for Command {
    type Error = Fault;

    fn try_from(command: pb::Command) -> Result<Self, Fault> {
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Ok(Self {
            status: command.state().into(),
            stream: format!("/ws/responses/{}", command.id),
            error_code: text(&command.error_code),
            error_message: text(&command.error_message),
            command_id: command.id,
            user_id: command.user_id,
            vehicle_id: command.vehicle_id,
            command_name: command.name,
            command_params: RawValue::from_string(command.params_json).map_err(|_| Fault::internal())?,
            submitted_at: rfc3339(command.submitted_at),
            completed_at: rfc3339(command.completed_at),
            timeout_seconds: command.timeout_seconds,
        })
    }
}

/// Send a command.
///
/// Its events are published on the topic `response:{command_id}`: on the WebSocket named in `stream`, on `/ws`, and as server-sent
/// events. `Idempotency-Key` makes a repeated request get the response of the first one for 24 hours.
#[utoipa::path(post, path = "/api/commands", tag = "commands", request_body = NewCommand,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = Command), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub(crate) async fn submit(
    State(vehicles): State<Vehicles>,
    Operator(caller): Operator,
    headers: HeaderMap,
    Body(new, _): Body<NewCommand>,
) -> Answer<(StatusCode, HeaderMap, Json<Command>)> {
    let timeout_seconds = number::optional("timeout_seconds", new.timeout_seconds.as_ref(), 1..=3600)?;
    let message = pb::SubmitCommandRequest {
        vehicle_id: new.vehicle_id,
        name: new.command_name,
        params_json: Value::Object(new.command_params.unwrap_or_default()).to_string(),
        timeout_seconds: timeout_seconds.unwrap_or(0) as u32,
        idempotency_key: idempotency::key(&headers)?,
    };
    let answer = vehicles.client().submit_command(caller.token.request(message)).await?.into_inner();
    let command: Command = answer.command.ok_or_else(Fault::internal)?.try_into()?;
    let mut headers = idempotency::replayed(answer.replayed);
    if let Ok(location) = format!("/api/commands/{}", command.command_id).parse() {
        headers.insert(http::header::LOCATION, location);
    }
    Ok((StatusCode::CREATED, headers, Json(command)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// An unknown id gives an empty list.
    vehicle_id: Option<String>,
    #[param(inline)]
    status: Option<Status>,
    /// Submitted at or after this time (RFC 3339).
    #[param(format = DateTime)]
    since: Option<String>,
    /// Submitted before this time.
    #[param(format = DateTime)]
    until: Option<String>,
}

/// The caller's commands, newest first; for an admin, the commands of all users.
#[utoipa::path(get, path = "/api/commands", tag = "commands", params(Filter, Page),
    responses((status = 200, body = Vec<Command>), (status = 422, body = ProblemBody)))]
pub(crate) async fn list(
    State(vehicles): State<Vehicles>,
    SignedIn(caller): SignedIn,
    Query(filter): Query<Filter>,
    Query(page): Query<Page>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<Vec<Command>>)> {
    let message = pb::ListCommandsRequest {
        limit: page.limit()?,
        cursor: page.cursor(),
        vehicle_id: filter.vehicle_id.unwrap_or_default(),
        status: filter.status.map(Status::name).unwrap_or_default().to_owned(),
        since: time("since", filter.since)?,
        until: time("until", filter.until)?,
    };
    let answer = vehicles.client().list_commands(caller.token.request(message)).await?.into_inner();
    let commands: Vec<Command> = answer.commands.into_iter().map(Command::try_from).collect::<Result<_, _>>()?;
    Ok((next_link(&uri, &answer.next_cursor), Json(commands)))
}

/// One command.
#[utoipa::path(get, path = "/api/commands/{id}", tag = "commands", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Command), (status = 404, body = ProblemBody)))]
pub(crate) async fn get(
    State(vehicles): State<Vehicles>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CommandId>,
) -> Answer<Json<Command>> {
    let message = pb::GetCommandRequest { command_id: id.to_string(), recorded: true };
    Ok(Json(vehicles.client().get_command(caller.token.request(message)).await?.into_inner().try_into()?))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Response {
    sequence_number: u32,
    is_final: bool,
    #[schema(value_type = Object)]
    response: Box<RawValue>,
    #[schema(format = DateTime)]
    at: Option<String>,
}

/// The archived responses of the vehicle.
#[utoipa::path(get, path = "/api/commands/{id}/responses", tag = "commands", params(("id" = String, Path, format = Uuid), NumberedPage),
    responses((status = 200, body = Vec<Response>), (status = 404, body = ProblemBody)))]
pub(crate) async fn responses(
    State(vehicles): State<Vehicles>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CommandId>,
    Query(page): Query<NumberedPage>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<Vec<Response>>)> {
    let page = Page::from(page);
    let message = pb::ListResponsesRequest { command_id: id.to_string(), limit: page.limit()?, cursor: page.cursor() };
    let answer = vehicles.client().list_responses(caller.token.request(message)).await?.into_inner();
    let response = |response: pb::Response| {
        Ok(Response {
            sequence_number: response.sequence_number,
            is_final: response.is_final,
            response: RawValue::from_string(response.response_json).map_err(|_| Fault::internal())?,
            at: rfc3339(response.at),
        })
    };
    let responses: Vec<_> = answer.responses.into_iter().map(response).collect::<Result<_, Fault>>()?;
    Ok((next_link(&uri, &answer.next_cursor), Json(responses)))
}

/// Ask the vehicle to cancel a command. The vehicle may refuse (409), or not answer within 5 s (504). The command's events say how it ends.
#[utoipa::path(post, path = "/api/commands/{id}/cancel", tag = "commands",
    params(("id" = String, Path, format = Uuid),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Command), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
        (status = 504, body = ProblemBody)))]
pub(crate) async fn cancel(
    State(vehicles): State<Vehicles>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CommandId>,
    headers: HeaderMap,
) -> Answer<(HeaderMap, Json<Command>)> {
    let message = pb::CancelCommandRequest { command_id: id.to_string(), idempotency_key: idempotency::key(&headers)? };
    let answer = vehicles.cancel_client().cancel_command(caller.token.request(message)).await?.into_inner();
    let command = answer.command.ok_or_else(Fault::internal)?;
    Ok((idempotency::replayed(answer.replayed), Json(command.try_into()?)))
}
