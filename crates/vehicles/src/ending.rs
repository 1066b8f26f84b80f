//! Ends in the database that the topic's final event cannot bring: while the bus is away, and if an event cannot be stored.

use jiff::Timestamp;
use turnpike_store::{Store, micros};

use crate::{
    announce::Declared,
    commands::Open,
    lifecycle::State,
    record::{MAX_CODE, MAX_MESSAGE},
    text::clean,
};

/// Stores a declared end before the bus has it. The command stays open: whoever conducts it closes its topic, and the topic's
/// final event, which can be another one that came first, is what remains. `false` if another instance has taken over.
pub async fn declare(store: &Store, open: &Open, end: &Declared) -> Result<bool, sqlx::Error> {
    let (code, message) = error(end.error.as_ref());
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

/// Ends a command whose final event cannot be stored. `false` if another instance has taken over.
pub async fn end(
    store: &Store,
    open: &Open,
    state: State,
    why: &(String, String),
    at: Timestamp,
) -> Result<bool, sqlx::Error> {
    let (code, message) = error(Some(why));
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

fn error(error: Option<&(String, String)>) -> (Option<String>, Option<String>) {
    error.map(|(code, message)| (clean(code, MAX_CODE), clean(message, MAX_MESSAGE))).unzip()
}
