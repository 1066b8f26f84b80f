//! Messages, which are a tree: each names the one before it. A path is read from its end, so that a page costs the same in a long
//! conversation as in a short one.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use jiff::Timestamp;
use sqlx::{Row, any::AnyRow};
use turnpike_store::{Store, from_micros};
use turnpike_topic::{ConversationId, MessageId};

use crate::conversations::corrupt_column;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: MessageId,
    pub(crate) conversation_id: ConversationId,
    /// `None`: the first of the conversation.
    pub(crate) parent_id: Option<MessageId>,
    pub(crate) role: Role,
    pub(crate) content: String,
    pub(crate) reasoning_content: String,
    pub(crate) state: State,
    pub(crate) finish_reason: String,
    pub(crate) model: String,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    /// The upstream did not count the tokens.
    pub(crate) estimated: bool,
    pub(crate) first_token_ms: u64,
    pub(crate) total_ms: u64,
    pub(crate) error_code: String,
    pub(crate) error_message: String,
    /// 1, 2, 3… among the messages with the same parent and role.
    pub(crate) version: u32,
    /// How many they are.
    pub(crate) versions: u32,
    pub(crate) created_at: Timestamp,
}

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    User,
    Assistant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Complete,
    /// The model is answering.
    Generating,
    /// A user stopped the answer.
    Stopped,
    /// The process that generated it ended.
    Interrupted,
    /// The model could not be reached or failed.
    Error,
}

impl Role {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::User, Self::Assistant].into_iter().find(|role| role.as_str() == word)
    }
}

impl State {
    const ALL: [Self; 5] = [Self::Complete, Self::Generating, Self::Stopped, Self::Interrupted, Self::Error];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Generating => "generating",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
            Self::Error => "error",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Columns of a [`Message`], from `messages m`. Versions are numbered without gaps, so that the highest is their number.
pub(crate) const COLUMNS: &str = "m.id, m.conversation_id, m.parent_id, m.role, m.content, m.reasoning_content, m.state, \
    m.finish_reason, m.model, m.prompt_tokens, m.completion_tokens, m.estimated, m.first_token_ms, m.total_ms, \
    m.error_code, m.error_message, m.version, m.created_at, (SELECT MAX(s.version) FROM messages s \
    WHERE s.conversation_id = m.conversation_id AND s.parent_id = m.parent_id AND s.role = m.role) AS versions";

/// Reads a row that has [`COLUMNS`].
pub(crate) fn message(row: &AnyRow) -> Result<Message, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let number = |column: &str| row.try_get::<i64, _>(column).map(|n| u64::try_from(n).unwrap_or_default());
    let small = |column: &str| row.try_get::<i64, _>(column).map(|n| u32::try_from(n).unwrap_or_default());
    Ok(Message {
        id: text("id")?.parse().map_err(|_| corrupt_column("id"))?,
        conversation_id: text("conversation_id")?.parse().map_err(|_| corrupt_column("conversation_id"))?,
        parent_id: parse_parent(&text("parent_id")?)?,
        role: Role::from_word(&text("role")?).ok_or_else(|| corrupt_column("role"))?,
        content: text("content")?,
        reasoning_content: text("reasoning_content")?,
        state: State::from_word(&text("state")?).ok_or_else(|| corrupt_column("state"))?,
        finish_reason: text("finish_reason")?,
        model: text("model")?,
        prompt_tokens: number("prompt_tokens")?,
        completion_tokens: number("completion_tokens")?,
        estimated: number("estimated")? == 1,
        first_token_ms: number("first_token_ms")?,
        total_ms: number("total_ms")?,
        error_code: text("error_code")?,
        error_message: text("error_message")?,
        version: small("version")?,
        versions: small("versions")?,
        created_at: from_micros(row.try_get("created_at")?),
    })
}

fn parse_parent(text: &str) -> Result<Option<MessageId>, sqlx::Error> {
    match text {
        "" => Ok(None),
        id => id.parse().map(Some).map_err(|_| corrupt_column("parent_id")),
    }
}

/// `None`: the conversation has no such message.
pub(crate) async fn get(
    store: &Store,
    conversation: ConversationId,
    id: MessageId,
) -> Result<Option<Message>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM messages m WHERE m.id = $1 AND m.conversation_id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.to_string())
        .bind(conversation.to_string())
        .fetch_optional(store.reader())
        .await?;
    row.as_ref().map(message).transpose()
}

/// Bytes of texts after which a page ends, so that a page of long messages fits into a response (4 MiB).
const PAGE_BYTES: i64 = 2 << 20;

/// The last messages of the path to a message, oldest first: at most `limit`, and fewer if they are long. None if the conversation
/// has no such message.
async fn path(
    store: &Store,
    conversation: ConversationId,
    leaf: MessageId,
    limit: u32,
) -> Result<Vec<Message>, sqlx::Error> {
    let sql = format!(
        "WITH RECURSIVE path (id, parent_id, depth, bytes) AS (
             SELECT m.id, m.parent_id, 1, {BYTES} FROM messages m WHERE m.id = $1 AND m.conversation_id = $2
             UNION ALL
             SELECT m.id, m.parent_id, path.depth + 1, path.bytes + {BYTES}
             FROM path JOIN messages m ON m.id = path.parent_id WHERE path.depth < $3 AND path.bytes < $4
         )
         SELECT {COLUMNS}, path.depth FROM path JOIN messages m ON m.id = path.id ORDER BY path.depth DESC"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(leaf.to_string())
        .bind(conversation.to_string())
        .bind(i64::from(limit))
        .bind(PAGE_BYTES)
        .fetch_all(store.reader());
    rows.await?.iter().map(message).collect()
}

/// Bytes of the texts of `messages m`. Neither database reads a text for it.
const BYTES: &str = "octet_length(m.content) + octet_length(m.reasoning_content)";

/// The end of a page of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// This message.
    At(MessageId),
    /// The message before this one.
    Before(MessageId),
}

/// A page of a path, oldest message first, and whether the path has older ones. `None`: the conversation has no such message.
pub(crate) async fn page(
    store: &Store,
    conversation: ConversationId,
    end: End,
    limit: u32,
) -> Result<Option<(Vec<Message>, bool)>, sqlx::Error> {
    let leaf = match end {
        End::At(leaf) => leaf,
        End::Before(id) => match parent(store, conversation, id).await? {
            None => return Ok(None),
            Some(None) => return Ok(Some((Vec::new(), false))),
            Some(Some(leaf)) => leaf,
        },
    };
    let messages = path(store, conversation, leaf, limit).await?;
    let more = messages.first().map(|oldest| oldest.parent_id.is_some());
    Ok(more.map(|more| (messages, more)))
}

/// The message before this one. The outer `None`: the conversation has no such message.
async fn parent(
    store: &Store,
    conversation: ConversationId,
    id: MessageId,
) -> Result<Option<Option<MessageId>>, sqlx::Error> {
    let row = sqlx::query("SELECT parent_id FROM messages WHERE id = $1 AND conversation_id = $2")
        .bind(id.to_string())
        .bind(conversation.to_string())
        .fetch_optional(store.reader())
        .await?;
    row.map(|row| parse_parent(&row.try_get::<String, _>("parent_id")?)).transpose()
}

/// The version of a message with this number. `None`: there is no such version, or the conversation has no such message.
pub(crate) async fn version_of(
    store: &Store,
    conversation: ConversationId,
    id: MessageId,
    version: u32,
) -> Result<Option<MessageId>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT s.id FROM messages m JOIN messages s ON s.conversation_id = m.conversation_id AND s.parent_id = m.parent_id
         AND s.role = m.role WHERE m.conversation_id = $1 AND m.id = $2 AND s.version = $3",
    )
    .bind(conversation.to_string())
    .bind(id.to_string())
    .bind(i64::from(version))
    .fetch_optional(store.reader())
    .await?;
    row.map(|row| row.try_get::<String, _>("id")?.parse().map_err(|_| corrupt_column("id"))).transpose()
}

/// The newest message among this one and those that follow it. `None`: the conversation has no such message.
pub(crate) async fn newest_below(
    store: &Store,
    conversation: ConversationId,
    id: MessageId,
) -> Result<Option<MessageId>, sqlx::Error> {
    // A plain read, and not a recursive one: neither database knows that a message has few children, and each would read the whole
    // conversation for each message. What follows a message is not older.
    let mut rows = sqlx::query(
        "SELECT m.id, m.parent_id, m.created_at FROM messages m WHERE m.conversation_id = $1
         AND m.created_at >= (SELECT o.created_at FROM messages o WHERE o.id = $2 AND o.conversation_id = $1)",
    )
    .bind(conversation.to_string())
    .bind(id.to_string())
    .fetch(store.reader());
    let (mut children, mut times) = (HashMap::<_, Vec<_>>::new(), HashMap::new());
    while let Some(row) = rows.try_next().await? {
        let child: MessageId = row.try_get::<String, _>("id")?.parse().map_err(|_| corrupt_column("id"))?;
        times.insert(child, row.try_get::<i64, _>("created_at")?);
        if let Some(parent) = parse_parent(&row.try_get::<String, _>("parent_id")?)? {
            children.entry(parent).or_default().push(child);
        }
    }
    let (mut newest, mut level, mut depth) = (None, vec![id], 0);
    while !level.is_empty() {
        // An answer can have the same time as its question.
        let at_level = level.iter().filter_map(|id| times.get(id).map(|at| (*at, depth, *id)));
        newest = newest.max(at_level.max());
        level = level.iter().filter_map(|id| children.remove(id)).flatten().collect();
        depth += 1;
    }
    Ok(newest.map(|(_, _, id)| id))
}
