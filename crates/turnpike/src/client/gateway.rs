//! Requests to a gateway, and its refusals.

use std::{fmt, time::Duration};

use anyhow::{Context, ensure};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use turnpike_kit::{Environment, Outbound, listen, variables};

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
