//! The tasks of a store in a running process.

use std::time::Duration;

use tracing::debug;
use turnpike_kit::{OnExit, Process, tick};

use crate::{Backend, Store};

/// How often SQLite's log is copied into its file.
const CHECKPOINT: Duration = Duration::from_secs(1);

impl Store {
    /// Starts the task that commits the writes of [`Store::write`] and, for a file, the task that copies its log.
    pub fn serve(&self, process: &Process) {
        let stopping = process.tasks.stopping().clone();
        process.tasks.spawn("database writer", OnExit::StopProcess, self.clone().serve_writes(stopping.clone()));
        if self.backend() == Backend::Sqlite {
            let store = self.clone();
            process.tasks.spawn("database checkpoint", OnExit::StopProcess, async move {
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = store.checkpoint() => {}
                }
            });
        }
    }

    /// Copies the log into the file beside the writes, not between them: a passive checkpoint waits for no connection, and no
    /// connection waits for it.
    async fn checkpoint(self) {
        loop {
            tick(CHECKPOINT).await;
            if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(self.reader()).await {
                debug!(%error, "the log of the database could not be copied yet");
            }
        }
    }
}
