//! Conversations as documents, with the messages of the shown path, in JSON or Markdown. A document is written in parts while it is
//! read, one message at a time: its memory depends neither on the number of messages nor on the number of conversations.

mod bulk;
mod format;
mod path;

use std::collections::VecDeque;

use turnpike_store::Store;
use turnpike_topic::MessageId;

pub(crate) use bulk::{Bulk, Filter};
pub(crate) use format::Format;

use crate::{conversations::Conversation, messages};
use path::Pages;

/// Bytes of a part, at most.
const PART: usize = 64 << 10;

/// A conversation that is being written.
pub(crate) struct Document {
    conversation: Conversation,
    format: Format,
    next: Next,
    /// Messages that were written.
    written: usize,
    /// Text that is not in a part yet.
    text: String,
}

/// The part of the document that the export writes next.
enum Next {
    Head,
    Messages { pages: Pages, page: VecDeque<MessageId> },
    Nothing,
}

impl Document {
    pub(crate) fn new(conversation: Conversation, format: Format) -> Self {
        Self { conversation, format, next: Next::Head, written: 0, text: String::new() }
    }

    pub(crate) fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// The next part; `None` after the last one.
    pub(crate) async fn part(&mut self, store: &Store) -> Result<Option<Vec<u8>>, sqlx::Error> {
        while self.text.len() < PART && self.write(store).await? {}
        if self.text.is_empty() {
            return Ok(None);
        }
        let rest = self.text.split_off(self.text.floor_char_boundary(PART));
        Ok(Some(std::mem::replace(&mut self.text, rest).into_bytes()))
    }

    /// Writes the head, a message or the end. Returns whether there is more.
    async fn write(&mut self, store: &Store) -> Result<bool, sqlx::Error> {
        let Self { conversation, format, next, written, text } = self;
        match next {
            Next::Head => {
                let pages = match conversation.leaf_message_id {
                    Some(leaf) => Pages::read(store, conversation.id, leaf).await?,
                    None => Pages::default(),
                };
                format.head(conversation, text);
                *next = Next::Messages { pages, page: VecDeque::new() };
            }
            Next::Messages { pages, page } => {
                if page.is_empty() {
                    *page = pages.next(store, conversation.id).await?;
                }
                match page.pop_front() {
                    None => {
                        format.end(text);
                        *next = Next::Nothing;
                    }
                    // A message that was removed meanwhile is left out: the document stays well-formed.
                    Some(id) => {
                        if let Some(message) = messages::get(store, conversation.id, id).await? {
                            format.message(&message, *written == 0, text);
                            *written += 1;
                        }
                    }
                }
            }
            Next::Nothing => return Ok(false),
        }
        Ok(true)
    }
}
