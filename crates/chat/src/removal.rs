//! Removing conversations: on request, and temporary ones after their time.
//!
//! A conversation disappears for everyone, with its running answer, in one transaction, in which up to [`MESSAGES`] messages are
//! removed with it. Of a longer one, the row stays without a user and without text until a sweep has removed the other messages in
//! steps, so that no deletion delays other writes for long.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{AnyConnection, Row};
use turnpike_kit::Process;
use turnpike_store::{Store, Write, micros, outbox::Bell};
use turnpike_topic::{ConversationId, UserId};

use crate::{changes::mark, conversations::corrupt_column};

/// How long a temporary conversation is kept after its last change.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Messages that one step removes.
const MESSAGES: i64 = 500;
/// Temporary conversations that one step removes.
const CONVERSATIONS: i64 = 20;
/// Pause between two searches for temporary conversations.
const TEMPORARY_EVERY: Duration = Duration::from_secs(600);
/// Pause between two searches for messages that a deletion has left.
const REST_EVERY: Duration = Duration::from_secs(10);

/// Deletes a conversation of the user. Returns whether there was one.
pub(crate) async fn delete(
    store: &Store,
    id: ConversationId,
    user_id: UserId,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    store.write(Delete { id, user_id, unchanged_since: None, now }).await
}

/// Removes temporary conversations, and what deletions have left, until the process stops.
pub(crate) fn sweep(process: &Process, store: &Store, bell: &Bell) {
    let (swept, rung) = (store.clone(), bell.clone());
    turnpike_store::sweep(process, "temporary conversations", TEMPORARY_EVERY, move |now| {
        let (store, bell) = (swept.clone(), rung.clone());
        async move {
            let removed = remove_temporary(&store, now).await;
            bell.ring();
            removed
        }
    });
    let swept = store.clone();
    turnpike_store::sweep(process, "messages of deleted conversations", REST_EVERY, move |_| {
        let store = swept.clone();
        async move { remove_rest(&store).await }
    });
}

async fn remove_temporary(store: &Store, now: Timestamp) -> Result<u64, sqlx::Error> {
    let old = sqlx::query(
        "SELECT id, user_id FROM conversations WHERE temporary = 1 AND updated_at < $1 AND user_id <> ''
         ORDER BY updated_at LIMIT $2",
    )
    .bind(micros(now - KEPT))
    .bind(CONVERSATIONS)
    .fetch_all(store.reader())
    .await?;
    let mut removed = 0;
    for row in old {
        let id = row.try_get::<String, _>("id")?.parse().map_err(|_| corrupt_column("id"))?;
        let user_id = row.try_get::<String, _>("user_id")?.parse().map_err(|_| corrupt_column("user_id"))?;
        let delete = Delete { id, user_id, unchanged_since: Some(now - KEPT), now };
        removed += u64::from(store.write(delete).await?);
    }
    Ok(removed)
}

async fn remove_rest(store: &Store) -> Result<u64, sqlx::Error> {
    let row = sqlx::query("SELECT id FROM conversations WHERE user_id = '' LIMIT 1").fetch_optional(store.reader());
    let Some(row) = row.await? else { return Ok(0) };
    store.write(RemoveMessages { id: row.try_get("id")? }).await
}

struct Delete {
    id: ConversationId,
    user_id: UserId,
    /// Only if it has not changed since this time.
    unchanged_since: Option<Timestamp>,
    now: Timestamp,
}

impl Write for Delete {
    type Output = bool;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<bool>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for write in writes {
            outputs.push(write.perform_one(on).await?);
        }
        Ok(outputs)
    }
}

impl Delete {
    async fn perform_one(&self, on: &mut AnyConnection) -> Result<bool, sqlx::Error> {
        let id = self.id.to_string();
        let emptied = sqlx::query(
            "UPDATE conversations SET user_id = '', title = '', system_prompt = '', persona_id = NULL, leaf_id = NULL
             WHERE id = $1 AND user_id = $2 AND updated_at <= $3",
        )
        .bind(&id)
        .bind(self.user_id.to_string())
        .bind(self.unchanged_since.map_or(i64::MAX, micros))
        .execute(&mut *on)
        .await?
        .rows_affected();
        if emptied == 0 {
            return Ok(false);
        }
        // Its running answer is removed at once: the instance that generates it finds that it may no longer write.
        sqlx::query(
            "DELETE FROM messages WHERE id IN (SELECT message_id FROM open_answers WHERE conversation_id = $1)",
        )
        .bind(&id)
        .execute(&mut *on)
        .await?;
        sqlx::query("DELETE FROM search_entries WHERE conversation_id = $1 AND message_id IS NULL")
            .bind(&id)
            .execute(&mut *on)
            .await?;
        mark(on, self.id, self.now).await?;
        remove_messages(on, &id).await?;
        Ok(true)
    }
}

/// One step of the removal of a deleted conversation.
struct RemoveMessages {
    id: String,
}

impl Write for RemoveMessages {
    type Output = u64;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<u64>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for Self { id } in writes {
            outputs.push(remove_messages(on, id).await?);
        }
        Ok(outputs)
    }
}

/// Removes some messages of a conversation without a user, and the conversation after its last message. Returns the number of
/// rows. A message's entry in the search index is removed with it.
async fn remove_messages(on: &mut AnyConnection, id: &str) -> Result<u64, sqlx::Error> {
    let messages = sqlx::query(
        "DELETE FROM messages WHERE id IN
             (SELECT m.id FROM messages m JOIN conversations c ON c.id = m.conversation_id
              WHERE m.conversation_id = $1 AND c.user_id = '' LIMIT $2)",
    )
    .bind(id)
    .bind(MESSAGES)
    .execute(&mut *on)
    .await?
    .rows_affected();
    if messages == MESSAGES.unsigned_abs() {
        return Ok(messages);
    }
    let row = sqlx::query("DELETE FROM conversations WHERE id = $1 AND user_id = ''").bind(id).execute(on).await?;
    Ok(messages + row.rows_affected())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use turnpike_testkit::{Database, on_both};
    use uuid::Uuid;

    use super::*;
    use crate::{conversations, creation, service::MIGRATIONS};

    on_both!(a_conversation_that_changes_while_it_is_swept_stays);

    async fn a_conversation_that_changes_while_it_is_swept_stays(database: Database) {
        let store = Store::open(database.url(), MIGRATIONS).await.expect("a database");
        let found = Timestamp::from_second(1_763_700_000).expect("in range");
        let user_id = UserId::from(Uuid::now_v7());
        let (title, system_prompt) = Default::default();
        let new = creation::New { user_id, title, temporary: true, persona_id: None, system_prompt, key: None };
        let later = found + Duration::from_secs(1);
        let id = creation::create(&store, new, later).await.expect("created").0.id;
        // The sweep found it unchanged since `found`; then it changed.
        let sweep = |unchanged_since| Delete { id, user_id, unchanged_since: Some(unchanged_since), now: later };
        assert!(!store.write(sweep(found)).await.expect("a database"), "it is not removed");
        assert!(conversations::get(&store, id).await.expect("a database").is_some());
        assert!(store.write(sweep(later)).await.expect("a database"), "it is removed");
        assert!(conversations::get(&store, id).await.expect("a database").is_none());
    }
}
