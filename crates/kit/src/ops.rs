//! The private HTTP port: health for whoever runs the process, metrics for whoever watches it.

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tracing::info;

use crate::{Health, OnExit, Process, recorder::recorder};

/// `GET /health/live` and `GET /health/ready`, also for the gateway's public port.
pub fn health_routes(health: Health) -> Router {
    Router::new()
        .route("/health/live", get(async || Json([("status", "live")].into_iter().collect::<Report>())))
        .route("/health/ready", get(ready))
        .with_state(health)
}

type Report = std::collections::BTreeMap<&'static str, &'static str>;

/// 503 names what is not ready.
async fn ready(State(health): State<Health>) -> (StatusCode, Json<Ready>) {
    let missing = health.missing();
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { status: if missing.is_empty() { "ready" } else { "not ready" }, missing }))
}

#[derive(serde::Serialize)]
struct Ready {
    status: &'static str,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    missing: std::collections::BTreeMap<&'static str, String>,
}

/// Serves the private port until the process has stopped.
pub(crate) fn serve(process: &Process, listener: TcpListener) {
    let metrics = recorder().clone();
    let upkeep = metrics.clone();
    let router = health_routes(process.health.clone()).route("/metrics", get(async move || metrics.render()));
    if let Ok(address) = listener.local_addr() {
        info!(%address, "private HTTP: /health/live, /health/ready, /metrics");
    }
    // Not stopped softly: who watches wants to see the process stop. It is dropped at the hard stop.
    process.tasks.spawn("private http", OnExit::StopProcess, {
        let stopping = process.tasks.stopping().clone();
        async move {
            tokio::select! {
                _ = axum::serve(listener, router) => {}
                () = keep(upkeep) => {}
                () = async { stopping.cancelled().await; drained().await } => {}
            }
        }
    });
}

/// Samples of histograms are put into their buckets also where nobody scrapes.
async fn keep(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        metrics.run_upkeep();
    }
}

/// Long enough for a balancer's next look at `/health/ready` to see that the process is stopping.
async fn drained() {
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
}
