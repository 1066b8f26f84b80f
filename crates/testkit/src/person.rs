//! An HTTP client of a gateway, anonymous or signed in.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Socket;

/// The password of the first admin and of every account that tests create.
pub const ADMIN_PASSWORD: &str = "a long enough pass phrase";

#[derive(Clone)]
pub struct Person {
    http: reqwest::Client,
    base: String,
    /// The access token; empty if the person is anonymous.
    pub token: String,
    pub refresh_token: String,
    /// The `user` object of the login response; null if the person is anonymous.
    pub user: Value,
}

/// An HTTP response with its whole body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// The parsed body; null if the body is not JSON.
    pub json: Value,
    pub text: String,
}

impl Person {
    pub fn anonymous(base: &str) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()
            .expect("the HTTP client is built");
        let (token, refresh_token) = Default::default();
        Self { http, base: base.to_owned(), token, refresh_token, user: Value::Null }
    }

    pub async fn sign_in(base: &str, username: &str, password: &str) -> Self {
        let mut person = Self::anonymous(base);
        let answer = person.post("/api/auth/login", json!({ "username": username, "password": password })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let text = |field: &str| answer.json[field].as_str().unwrap_or_default().to_owned();
        (person.token, person.refresh_token) = (text("access_token"), text("refresh_token"));
        person.user = answer.json["user"].clone();
        person
    }

    /// As an admin: creates an account with this role and signs in with it.
    pub async fn create_user(&self, role: &str) -> Self {
        let name = format!("{role}-{}", Uuid::now_v7().simple());
        let body = json!({ "email": format!("{name}@example.com"), "username": name, "password": ADMIN_PASSWORD, "role": role });
        let answer = self.post("/api/admin/users", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        Self::sign_in(&self.base, &name, ADMIN_PASSWORD).await
    }

    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The same person, as a client of another gateway.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    pub fn id(&self) -> &str {
        self.user["id"].as_str().expect("signed in")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Sends a request with any method and no body.
    pub async fn request_text(&self, method: &str, path: &str) -> Answer {
        self.send(self.request(method.parse().expect("a valid method"), path)).await
    }

    /// Builds a request with the person's access token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = request.send().await.expect("the gateway responds");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("the body is readable");
        Answer { status, headers, json: serde_json::from_str(&text).unwrap_or(Value::Null), text }
    }

    /// The first page of connected vehicles, sorted by VIN. The simulator's VINs are the same at each start; the registry assigns
    /// the ids of vehicles that appear together in any order.
    pub async fn vehicles(&self) -> Vec<Value> {
        let answer = self.get("/api/vehicles?status=connected").await;
        let mut vehicles = answer.json.as_array().cloned().expect("the response is a list of vehicles");
        vehicles.sort_by_key(|vehicle| vehicle["vin"].to_string());
        vehicles
    }

    /// Submits a command and returns the HTTP response.
    pub async fn command(&self, vehicle: &Value, name: &str, params: Value) -> Answer {
        let body = json!({ "vehicle_id": vehicle["id"], "command_name": name, "command_params": params });
        self.post("/api/commands", body).await
    }

    /// Submits a command, checks that it is accepted and returns its id.
    pub async fn send_command(&self, vehicle: &Value, name: &str, params: Value) -> String {
        let answer = self.command(vehicle, name, params).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json["command_id"].as_str().expect("the response has an id").to_owned()
    }

    /// Opens a command's WebSocket at the start of its topic.
    pub async fn watch(&self, command_id: &str) -> Socket {
        Socket::open(&self.base, &format!("/ws/responses/{command_id}?token={}", self.token)).await
    }

    /// Opens a command's WebSocket after an offset.
    pub async fn watch_since(&self, command_id: &str, offset: &str) -> Socket {
        Socket::open(&self.base, &format!("/ws/responses/{command_id}?token={}&since={offset}", self.token)).await
    }

    /// Opens `/ws` with the token in the query.
    pub async fn socket_with_query(&self) -> Socket {
        Socket::open(&self.base, &format!("/ws?token={}", self.token)).await
    }

    /// Opens the multiplexed WebSocket `/ws`.
    pub async fn socket(&self) -> Socket {
        Socket::open_with(&self.base, "/ws", &[("authorization", &format!("Bearer {}", self.token))])
            .await
            .expect("the socket is accepted")
    }
}
