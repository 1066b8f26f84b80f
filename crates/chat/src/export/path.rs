//! A whole path from its beginning. A path can only be followed from its end; of a long one, the end of each page is kept.

use std::collections::VecDeque;

use sqlx::Row;
use turnpike_store::Store;
use turnpike_topic::{ConversationId, MessageId};

use crate::conversations::corrupt_column;

/// Messages of a page.
const PAGE: i64 = 500;

/// The pages of a path that are not read yet.
#[derive(Default)]
pub(super) struct Pages {
    /// The newest message of each, newest page first.
    ends: Vec<MessageId>,
}

impl Pages {
    /// Follows the path to this message.
    pub(super) async fn read(store: &Store, id: ConversationId, leaf: MessageId) -> Result<Self, sqlx::Error> {
        let (mut ends, mut end) = (Vec::new(), Some(leaf));
        while let Some(last) = end {
            ends.push(last);
            end = page(store, id, last).await?.1;
        }
        Ok(Self { ends })
    }

    /// The ids of the oldest page, oldest first; none after the last page.
    pub(super) async fn next(&mut self, store: &Store, id: ConversationId) -> Result<VecDeque<MessageId>, sqlx::Error> {
        match self.ends.pop() {
            Some(end) => Ok(page(store, id, end).await?.0),
            None => Ok(VecDeque::new()),
        }
    }
}

/// The ids of the page that ends with a message, oldest first, and the message before the page.
async fn page(
    store: &Store,
    conversation: ConversationId,
    end: MessageId,
) -> Result<(VecDeque<MessageId>, Option<MessageId>), sqlx::Error> {
    let rows = sqlx::query(
        "WITH RECURSIVE path (id, parent_id, depth) AS (
             SELECT m.id, m.parent_id, 1 FROM messages m WHERE m.id = $1 AND m.conversation_id = $2
             UNION ALL
             SELECT m.id, m.parent_id, path.depth + 1 FROM path JOIN messages m ON m.id = path.parent_id
             WHERE path.depth < $3
         )
         SELECT id, parent_id FROM path ORDER BY depth",
    )
    .bind(end.to_string())
    .bind(conversation.to_string())
    .bind(PAGE)
    .fetch_all(store.reader())
    .await?;
    let (mut ids, mut before) = (VecDeque::with_capacity(rows.len()), None);
    for row in &rows {
        ids.push_front(row.try_get::<String, _>("id")?.parse().map_err(|_| corrupt_column("id"))?);
        before = row.try_get::<String, _>("parent_id")?.parse().ok(); // empty: the first message
    }
    Ok((ids, before))
}
