//! Removes transcripts of sessions that ended long ago, and the oldest ones when all together are too large.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};
use turnpike_kit::{OnExit, Process};

use super::registry::Registry;

/// Pause between two sweeps.
const EVERY: Duration = Duration::from_secs(300);

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// `None`: as long as there is room.
    pub age: Option<Duration>,
    pub bytes: u64,
}

/// Starts the task.
pub(crate) fn sweep(process: &Process, registry: &Registry, retention: Retention) {
    let (registry, clock, stopping) = (registry.clone(), process.clock.clone(), process.tasks.stopping().clone());
    process.tasks.spawn("captions sweep", OnExit::Continue, async move {
        loop {
            tokio::select! {
                () = clock.sleep_until(clock.now() + EVERY) => {}
                () = stopping.cancelled() => return,
            }
            match once(&registry, retention, clock.now()).await {
                Ok(0) => {}
                Ok(removed) => info!(removed, "old transcripts were removed"),
                Err(error) => warn!(%error, "transcripts cannot be swept"),
            }
        }
    });
}

async fn once(registry: &Registry, retention: Retention, now: Timestamp) -> std::io::Result<usize> {
    let mut files = registry.resources.store.list().await?;
    files.sort_by_key(|(id, changed, _)| (*changed, *id));
    let mut bytes: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
    let mut removed = 0;
    for (id, _, length) in files {
        let session = registry.sessions.lock().get(&id).cloned();
        let Some(session) = session.filter(|session| !session.is_alive()) else { continue };
        let ended = session.describe().ended_at.unwrap_or(session.opened.at);
        let is_old = retention.age.is_some_and(|age| ended + age <= now);
        if is_old || bytes > retention.bytes {
            registry.remove(&session).await?;
            bytes -= length;
            removed += 1;
        }
    }
    Ok(removed)
}
