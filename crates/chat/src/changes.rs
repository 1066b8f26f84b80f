//! Changing conversations. Each change is marked in its transaction, and `outbox.rs` publishes it.

use jiff::Timestamp;
use sqlx::AnyConnection;
use turnpike_store::{Store, Write, micros};
use turnpike_topic::{ConversationId, MessageId, PersonaId, UserId};

use crate::{
    conversations::{COLUMNS, Conversation, conversation, get_within},
    personas, search,
};

/// The fields that change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) title: Option<String>,
    pub(crate) pinned: Option<bool>,
    /// The inner `None`: no persona.
    pub(crate) persona_id: Option<Option<PersonaId>>,
    pub(crate) system_prompt: Option<String>,
}

/// A refusal leaves nothing changed.
pub(crate) enum Updated {
    Done(Box<Conversation>),
    Missing,
    UnknownPersona,
}

/// Changes a conversation of the user.
pub(crate) async fn update(
    store: &Store,
    id: ConversationId,
    user_id: UserId,
    changes: Changes,
    now: Timestamp,
) -> Result<Updated, sqlx::Error> {
    store.write(Update { id, user_id, changes, now }).await
}

struct Update {
    id: ConversationId,
    user_id: UserId,
    changes: Changes,
    now: Timestamp,
}

impl Write for Update {
    type Output = Updated;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Updated>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for write in writes {
            outputs.push(write.perform_one(on).await?);
        }
        Ok(outputs)
    }
}

impl Update {
    async fn perform_one(&self, on: &mut AnyConnection) -> Result<Updated, sqlx::Error> {
        let Self { id, user_id, changes, now } = self;
        let Changes { title, pinned, persona_id, system_prompt } = changes;
        if title.is_none() && pinned.is_none() && persona_id.is_none() && system_prompt.is_none() {
            let present = get_within(on, &id.to_string(), *user_id).await?;
            return Ok(present.map_or(Updated::Missing, |present| Updated::Done(Box::new(present))));
        }
        if let Some(Some(persona_id)) = persona_id
            && !personas::may_use(on, *persona_id, *user_id).await?
        {
            let present = get_within(on, &id.to_string(), *user_id).await?;
            return Ok(present.map_or(Updated::Missing, |_| Updated::UnknownPersona));
        }
        // An empty persona is none; an absent one stays.
        let persona_id = persona_id.map(|id| id.map(|id| id.to_string()).unwrap_or_default());
        let sql = format!(
            "UPDATE conversations SET title = COALESCE($3, title),
                 title_source = CASE WHEN CAST($3 AS TEXT) IS NULL THEN title_source ELSE 'user' END, pinned = COALESCE($4, pinned),
                 persona_id = CASE WHEN CAST($5 AS TEXT) IS NULL THEN persona_id ELSE NULLIF(CAST($5 AS TEXT), '') END,
                 system_prompt = COALESCE($6, system_prompt), updated_at = $7
             WHERE id = $1 AND user_id = $2 RETURNING {COLUMNS}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id.to_string())
            .bind(user_id.to_string())
            .bind(title.as_deref())
            .bind(pinned.map(i64::from))
            .bind(persona_id)
            .bind(system_prompt.as_deref())
            .bind(micros(*now))
            .fetch_optional(&mut *on)
            .await?;
        let Some(row) = row else { return Ok(Updated::Missing) };
        if let Some(title) = title {
            search::index(on, *id, None, title).await?;
        }
        mark(on, *id, *now).await?;
        Ok(Updated::Done(Box::new(conversation(&row)?)))
    }
}

/// Sets a title that a model suggests, unless the user has set one. Returns whether it is set.
pub(crate) async fn retitle(
    on: &mut AnyConnection,
    id: ConversationId,
    title: &str,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let set = sqlx::query(
        "UPDATE conversations SET title = $2, title_source = 'model'
         WHERE id = $1 AND user_id <> '' AND title_source IN ('default', 'rule')",
    )
    .bind(id.to_string())
    .bind(title)
    .execute(&mut *on)
    .await?
    .rows_affected();
    if set == 1 {
        search::index(on, id, None, title).await?;
        mark(on, id, now).await?;
    }
    Ok(set == 1)
}

/// Shows another path: the one that ends with this message. Returns the conversation; `None` if it is not the user's.
pub(crate) async fn show(
    store: &Store,
    id: ConversationId,
    user_id: UserId,
    leaf: MessageId,
    now: Timestamp,
) -> Result<Option<Conversation>, sqlx::Error> {
    store.write(Show { id, user_id, leaf, now }).await
}

struct Show {
    id: ConversationId,
    user_id: UserId,
    leaf: MessageId,
    now: Timestamp,
}

impl Write for Show {
    type Output = Option<Conversation>;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Option<Conversation>>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for Self { id, user_id, leaf, now } in writes {
            // Showing another version leaves `updated_at` as it is, so that the conversation keeps its position in lists.
            let sql =
                format!("UPDATE conversations SET leaf_id = $3 WHERE id = $1 AND user_id = $2 RETURNING {COLUMNS}");
            let row = sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(id.to_string())
                .bind(user_id.to_string())
                .bind(leaf.to_string())
                .fetch_optional(&mut *on)
                .await?;
            if row.is_some() {
                mark(on, *id, *now).await?;
            }
            outputs.push(row.as_ref().map(conversation).transpose()?);
        }
        Ok(outputs)
    }
}

/// Marks a change of a conversation, to be published after the transaction. `Bell::ring` then wakes the publisher.
pub(crate) async fn mark(on: &mut AnyConnection, id: ConversationId, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO unpublished_changes (conversation_id, number, changed_at, claimed_until) VALUES ($1, 1, $2, 0)
         ON CONFLICT (conversation_id) DO UPDATE SET number = unpublished_changes.number + 1,
             changed_at = excluded.changed_at",
    )
    .bind(id.to_string())
    .bind(micros(now))
    .execute(on)
    .await
    .map(|_| ())
}
