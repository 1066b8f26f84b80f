//! The documents of many conversations, one after another, ordered by user.

use std::collections::VecDeque;

use jiff::Timestamp;
use turnpike_store::Store;
use turnpike_topic::{ConversationId, UserId};

use super::{Document, Format};
use crate::conversations::{COLUMNS, Conversation, conversation};

/// Conversations that are read at once.
const PAGE: i64 = 50;

/// Which conversations; temporary ones are never among them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filter {
    /// `None`: all users.
    pub(crate) user_id: Option<UserId>,
    /// Changed at or after this time.
    pub(crate) since: Option<Timestamp>,
    /// Changed before this time.
    pub(crate) until: Option<Timestamp>,
}

/// Documents that are being written.
pub(crate) struct Bulk {
    filter: Filter,
    format: Format,
    document: Option<Document>,
    waiting: VecDeque<Conversation>,
    /// User and id of the last conversation that was read. Pages go by ids: a conversation that changes meanwhile is exported
    /// once.
    read: Option<(String, String)>,
}

impl Bulk {
    pub(crate) fn new(filter: Filter, format: Format) -> Self {
        Self { filter, format, document: None, waiting: VecDeque::new(), read: Some(Default::default()) }
    }

    /// The next part, with the conversation and the user that it belongs to; `None` after the last one.
    pub(crate) async fn part(
        &mut self,
        store: &Store,
    ) -> Result<Option<(ConversationId, UserId, Vec<u8>)>, sqlx::Error> {
        loop {
            if let Some(document) = &mut self.document {
                match document.part(store).await? {
                    Some(part) => {
                        let of = document.conversation();
                        return Ok(Some((of.id, of.user_id, part)));
                    }
                    None => self.document = None,
                }
            }
            while self.waiting.is_empty() {
                if !self.read_page(store).await? {
                    return Ok(None);
                }
            }
            self.document = self.waiting.pop_front().map(|next| Document::new(next, self.format));
        }
    }

    /// Reads the next conversations. Returns whether there were any.
    async fn read_page(&mut self, store: &Store) -> Result<bool, sqlx::Error> {
        let Some((user, id)) = self.read.take() else { return Ok(false) };
        let Filter { user_id, since, until } = self.filter;
        // Deleted conversations have no user.
        let sql = match user_id {
            Some(_) => "user_id = $3 AND id > $2 AND $1 = $1",
            None => "(user_id, id) > ($1, $2) AND user_id > $3",
        };
        let sql = format!("SELECT {COLUMNS} FROM conversations WHERE {sql} ORDER BY user_id, id LIMIT $4");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(user)
            .bind(id)
            .bind(user_id.map(|id| id.to_string()).unwrap_or_default())
            .bind(PAGE)
            .fetch_all(store.reader())
            .await?;
        for row in &rows {
            let found = conversation(row)?;
            self.read = Some((found.user_id.to_string(), found.id.to_string()));
            let wanted = since.is_none_or(|since| found.updated_at >= since)
                && until.is_none_or(|until| found.updated_at < until)
                && !found.temporary;
            if wanted {
                self.waiting.push_back(found);
            }
        }
        Ok(!rows.is_empty())
    }
}
