//! `/api/admin/services`: the health of every service.

use std::{collections::BTreeMap, time::Duration};

use axum::{Json, extract::State};
use futures_util::future::join_all;
use serde::Serialize;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use turnpike_kit::Health;
use turnpike_rpc::Transport;
use utoipa::ToSchema;

use crate::{
    access::caller::Admin,
    app::Services,
    http::{Answer, problem::ProblemBody},
    stream::hub::Hub,
};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes the statuses of ServiceHealth")]
pub(crate) enum HealthStatus {
    Serving,
    NotServing,
    Unreachable,
}

/// The health of one service.
#[derive(Serialize, ToSchema)]
pub(crate) struct ServiceHealth {
    #[schema(example = "vehicles")]
    name: &'static str,
    #[schema(value_type = HealthStatus)]
    status: &'static str,
    /// Only for the gateway: the components that are not ready, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    missing: BTreeMap<&'static str, String>,
    /// Only for the gateway: the number of topics that it follows for its clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    topics: Option<usize>,
}

/// The health of every service.
#[utoipa::path(get, path = "/api/admin/services", tag = "admin",
    responses((status = 200, body = Vec<ServiceHealth>), (status = 403, body = ProblemBody)))]
pub(crate) async fn services(
    State(health): State<Health>,
    State(hub): State<Hub>,
    State(Services(services)): State<Services>,
    _: Admin,
) -> Answer<Json<Vec<ServiceHealth>>> {
    let missing = health.missing();
    let here = ServiceHealth {
        name: "gateway",
        status: if missing.is_empty() { "serving" } else { "not_serving" },
        missing,
        topics: Some(hub.topics()),
    };
    let others = join_all(services.iter().map(|(name, transport)| check(name, transport))).await;
    Ok(Json([here].into_iter().chain(others).collect()))
}

/// Asks the service with grpc.health.v1.
async fn check(name: &'static str, transport: &Transport) -> ServiceHealth {
    let mut client = HealthClient::new(transport.clone().deadline(Duration::from_secs(2)));
    let status = match client.check(HealthCheckRequest { service: String::new() }).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => "serving",
        Ok(_) => "not_serving",
        Err(_) => "unreachable",
    };
    ServiceHealth { name, status, missing: BTreeMap::new(), topics: None }
}
