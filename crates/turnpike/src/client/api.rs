//! The HTTP API of a gateway, for a signed-in client.

use anyhow::Context;
use jiff::Timestamp;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::{
    credential::Credential,
    gateway::{Gateway, is_unauthorized},
};

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

    /// Sends a POST whose response is a stream of server-sent events. The key makes a repeated request get the response of the first.
    pub(crate) async fn open(&mut self, path: &str, body: &Value, key: &str) -> anyhow::Result<reqwest::Response> {
        match self.gateway.open(path, &self.token, body, key).await {
            Err(error) if is_unauthorized(&error) => {
                self.renew().await?;
                self.gateway.open(path, &self.token, body, key).await
            }
            result => result,
        }
    }

    /// Gets a file as text, like [`Api::call`].
    pub(crate) async fn text(&mut self, path: &str) -> anyhow::Result<String> {
        match self.gateway.text(path, &self.token).await {
            Err(error) if is_unauthorized(&error) => {
                self.renew().await?;
                self.gateway.text(path, &self.token).await
            }
            result => result,
        }
    }

    /// Sends a request. If the gateway refuses the access token, gets another one and sends the request again.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        match self.gateway.call(method.clone(), path, &self.token, body).await {
            Err(error) if is_unauthorized(&error) => {
                self.renew().await?;
                self.gateway.call(method, path, &self.token, body).await
            }
            result => result,
        }
    }
}
