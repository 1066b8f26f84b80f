//! Removes the members and messages of deleted rooms in steps, so that no deletion delays other writes for long.

use std::time::Duration;

use sqlx::{AnyConnection, Row};
use turnpike_kit::Process;
use turnpike_store::{Store, Write};

/// Pause between two searches for deleted rooms.
const EVERY: Duration = Duration::from_secs(10);
/// Rows that one step removes.
const ROWS: i64 = 500;

pub(crate) fn sweep(process: &Process, store: &Store) {
    let swept = store.clone();
    turnpike_store::sweep(process, "deleted rooms", EVERY, move |_| {
        let store = swept.clone();
        async move {
            let row = sqlx::query("SELECT id FROM rooms WHERE visibility = '' AND id > '' LIMIT 1")
                .fetch_optional(store.reader());
            match row.await? {
                Some(row) => store.write(Remove { id: row.try_get("id")? }).await,
                None => Ok(0),
            }
        }
    });
}

struct Remove {
    id: String,
}

impl Write for Remove {
    type Output = u64;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<u64>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for Self { id } in writes {
            let mut removed = 0;
            for sql in [
                "DELETE FROM room_messages WHERE id IN (SELECT id FROM room_messages WHERE room_id = $1 LIMIT $2)",
                "DELETE FROM room_members WHERE room_id = $1 AND user_id IN
                     (SELECT user_id FROM room_members WHERE room_id = $1 LIMIT $2)",
            ] {
                removed += sqlx::query(sql).bind(id).bind(ROWS).execute(&mut *on).await?.rows_affected();
            }
            if removed == 0 {
                let room = sqlx::query("DELETE FROM rooms WHERE id = $1 AND visibility = ''").bind(id);
                removed = room.execute(&mut *on).await?.rows_affected();
            }
            outputs.push(removed);
        }
        Ok(outputs)
    }
}
