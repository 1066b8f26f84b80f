//! Storing a user's message and the answer that is going to be generated, in one transaction.

use jiff::Timestamp;
use sqlx::{AnyConnection, Row};
use turnpike_event::UserMessage;
use turnpike_fault::{Fault, Kind};
use turnpike_store::{
    Backend, Store,
    idempotency::{self, Key, Known},
    micros,
};
use turnpike_topic::{ConversationId, MessageId, UserId};

use super::leases::{FIRST_FENCE, LEASE};
use crate::{
    conversations::{self, corrupt_column},
    messages::Role,
    search,
    title::title_of,
};

/// The longest message of a user, in bytes.
pub(crate) const MAX_CONTENT_BYTES: usize = 256 << 10;
/// The most versions of one message.
const MAX_VERSIONS: i64 = 100;

/// What a user asks for.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) user_id: UserId,
    /// The API key of the request, if it had one.
    pub(crate) api_key_id: String,
    pub(crate) conversation_id: ConversationId,
    /// Empty: the configured one.
    pub(crate) model: String,
    pub(crate) what: What,
    pub(crate) key: Option<Key>,
}

#[derive(Debug)]
pub(crate) enum What {
    /// A new message. `edit_of`: the message of the user whose sibling it becomes.
    Message { content: String, edit_of: Option<MessageId> },
    /// Another answer: to this message of the user, or as a sibling of this answer.
    Again { message_id: MessageId },
}

/// An answer to be generated.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) user_id: UserId,
    pub(crate) api_key_id: String,
    pub(crate) conversation_id: ConversationId,
    pub(crate) message_id: MessageId,
    pub(crate) fence: i64,
    /// The message that is answered.
    pub(crate) parent_id: MessageId,
    pub(crate) user_message: Option<UserMessage>,
    pub(crate) model: String,
    pub(crate) system_prompt: String,
    pub(crate) temperature: Option<f64>,
    /// The title that the rule gave the conversation now.
    pub(crate) title: Option<String>,
}

pub(crate) enum Submitted {
    New(Box<Open>),
    /// An earlier request with the same key started this answer.
    Before(MessageId),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    #[error("there is no such conversation")]
    NoSuchConversation,
    #[error("there is no such message")]
    NoSuchMessage,
    #[error("only a message of the user can be edited")]
    NotOfTheUser,
    #[error("the conversation has a running answer")]
    AnswerRunning,
    #[error("the user has {0} running answers")]
    TooMany(u32),
    #[error("the message has as many versions as it may have")]
    TooManyVersions,
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Stores the message and the answer. `limit`: running answers that one user may have, 0 for no limit.
pub(crate) async fn submit(
    store: &Store,
    submission: &Submission,
    limit: u32,
    now: Timestamp,
) -> Result<Submitted, SubmitError> {
    let Submission { user_id, conversation_id, .. } = submission;
    let mut tx = store.begin().await?;
    // The update also makes other requests to this conversation wait.
    let conversation = sqlx::query(
        "UPDATE conversations SET updated_at = $1 WHERE id = $2 AND user_id = $3
         RETURNING leaf_id, title_source, system_prompt, persona_id",
    )
    .bind(micros(now))
    .bind(conversation_id.to_string())
    .bind(user_id.to_string())
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(SubmitError::NoSuchConversation)?;
    let message_id = MessageId::new(now);
    if let Some(key) = &submission.key {
        match key.take(&mut tx, &message_id.to_string(), now).await? {
            Known::New => {}
            Known::Before(id) => return Ok(Submitted::Before(parse(&id, "result")?)),
            Known::Other => return Err(SubmitError::KeyReused),
        }
    }
    check_running(store, &mut tx, submission, limit).await?;

    let leaf_id: Option<String> = conversation.try_get("leaf_id")?;
    let (parent_id, user_message) = match &submission.what {
        What::Message { content, edit_of } => {
            let before = match edit_of {
                None => leaf_id.unwrap_or_default(),
                Some(edited) => match find(&mut tx, *conversation_id, *edited).await? {
                    Message { parent_id, role: Role::User } => parent_id,
                    _ => return Err(SubmitError::NotOfTheUser),
                },
            };
            let id = MessageId::new(now);
            insert(&mut tx, *conversation_id, id, &before, Role::User, content, now).await?;
            search::index(&mut tx, *conversation_id, Some(id), content).await?;
            let parent_id = if before.is_empty() { None } else { Some(parse(&before, "parent_id")?) };
            (id, Some(UserMessage { parent_id, content: content.clone() }))
        }
        What::Again { message_id } => match find(&mut tx, *conversation_id, *message_id).await? {
            Message { role: Role::User, .. } => (*message_id, None),
            Message { role: Role::Assistant, parent_id } => (parse(&parent_id, "parent_id")?, None),
        },
    };
    insert(&mut tx, *conversation_id, message_id, &parent_id.to_string(), Role::Assistant, "", now).await?;
    sqlx::query(
        "INSERT INTO open_answers (message_id, conversation_id, user_id, api_key_id, lease_until, fence, ended)
         VALUES ($1, $2, $3, $4, $5, $6, 0)",
    )
    .bind(message_id.to_string())
    .bind(conversation_id.to_string())
    .bind(user_id.to_string())
    .bind(&submission.api_key_id)
    .bind(micros(now + LEASE))
    .bind(FIRST_FENCE)
    .execute(&mut *tx)
    .await?;

    let is_first = user_message.as_ref().is_some_and(|message| message.parent_id.is_none());
    let untitled = conversation.try_get::<String, _>("title_source")? == "default";
    let title = user_message.as_ref().filter(|_| is_first && untitled).map(|message| title_of(&message.content));
    sqlx::query(
        "UPDATE conversations SET leaf_id = $1, title = COALESCE($2, title),
             title_source = CASE WHEN $2 IS NULL THEN title_source ELSE 'rule' END WHERE id = $3",
    )
    .bind(message_id.to_string())
    .bind(title.clone())
    .bind(conversation_id.to_string())
    .execute(&mut *tx)
    .await?;
    if let Some(title) = &title {
        search::index(&mut tx, *conversation_id, None, title).await?;
    }
    let (system_prompt, temperature) = instructions(&mut tx, &conversation).await?;
    tx.commit().await?;
    Ok(Submitted::New(Box::new(Open {
        user_id: *user_id,
        api_key_id: submission.api_key_id.clone(),
        conversation_id: *conversation_id,
        message_id,
        fence: FIRST_FENCE,
        parent_id,
        user_message,
        model: submission.model.clone(),
        system_prompt,
        temperature,
        title,
    })))
}

async fn check_running(
    store: &Store,
    on: &mut AnyConnection,
    submission: &Submission,
    limit: u32,
) -> Result<(), SubmitError> {
    let Submission { user_id, conversation_id, .. } = submission;
    let running = sqlx::query("SELECT 1 AS one FROM open_answers WHERE conversation_id = $1 AND ended = 0")
        .bind(conversation_id.to_string())
        .fetch_optional(&mut *on)
        .await?;
    if running.is_some() {
        return Err(SubmitError::AnswerRunning);
    }
    if limit == 0 {
        return Ok(());
    }
    if store.backend() == Backend::Postgres {
        // Requests of one user to several conversations at once are counted one after another.
        sqlx::query("SELECT CAST(pg_advisory_xact_lock(hashtextextended($1, 0)) AS TEXT)")
            .bind(user_id.to_string())
            .execute(&mut *on)
            .await?;
    }
    let running: i64 = sqlx::query("SELECT COUNT(*) AS running FROM open_answers WHERE user_id = $1 AND ended = 0")
        .bind(user_id.to_string())
        .fetch_one(&mut *on)
        .await?
        .try_get("running")?;
    if running >= i64::from(limit) { Err(SubmitError::TooMany(limit)) } else { Ok(()) }
}

struct Message {
    parent_id: String,
    role: Role,
}

async fn find(on: &mut AnyConnection, conversation: ConversationId, id: MessageId) -> Result<Message, SubmitError> {
    let row = sqlx::query("SELECT parent_id, role FROM messages WHERE id = $1 AND conversation_id = $2")
        .bind(id.to_string())
        .bind(conversation.to_string())
        .fetch_optional(on)
        .await?
        .ok_or(SubmitError::NoSuchMessage)?;
    let role = Role::from_word(&row.try_get::<String, _>("role")?).ok_or_else(|| corrupt_column("role"))?;
    Ok(Message { parent_id: row.try_get("parent_id")?, role })
}

/// Inserts the next version of a message.
async fn insert(
    on: &mut AnyConnection,
    conversation: ConversationId,
    id: MessageId,
    parent_id: &str,
    role: Role,
    content: &str,
    now: Timestamp,
) -> Result<(), SubmitError> {
    let last: Option<i64> = sqlx::query(
        "SELECT MAX(version) AS last FROM messages WHERE conversation_id = $1 AND parent_id = $2 AND role = $3",
    )
    .bind(conversation.to_string())
    .bind(parent_id)
    .bind(role.as_str())
    .fetch_one(&mut *on)
    .await?
    .try_get("last")?;
    let version = last.unwrap_or(0) + 1;
    if version > MAX_VERSIONS {
        return Err(SubmitError::TooManyVersions);
    }
    let state = match role {
        Role::User => "complete",
        Role::Assistant => "generating",
    };
    sqlx::query(
        "INSERT INTO messages (id, conversation_id, parent_id, role, version, content, state, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id.to_string())
    .bind(conversation.to_string())
    .bind(parent_id)
    .bind(role.as_str())
    .bind(version)
    .bind(content)
    .bind(state)
    .bind(micros(now))
    .execute(on)
    .await?;
    Ok(())
}

/// System prompt and temperature: the conversation's own prompt takes the place of the persona's.
async fn instructions(
    on: &mut AnyConnection,
    conversation: &sqlx::any::AnyRow,
) -> Result<(String, Option<f64>), sqlx::Error> {
    let own: String = conversation.try_get("system_prompt")?;
    let Some(persona_id) = conversation.try_get::<Option<String>, _>("persona_id")? else { return Ok((own, None)) };
    let persona = sqlx::query("SELECT system_prompt, temperature FROM personas WHERE id = $1")
        .bind(persona_id)
        .fetch_optional(on)
        .await?;
    let Some(persona) = persona else { return Ok((own, None)) };
    let prompt = if own.is_empty() { persona.try_get("system_prompt")? } else { own };
    Ok((prompt, persona.try_get("temperature")?))
}

fn parse(id: &str, column: &'static str) -> Result<MessageId, sqlx::Error> {
    id.parse().map_err(|_| corrupt_column(column))
}

impl From<SubmitError> for Fault {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::NoSuchConversation => conversations::missing(),
            SubmitError::NoSuchMessage => Self::new(Kind::NotFound, "There is no such message"),
            SubmitError::NotOfTheUser => Self::new(Kind::Validation, "The request is not valid")
                .field("edit_of", "must be a message of the user"),
            SubmitError::AnswerRunning => {
                Self::new(Kind::Conflict, "The conversation has a running answer; stop it or wait for its end")
                    .code_is("ANSWER_RUNNING")
            }
            SubmitError::TooMany(limit) => Self::new(
                Kind::RateLimited,
                format!("You have {limit} running answers, which is the limit; stop one or wait for its end"),
            ),
            SubmitError::TooManyVersions => {
                Self::new(Kind::Conflict, format!("The message has {MAX_VERSIONS} versions, which is the limit"))
                    .code_is("TOO_MANY_VERSIONS")
            }
            SubmitError::KeyReused => idempotency::reused(),
            SubmitError::Database(error) => turnpike_store::fault(error),
        }
    }
}
