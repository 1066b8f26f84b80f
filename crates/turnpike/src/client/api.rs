//! The gateway's HTTP API, as far as the client needs it.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use turnpike_kit::{Environment, Outbound, listen};

use crate::cli::Server;

/// A signed-in client.
#[derive(Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
    user: String,
    password: SecretString,
    token: SecretString,
}

impl Api {
    pub(crate) async fn sign_in(env: &Environment, outbound: &Outbound, server: &Server) -> anyhow::Result<Self> {
        let base = match &server.server {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", listen::address(env, "TURNPIKE_HTTP", "127.0.0.1:8080")?),
        };
        anyhow::ensure!(
            base.starts_with("http://"),
            "--server must begin with http:// (TLS ends in front of the gateway)"
        );
        outbound.permit(&base)?;
        let user = server.user.clone().or(env.get("TURNPIKE_ADMIN_EMAIL")?.map(str::to_owned));
        let password = env.get("TURNPIKE_ADMIN_PASSWORD")?.context("set TURNPIKE_ADMIN_PASSWORD to the password")?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            .build()?;
        let mut api = Self {
            http,
            base,
            user: user.unwrap_or_else(|| "admin".to_owned()),
            password: SecretString::from(password),
            token: SecretString::default(),
        };
        api.renew().await?;
        Ok(api)
    }

    /// Signs in again.
    pub(crate) async fn renew(&mut self) -> anyhow::Result<()> {
        let name = if self.user.contains('@') { "email" } else { "username" };
        let body = json!({ name: self.user, "password": self.password.expose_secret() });
        let answer = self.call(Method::POST, "/api/auth/login", Some(body)).await?;
        let token = answer["access_token"].as_str().context("the gateway's answer has no access token")?;
        self.token = SecretString::from(token);
        Ok(())
    }

    /// The id of a vehicle that is named by its id or its VIN.
    pub(crate) async fn vehicle(&self, name: &str) -> anyhow::Result<String> {
        let query = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        let found = self.call(Method::GET, &format!("/api/vehicles?search={query}"), None).await?;
        let found = found.as_array().map(Vec::as_slice).unwrap_or_default();
        match found.iter().find(|vehicle| vehicle["vin"] == name) {
            Some(vehicle) => Ok(vehicle["id"].as_str().unwrap_or_default().to_owned()),
            None => Ok(name.to_owned()), // an id, or something that the gateway refuses in its own words
        }
    }

    /// Sends a command; gives its id.
    pub(crate) async fn submit(
        &self,
        vehicle_id: &str,
        name: &str,
        params: Map<String, Value>,
        timeout: Option<u32>,
    ) -> anyhow::Result<String> {
        let mut body = json!({ "vehicle_id": vehicle_id, "command_name": name, "command_params": params });
        if let Some(seconds) = timeout {
            body["timeout_seconds"] = seconds.into();
        }
        let answer = self.call(Method::POST, "/api/commands", Some(body)).await?;
        Ok(answer["command_id"].as_str().context("the gateway's answer has no command id")?.to_owned())
    }

    /// The address of a WebSocket, and the header that opens it.
    pub(crate) fn socket(&self, path: &str) -> (String, String) {
        let base = self.base.replacen("http", "ws", 1);
        (format!("{base}{path}"), format!("Bearer {}", self.token.expose_secret()))
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !self.token.expose_secret().is_empty() {
            request = request.bearer_auth(self.token.expose_secret());
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.with_context(|| format!("{} cannot be reached", self.base))?;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        if !status.is_success() {
            bail!(problem(status, &body));
        }
        Ok(body)
    }
}

/// A problem in one line, with the fields that it names.
fn problem(status: StatusCode, body: &Value) -> String {
    let detail = body["detail"].as_str().unwrap_or("no details");
    let fields = body["errors"].as_array().into_iter().flatten();
    let fields: String = fields
        .map(|e| format!("; {} {}", e["field"].as_str().unwrap_or_default(), e["message"].as_str().unwrap_or_default()))
        .collect();
    format!("{detail}{fields} ({})", status.as_u16())
}
