//! The requests to the gateway's HTTP API that the client needs.

use std::{fmt, time::Duration};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use turnpike_kit::{Environment, Outbound, listen, variables};

use super::credential::Credential;
use crate::cli::GatewayArgs;

/// A gateway, without a credential.
#[derive(Clone)]
pub(crate) struct Gateway {
    http: reqwest::Client,
    /// The normalized URL, without a trailing slash.
    pub(crate) base: String,
}

impl Gateway {
    pub(crate) fn new(env: &Environment, outbound: &Outbound, args: &GatewayArgs) -> anyhow::Result<Self> {
        let text = match &args.server {
            Some(url) => url.clone(),
            None => format!("http://{}", listen::address(env, &variables::HTTP)?),
        };
        let message = "--server must be a URL such as http://127.0.0.1:8080";
        let url: Url = text.parse().context(message)?;
        ensure!(url.scheme() == "http", "--server must begin with http:// (TLS ends in front of the gateway)");
        let no_extras =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        ensure!(no_extras && url.has_host(), message);
        let base = url.as_str().trim_end_matches('/').to_owned();
        outbound.permit(&base)?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none()) // the credential must be sent only to this gateway
            .build()?;
        Ok(Self { http, base })
    }

    /// Sends a request. With an empty `token` it has no credential.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        token: &SecretString,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !token.expose_secret().is_empty() {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| format!("{} cannot be reached", self.base))?;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        if !status.is_success() {
            return Err(Problem::new(status, &body).into());
        }
        Ok(body)
    }

    /// Sends a POST without a credential.
    pub(crate) async fn post_anonymous(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, &SecretString::default(), Some(body)).await
    }
}

/// A signed-in client.
#[derive(Clone)]
pub(crate) struct Api {
    gateway: Gateway,
    credential: Credential,
    token: SecretString,
}

impl Api {
    /// Gets the first access token from the credential. Later ones replace it when the gateway refuses it.
    pub(crate) async fn sign_in(gateway: Gateway, credential: Credential) -> anyhow::Result<Self> {
        let token = credential.token(&gateway, None).await?;
        Ok(Self { gateway, credential, token })
    }

    /// Replaces an access token that the gateway has refused.
    pub(crate) async fn renew(&mut self) -> anyhow::Result<()> {
        self.token = self.credential.token(&self.gateway, Some(&self.token)).await?;
        Ok(())
    }

    /// Finds the id of a vehicle by its VIN; a name that is no VIN is returned unchanged.
    pub(crate) async fn vehicle(&mut self, name: &str) -> anyhow::Result<String> {
        let query = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        let found = self.call(Method::GET, &format!("/api/vehicles?search={query}"), None).await?;
        let found = found.as_array().map(Vec::as_slice).unwrap_or_default();
        match found.iter().find(|vehicle| vehicle["vin"] == name) {
            Some(vehicle) => Ok(vehicle["id"].as_str().unwrap_or_default().to_owned()),
            None => Ok(name.to_owned()), // an id, or a name that the gateway refuses
        }
    }

    /// Submits a command and returns its id.
    pub(crate) async fn submit(
        &mut self,
        vehicle_id: &str,
        name: &str,
        params: Map<String, Value>,
        timeout: Option<u32>,
    ) -> anyhow::Result<String> {
        let mut body = json!({ "vehicle_id": vehicle_id, "command_name": name, "command_params": params });
        if let Some(seconds) = timeout {
            body["timeout_seconds"] = seconds.into();
        }
        let answer = self.call(Method::POST, "/api/commands", Some(&body)).await?;
        Ok(answer["command_id"].as_str().context("the gateway's answer has no command id")?.to_owned())
    }

    /// The signed-in user.
    pub(crate) async fn me(&mut self) -> anyhow::Result<Value> {
        self.call(Method::GET, "/api/auth/me", None).await
    }

    /// The end of the session in use, if it is a saved one.
    pub(crate) fn saved_until(&self) -> Option<Timestamp> {
        self.credential.saved_until(&self.token)
    }

    /// The URL of a WebSocket route, and the value of the `Authorization` header.
    pub(crate) fn socket(&self, path: &str) -> (String, String) {
        let base = self.gateway.base.replacen("http", "ws", 1);
        (format!("{base}{path}"), format!("Bearer {}", self.token.expose_secret()))
    }

    /// Sends a request. If the gateway refuses the access token, gets another one and sends the request again.
    async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        match self.gateway.call(method.clone(), path, &self.token, body).await {
            Err(error) if is_unauthorized(&error) => {
                self.renew().await?;
                self.gateway.call(method, path, &self.token, body).await
            }
            result => result,
        }
    }
}

/// An error response of the gateway.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// One line with the detail, the invalid fields and the status.
    text: String,
}

impl Problem {
    fn new(status: StatusCode, body: &Value) -> Self {
        let detail = body["detail"].as_str().unwrap_or("no details");
        let fields = body["errors"].as_array().into_iter().flatten();
        let fields: String = fields
            .map(|e| {
                format!("; {} {}", e["field"].as_str().unwrap_or_default(), e["message"].as_str().unwrap_or_default())
            })
            .collect();
        Self { status, text: format!("{detail}{fields} ({})", status.as_u16()) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Problem {}

/// Whether the error is a response of the gateway with this status.
pub(crate) fn has_status(error: &anyhow::Error, status: StatusCode) -> bool {
    error.downcast_ref::<Problem>().is_some_and(|problem| problem.status == status)
}

pub(crate) fn is_unauthorized(error: &anyhow::Error) -> bool {
    has_status(error, StatusCode::UNAUTHORIZED)
}
