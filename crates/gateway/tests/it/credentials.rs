//! Which credential of a request counts, and from which pages the cookie is accepted.

use serde_json::json;
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::Answer;
use turnpike_token::Role;
use turnpike_topic::{SessionId, UserId};
use uuid::Uuid;

use crate::gateway::Gateway;

fn user(id: UserId) -> pb::User {
    pb::User { id: id.to_string(), role: pb::Role::User.into(), active: true, ..Default::default() }
}

/// A gateway that knows the cookie `good`.
async fn with_cookie() -> (Gateway, UserId) {
    let gateway = Gateway::start().await;
    let user_id = UserId::from(Uuid::now_v7());
    let access_token = gateway.token(user_id, SessionId::from(Uuid::now_v7()), Role::User);
    gateway.auth.respond::<pb::ExchangeSessionRequest, _>(pb::AccessToken { access_token, expires_in: 900 });
    gateway.auth.respond::<pb::GetMeRequest, _>(user(user_id));
    gateway.auth.respond::<pb::CreateTicketRequest, _>(pb::Ticket { ticket: "t".to_owned(), expires_in: 30 });
    (gateway, user_id)
}

async fn send(gateway: &Gateway, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let anonymous = gateway.anonymous();
    let mut request = anonymous.request(method.parse().expect("a method"), path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    anonymous.send(request).await
}

#[tokio::test]
async fn a_request_without_a_valid_credential_gets_401() {
    let gateway = Gateway::start().await;
    let expired = format!("Bearer {}", gateway.expired_token());
    for (header, code) in [
        (None, "UNAUTHENTICATED"),
        (Some("Bearer nonsense"), "INVALID_TOKEN"),
        (Some("Bearer "), "INVALID_TOKEN"),
        (Some("Basic YTpi"), "INVALID_TOKEN"),
        (Some(expired.as_str()), "TOKEN_EXPIRED"),
    ] {
        let headers: Vec<_> = header.map(|value| ("authorization", value)).into_iter().collect();
        let answer = send(&gateway, "GET", "/api/auth/me", &headers).await;
        assert_eq!((answer.status, answer.json["code"].as_str()), (401, Some(code)), "{header:?}");
    }
}

#[tokio::test]
async fn a_401_comes_before_every_other_check() {
    let gateway = Gateway::start().await;
    for (method, path) in [("POST", "/api/commands"), ("GET", "/api/vehicles?limit=x"), ("GET", "/api/commands/no-id")]
    {
        assert_eq!(send(&gateway, method, path, &[]).await.status, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn the_scheme_bearer_is_accepted_in_any_case() {
    let (gateway, user_id) = with_cookie().await;
    let token = gateway.token(user_id, SessionId::from(Uuid::now_v7()), Role::User);
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let value = format!("{scheme} {token}");
        assert_eq!(send(&gateway, "GET", "/api/auth/me", &[("authorization", &value)]).await.status, 200, "{scheme}");
    }
}

#[tokio::test]
async fn authorization_counts_before_the_cookie() {
    let (gateway, _) = with_cookie().await;
    let headers = [("authorization", "Bearer nonsense"), ("cookie", "session_token=good")];
    assert_eq!(send(&gateway, "GET", "/api/auth/me", &headers).await.status, 401);
    assert!(gateway.auth.received::<pb::ExchangeSessionRequest>().is_empty());
}

#[tokio::test]
async fn the_cookie_is_exchanged_once_for_many_requests() {
    let (gateway, _) = with_cookie().await;
    for cookie in ["session_token=good", "other=1; session_token=good; more=2", "session_token=; session_token=good"] {
        assert_eq!(send(&gateway, "GET", "/api/auth/me", &[("cookie", cookie)]).await.status, 200, "{cookie}");
    }
    let [exchange] = gateway.auth.received::<pb::ExchangeSessionRequest>().try_into().expect("one exchange");
    assert_eq!(exchange.session_token, "good");
    assert_eq!(send(&gateway, "GET", "/api/auth/me", &[("cookie", "session_tokens=good")]).await.status, 401);
}

#[tokio::test]
async fn a_change_with_the_cookie_needs_a_page_of_an_allowed_origin() {
    let (gateway, _) = with_cookie().await;
    let own = gateway.base.clone();
    for (header, status) in [
        (None, 403),
        (Some(("origin", own.as_str())), 201),
        (Some(("origin", "https://evil.example")), 403),
        (Some(("origin", "null")), 403),
        (Some(("sec-fetch-site", "same-origin")), 201),
        (Some(("sec-fetch-site", "none")), 201),
        (Some(("sec-fetch-site", "same-site")), 403),
        (Some(("sec-fetch-site", "cross-site")), 403),
    ] {
        let headers: Vec<_> = [("cookie", "session_token=good")].into_iter().chain(header).collect();
        let answer = send(&gateway, "POST", "/api/auth/tickets", &headers).await;
        assert_eq!(answer.status, status, "{header:?}: {}", answer.text);
        assert!(status == 201 || answer.json["code"] == "FOREIGN_ORIGIN", "{}", answer.text);
    }
}

#[tokio::test]
async fn a_listed_origin_may_use_the_cookie() {
    let gateway = Gateway::with(&[("TURNPIKE_ALLOWED_ORIGINS", "https://console.example")]).await;
    let access_token = gateway.token(UserId::from(Uuid::now_v7()), SessionId::from(Uuid::now_v7()), Role::User);
    gateway.auth.respond::<pb::ExchangeSessionRequest, _>(pb::AccessToken { access_token, expires_in: 900 });
    gateway.auth.respond::<pb::CreateTicketRequest, _>(pb::Ticket { ticket: "t".to_owned(), expires_in: 30 });
    let cookie = ("cookie", "session_token=good");
    let origin = |origin| [cookie, ("origin", origin)];
    assert_eq!(send(&gateway, "POST", "/api/auth/tickets", &origin("https://console.example")).await.status, 201);
    assert_eq!(send(&gateway, "POST", "/api/auth/tickets", &origin("https://other.example")).await.status, 403);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let gateway = Gateway::start().await;
    let missing = send(&gateway, "GET", "/api/nothing", &[]).await;
    assert_eq!((missing.status, &missing.json["code"]), (404, &json!("NOT_FOUND")));
    let method = send(&gateway, "PUT", "/api/auth/me", &[]).await;
    assert_eq!((method.status, &method.json["code"]), (405, &json!("METHOD_NOT_ALLOWED")));
}
