//! `/api/vehicles` and `/api/commands`.

use serde_json::{Value, json};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::vehicle::v1 as pb;
use turnpike_token::Role;

use crate::gateway::Gateway;

const VEHICLE: &str = "01890000-0000-7000-8000-000000000002";
const COMMAND: &str = "01890000-0000-7000-8000-000000000003";

fn command(state: pb::CommandState) -> pb::Command {
    pb::Command {
        id: COMMAND.to_owned(),
        vehicle_id: VEHICLE.to_owned(),
        name: "ReadDTC".to_owned(),
        params_json: r#"{"ecuAddress":"0x10"}"#.to_owned(),
        state: state.into(),
        timeout_seconds: 30,
        ..Default::default()
    }
}

fn new_command() -> Value {
    json!({ "vehicle_id": VEHICLE, "command_name": "ReadDTC", "command_params": { "ecuAddress": "0x10" } })
}

#[tokio::test]
async fn vehicles_are_filtered_by_state_and_text() {
    let gateway = Gateway::start().await;
    let vehicle = pb::Vehicle {
        id: VEHICLE.to_owned(),
        vin: "1M8GDM9AXKP042788".to_owned(),
        connection_status: pb::ConnectionStatus::Connected.into(),
        ..Default::default()
    };
    gateway.vehicles.respond::<pb::ListVehiclesRequest, _>(pb::ListVehiclesResponse {
        vehicles: vec![vehicle],
        next_cursor: String::new(),
    });
    let caller = gateway.caller(Role::User);
    let answer = caller.get("/api/vehicles?status=connected&search=m8g").await;
    assert_eq!((answer.status, &answer.json[0]["connection_status"]), (200, &json!("connected")), "{}", answer.text);
    assert!(answer.headers.get("link").is_none());
    let [request] = gateway.vehicles.received::<pb::ListVehiclesRequest>().try_into().expect("one request");
    assert_eq!((request.status(), request.search.as_str()), (pb::ConnectionStatus::Connected, "m8g"));
    for query in ["status=flying", "limit=0", "limit=101"] {
        assert_eq!(caller.get(&format!("/api/vehicles?{query}")).await.status, 422, "{query}");
    }
}

#[tokio::test]
async fn a_command_is_submitted_and_located() {
    let gateway = Gateway::start().await;
    gateway.vehicles.respond::<pb::SubmitCommandRequest, _>(pb::SubmitCommandResponse {
        command: Some(command(pb::CommandState::Pending)),
        replayed: false,
    });
    let operator = gateway.caller(Role::Operator);
    let answer = operator.post("/api/commands", new_command()).await;
    assert_eq!((answer.status, &answer.json["status"]), (201, &json!("pending")), "{}", answer.text);
    assert_eq!(answer.json["stream"], format!("/ws/responses/{COMMAND}"));
    assert_eq!(answer.json["command_params"], json!({ "ecuAddress": "0x10" }));
    assert_eq!(answer.headers["location"].to_str().expect("text"), format!("/api/commands/{COMMAND}"));
    assert!(answer.headers.get("idempotency-replayed").is_none());
    assert_eq!(gateway.vehicles.authorization::<pb::SubmitCommandRequest>(), format!("Bearer {}", operator.token));
}

#[tokio::test]
async fn a_user_without_the_role_may_not_submit_commands() {
    let gateway = Gateway::start().await;
    let answer = gateway.caller(Role::User).post("/api/commands", json!("no command")).await;
    assert_eq!((answer.status, &answer.json["code"]), (403, &json!("FORBIDDEN")));
}

#[tokio::test]
async fn a_command_of_another_shape_is_not_passed_on() {
    let gateway = Gateway::start().await;
    let operator = gateway.caller(Role::Operator);
    for (field, value) in [("timeout_seconds", json!(0)), ("timeout_seconds", json!(1.5)), ("priority", json!(1))] {
        let mut body = new_command();
        body[field] = value;
        let answer = operator.post("/api/commands", body).await;
        assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!(field)), "{}", answer.text);
    }
    assert!(gateway.vehicles.received::<pb::SubmitCommandRequest>().is_empty());
}

#[tokio::test]
async fn a_refusal_of_the_vehicles_service_names_the_field() {
    let gateway = Gateway::start().await;
    let fault = Fault::new(Kind::Invalid, "The command is not valid").field("vehicle_id", "no such vehicle");
    gateway.vehicles.fail::<pb::SubmitCommandRequest, pb::SubmitCommandResponse>(fault);
    let answer = gateway.caller(Role::Operator).post("/api/commands", new_command()).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert_eq!(answer.json["errors"], json!([{ "field": "vehicle_id", "message": "no such vehicle" }]));
}

#[tokio::test]
async fn states_are_shown_as_the_contract_has_them() {
    let gateway = Gateway::start().await;
    let caller = gateway.caller(Role::User);
    use pb::CommandState as State;
    for (state, shown) in [
        (State::Dispatched, "pending"),
        (State::InProgress, "in_progress"),
        (State::Rejected, "failed"),
        (State::TimedOut, "timed_out"),
        (State::Unknown, "unknown"),
    ] {
        gateway.vehicles.respond::<pb::GetCommandRequest, _>(command(state));
        let answer = caller.get(&format!("/api/commands/{COMMAND}")).await;
        assert_eq!((answer.status, answer.json["status"].as_str()), (200, Some(shown)));
    }
    assert_eq!(caller.get("/api/commands/no-id").await.status, 404);
}

#[tokio::test]
async fn a_time_with_a_plus_sign_in_the_query_is_understood() {
    let gateway = Gateway::start().await;
    gateway.vehicles.respond::<pb::ListCommandsRequest, _>(pb::ListCommandsResponse::default());
    let caller = gateway.caller(Role::User);
    assert_eq!(caller.get("/api/commands?since=2026-11-21T10:00:00+01:00&status=failed").await.status, 200);
    let [request] = gateway.vehicles.received::<pb::ListCommandsRequest>().try_into().expect("one request");
    assert_eq!((request.since.map(|at| at.seconds), request.status.as_str()), (Some(1_795_251_600), "failed"));
    let answer = caller.get("/api/commands?until=tomorrow").await;
    assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!("until")));
}

#[tokio::test]
async fn a_cancellation_that_the_vehicle_refuses_is_a_conflict() {
    let gateway = Gateway::start().await;
    let fault = Fault::new(Kind::Conflict, "The vehicle refused").code_is("CANCEL_REFUSED");
    gateway.vehicles.fail::<pb::CancelCommandRequest, pb::CancelCommandResponse>(fault);
    let caller = gateway.caller(Role::Operator);
    let answer = caller.post(&format!("/api/commands/{COMMAND}/cancel"), json!({})).await;
    assert_eq!((answer.status, &answer.json["code"]), (409, &json!("CANCEL_REFUSED")));
    let response = pb::CancelCommandResponse { command: Some(command(pb::CommandState::Cancelled)), replayed: false };
    gateway.vehicles.respond::<pb::CancelCommandRequest, _>(response);
    let answer = caller.post(&format!("/api/commands/{COMMAND}/cancel"), json!({})).await;
    assert_eq!((answer.status, &answer.json["status"]), (200, &json!("cancelled")));
}
