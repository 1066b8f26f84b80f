//! API keys as credentials: exchanged once, within their scopes and limits.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::{
    auth::v1 as pb,
    event::v1::{SessionEnded, event::Body},
    topic::v1 as topic,
    vehicle::v1 as vehicle,
};
use turnpike_testkit::{Person, eventually};
use turnpike_token::{ApiKey, ApiKeyClaims, Role, Scopes};
use turnpike_topic::{ApiKeyId, SessionId, Topic, UserId};
use uuid::Uuid;

use crate::{gateway::Gateway, sockets::closed};

const ID: &str = "01890000-0000-7000-8000-000000000001";

/// A key that auth knows, and its owner.
struct Owner {
    key: ApiKey,
    user: UserId,
    session: SessionId,
    access_token: String,
}

impl Owner {
    /// Auth exchanges every key for a token with these claims.
    fn of(gateway: &Gateway, scopes: &str, requests_per_minute: Option<u32>) -> Self {
        let (user, session) = (UserId::from(Uuid::now_v7()), SessionId::from(Uuid::now_v7()));
        let token = |api_key| gateway.token_of_api_key(user, session, Role::Admin, api_key);
        let access_token = token(ApiKeyClaims {
            id: ApiKeyId::from(Uuid::now_v7()),
            scopes: Scopes::from_words(scopes),
            requests_per_minute: requests_per_minute.and_then(|times| times.try_into().ok()),
            tokens_per_day: None,
        });
        gateway.auth.respond::<pb::ExchangeApiKeyRequest, _>(pb::AccessToken {
            access_token: access_token.clone(),
            expires_in: 900,
        });
        Self {
            access_token,
            key: ApiKey::new(*Uuid::now_v7().as_bytes().repeat(2).first_chunk().expect("32 bytes")),
            user,
            session,
        }
    }

    fn program(&self, gateway: &Gateway) -> Person {
        gateway.anonymous().with_token(self.key.expose())
    }
}

fn exchanges(gateway: &Gateway) -> usize {
    gateway.auth.received::<pb::ExchangeApiKeyRequest>().len()
}

/// Every service answers every request of the tests.
async fn gateway() -> Gateway {
    let gateway = Gateway::start().await;
    let user = pb::User { id: ID.to_owned(), role: pb::Role::User.into(), active: true, ..Default::default() };
    gateway.auth.respond::<pb::GetMeRequest, _>(user);
    gateway.vehicles.respond::<vehicle::ListVehiclesRequest, _>(vehicle::ListVehiclesResponse::default());
    for owner in [&gateway.auth, &gateway.vehicles] {
        owner.respond::<topic::AuthorizeRequest, _>(topic::AuthorizeResponse {
            archive: topic::Archive::None.into(),
            first: String::new(),
        });
    }
    gateway
}

#[tokio::test]
async fn many_requests_with_one_key_exchange_it_once() {
    let gateway = gateway().await;
    let owner = Owner::of(&gateway, "all", None);
    let program = owner.program(&gateway);
    let requests = (0..50).map(|_| program.get("/api/auth/me"));
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!(program.get("/api/vehicles").await.status, 200);
    let [exchange] = gateway.auth.received::<pb::ExchangeApiKeyRequest>().try_into().expect("one exchange");
    assert_eq!(exchange.key_sha256, owner.key.digest());
    let forwarded = gateway.auth.authorization::<pb::GetMeRequest>();
    assert!(forwarded.starts_with("Bearer ey"), "services receive a token, not the key");
}

#[tokio::test]
async fn a_mistyped_key_is_refused_without_a_query() {
    let gateway = gateway().await;
    let owner = Owner::of(&gateway, "all", None);
    let mut typed = owner.key.expose().to_owned();
    typed.pop();
    for key in [typed.as_str(), "tp_", &format!("{typed}!"), &format!("{}x", owner.key.expose())] {
        let answer = gateway.anonymous().with_token(key).get("/api/auth/me").await;
        assert_eq!((answer.status, &answer.json["code"]), (401, &json!("INVALID_API_KEY")), "{key}");
    }
    assert_eq!(exchanges(&gateway), 0);
}

#[tokio::test]
async fn a_refusal_is_remembered_and_an_outage_is_not() {
    let gateway = gateway().await;
    let key = ApiKey::new([1; 32]);
    let program = gateway.anonymous().with_token(key.expose());
    let fault = Fault::new(Kind::Unauthenticated, "The API key has expired").code_is("API_KEY_EXPIRED");
    gateway.auth.fail::<pb::ExchangeApiKeyRequest, pb::AccessToken>(fault);
    let requests = (0..20).map(|_| program.get("/api/auth/me"));
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!((answer.status, &answer.json["code"]), (401, &json!("API_KEY_EXPIRED")));
    }
    assert_eq!(exchanges(&gateway), 1);

    let program = gateway.anonymous().with_token(ApiKey::new([2; 32]).expose());
    gateway.auth.fail::<pb::ExchangeApiKeyRequest, pb::AccessToken>(Fault::new(Kind::Unavailable, "later"));
    assert_eq!(program.get("/api/auth/me").await.status, 503);
    Owner::of(&gateway, "all", None);
    assert_eq!(program.get("/api/auth/me").await.status, 200);
}

#[tokio::test]
async fn a_key_whose_session_ended_is_exchanged_again() {
    let gateway = gateway().await;
    let owner = Owner::of(&gateway, "all", None);
    let program = owner.program(&gateway);
    assert_eq!(program.get("/api/auth/me").await.status, 200);
    let event = SessionEnded {
        session_id: owner.session.to_string(),
        user_id: owner.user.to_string(),
        reason: "revoked".to_owned(),
    };
    gateway.publish(Topic::Sessions, Body::SessionEnded(event), false).await;
    // Its owner got another role: auth gives a token of another session.
    Owner::of(&gateway, "all", None);
    eventually("another exchange", 5, async || {
        let answer = program.get("/api/auth/me").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        (exchanges(&gateway) == 2).then_some(())
    })
    .await;
    assert_eq!(program.get("/api/auth/me").await.status, 200);
    assert_eq!(exchanges(&gateway), 2);
}

#[tokio::test]
async fn a_token_near_its_end_is_replaced_and_used_while_auth_is_away() {
    let gateway = gateway().await;
    let owner = Owner::of(&gateway, "all", None);
    let count = Arc::new(AtomicU32::new(0));
    let (counted, token) = (count.clone(), owner.access_token.clone());
    // A life of no seconds: the cached token is to be replaced at once, although it is still valid.
    gateway.auth.respond_with(move |_: &pb::ExchangeApiKeyRequest| match counted.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Ok(pb::AccessToken { access_token: token.clone(), expires_in: 0 }),
        _ => Err(Fault::new(Kind::Unavailable, "auth is away")),
    });
    let program = owner.program(&gateway);
    for exchanges in [1, 2, 3, 3, 3] {
        let answer = program.get("/api/auth/me").await;
        assert_eq!((answer.status, count.load(Ordering::SeqCst)), (200, exchanges), "{}", answer.text);
    }
}

#[tokio::test]
async fn routes_that_manage_credentials_and_accounts_refuse_every_key() {
    let gateway = gateway().await;
    let program = Owner::of(&gateway, "all", None).program(&gateway);
    let routes = [
        ("POST", "/api/auth/change-password"),
        ("GET", "/api/auth/sessions"),
        ("DELETE", &format!("/api/auth/sessions/{ID}")),
        ("POST", "/api/auth/api-keys"),
        ("GET", "/api/auth/api-keys"),
        ("DELETE", &format!("/api/auth/api-keys/{ID}")),
        ("GET", "/api/admin/users"),
        ("POST", "/api/admin/users"),
        ("GET", &format!("/api/admin/users/{ID}")),
        ("PATCH", &format!("/api/admin/users/{ID}")),
        ("DELETE", &format!("/api/admin/users/{ID}")),
        ("GET", &format!("/api/admin/users/{ID}/sessions")),
        ("DELETE", &format!("/api/admin/users/{ID}/sessions")),
        ("GET", &format!("/api/admin/users/{ID}/api-keys")),
        ("DELETE", &format!("/api/admin/users/{ID}/api-keys/{ID}")),
    ];
    for (method, path) in routes {
        let answer = program.send(program.request(method.parse().expect("a method"), path)).await;
        assert_eq!((answer.status, &answer.json["code"]), (403, &json!("API_KEY_NOT_ALLOWED")), "{method} {path}");
    }
    let logout = program.post("/api/auth/logout", json!({})).await;
    assert_eq!((logout.status, gateway.auth.received::<pb::LogoutRequest>().len()), (200, 0));
}

/// Every route of the description either admits keys of everything, or is one of those above.
#[tokio::test]
async fn every_other_route_needs_a_scope() {
    let gateway = gateway().await;
    let description = gateway.anonymous().get("/api/openapi.json").await.json;
    let nothing = Owner::of(&gateway, "", None).program(&gateway);
    let mut checked = 0;
    for (path, operations) in description["paths"].as_object().expect("paths") {
        let path = path.replace("{topic}", &format!("vehicle:{ID}"));
        let path =
            path.split('/').map(|part| if part.starts_with('{') { ID } else { part }).collect::<Vec<_>>().join("/");
        for (method, operation) in operations.as_object().expect("operations") {
            if operation["security"].is_array() || ["/api/auth/me", "/api/auth/tickets"].contains(&path.as_str()) {
                continue;
            }
            let method = method.to_uppercase();
            let answer = nothing.send(nothing.request(method.parse().expect("a method"), &path)).await;
            // Below /v1 errors have OpenAI's form.
            let code = answer.json["code"].as_str().or(answer.json["error"]["code"].as_str()).unwrap_or_default();
            let code = code.to_ascii_uppercase();
            assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text);
            assert!(["API_KEY_NOT_ALLOWED", "INSUFFICIENT_SCOPE"].contains(&code.as_str()), "{method} {path}: {code}");
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
    assert_eq!(nothing.get("/api/auth/me").await.status, 200);
}

#[tokio::test]
async fn a_key_is_used_within_its_scopes() {
    let gateway = gateway().await;
    let (command, own) = (format!("response:{ID}"), format!("user:{ID}"));
    let follow = |topic: &str| format!("/api/topics/{topic}/events?since=live");
    let submit = json!({ "vehicle_id": ID, "command_name": "ReadDTC" });
    // A status of 501 shows that the request reached the service, which has no script for it.
    for (scopes, list, send, services, command_events, own_events) in [
        ("vehicles", 200, 501, 403, 200, 403),
        ("read", 200, 403, 403, 200, 200),
        ("admin", 403, 403, 200, 403, 403),
        ("chat llm", 403, 403, 403, 403, 403),
        ("all", 200, 501, 200, 200, 200),
    ] {
        let program = Owner::of(&gateway, scopes, None).program(&gateway);
        assert_eq!(program.get("/api/vehicles").await.status, list, "{scopes}");
        let sent = program.post("/api/commands", submit.clone()).await;
        assert_eq!(sent.status, send, "{scopes}: {}", sent.text);
        assert_eq!(program.get("/api/admin/services").await.status, services, "{scopes}");
        for (topic, status) in [(&command, command_events), (&own, own_events)] {
            // Only the status: a stream does not end.
            let answer = program.request("GET".parse().expect("a method"), &follow(topic)).send().await;
            assert_eq!(answer.expect("a response").status().as_u16(), status, "{scopes} {topic}");
        }
    }
    let program = Owner::of(&gateway, "read", None).program(&gateway);
    let answer = program.post("/api/commands", submit).await;
    assert_eq!(answer.json["code"], "INSUFFICIENT_SCOPE");
    assert_eq!(answer.json["detail"], "The API key needs the scope vehicles");
}

#[tokio::test]
async fn a_key_opens_sockets_within_its_scopes() {
    let gateway = gateway().await;
    let owner = Owner::of(&gateway, "chat", None);
    let key = owner.key.expose();
    let path = format!("/ws/responses/{ID}");
    let header = format!("Bearer {key}");
    assert_eq!(gateway.open(&path, &[("authorization", &header)]).await.err(), Some(403));
    assert_eq!(gateway.open(&format!("{path}?token={key}"), &[]).await.err(), Some(403));
    let mut socket = gateway.open(&format!("/ws?token={key}"), &[]).await.expect("a socket");
    assert_eq!(socket.frame().await["event"], "hello");
    socket.send(json!({ "action": "subscribe", "id": 1, "topic": format!("vehicle:{ID}") })).await;
    let refused = socket.frame().await;
    assert_eq!((&refused["event"], &refused["code"]), (&json!("error"), &json!("INSUFFICIENT_SCOPE")));
    socket.send(json!({ "action": "auth", "id": 2, "token": key })).await;
    assert_eq!(socket.frame().await["id"], json!(2), "the key renews the token of its socket");

    let mut by_header = owner.program(&gateway).socket().await;
    assert_eq!(by_header.frame().await["event"], "hello");
    let mut mistyped = gateway.open("/ws?token=tp_x", &[]).await.expect("an upgrade");
    assert_eq!(mistyped.next().await, closed(1008, "Invalid authentication token"));
}

#[tokio::test]
async fn a_key_has_its_requests_a_minute() {
    let gateway = gateway().await;
    let owner = Owner::of(&gateway, "all", Some(3));
    let program = owner.program(&gateway);
    for _ in 0..3 {
        assert_eq!(program.get("/api/auth/me").await.status, 200);
    }
    let answer = program.get("/api/auth/me").await;
    assert_eq!((answer.status, &answer.json["code"]), (429, &json!("RATE_LIMITED")));
    let after: u64 = answer.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=20).contains(&after), "{after}");
    let path = format!("/ws?token={}", owner.key.expose());
    assert_eq!(gateway.open(&path, &[]).await.err(), Some(429), "a handshake is a request");
    let other = Owner::of(&gateway, "all", Some(3));
    assert_eq!(other.program(&gateway).get("/api/auth/me").await.status, 200, "another key has its own limit");
}

#[tokio::test]
async fn a_key_is_shown_when_it_is_created_and_never_again() {
    let gateway = gateway().await;
    let key =
        pb::ApiKey { id: ID.to_owned(), name: "ci".to_owned(), scopes: vec!["read".to_owned()], ..Default::default() };
    let response = pb::CreateApiKeyResponse { api_key: Some(key.clone()), key: "tp_secret".to_owned(), replayed: true };
    gateway.auth.respond::<pb::CreateApiKeyRequest, _>(response);
    gateway.auth.respond::<pb::ListApiKeysRequest, _>(pb::ListApiKeysResponse { api_keys: vec![key] });
    let caller = gateway.caller(Role::User);
    let body = json!({ "name": "ci", "scopes": ["read"], "expires_in_days": 7, "requests_per_minute": 60 });
    let request = caller.request("POST".parse().expect("a method"), "/api/auth/api-keys").json(&body);
    let answer = caller.send(request.header("idempotency-key", "k")).await;
    assert_eq!((answer.status, &answer.json["key"]), (201, &json!("tp_secret")));
    assert_eq!(answer.headers["idempotency-replayed"], "true");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let [request] = gateway.auth.received::<pb::CreateApiKeyRequest>().try_into().expect("one request");
    assert_eq!((request.scopes, request.expires_in_days), (vec!["read".to_owned()], Some(7)));
    assert_eq!((request.requests_per_minute, request.tokens_per_day), (Some(60), None));
    let listed = caller.get("/api/auth/api-keys").await.json;
    assert_eq!((&listed[0]["name"], &listed[0]["key"]), (&json!("ci"), &Value::Null));

    for (body, field) in [
        (json!({ "name": "x", "scopes": ["read", "teleport"] }), "scopes[1]"),
        (json!({ "name": "x", "scopes": [] }), "scopes"),
        (json!({ "name": "x", "key": "tp_mine" }), "key"),
        (json!({}), "name"),
    ] {
        let answer = caller.post("/api/auth/api-keys", body).await;
        assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!(field)), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_socket_ends_with_its_key() {
    let gateway = gateway().await;
    let owner = Owner::of(&gateway, "all", None);
    let mut socket = owner.program(&gateway).socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    let event = SessionEnded {
        session_id: owner.session.to_string(),
        user_id: owner.user.to_string(),
        reason: "revoked".to_owned(),
    };
    gateway.publish(Topic::Sessions, Body::SessionEnded(event), false).await;
    assert_eq!(socket.next().await, closed(4401, "Session ended"));
}
