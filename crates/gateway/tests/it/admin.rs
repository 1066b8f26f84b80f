//! `/api/admin`.

use serde_json::json;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::auth::v1 as pb;
use turnpike_token::Role;

use crate::gateway::Gateway;

const ID: &str = "01890000-0000-7000-8000-000000000001";

fn user() -> pb::User {
    pb::User { id: ID.to_owned(), username: "ada".to_owned(), role: pb::Role::User.into(), ..Default::default() }
}

#[tokio::test]
async fn only_admins_are_admitted() {
    let gateway = Gateway::start().await;
    for role in [Role::User, Role::Operator, Role::Engineer] {
        let caller = gateway.caller(role);
        // The role is checked before the body.
        let answer = caller.post("/api/admin/users", json!("not an account")).await;
        assert_eq!((answer.status, &answer.json["code"]), (403, &json!("FORBIDDEN")), "{role}");
        assert_eq!(caller.get("/api/admin/services").await.status, 403, "{role}");
    }
}

#[tokio::test]
async fn a_page_of_accounts_links_to_the_next() {
    let gateway = Gateway::start().await;
    let response = pb::ListUsersResponse { users: vec![user()], next_cursor: "next page".to_owned() };
    gateway.auth.respond::<pb::ListUsersRequest, _>(response);
    let answer = gateway.caller(Role::Admin).get("/api/admin/users?limit=1").await;
    assert_eq!((answer.status, &answer.json[0]["username"]), (200, &json!("ada")));
    let link = answer.headers["link"].to_str().expect("text");
    assert!(link.contains("limit=1") && link.contains("cursor=") && link.ends_with(r#"rel="next""#), "{link}");
    let [request] = gateway.auth.received::<pb::ListUsersRequest>().try_into().expect("one request");
    assert_eq!((request.limit, request.cursor.as_str()), (1, ""));
}

#[tokio::test]
async fn an_account_is_created_once_for_one_key() {
    let gateway = Gateway::start().await;
    gateway.auth.respond::<pb::CreateUserRequest, _>(pb::CreateUserResponse { user: Some(user()), replayed: true });
    let admin = gateway.caller(Role::Admin);
    let body = json!({ "email": "ada@example.com", "username": "ada", "password": "correct horse battery" });
    let request = admin.request("POST".parse().expect("a method"), "/api/admin/users").json(&body);
    let answer = admin.send(request.header("idempotency-key", "k")).await;
    assert_eq!((answer.status, answer.headers["idempotency-replayed"].as_bytes()), (201, b"true".as_slice()));
    let [request] = gateway.auth.received::<pb::CreateUserRequest>().try_into().expect("one request");
    assert_eq!((request.idempotency_key.as_str(), request.role()), ("k", pb::Role::Unspecified));
}

#[tokio::test]
async fn a_conflict_of_auth_keeps_its_code() {
    let gateway = Gateway::start().await;
    let fault = Fault::new(Kind::Conflict, "The last active admin cannot be demoted").code_is("LAST_ADMIN");
    gateway.auth.fail::<pb::UpdateUserRequest, pb::User>(fault);
    let answer = gateway.caller(Role::Admin).patch(&format!("/api/admin/users/{ID}"), json!({ "role": "user" })).await;
    assert_eq!((answer.status, &answer.json["code"]), (409, &json!("LAST_ADMIN")));
}

#[tokio::test]
async fn deleting_an_account_or_its_sessions_has_no_content() {
    let gateway = Gateway::start().await;
    gateway.auth.respond::<pb::DeleteUserRequest, _>(pb::DeleteUserResponse {});
    gateway.auth.respond::<pb::EndUserSessionsRequest, _>(pb::EndSessionResponse {});
    let admin = gateway.caller(Role::Admin);
    for path in [format!("/api/admin/users/{ID}"), format!("/api/admin/users/{ID}/sessions")] {
        let answer = admin.delete(&path).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{path}");
    }
    assert_eq!(admin.delete("/api/admin/users/no-id").await.status, 404);
}

#[tokio::test]
async fn the_health_of_services_shows_an_unreachable_one() {
    let gateway = Gateway::start().await;
    gateway.vehicles_proxy.disconnect();
    let answer = gateway.caller(Role::Admin).get("/api/admin/services").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json[0], json!({ "name": "gateway", "status": "serving", "topics": 0 }));
    assert_eq!(answer.json[1]["name"], "auth");
    assert_eq!(answer.json[2], json!({ "name": "vehicles", "status": "unreachable" }));
    assert_eq!(answer.json[3]["name"], "chat");
}
