//! Messages of rooms as they are stored, and pages of them.

use jiff::Timestamp;
use sqlx::{AnyConnection, Row, any::AnyRow};
use turnpike_store::{Store, from_micros};
use turnpike_topic::{MessageId, Offset, RoomId, UserId};

use crate::conversations::corrupt_column;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: MessageId,
    pub(crate) room_id: RoomId,
    pub(crate) user_id: UserId,
    pub(crate) username: String,
    /// Empty: redacted.
    pub(crate) content: String,
    pub(crate) created_at: Timestamp,
    pub(crate) edited_at: Option<Timestamp>,
    pub(crate) redacted_at: Option<Timestamp>,
    /// `None` until it is published.
    pub(crate) offset: Option<Offset>,
    /// The topic that the text is from; empty: the user wrote it.
    pub(crate) source: String,
}

/// Columns of a [`Message`].
pub(super) const COLUMNS: &str =
    "id, room_id, user_id, username, content, created_at, edited_at, redacted_at, epoch, n, source";

pub(super) fn message(row: &AnyRow) -> Result<Message, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let time = |column: &str| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(from_micros));
    let (epoch, n): (i64, i64) = (row.try_get("epoch")?, row.try_get("n")?);
    Ok(Message {
        id: text("id")?.parse().map_err(|_| corrupt_column("id"))?,
        room_id: text("room_id")?.parse().map_err(|_| corrupt_column("room_id"))?,
        user_id: text("user_id")?.parse().map_err(|_| corrupt_column("user_id"))?,
        username: text("username")?,
        content: text("content")?,
        created_at: from_micros(row.try_get("created_at")?),
        edited_at: time("edited_at")?,
        redacted_at: time("redacted_at")?,
        offset: (n > 0).then(|| Offset { epoch: epoch.unsigned_abs(), n: n.unsigned_abs() }),
        source: text("source")?,
    })
}

/// A message of a room, within a transaction.
pub(super) async fn get_within(on: &mut AnyConnection, room: RoomId, id: &str) -> Result<Option<Message>, sqlx::Error> {
    let row =
        sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM room_messages WHERE id = $1 AND room_id = $2")))
            .bind(id)
            .bind(room.to_string())
            .fetch_optional(on)
            .await?;
    row.as_ref().map(message).transpose()
}

/// The newest messages before another one, oldest first, and whether there are messages before them. `None`: the other message is
/// not in the room.
pub(crate) async fn page(
    store: &Store,
    room: RoomId,
    before: Option<MessageId>,
    limit: u32,
) -> Result<Option<(Vec<Message>, bool)>, sqlx::Error> {
    let before = match before {
        None => i64::MAX,
        Some(id) => {
            let row = sqlx::query("SELECT seq FROM room_messages WHERE id = $1 AND room_id = $2")
                .bind(id.to_string())
                .bind(room.to_string())
                .fetch_optional(store.reader())
                .await?;
            let Some(row) = row else { return Ok(None) };
            row.try_get("seq")?
        }
    };
    let sql = format!("SELECT {COLUMNS} FROM room_messages WHERE room_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(room.to_string())
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(store.reader())
        .await?;
    let more = rows.len() > limit as usize;
    let mut messages = rows.iter().take(limit as usize).map(message).collect::<Result<Vec<_>, _>>()?;
    messages.reverse();
    Ok(Some((messages, more)))
}
