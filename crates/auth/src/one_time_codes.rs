//! Unused one-time codes, as they are stored.

use sqlx::{Any, Transaction};
use turnpike_topic::UserId;

/// Deletes a user's unused codes, within the transaction that ends the user's sessions.
pub async fn withdraw(tx: &mut Transaction<'_, Any>, user: UserId) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM one_time_codes WHERE user_id = $1")
        .bind(user.to_string())
        .execute(&mut **tx)
        .await
        .map(|_| ())
}
