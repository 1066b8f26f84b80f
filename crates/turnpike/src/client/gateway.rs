//! Requests to a gateway, and its error responses.

use std::{fmt, time::Duration};

use anyhow::{Context, ensure};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use turnpike_kit::{Environment, Outbound, listen, variables};

use crate::cli::GatewayArgs;

/// A request with its whole response; for a stream, the request until its response begins.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// A stream that goes on for longer is cut, and resumed.
const LONGEST_STREAM: Duration = Duration::from_secs(3600);

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
            .user_agent(concat!("turnpike/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            .timeout(REQUEST_TIMEOUT)
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

    /// Gets a file as text.
    pub(crate) async fn text(&self, path: &str, token: &SecretString) -> anyhow::Result<String> {
        let request = self.http.get(format!("{}{path}", self.base)).bearer_auth(token.expose_secret());
        let answer = request.send().await.with_context(|| format!("{} cannot be reached", self.base))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(Problem::new(status, &answer.json().await.unwrap_or_default()).into());
        }
        Ok(answer.text().await?)
    }

    /// Sends a POST whose response is a stream.
    pub(crate) async fn open(
        &self,
        path: &str,
        token: &SecretString,
        body: &Value,
        idempotency_key: &str,
    ) -> anyhow::Result<reqwest::Response> {
        let request = self.http.post(format!("{}{path}", self.base)).bearer_auth(token.expose_secret()).json(body);
        let request = request.header("idempotency-key", idempotency_key).timeout(LONGEST_STREAM);
        let sent = tokio::time::timeout(REQUEST_TIMEOUT, request.send()).await;
        let unreachable = || format!("{} cannot be reached", self.base);
        let answer = sent.with_context(unreachable)?.with_context(unreachable)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(Problem::new(status, &answer.json().await.unwrap_or_default()).into());
        }
        Ok(answer)
    }

    /// Sends a POST without a credential.
    pub(crate) async fn post_anonymous(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, &SecretString::default(), Some(body)).await
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

/// Whether the error is a response that the same request gets again.
pub(crate) fn is_refusal(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Problem>().is_some_and(|problem| problem.status.is_client_error())
}

/// Whether the error is a response of the gateway with this status.
pub(crate) fn has_status(error: &anyhow::Error, status: StatusCode) -> bool {
    error.downcast_ref::<Problem>().is_some_and(|problem| problem.status == status)
}

pub(crate) fn is_unauthorized(error: &anyhow::Error) -> bool {
    has_status(error, StatusCode::UNAUTHORIZED)
}
