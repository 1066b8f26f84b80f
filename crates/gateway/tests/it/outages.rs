//! A service that cannot be reached: 503 while it is away, and recovery.

use serde_json::json;
use turnpike_proto::{auth::v1 as auth, vehicle::v1 as vehicle};
use turnpike_testkit::eventually;
use turnpike_token::Role;

use crate::gateway::Gateway;

#[tokio::test]
async fn an_unreachable_vehicles_service_is_a_503_until_it_is_back() {
    let gateway = Gateway::start().await;
    gateway.vehicles.respond::<vehicle::ListVehiclesRequest, _>(vehicle::ListVehiclesResponse::default());
    let caller = gateway.caller(Role::User);
    assert_eq!(caller.get("/api/vehicles").await.status, 200);
    gateway.vehicles_proxy.disconnect();
    // A call whose connection breaks under it may end as a timeout.
    let unavailable = async || Some(caller.get("/api/vehicles").await).filter(|answer| answer.status == 503);
    let answer = eventually("a 503", 20, unavailable).await;
    assert_eq!(answer.json["code"], json!("UPSTREAM_UNAVAILABLE"), "{}", answer.text);
    gateway.vehicles_proxy.restore();
    let back = async || (caller.get("/api/vehicles").await.status == 200).then_some(());
    eventually("vehicles again", 20, back).await;
}

#[tokio::test]
async fn requests_that_need_no_auth_service_survive_its_outage() {
    let gateway = Gateway::start().await;
    gateway.vehicles.respond::<vehicle::ListVehiclesRequest, _>(vehicle::ListVehiclesResponse::default());
    gateway.auth.respond::<auth::GetMeRequest, _>(auth::User::default());
    let caller = gateway.caller(Role::User);
    assert_eq!(caller.get("/api/auth/me").await.status, 200);
    gateway.auth_proxy.disconnect();
    let unavailable = async || (caller.get("/api/auth/me").await.status == 503).then_some(());
    eventually("a 503", 20, unavailable).await;
    assert_eq!(caller.get("/api/vehicles").await.status, 200);
    let anonymous = gateway.caller(Role::User);
    assert_eq!(anonymous.get("/api/vehicles").await.status, 200, "the keys are known");
    gateway.auth_proxy.restore();
    let back = async || (caller.get("/api/auth/me").await.status == 200).then_some(());
    eventually("auth again", 20, back).await;
}
