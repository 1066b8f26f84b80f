//! The private HTTP port: health for whoever runs the process, metrics for whoever watches it.

use std::sync::OnceLock;

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tracing::info;

use crate::{Health, OnExit, Process};

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

/// The process's one recorder of metrics. Histograms are in seconds.
pub(crate) fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &buckets)
            .expect("there are buckets");
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // Fails only where somebody else's recorder is installed; then ours shows nothing, which is all it can do.
        let _ = metrics::set_global_recorder(recorder);
        handle
    })
}
