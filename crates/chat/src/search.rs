//! Search over the titles and messages of a user. The index is written in the transaction of the text: a title when it is set, a
//! message of the user when it is stored, an answer when it has ended. Temporary conversations are not indexed.
//!
//! Each word of a query must be in the text, the last one as the beginning of a word. Results are ordered by the time at which
//! their texts were indexed, newest first.

mod snippet;
mod words;

use futures_util::TryStreamExt;
use jiff::Timestamp;
use sqlx::{AnyConnection, Row, any::AnyRow};
use turnpike_store::{Backend, Store, from_micros};
use turnpike_topic::{ConversationId, MessageId, UserId};

pub(crate) use snippet::Snippet;
pub(crate) use words::Query;

use crate::conversations::corrupt_column;

/// Writes a text to the index, in place of an earlier one: the title, or a message. The conversation, and the message, must be
/// stored already.
pub(crate) async fn index(
    on: &mut AnyConnection,
    conversation: ConversationId,
    message: Option<MessageId>,
    text: &str,
) -> Result<(), sqlx::Error> {
    let id = conversation.to_string();
    match message {
        Some(message) => {
            let delete = sqlx::query("DELETE FROM search_entries WHERE message_id = $1");
            delete.bind(message.to_string()).execute(&mut *on).await?;
        }
        None => {
            let delete = sqlx::query("DELETE FROM search_entries WHERE conversation_id = $1 AND message_id IS NULL");
            delete.bind(&id).execute(&mut *on).await?;
        }
    }
    let owner = sqlx::query("SELECT user_id FROM conversations WHERE id = $1 AND temporary = 0 AND user_id <> ''");
    let Some(owner) = owner.bind(&id).fetch_optional(&mut *on).await? else { return Ok(()) };
    let owner: String = owner.try_get("user_id")?;
    let user: UserId = owner.parse().map_err(|_| corrupt_column("user_id"))?;
    let words = words::indexed(text, user);
    if words.is_empty() {
        return Ok(());
    }
    let message = message.map(|id| id.to_string());
    if on.backend_name() == "SQLite" {
        let entry = "INSERT INTO search_entries (user_id, conversation_id, message_id) VALUES ($1, $2, $3) RETURNING n";
        let entry = sqlx::query(entry).bind(owner).bind(id).bind(message).fetch_one(&mut *on).await?;
        sqlx::query("INSERT INTO search_words (rowid, words) VALUES ($1, $2)")
            .bind(entry.try_get::<i64, _>("n")?)
            .bind(words)
            .execute(on)
            .await?;
    } else {
        sqlx::query(
            "INSERT INTO search_entries (user_id, conversation_id, message_id, words)
             VALUES ($1, $2, $3, CAST($4 AS tsvector))",
        )
        .bind(owner)
        .bind(id)
        .bind(message)
        .bind(words)
        .execute(on)
        .await?;
    }
    Ok(())
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hit {
    /// Its place in the results.
    pub(crate) n: i64,
    pub(crate) conversation_id: ConversationId,
    pub(crate) title: String,
    /// `None`: the hit is in the title.
    pub(crate) message_id: Option<MessageId>,
    /// Of the message, or of the first message of the conversation. Empty if there is none.
    pub(crate) role: String,
    pub(crate) snippet: Snippet,
    /// When the message was stored, or the conversation was created.
    pub(crate) created_at: Timestamp,
}

/// The user's titles and messages with all of the words, newest first, behind the result with the number `after`.
pub(crate) async fn search(
    store: &Store,
    user: UserId,
    query: &Query,
    after: Option<i64>,
    rows: u32,
) -> Result<Vec<Hit>, sqlx::Error> {
    let (found, wanted) = match store.backend() {
        Backend::Sqlite => (SQLITE, query.fts5(user)),
        Backend::Postgres => (POSTGRES, query.tsquery(user)),
    };
    // A version of the first message is the first message of the conversation as well; the first version has the number 1.
    let sql = format!(
        "{found}
         SELECT found.n, c.id, c.title, e.message_id, m.content, m.role, m.created_at AS said_at, c.created_at,
             f.role AS first_role, substr(f.content, 1, 200) AS beginning
         FROM found JOIN search_entries e ON e.n = found.n JOIN conversations c ON c.id = e.conversation_id
         LEFT JOIN messages m ON m.id = e.message_id
         LEFT JOIN messages f ON e.message_id IS NULL AND f.conversation_id = c.id AND f.parent_id = ''
             AND f.role = 'user' AND f.version = 1
         WHERE c.user_id = $2 ORDER BY found.n DESC"
    );
    let mut found = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(wanted)
        .bind(user.to_string())
        .bind(after.unwrap_or(i64::MAX))
        .bind(i64::from(rows))
        .fetch(store.reader());
    // One message at a time: messages can be large.
    let mut hits = Vec::new();
    while let Some(row) = found.try_next().await? {
        hits.push(hit(&row, query)?);
    }
    Ok(hits)
}

/// The full-text table is read from its highest number and only as far as the page requires.
const SQLITE: &str = "WITH found AS (
    SELECT w.rowid AS n FROM search_words w
    WHERE w.search_words MATCH $1 AND w.rowid < $3
        AND EXISTS (SELECT 1 FROM search_entries o WHERE o.n = w.rowid AND o.user_id = $2)
    ORDER BY w.rowid DESC LIMIT $4
)";

/// What the index finds is sorted afterwards. Otherwise Postgres could read all entries in the order of the results.
const POSTGRES: &str = "WITH own AS MATERIALIZED (
    SELECT o.n FROM search_entries o WHERE o.words @@ CAST($1 AS tsquery) AND o.user_id = $2 AND o.n < $3
), found AS (SELECT own.n FROM own ORDER BY own.n DESC LIMIT $4)";

fn hit(row: &AnyRow, query: &Query) -> Result<Hit, sqlx::Error> {
    let text = |column: &str| row.try_get::<Option<String>, _>(column).map(Option::unwrap_or_default);
    let message_id: Option<String> = row.try_get("message_id")?;
    let said_at: Option<i64> = row.try_get("said_at")?;
    let (role, snippet) = match message_id {
        Some(_) => (text("role")?, snippet::around_hit(&text("content")?, query)),
        None => (text("first_role")?, snippet::beginning(&text("beginning")?, query)),
    };
    Ok(Hit {
        n: row.try_get("n")?,
        conversation_id: row.try_get::<String, _>("id")?.parse().map_err(|_| corrupt_column("id"))?,
        title: row.try_get("title")?,
        message_id: message_id.map(|id| id.parse()).transpose().map_err(|_| corrupt_column("message_id"))?,
        role,
        snippet,
        created_at: from_micros(said_at.map_or_else(|| row.try_get("created_at"), Ok)?),
    })
}

#[cfg(test)]
mod tests;
