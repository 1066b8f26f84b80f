//! The prompt of an answer: the instructions, and as many of the newest messages of the conversation as fit.

use sqlx::{Error, Row};
use turnpike_store::Store;
use turnpike_topic::MessageId;

use crate::upstream::{ChatMessage, ChatRole, estimate_tokens};

/// Messages that are read at once.
const PAGE: i64 = 32;
/// Tokens of a message besides its text: its role and its marks.
const PER_MESSAGE: u64 = 4;

/// Builds the prompt that ends with the message `last`. Its estimated tokens leave at least a quarter of `context_tokens` for the
/// answer. A message is never cut: the oldest ones are left out, and the last one is always part of it.
pub(super) async fn build(
    store: &Store,
    system_prompt: &str,
    last: MessageId,
    context_tokens: u32,
) -> Result<Vec<ChatMessage>, Error> {
    let mut left = u64::from(context_tokens) * 3 / 4;
    let mut messages = Vec::new(); // newest first
    let mut next = last.to_string();
    'pages: while !next.is_empty() {
        let rows = sqlx::query(
            "WITH RECURSIVE path (id, parent_id, role, content, depth) AS (
                 SELECT id, parent_id, role, content, CAST(1 AS BIGINT) FROM messages WHERE id = $1
                 UNION ALL
                 SELECT m.id, m.parent_id, m.role, m.content, p.depth + 1
                 FROM path p JOIN messages m ON m.id = p.parent_id WHERE p.depth < $2)
             SELECT parent_id, role, content FROM path ORDER BY depth",
        )
        .bind(&next)
        .bind(PAGE)
        .fetch_all(store.reader())
        .await?;
        next.clear();
        if let (Some(oldest), true) = (rows.last(), rows.len() as i64 == PAGE) {
            next = oldest.try_get("parent_id")?;
        }
        for row in rows {
            let content: String = row.try_get("content")?;
            let tokens = estimate_tokens(&content) + PER_MESSAGE;
            if tokens > left && !messages.is_empty() {
                break 'pages;
            }
            left = left.saturating_sub(tokens);
            let role = match row.try_get::<String, _>("role")?.as_str() {
                "user" => ChatRole::User,
                _ => ChatRole::Assistant,
            };
            // An answer that failed before its first word says nothing to the model.
            if !content.is_empty() {
                messages.push(ChatMessage { role, content });
            }
        }
    }
    // Some models require that the user speaks first.
    while messages.last().is_some_and(|oldest| oldest.role == ChatRole::Assistant) {
        messages.pop();
    }
    if !system_prompt.is_empty() {
        messages.push(ChatMessage { role: ChatRole::System, content: system_prompt.to_owned() });
    }
    messages.reverse();
    Ok(messages)
}
