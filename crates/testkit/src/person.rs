//! Somebody with an account, or without.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{ADMIN_PASSWORD, Watch};

/// A person at a gateway.
#[derive(Clone)]
pub struct Person {
    http: reqwest::Client,
    base: String,
    /// The access token; empty before signing in.
    pub token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// `GET /api/auth/me`, as the login said it.
    pub user: Value,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null if it is not JSON.
    pub json: Value,
    /// The body as text.
    pub text: String,
}

impl Person {
    /// Somebody who has not signed in.
    pub fn stranger(base: &str) -> Self {
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().expect("an HTTP client");
        let (token, refresh_token) = Default::default();
        Self { http, base: base.to_owned(), token, refresh_token, user: Value::Null }
    }

    /// Signs in with a username.
    pub async fn sign_in(base: &str, username: &str, password: &str) -> Self {
        let mut person = Self::stranger(base);
        let answer = person.post("/api/auth/login", json!({ "username": username, "password": password })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let text = |field: &str| answer.json[field].as_str().unwrap_or_default().to_owned();
        (person.token, person.refresh_token) = (text("access_token"), text("refresh_token"));
        person.user = answer.json["user"].clone();
        person
    }

    /// As an admin: makes an account of this role, and signs in as it.
    pub async fn invite(&self, role: &str) -> Self {
        let name = format!("{role}-{}", Uuid::now_v7().simple());
        let body = json!({ "email": format!("{name}@example.com"), "username": name, "password": ADMIN_PASSWORD, "role": role });
        let answer = self.post("/api/admin/users", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        Self::sign_in(&self.base, &name, ADMIN_PASSWORD).await
    }

    /// The same person with another access token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The same person at another gateway.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// The user's id.
    pub fn id(&self) -> &str {
        self.user["id"].as_str().expect("signed in")
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(&body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// A request by any method, without a body.
    pub async fn request_text(&self, method: &str, path: &str) -> Answer {
        self.send(self.request(method.parse().expect("a method"), path)).await
    }

    /// A request to be completed, with the person's token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    /// Sends a request and reads the answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("a body");
        Answer { status, headers, json: serde_json::from_str(&text).unwrap_or(Value::Null), text }
    }

    /// The first vehicles of the registry, connected ones only, by their VINs: the simulator's are the same at each start, while
    /// the registry numbers vehicles that appear together in any order.
    pub async fn vehicles(&self) -> Vec<Value> {
        let answer = self.get("/api/vehicles?status=connected").await;
        let mut vehicles = answer.json.as_array().cloned().expect("a list of vehicles");
        vehicles.sort_by_key(|vehicle| vehicle["vin"].to_string());
        vehicles
    }

    /// Sends a command; gives the whole answer.
    pub async fn command(&self, vehicle: &Value, name: &str, params: Value) -> Answer {
        let body = json!({ "vehicle_id": vehicle["id"], "command_name": name, "command_params": params });
        self.post("/api/commands", body).await
    }

    /// Sends a command that is accepted; gives its id.
    pub async fn send_command(&self, vehicle: &Value, name: &str, params: Value) -> String {
        let answer = self.command(vehicle, name, params).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json["command_id"].as_str().expect("an id").to_owned()
    }

    /// Watches a command from its start.
    pub async fn watch(&self, command_id: &str) -> Watch {
        Watch::open(&self.base, &format!("/ws/responses/{command_id}?token={}", self.token)).await
    }

    /// Watches a command after an offset.
    pub async fn watch_since(&self, command_id: &str, offset: &str) -> Watch {
        Watch::open(&self.base, &format!("/ws/responses/{command_id}?token={}&since={offset}", self.token)).await
    }

    /// Opens `/ws`.
    pub async fn socket(&self) -> Watch {
        Watch::open_with(&self.base, "/ws", &[("authorization", &format!("Bearer {}", self.token))])
            .await
            .expect("a socket")
    }
}
