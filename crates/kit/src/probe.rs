//! Probes: components that are asked at intervals whether they answer.

use std::time::Duration;

use crate::{OnExit, Process};

/// Calls `ask` every second and reports the outcome as the component `name`, which is down for the reason `why` when `ask`
/// returns false or takes longer than two seconds.
pub fn probe<F>(process: &Process, name: &'static str, why: &'static str, ask: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = bool> + Send + 'static,
{
    let (component, stopping) = (process.health.component(name), process.tasks.stopping().clone());
    process.tasks.spawn("probe", OnExit::Continue, async move {
        loop {
            match tokio::time::timeout(Duration::from_secs(2), ask()).await {
                Ok(true) => component.up(),
                Ok(false) | Err(_) => component.down(why),
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = crate::tick(Duration::from_secs(1)) => {}
            }
        }
    });
}
