//! Leases. The instance that holds the lease of an answer generates it. A lease ends unless it is renewed. Each takeover raises the
//! fencing token; writes with an older token are refused.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{AnyConnection, Error, Row, any::AnyRow};
use turnpike_store::{Store, Write, micros};
use turnpike_topic::{ConversationId, MessageId, Offset, UserId};

use crate::conversations::corrupt_column;

/// How long a lease holds unless it is renewed.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// A lease is renewed well before it ends.
pub(super) const RENEW: Duration = Duration::from_millis(1500);
/// The fencing token of the instance that submitted an answer.
pub(super) const FIRST_FENCE: i64 = 1;

/// Renews a lease, and stores what the model has said so far.
pub(super) struct Checkpoint {
    pub(super) id: MessageId,
    pub(super) fence: i64,
    /// Content and reasoning, if they have changed.
    pub(super) text: Option<(String, String)>,
    /// Offset of the event `started`, once it is known.
    pub(super) started: Option<Offset>,
    pub(super) now: Timestamp,
}

/// The result of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewed {
    Held,
    /// A user asked to stop the answer.
    StopAsked,
    /// Another instance has taken the answer over.
    Lost,
    /// The conversation was deleted.
    Deleted,
}

impl Write for Checkpoint {
    type Output = Renewed;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Renewed>, Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for Self { id, fence, text, started, now } in writes {
            let (epoch, n) = started.map_or((None, None), |at| (Some(at.epoch as i64), Some(at.n as i64)));
            let held = sqlx::query(
                "UPDATE open_answers SET lease_until = $1, epoch = COALESCE($2, epoch), n = COALESCE($3, n)
                 WHERE message_id = $4 AND fence = $5 RETURNING stop_asked_at",
            )
            .bind(micros(*now + LEASE))
            .bind(epoch)
            .bind(n)
            .bind(id.to_string())
            .bind(*fence)
            .fetch_optional(&mut *on)
            .await?;
            let Some(held) = held else {
                outputs.push(gone(*id, on).await?);
                continue;
            };
            if let Some((content, reasoning_content)) = text {
                sqlx::query("UPDATE messages SET content = $1, reasoning_content = $2 WHERE id = $3")
                    .bind(content)
                    .bind(reasoning_content)
                    .bind(id.to_string())
                    .execute(&mut *on)
                    .await?;
            }
            let asked: Option<i64> = held.try_get("stop_asked_at")?;
            outputs.push(if asked.is_some() { Renewed::StopAsked } else { Renewed::Held });
        }
        Ok(outputs)
    }
}

/// Why a lease is not held any more.
pub(super) async fn gone(id: MessageId, on: &mut AnyConnection) -> Result<Renewed, Error> {
    let exists =
        sqlx::query("SELECT 1 AS one FROM messages WHERE id = $1").bind(id.to_string()).fetch_optional(on).await?;
    Ok(if exists.is_some() { Renewed::Lost } else { Renewed::Deleted })
}

/// Ends a lease, so that another instance can take the answer over at once.
pub(super) async fn release(store: &Store, id: MessageId, fence: i64) -> Result<(), Error> {
    sqlx::query("UPDATE open_answers SET lease_until = 0 WHERE message_id = $1 AND fence = $2")
        .bind(id.to_string())
        .bind(fence)
        .execute(store.pool())
        .await
        .map(|_| ())
}

/// The last event of an answer is published: nothing is left to do.
pub(super) async fn close(store: &Store, id: MessageId, fence: i64) -> Result<(), Error> {
    sqlx::query("DELETE FROM open_answers WHERE message_id = $1 AND fence = $2 AND ended = 1")
        .bind(id.to_string())
        .bind(fence)
        .execute(store.pool())
        .await
        .map(|_| ())
}

/// An answer whose lease has ended.
pub(super) struct Claimed {
    pub(super) id: MessageId,
    pub(super) conversation_id: ConversationId,
    pub(super) user_id: UserId,
    pub(super) api_key_id: String,
    pub(super) fence: i64,
    /// The message has its final state; only its last event is missing.
    pub(super) ended: bool,
    /// Offset of the event `started`, if it is known.
    pub(super) started: Option<Offset>,
}

/// Takes over answers whose lease has ended; at most `limit`.
pub(super) async fn claim(store: &Store, now: Timestamp, limit: u32) -> Result<Vec<Claimed>, Error> {
    let any = sqlx::query("SELECT 1 AS one FROM open_answers WHERE lease_until < $1 LIMIT 1")
        .bind(micros(now))
        .fetch_optional(store.reader())
        .await?;
    if any.is_none() {
        return Ok(Vec::new()); // the usual case writes nothing
    }
    let rows = sqlx::query(
        "UPDATE open_answers SET lease_until = $1, fence = fence + 1
         WHERE lease_until < $2 AND message_id IN
             (SELECT message_id FROM open_answers WHERE lease_until < $2 ORDER BY lease_until LIMIT $3)
         RETURNING message_id, conversation_id, user_id, api_key_id, fence, ended, epoch, n",
    )
    .bind(micros(now + LEASE))
    .bind(micros(now))
    .bind(i64::from(limit))
    .fetch_all(store.pool())
    .await?;
    rows.iter().map(claimed).collect()
}

fn claimed(row: &AnyRow) -> Result<Claimed, Error> {
    Ok(Claimed {
        id: id(row, "message_id")?,
        conversation_id: id(row, "conversation_id")?,
        user_id: id(row, "user_id")?,
        api_key_id: row.try_get("api_key_id")?,
        fence: row.try_get("fence")?,
        ended: row.try_get::<i64, _>("ended")? == 1,
        started: offset(row)?,
    })
}

fn id<T: std::str::FromStr>(row: &AnyRow, column: &'static str) -> Result<T, Error> {
    row.try_get::<String, _>(column)?.parse().map_err(|_| corrupt_column(column))
}

/// Asks to stop the running answer of a conversation; `None`: it has none.
pub(super) async fn ask_to_stop(store: &Store, id: ConversationId, now: Timestamp) -> Result<Option<MessageId>, Error> {
    let row = sqlx::query(
        "UPDATE open_answers SET stop_asked_at = COALESCE(stop_asked_at, $1) WHERE conversation_id = $2 AND ended = 0
         RETURNING message_id",
    )
    .bind(micros(now))
    .bind(id.to_string())
    .fetch_optional(store.pool())
    .await?;
    row.map(|row| self::id(&row, "message_id")).transpose()
}

/// Whether an answer is still being generated, by this instance or another one.
pub(super) async fn is_running(store: &Store, id: MessageId) -> Result<bool, Error> {
    let row = sqlx::query("SELECT 1 AS one FROM open_answers WHERE message_id = $1 AND ended = 0")
        .bind(id.to_string())
        .fetch_optional(store.reader())
        .await?;
    Ok(row.is_some())
}

/// Offset of the event `started` of an answer that is being generated, if it is known; the outer `None`: it is not generated any
/// more.
pub(super) async fn started(store: &Store, id: MessageId) -> Result<Option<Option<Offset>>, Error> {
    let row = sqlx::query("SELECT epoch, n FROM open_answers WHERE message_id = $1 AND ended = 0")
        .bind(id.to_string())
        .fetch_optional(store.reader())
        .await?;
    row.map(|row| offset(&row)).transpose()
}

fn offset(row: &AnyRow) -> Result<Option<Offset>, Error> {
    Ok(match (row.try_get::<Option<i64>, _>("epoch")?, row.try_get::<Option<i64>, _>("n")?) {
        (Some(epoch), Some(n)) => Some(Offset { epoch: epoch as u64, n: n as u64 }),
        _ => None,
    })
}
