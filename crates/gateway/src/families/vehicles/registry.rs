//! `/api/vehicles`: the registry of vehicles.

use axum::{Json, extract::State};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use turnpike_proto::vehicle::v1 as pb;
use turnpike_topic::VehicleId;
use utoipa::{IntoParams, ToSchema};

use super::states::Connection;
use crate::{
    access::caller::SignedIn,
    app::Vehicles,
    http::{
        Answer,
        extract::{Id, Page, Query, next_link},
        problem::ProblemBody,
        rfc3339,
    },
};

#[derive(Serialize, ToSchema)]
pub(crate) struct Vehicle {
    #[schema(format = Uuid)]
    id: String,
    /// Vehicle identification number (ISO 3779).
    vin: String,
    make: String,
    model: String,
    year: u32,
    connection_status: Connection,
    #[schema(format = DateTime)]
    last_seen_at: Option<String>,
}

impl From<pb::Vehicle> for Vehicle {
    fn from(vehicle: pb::Vehicle) -> Self {
        let connection_status = vehicle.connection_status().into();
        Self {
            id: vehicle.id,
            vin: vehicle.vin,
            make: vehicle.make,
            model: vehicle.model,
            year: vehicle.year,
            connection_status,
            last_seen_at: rfc3339(vehicle.last_seen_at),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    #[param(inline)]
    status: Option<Connection>,
    /// Part of a VIN, make or model, in any case.
    #[param(pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    search: Option<String>,
}

/// All vehicles.
#[utoipa::path(get, path = "/api/vehicles", tag = "vehicles", params(Filter, Page),
    responses((status = 200, body = Vec<Vehicle>), (status = 422, body = ProblemBody)))]
pub(crate) async fn list(
    State(vehicles): State<Vehicles>,
    SignedIn(caller): SignedIn,
    Query(filter): Query<Filter>,
    Query(page): Query<Page>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<Vec<Vehicle>>)> {
    let status = filter.status.map_or(pb::ConnectionStatus::Unspecified, pb::ConnectionStatus::from);
    let message = pb::ListVehiclesRequest {
        limit: page.limit()?,
        cursor: page.cursor(),
        status: status.into(),
        search: filter.search.unwrap_or_default(),
    };
    let answer = vehicles.client().list_vehicles(caller.token.request(message)).await?.into_inner();
    Ok((next_link(&uri, &answer.next_cursor), Json(answer.vehicles.into_iter().map(Vehicle::from).collect())))
}

/// One vehicle.
#[utoipa::path(get, path = "/api/vehicles/{id}", tag = "vehicles", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Vehicle), (status = 404, body = ProblemBody)))]
pub(crate) async fn get(
    State(vehicles): State<Vehicles>,
    SignedIn(caller): SignedIn,
    Id(id): Id<VehicleId>,
) -> Answer<Json<Vehicle>> {
    let message = pb::GetVehicleRequest { vehicle_id: id.to_string() };
    Ok(Json(vehicles.client().get_vehicle(caller.token.request(message)).await?.into_inner().into()))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct VehicleStatus {
    #[schema(format = Uuid)]
    id: String,
    connection_status: Connection,
    #[schema(format = DateTime)]
    last_seen_at: Option<String>,
}

/// Whether a vehicle can be reached. Its changes are on the topic `vehicle:{id}`.
#[utoipa::path(get, path = "/api/vehicles/{id}/status", tag = "vehicles", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = VehicleStatus), (status = 404, body = ProblemBody)))]
pub(crate) async fn status(
    State(vehicles): State<Vehicles>,
    SignedIn(caller): SignedIn,
    Id(id): Id<VehicleId>,
) -> Answer<Json<VehicleStatus>> {
    let message = pb::GetVehicleRequest { vehicle_id: id.to_string() };
    let vehicle = Vehicle::from(vehicles.client().get_vehicle(caller.token.request(message)).await?.into_inner());
    Ok(Json(VehicleStatus {
        id: vehicle.id,
        connection_status: vehicle.connection_status,
        last_seen_at: vehicle.last_seen_at,
    }))
}
