//! `/api/auth`.

use serde_json::json;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::Answer;
use turnpike_token::Role;

use crate::gateway::Gateway;

fn user() -> pb::User {
    pb::User {
        id: "01890000-0000-7000-8000-000000000001".to_owned(),
        email: "ada@example.com".to_owned(),
        username: "ada".to_owned(),
        display_name: "Ada".to_owned(),
        role: pb::Role::Operator.into(),
        active: true,
        created_at: None,
    }
}

fn logged_in() -> pb::LoginResponse {
    let tokens = pb::TokenPair {
        access_token: "access".to_owned(),
        refresh_token: "refresh".to_owned(),
        expires_in: 900,
        refresh_expires_in: 2_592_000,
    };
    let session_token = "cookie-value".to_owned();
    pb::LoginResponse { tokens: Some(tokens), session_token, session_expires_at: None, user: Some(user()) }
}

fn header(answer: &Answer, name: &str) -> String {
    answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_login_returns_tokens_and_sets_the_cookie() {
    let gateway = Gateway::start().await;
    gateway.auth.respond::<pb::LoginRequest, _>(logged_in());
    let anonymous = gateway.anonymous();
    let answer = anonymous.post("/api/auth/login", json!({ "email": "ada@example.com", "password": "secret" })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json["message"], "Login successful");
    assert_eq!(answer.json["token_type"], "Bearer");
    assert_eq!((&answer.json["access_token"], &answer.json["expires_in"]), (&json!("access"), &json!(900)));
    assert_eq!(answer.json["user"]["role"], "operator");
    let cookie = "session_token=cookie-value; HttpOnly; SameSite=Lax; Path=/; Max-Age=86400";
    assert_eq!(header(&answer, "set-cookie"), cookie);
    assert_eq!(header(&answer, "cache-control"), "no-store");
    let [request] = gateway.auth.received::<pb::LoginRequest>().try_into().expect("one request");
    assert_eq!((request.identifier.as_str(), request.client_ip.as_str()), ("ada@example.com", "127.0.0.1"));
}

#[tokio::test]
async fn a_login_from_a_page_of_another_origin_sets_no_cookie() {
    let gateway = Gateway::start().await;
    gateway.auth.respond::<pb::LoginRequest, _>(logged_in());
    let anonymous = gateway.anonymous();
    let request = anonymous.request("POST".parse().expect("a method"), "/api/auth/login");
    let body = json!({ "username": "ada", "password": "secret" });
    let answer = anonymous.send(request.header("origin", "https://evil.example").json(&body)).await;
    assert_eq!((answer.status, header(&answer, "set-cookie")), (200, String::new()));
}

#[tokio::test]
async fn a_failed_login_is_a_problem() {
    let gateway = Gateway::start().await;
    let fault = Fault::new(Kind::Unauthenticated, "Invalid credentials").code_is("INVALID_CREDENTIALS");
    gateway.auth.fail::<pb::LoginRequest, pb::LoginResponse>(fault);
    let answer = gateway.anonymous().post("/api/auth/login", json!({ "username": "ada", "password": "wrong" })).await;
    assert_eq!(answer.status, 401);
    assert_eq!(header(&answer, "content-type"), "application/problem+json");
    assert_eq!(header(&answer, "www-authenticate"), "Bearer");
    let request_id = header(&answer, "x-request-id");
    let expected = json!({ "type": "about:blank", "title": "Unauthorized", "status": 401, "detail": "Invalid credentials",
        "code": "INVALID_CREDENTIALS", "request_id": request_id });
    assert_eq!(answer.json, expected);
}

#[tokio::test]
async fn a_login_names_exactly_one_of_email_and_username() {
    let gateway = Gateway::start().await;
    for (body, field) in [
        (json!({ "password": "secret" }), "email"),
        (json!({ "email": "a@example.com", "username": "a", "password": "secret" }), "username"),
        (json!({ "username": "a", "password": "secret", "remember": true }), "remember"),
        (json!({ "username": "a" }), "password"),
    ] {
        let answer = gateway.anonymous().post("/api/auth/login", body).await;
        assert_eq!((answer.status, &answer.json["code"]), (422, &json!("VALIDATION")), "{}", answer.text);
        assert_eq!(answer.json["errors"][0]["field"], field, "{}", answer.text);
    }
    assert!(gateway.auth.received::<pb::LoginRequest>().is_empty());
}

#[tokio::test]
async fn a_rate_limited_login_says_when_to_try_again() {
    let gateway = Gateway::start().await;
    let fault = Fault::new(Kind::RateLimited, "Too many attempts").retry_after(std::time::Duration::from_secs(17));
    gateway.auth.fail::<pb::LoginRequest, pb::LoginResponse>(fault);
    let answer = gateway.anonymous().post("/api/auth/login", json!({ "username": "ada", "password": "wrong" })).await;
    assert_eq!((answer.status, header(&answer, "retry-after").as_str()), (429, "17"));
    assert_eq!(answer.json["retry_after"], 17);
}

#[tokio::test]
async fn a_one_time_code_is_refused_behind_a_proxy() {
    let gateway = Gateway::start().await;
    gateway.auth.respond::<pb::RedeemOneTimeCodeRequest, _>(logged_in());
    let anonymous = gateway.anonymous();
    let request =
        || anonymous.request("POST".parse().expect("a method"), "/api/auth/one-time").json(&json!({ "code": "c" }));
    assert_eq!(anonymous.send(request()).await.status, 200);
    assert_eq!(anonymous.send(request().header("x-forwarded-for", "127.0.0.1")).await.status, 403);
    assert_eq!(gateway.auth.received::<pb::RedeemOneTimeCodeRequest>().len(), 1);
}

#[tokio::test]
async fn the_access_token_is_passed_on_to_auth() {
    let gateway = Gateway::start().await;
    gateway.auth.respond::<pb::GetMeRequest, _>(user());
    let caller = gateway.caller(Role::User);
    let answer = caller.get("/api/auth/me").await;
    assert_eq!((answer.status, &answer.json["username"]), (200, &json!("ada")));
    assert_eq!(gateway.auth.authorization::<pb::GetMeRequest>(), format!("Bearer {}", caller.token));
}

#[tokio::test]
async fn a_replayed_change_of_password_is_marked() {
    let gateway = Gateway::start().await;
    gateway.auth.respond_with(|request: &pb::ChangePasswordRequest| {
        Ok(pb::ChangePasswordResponse { replayed: request.idempotency_key == "again" })
    });
    let caller = gateway.caller(Role::User);
    let body = json!({ "current_password": "old", "new_password": "correct horse battery" });
    let change = async |key: &str| {
        let request = caller.request("POST".parse().expect("a method"), "/api/auth/change-password").json(&body);
        caller.send(request.header("idempotency-key", key)).await
    };
    let first = change("first").await;
    assert_eq!((first.status, header(&first, "idempotency-replayed")), (200, String::new()), "{}", first.text);
    let again = change("again").await;
    assert_eq!((again.status, header(&again, "idempotency-replayed").as_str()), (200, "true"));
    let invalid = change(&"x".repeat(256)).await;
    assert_eq!((invalid.status, &invalid.json["errors"][0]["field"]), (422, &json!("Idempotency-Key")));
}

#[tokio::test]
async fn a_logout_succeeds_without_a_credential_and_clears_the_cookie() {
    let gateway = Gateway::start().await;
    let answer = gateway.anonymous().post("/api/auth/logout", json!({})).await;
    assert_eq!((answer.status, &answer.json["message"]), (200, &json!("Logout successful")));
    let cookie = "session_token=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0";
    assert_eq!(header(&answer, "set-cookie"), cookie);
    assert!(gateway.auth.received::<pb::LogoutRequest>().is_empty());
}

#[tokio::test]
async fn an_id_that_is_not_well_formed_is_not_found() {
    let gateway = Gateway::start().await;
    let answer = gateway.caller(Role::User).delete("/api/auth/sessions/no-id").await;
    assert_eq!((answer.status, &answer.json["code"]), (404, &json!("NOT_FOUND")));
    assert!(gateway.auth.received::<pb::EndSessionRequest>().is_empty());
}

#[tokio::test]
async fn a_ticket_is_created() {
    let gateway = Gateway::start().await;
    gateway.auth.respond::<pb::CreateTicketRequest, _>(pb::Ticket { ticket: "t".to_owned(), expires_in: 30 });
    let answer = gateway.caller(Role::User).post("/api/auth/tickets", json!({})).await;
    assert_eq!((answer.status, answer.json), (201, json!({ "ticket": "t", "expires_in": 30 })));
}

#[tokio::test]
async fn the_public_keys_may_be_cached() {
    let gateway = Gateway::start().await;
    let answer = gateway.anonymous().get("/.well-known/jwks.json").await;
    assert_eq!((answer.status, header(&answer, "content-type").as_str()), (200, "application/jwk-set+json"));
    assert_eq!(header(&answer, "cache-control"), "public, max-age=300");
    assert_eq!(answer.json["keys"][0]["crv"], "Ed25519");
}
