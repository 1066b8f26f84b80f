//! Conversations as they are stored, and reading them. A deleted conversation whose messages are still being removed has no user,
//! so that every statement here misses it.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use sqlx::{AnyConnection, Row, any::AnyRow};
use turnpike_fault::{Fault, Kind};
use turnpike_store::{Store, from_micros, micros};
use turnpike_topic::{ConversationId, MessageId, PersonaId, UserId};

/// The title until there is another one.
pub(crate) const DEFAULT_TITLE: &str = "New Conversation";

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conversation {
    pub(crate) id: ConversationId,
    pub(crate) user_id: UserId,
    pub(crate) title: String,
    /// Listed before the others.
    pub(crate) pinned: bool,
    /// Removed a day after its last change, and not found by searches.
    pub(crate) temporary: bool,
    pub(crate) persona_id: Option<PersonaId>,
    /// Takes the place of the persona's; can be empty.
    pub(crate) system_prompt: String,
    /// The newest message of the shown path.
    pub(crate) leaf_message_id: Option<MessageId>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// Columns of a [`Conversation`].
pub(crate) const COLUMNS: &str =
    "id, user_id, title, pinned, temporary, persona_id, system_prompt, leaf_id, created_at, updated_at";

/// Reads a row that has [`COLUMNS`].
pub(crate) fn conversation(row: &AnyRow) -> Result<Conversation, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let persona_id: Option<String> = row.try_get("persona_id")?;
    let leaf_id: Option<String> = row.try_get("leaf_id")?;
    Ok(Conversation {
        id: text("id")?.parse().map_err(|_| corrupt_column("id"))?,
        user_id: text("user_id")?.parse().map_err(|_| corrupt_column("user_id"))?,
        title: text("title")?,
        pinned: row.try_get::<i64, _>("pinned")? == 1,
        temporary: row.try_get::<i64, _>("temporary")? == 1,
        persona_id: persona_id.map(|id| id.parse()).transpose().map_err(|_| corrupt_column("persona_id"))?,
        system_prompt: text("system_prompt")?,
        leaf_message_id: leaf_id.map(|id| id.parse()).transpose().map_err(|_| corrupt_column("leaf_id"))?,
        created_at: from_micros(row.try_get("created_at")?),
        updated_at: from_micros(row.try_get("updated_at")?),
    })
}

/// A column with a value that this program never writes.
pub(crate) fn corrupt_column(column: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("the column {column} has a value that is not valid").into())
}

/// The answer to a request for a conversation that does not exist or is another user's.
pub(crate) fn missing() -> Fault {
    Fault::new(Kind::NotFound, "There is no such conversation")
}

const GET: &str = "WHERE id = $1 AND user_id = $2";

/// `None` also if the conversation is another user's.
pub(crate) async fn get_of(
    store: &Store,
    id: ConversationId,
    user: UserId,
) -> Result<Option<Conversation>, sqlx::Error> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM conversations {GET}")))
        .bind(id.to_string())
        .bind(user.to_string())
        .fetch_optional(store.reader())
        .await?;
    row.as_ref().map(conversation).transpose()
}

/// A conversation of any user.
pub(crate) async fn get(store: &Store, id: ConversationId) -> Result<Option<Conversation>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM conversations WHERE id = $1 AND user_id <> ''");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(store.reader()).await?;
    row.as_ref().map(conversation).transpose()
}

/// Like [`get_of`], within a transaction.
pub(crate) async fn get_within(
    on: &mut AnyConnection,
    id: &str,
    user: UserId,
) -> Result<Option<Conversation>, sqlx::Error> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM conversations {GET}")))
        .bind(id)
        .bind(user.to_string())
        .fetch_optional(on)
        .await?;
    row.as_ref().map(conversation).transpose()
}

/// The place of a conversation in the list of its user: pinned first, then newest change first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pinned: bool,
    updated_at: Timestamp,
    id: ConversationId,
}

impl From<&Conversation> for Place {
    fn from(c: &Conversation) -> Self {
        Self { pinned: c.pinned, updated_at: c.updated_at, id: c.id }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", u8::from(self.pinned), micros(self.updated_at), self.id)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(());
        let (pinned, at, id) = (part()?, part()?, part()?);
        let at: i64 = at.parse().map_err(drop)?;
        Ok(Self {
            pinned: pinned == "1",
            updated_at: Timestamp::from_microsecond(at).map_err(drop)?,
            id: id.parse().map_err(drop)?,
        })
    }
}

/// The conversations of a user behind this place of the list.
pub(crate) async fn list(
    store: &Store,
    user: UserId,
    after: Option<Place>,
    rows: u32,
) -> Result<Vec<Conversation>, sqlx::Error> {
    let behind = if after.is_some() { "AND (pinned, updated_at, id) < ($3, $4, $5)" } else { "" };
    let sql = format!(
        "SELECT {COLUMNS} FROM conversations WHERE user_id = $1 {behind}
         ORDER BY pinned DESC, updated_at DESC, id DESC LIMIT $2"
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user.to_string()).bind(i64::from(rows));
    if let Some(place) = after {
        query = query.bind(i64::from(place.pinned)).bind(micros(place.updated_at)).bind(place.id.to_string());
    }
    query.fetch_all(store.reader()).await?.iter().map(conversation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_text() {
        for pinned in [false, true] {
            let updated_at = Timestamp::from_microsecond(1_763_700_000_123_456).expect("in range");
            let place = Place { pinned, updated_at, id: ConversationId::new(updated_at) };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for text in ["", "1", "1.2", "1.2.x", "1.x.y", "1.99999999999999999999.z"] {
            assert_eq!(text.parse::<Place>(), Err(()), "{text}");
        }
    }
}
