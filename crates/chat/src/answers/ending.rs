//! The end of an answer: its final state in the database, and the event that tells it.

use sqlx::{AnyConnection, Error, Row};
use turnpike_event::{AnswerTiming, AnswerUsage, ChatEvent, STOPPED};
use turnpike_store::{Store, Write};
use turnpike_topic::{ConversationId, MessageId};

use super::leases::{Renewed, gone};
use crate::{
    conversations::corrupt_column,
    search,
    usage::{Entry, Key, Spent, Sums},
};

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// The model came to an end; its finish reason.
    Complete(String),
    /// A user stopped it.
    Stopped,
    /// The instance that generated it has ended.
    Interrupted,
    /// The model could not be reached, or failed: a stable word, and a sentence for people.
    Failed { code: String, message: String },
}

/// The code and the sentence of an interrupted answer.
const INTERRUPTED: (&str, &str) = ("INTERRUPTED", "The answer was interrupted because a process stopped; ask again");

impl How {
    pub(super) const fn state(&self) -> &'static str {
        match self {
            Self::Complete(_) => "complete",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
            Self::Failed { .. } => "error",
        }
    }

    fn finish_reason(&self) -> &str {
        match self {
            Self::Complete(reason) => reason,
            Self::Stopped => STOPPED,
            Self::Interrupted | Self::Failed { .. } => "",
        }
    }

    fn error(&self) -> (&str, &str) {
        match self {
            Self::Complete(_) | Self::Stopped => ("", ""),
            Self::Interrupted => INTERRUPTED,
            Self::Failed { code, message } => (code, message),
        }
    }
}

/// An answer that has ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) conversation_id: ConversationId,
    pub(super) message_id: MessageId,
    pub(super) how: How,
    pub(super) content: String,
    pub(super) reasoning_content: String,
    pub(super) model: String,
    pub(super) usage: AnswerUsage,
    pub(super) timing: AnswerTiming,
}

impl Ended {
    /// The last event of the answer.
    pub(super) fn event(&self) -> ChatEvent {
        let Self { conversation_id, message_id, .. } = *self;
        match &self.how {
            How::Complete(_) | How::Stopped => ChatEvent::Message {
                conversation_id,
                message_id,
                content: self.content.clone(),
                reasoning_content: self.reasoning_content.clone(),
                finish_reason: self.how.finish_reason().to_owned(),
                model: self.model.clone(),
                usage: self.usage,
                timing: self.timing,
            },
            How::Interrupted | How::Failed { .. } => {
                let (code, message) = self.how.error();
                let (error_code, error_message) = (code.to_owned(), message.to_owned());
                ChatEvent::Error { conversation_id, message_id, error_code, error_message }
            }
        }
    }
}

/// Stores the end of an answer with the tokens that it used, in one transaction.
pub(super) struct End {
    pub(super) ended: Ended,
    pub(super) fence: i64,
    pub(super) spent: Spent,
    pub(super) now: jiff::Timestamp,
}

impl Write for End {
    /// `Held`: stored.
    type Output = Renewed;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Renewed>, Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        let mut entries = Vec::with_capacity(writes.len());
        for Self { ended, fence, spent, now } in writes {
            let held =
                sqlx::query("UPDATE open_answers SET ended = 1 WHERE message_id = $1 AND fence = $2 AND ended = 0")
                    .bind(ended.message_id.to_string())
                    .bind(*fence)
                    .execute(&mut *on)
                    .await?;
            if held.rows_affected() == 0 {
                outputs.push(gone(ended.message_id, on).await?);
                continue;
            }
            let (error_code, error_message) = ended.how.error();
            sqlx::query(
                "UPDATE messages SET content = $1, reasoning_content = $2, state = $3, finish_reason = $4, model = $5,
                     prompt_tokens = $6, completion_tokens = $7, estimated = $8, first_token_ms = $9, total_ms = $10,
                     error_code = $11, error_message = $12
                 WHERE id = $13",
            )
            .bind(&ended.content)
            .bind(&ended.reasoning_content)
            .bind(ended.how.state())
            .bind(ended.how.finish_reason())
            .bind(&ended.model)
            .bind(ended.usage.prompt_tokens as i64)
            .bind(ended.usage.completion_tokens as i64)
            .bind(i64::from(ended.usage.estimated))
            .bind(ended.timing.first_token_ms as i64)
            .bind(ended.timing.total_ms as i64)
            .bind(error_code)
            .bind(error_message)
            .bind(ended.message_id.to_string())
            .execute(&mut *on)
            .await?;
            search::index(on, ended.conversation_id, Some(ended.message_id), &ended.content).await?;
            entries.push(Entry { key: Key::of(spent, *now), sums: Sums::of(spent) });
            outputs.push(Renewed::Held);
        }
        Entry::perform(&entries, on).await?;
        Ok(outputs)
    }
}

/// An answer as it is stored: its end, or, if it has not ended, the text of the last checkpoint as an interrupted answer.
pub(super) async fn load(store: &Store, id: MessageId) -> Result<Option<Ended>, Error> {
    let row = sqlx::query(
        "SELECT conversation_id, content, reasoning_content, state, finish_reason, model, prompt_tokens, completion_tokens,
             estimated, first_token_ms, total_ms, error_code, error_message
         FROM messages WHERE id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(store.reader())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let number = |column: &str| row.try_get::<i64, _>(column).map(|number| number.max(0) as u64);
    let conversation: String = row.try_get("conversation_id")?;
    Ok(Some(Ended {
        conversation_id: conversation.parse().map_err(|_| corrupt_column("conversation_id"))?,
        message_id: id,
        how: match row.try_get::<String, _>("state")?.as_str() {
            "complete" => How::Complete(row.try_get("finish_reason")?),
            "stopped" => How::Stopped,
            "error" => How::Failed { code: row.try_get("error_code")?, message: row.try_get("error_message")? },
            _ => How::Interrupted,
        },
        content: row.try_get("content")?,
        reasoning_content: row.try_get("reasoning_content")?,
        model: row.try_get("model")?,
        usage: AnswerUsage {
            prompt_tokens: number("prompt_tokens")?,
            completion_tokens: number("completion_tokens")?,
            estimated: number("estimated")? == 1,
        },
        timing: AnswerTiming { first_token_ms: number("first_token_ms")?, total_ms: number("total_ms")? },
    }))
}
