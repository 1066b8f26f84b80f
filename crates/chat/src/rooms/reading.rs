//! Read markers. A marker is the number of a message; clients name an offset of the topic.

use sqlx::{AnyConnection, Row};
use turnpike_store::{Store, Write};
use turnpike_topic::{Offset, RoomId, UserId};

use super::{
    refusal::Refused,
    room::{locked, seen},
};

/// The messages that the user has not read after this.
type Marked = Result<i64, Refused>;

/// Moves a user's marker to the newest message that was published up to this offset. It never moves back.
pub(crate) async fn mark_read(
    store: &Store,
    room_id: RoomId,
    user_id: UserId,
    offset: Offset,
) -> Result<Marked, sqlx::Error> {
    store.write(Mark { room_id, user_id, offset }).await
}

struct Mark {
    room_id: RoomId,
    user_id: UserId,
    offset: Offset,
}

impl Write for Mark {
    type Output = Marked;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Marked>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for Self { room_id, user_id, offset } in writes {
            let Some(room) = locked(on, *room_id, *user_id).await? else {
                outputs.push(Err(Refused::NoRoom));
                continue;
            };
            if room.role.is_none() {
                outputs.push(Err(Refused::NotAllowed("Only members of the room have a read marker")));
                continue;
            }
            let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            let row = sqlx::query(
                "SELECT seq FROM room_messages WHERE room_id = $1 AND n > 0 AND (epoch, n) <= ($2, $3)
                 ORDER BY epoch DESC, n DESC LIMIT 1",
            )
            .bind(room_id.to_string())
            .bind(number(offset.epoch))
            .bind(number(offset.n))
            .fetch_optional(&mut *on)
            .await?;
            let seq: i64 = row.map(|row| row.try_get("seq")).transpose()?.unwrap_or_default();
            sqlx::query("UPDATE room_members SET read_seq = $3 WHERE room_id = $1 AND user_id = $2 AND read_seq < $3")
                .bind(room_id.to_string())
                .bind(user_id.to_string())
                .bind(seq)
                .execute(&mut *on)
                .await?;
            outputs
                .push(seen(&mut *on, *room_id, *user_id).await?.map_or(Err(Refused::NoRoom), |room| Ok(room.unread())));
        }
        Ok(outputs)
    }
}
