//! The gateway's HTTP API, as far as the client needs it.

use std::{fmt, time::Duration};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use turnpike_kit::{Environment, Outbound, listen, variables};

use super::credential::Credential;
use crate::cli::Place;

/// A gateway, without a credential.
#[derive(Clone)]
pub(crate) struct Gateway {
    http: reqwest::Client,
    /// Its address, in the one way of writing it.
    pub(crate) base: String,
}

impl Gateway {
    pub(crate) fn new(env: &Environment, outbound: &Outbound, place: &Place) -> anyhow::Result<Self> {
        let text = match &place.server {
            Some(url) => url.clone(),
            None => format!("http://{}", listen::address(env, &variables::HTTP)?),
        };
        let expected = "--server must be a URL such as http://127.0.0.1:8080";
        let url: Url = text.parse().context(expected)?;
        ensure!(url.scheme() == "http", "--server must begin with http:// (TLS ends in front of the gateway)");
        let bare =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        ensure!(bare && url.has_host(), expected);
        let base = url.as_str().trim_end_matches('/').to_owned();
        outbound.permit(&base)?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none()) // a credential is for this gateway only
            .build()?;
        Ok(Self { http, base })
    }

    /// One request; `token` is empty for one without a credential.
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

    /// One request without a credential.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
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
    /// With an access token for now; the credential gives later ones.
    pub(crate) async fn sign_in(gateway: Gateway, credential: Credential) -> anyhow::Result<Self> {
        let token = credential.token(&gateway, None).await?;
        Ok(Self { gateway, credential, token })
    }

    /// Replaces an access token that the gateway has refused.
    pub(crate) async fn renew(&mut self) -> anyhow::Result<()> {
        self.token = self.credential.token(&self.gateway, Some(&self.token)).await?;
        Ok(())
    }

    /// The id of a vehicle that is named by its id or its VIN.
    pub(crate) async fn vehicle(&mut self, name: &str) -> anyhow::Result<String> {
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

    /// The user as the server knows it.
    pub(crate) async fn me(&mut self) -> anyhow::Result<Value> {
        self.call(Method::GET, "/api/auth/me", None).await
    }

    /// When the session in use ends, if it is a kept one.
    pub(crate) fn kept_until(&self) -> Option<Timestamp> {
        self.credential.kept_until(&self.token)
    }

    /// The address of a WebSocket, and the header that opens it.
    pub(crate) fn socket(&self, path: &str) -> (String, String) {
        let base = self.gateway.base.replacen("http", "ws", 1);
        (format!("{base}{path}"), format!("Bearer {}", self.token.expose_secret()))
    }

    /// A token that is not accepted is replaced once: the session may have ended since it was kept.
    async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        match self.gateway.call(method.clone(), path, &self.token, body).await {
            Err(error) if is_unauthorized(&error) => {
                self.renew().await?;
                self.gateway.call(method, path, &self.token, body).await
            }
            answered => answered,
        }
    }
}

/// The gateway's refusal.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// In one line, with the fields that it names.
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

/// Whether the gateway has refused with this status.
pub(crate) fn is(error: &anyhow::Error, status: StatusCode) -> bool {
    error.downcast_ref::<Problem>().is_some_and(|problem| problem.status == status)
}

/// Whether the gateway has refused the credential.
pub(crate) fn is_unauthorized(error: &anyhow::Error) -> bool {
    is(error, StatusCode::UNAUTHORIZED)
}
