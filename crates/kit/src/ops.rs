//! The private HTTP port: health and metrics.

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

/// A 503 names the components that are not ready.
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
    // Serves until the hard stop, so that a load balancer sees that the process is stopping.
    process.tasks.spawn("private http", OnExit::StopProcess, {
        let stopping = process.tasks.stopping().clone();
        async move {
            tokio::select! {
                _ = axum::serve(listener, router) => {}
                () = run_upkeep(upkeep) => {}
                () = async { stopping.cancelled().await; drained().await } => {}
            }
        }
    });
}

/// Sorts the samples of histograms into their buckets. Without it they would use more and more memory while no scraper asks for
/// them.
async fn run_upkeep(metrics: PrometheusHandle) {
    loop {
        crate::tick(std::time::Duration::from_secs(5)).await;
        metrics.run_upkeep();
    }
}

/// Long enough for a load balancer's next `/health/ready` to see that the process is stopping.
async fn drained() {
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
}
