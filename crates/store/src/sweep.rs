//! Sweeps: removing rows after their retention, in steps that are short enough not to delay other writes.

use std::{future::Future, time::Duration};

use jiff::Timestamp;
use tokio::time::sleep;
use tracing::{info, warn};
use turnpike_kit::{OnExit, Process};

/// Pause between two steps of a sweep, for other writes.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts a task that removes old rows. `step` removes a bounded number of rows that are too old at the given time, in a few
/// milliseconds, and returns how many; it is called until it returns 0, and again after `every`.
pub fn sweep<F>(
    process: &Process,
    name: &'static str,
    every: Duration,
    step: impl Fn(Timestamp) -> F + Send + Sync + 'static,
) where
    F: Future<Output = Result<u64, sqlx::Error>> + Send + 'static,
{
    let (clock, stopping) = (process.clock.clone(), process.tasks.stopping().clone());
    process.tasks.spawn("sweep", OnExit::StopProcess, async move {
        let mut removed = 0;
        loop {
            let pause = async {
                match step(clock.now()).await {
                    Ok(0) => {}
                    Ok(rows) => {
                        removed += rows;
                        metrics::counter!("turnpike_rows_removed_total", "sweep" => name).increment(rows);
                        return sleep(PAUSE).await;
                    }
                    Err(error) => {
                        warn!(sweep = name, %error, "old rows could not be removed; the sweep is tried again later");
                    }
                }
                if removed > 0 {
                    info!(sweep = name, rows = removed, "old rows removed");
                    removed = 0;
                }
                clock.sleep(every).await;
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = pause => {}
            }
        }
    });
}
