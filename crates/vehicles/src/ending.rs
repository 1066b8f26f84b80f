//! Ends that this service declares, and ends that are stored without the final event of the topic. The latter happens while the
//! bus is unavailable, or if an event cannot be archived.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{error, info};
use turnpike_kit::Retry;
use turnpike_store::{Store, micros};

use crate::{
    archive::{MAX_CODE, MAX_MESSAGE},
    commands::Open,
    lifecycle::State,
    publisher::Declared,
    supervised::{Stop, Supervised},
    text::clean,
};

/// If the bus does not accept a declared end within this time, the end is stored in the database first.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

impl Supervised {
    pub(crate) fn at_the_deadline(&self) -> Declared {
        let state = self.open.command.effect.at_the_deadline(self.open.command.state);
        Declared { state, error: None, at: self.resources.clock.now() }
    }

    /// Stops the dispatch, then declares an end. A dispatch that continued could start the command after its end.
    pub(crate) async fn declare(&mut self, end: Declared) -> Result<(), Stop> {
        info!(state = end.state.as_str(), error = ?end.error.as_ref().map(|(code, _)| code), "the command's end is declared");
        self.dispatching = None;
        self.declared = Some(end.clone());
        self.publish_end(end).await
    }

    /// Closes the topic with a declared end. If the bus does not accept it within [`PUBLISH_TIMEOUT`], the end is stored in the
    /// database first, and publishing continues.
    pub(crate) async fn publish_end(&mut self, end: Declared) -> Result<(), Stop> {
        let mut publishing = Box::pin(self.publisher().end(end.clone()));
        if !self.end_stored {
            let late = self.resources.clock.sleep(PUBLISH_TIMEOUT);
            tokio::select! {
                biased;
                () = &mut publishing => return Ok(()),
                () = late => {}
            }
            tokio::select! {
                biased;
                () = &mut publishing => return Ok(()),
                stored = self.store_end(&end) => stored?,
            }
        }
        publishing.await;
        Ok(())
    }

    /// Stores a declared end in the database before the bus has accepted it.
    pub(crate) async fn store_end(&mut self, end: &Declared) -> Result<(), Stop> {
        // In this state only the final event of the topic moves the command, so no earlier event overwrites the stored end.
        self.open.command.state = State::InProgress;
        let mut retry = Retry::default();
        loop {
            match declare(&self.resources.store, &self.open, end).await {
                Ok(true) => {
                    self.end_stored = true;
                    return Ok(());
                }
                Ok(false) => return Err(Stop::TakenOver),
                Err(error) if turnpike_store::is_unavailable(&error) => {
                    retry.pause(&self.resources.clock, "the command's end cannot be stored yet", error).await;
                }
                Err(error) => {
                    error!(%error, "the command's end cannot be stored before its topic is closed");
                    return Ok(());
                }
            }
        }
    }
}

/// Stores a declared end before the bus has accepted it. The command stays open (`ended = 0`), because its supervisor must still
/// close the topic. If another final event was published first, that event then replaces the stored end. Returns `false` if
/// another instance has taken the command over.
async fn declare(store: &Store, open: &Open, end: &Declared) -> Result<bool, sqlx::Error> {
    let (code, message) = columns(end.error.as_ref());
    let stored = sqlx::query(
        "UPDATE commands SET state = $1, completed_at = $2, error_code = COALESCE($3, error_code),
             error_message = COALESCE($4, error_message)
         WHERE id = $5 AND fence = $6 AND ended = 0",
    )
    .bind(end.state.as_str())
    .bind(micros(end.at))
    .bind(code)
    .bind(message)
    .bind(open.command.id.to_string())
    .bind(open.fence)
    .execute(store.pool())
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// Ends a command whose final event cannot be stored. Returns `false` if another instance has taken the command over.
pub async fn end(
    store: &Store,
    open: &Open,
    state: State,
    why: &(String, String),
    at: Timestamp,
) -> Result<bool, sqlx::Error> {
    let (code, message) = columns(Some(why));
    let stored = sqlx::query(
        "UPDATE commands SET state = $1, ended = 1, completed_at = $2, error_code = COALESCE(error_code, $3),
             error_message = COALESCE(error_message, $4)
         WHERE id = $5 AND fence = $6 AND ended = 0",
    )
    .bind(state.as_str())
    .bind(micros(at.max(open.command.submitted_at)))
    .bind(code)
    .bind(message)
    .bind(open.command.id.to_string())
    .bind(open.fence)
    .execute(store.pool())
    .await?;
    Ok(stored.rows_affected() == 1)
}

fn columns(error: Option<&(String, String)>) -> (Option<String>, Option<String>) {
    error.map(|(code, message)| (clean(code, MAX_CODE), clean(message, MAX_MESSAGE))).unzip()
}
