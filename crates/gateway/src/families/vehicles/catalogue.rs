//! `/api/commands/catalogue`: the commands that can be sent.

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::value::RawValue;
use turnpike_fault::Fault;
use turnpike_proto::vehicle::v1 as pb;
use utoipa::ToSchema;

use crate::{access::caller::SignedIn, app::Vehicles, http::Answer};

#[derive(Serialize, ToSchema)]
pub(crate) struct CommandType {
    #[schema(example = "ReadDTC")]
    name: String,
    description: String,
    /// `read`, `idempotent` or `unsafe`: the strongest effect that the command has with any parameters.
    effect: String,
    /// The role that a user needs for this effect.
    role: String,
    /// JSON Schema of `command_params`.
    #[schema(value_type = Object)]
    params: Box<RawValue>,
}

/// Every command that can be sent, with its parameters, its effect, and the role that it needs.
#[utoipa::path(get, path = "/api/commands/catalogue", tag = "commands",
    responses((status = 200, body = Vec<CommandType>)))]
pub(crate) async fn catalogue(
    State(vehicles): State<Vehicles>,
    SignedIn(caller): SignedIn,
) -> Answer<Json<Vec<CommandType>>> {
    let request = caller.token.request(pb::ListCommandTypesRequest {});
    let found = vehicles.client().list_command_types(request).await?.into_inner().command_types;
    let parse = |text: String| RawValue::from_string(text).map_err(|_| Fault::internal());
    let types = found.into_iter().map(|found| {
        Ok(CommandType {
            params: parse(found.params_schema_json)?,
            name: found.name,
            description: found.description,
            effect: found.effect,
            role: found.role,
        })
    });
    Ok(Json(types.collect::<Result<_, Fault>>()?))
}
