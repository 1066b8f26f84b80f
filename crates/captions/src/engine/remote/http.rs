//! The HTTP client, for http and https.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use secrecy::ExposeSecret;
use tokio::time::timeout;
use turnpike_kit::Trust;

use super::RemoteConfig;
use crate::engine::EngineError;

/// How long the server may take for a segment, which has at most ten seconds of audio.
const TOTAL: Duration = Duration::from_secs(20);
/// The longest response.
const MAX_RESPONSE: usize = 1 << 20;

pub(super) struct Http(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Http {
    pub(super) fn new(trust: &Trust) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(trust.client())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Self(Client::builder(TokioExecutor::new()).timer(TokioTimer::new()).pool_timer(TokioTimer::new()).build(tls))
    }

    /// Sends a recording. Returns the body of the response.
    pub(super) async fn post(
        &self,
        config: &RemoteConfig,
        content_type: String,
        body: Bytes,
    ) -> Result<Bytes, EngineError> {
        let uri = format!("{}/audio/transcriptions", config.url.to_string().trim_end_matches('/'));
        let mut request = Request::post(uri).header(header::CONTENT_TYPE, content_type);
        if !config.api_key.expose_secret().is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", config.api_key.expose_secret()));
        }
        let request = request.body(Full::new(body)).map_err(|error| failed(&error))?;
        let work = async {
            let response = self.0.request(request).await.map_err(|error| failed(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
            let body = body.map_err(|error| failed(&*error))?.to_bytes();
            match status.is_success() {
                true => Ok(body),
                false => Err(EngineError(format!("the server of transcriptions answered with the status {status}"))),
            }
        };
        let late = || EngineError(format!("the server of transcriptions did not answer within {TOTAL:?}"));
        timeout(TOTAL, work).await.map_err(|_| late())?
    }
}

fn failed(error: &dyn Error) -> EngineError {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    EngineError(format!("the server of transcriptions: {error}{cause}"))
}
