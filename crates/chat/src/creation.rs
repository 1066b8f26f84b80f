//! Creating conversations.

use jiff::Timestamp;
use sqlx::AnyConnection;
use turnpike_fault::{Fault, Kind};
use turnpike_store::{
    Store, Write,
    idempotency::{self, Key, Known},
    micros,
};
use turnpike_topic::{ConversationId, PersonaId, UserId};

use crate::{
    conversations::{Conversation, DEFAULT_TITLE, get_within},
    fields::invalid,
    personas, search,
};

/// A valid request.
pub(crate) struct New {
    pub(crate) user_id: UserId,
    /// Empty: the default, until the first message gives a title.
    pub(crate) title: String,
    pub(crate) temporary: bool,
    pub(crate) persona_id: Option<PersonaId>,
    pub(crate) system_prompt: String,
    pub(crate) key: Option<Key>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("there is no such persona")]
    UnknownPersona,
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error("the conversation that was created with this key was deleted")]
    Deleted,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<CreateError> for Fault {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::UnknownPersona => unknown_persona(),
            CreateError::KeyReused => idempotency::reused(),
            CreateError::Deleted => {
                Self::new(Kind::NotFound, "The conversation that was created with this Idempotency-Key was deleted")
            }
            CreateError::Database(error) => turnpike_store::fault(error),
        }
    }
}

pub(crate) fn unknown_persona() -> Fault {
    invalid("persona_id", "must be one of your personas or a system-wide one")
}

/// Creates a conversation. Returns whether an earlier request with the same key has created it.
pub(crate) async fn create(store: &Store, new: New, now: Timestamp) -> Result<(Conversation, bool), CreateError> {
    match store.write(Create { id: ConversationId::new(now), new, now }).await? {
        Outcome::Created(created, replayed) => Ok((*created, replayed)),
        Outcome::UnknownPersona => Err(CreateError::UnknownPersona),
        Outcome::KeyReused => Err(CreateError::KeyReused),
        Outcome::Deleted => Err(CreateError::Deleted),
    }
}

struct Create {
    id: ConversationId,
    new: New,
    now: Timestamp,
}

/// Only [`Outcome::Created`] leaves something in the database.
enum Outcome {
    Created(Box<Conversation>, bool),
    UnknownPersona,
    KeyReused,
    Deleted,
}

impl Write for Create {
    type Output = Outcome;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Outcome>, sqlx::Error> {
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            outcomes.push(write.perform_one(on).await?);
        }
        Ok(outcomes)
    }
}

impl Create {
    async fn perform_one(&self, on: &mut AnyConnection) -> Result<Outcome, sqlx::Error> {
        let Self { id, new, now } = self;
        if let Some(key) = &new.key {
            match key.take(on, &id.to_string(), *now).await? {
                Known::New => {}
                Known::Other => return Ok(Outcome::KeyReused),
                Known::Before(id) => {
                    let before = get_within(on, &id, new.user_id).await?;
                    return Ok(before.map_or(Outcome::Deleted, |before| Outcome::Created(Box::new(before), true)));
                }
            }
        }
        if let Some(persona_id) = new.persona_id
            && !personas::may_use(on, persona_id, new.user_id).await?
        {
            if let Some(key) = &new.key {
                key.give_back(on).await?;
            }
            return Ok(Outcome::UnknownPersona);
        }
        let created = self.insert(on).await?;
        if !new.title.is_empty() {
            search::index(on, *id, None, &new.title).await?;
        }
        Ok(Outcome::Created(Box::new(created), false))
    }

    async fn insert(&self, on: &mut AnyConnection) -> Result<Conversation, sqlx::Error> {
        let Self { id, new, now } = self;
        let (title, source) = match new.title.as_str() {
            "" => (DEFAULT_TITLE, "default"),
            title => (title, "user"),
        };
        sqlx::query(
            "INSERT INTO conversations (id, user_id, title, title_source, pinned, temporary, persona_id, system_prompt,
                 created_at, updated_at)
             VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8, $8)",
        )
        .bind(id.to_string())
        .bind(new.user_id.to_string())
        .bind(title)
        .bind(source)
        .bind(i64::from(new.temporary))
        .bind(new.persona_id.map(|id| id.to_string()))
        .bind(&new.system_prompt)
        .bind(micros(*now))
        .execute(&mut *on)
        .await?;
        Ok(Conversation {
            id: *id,
            user_id: new.user_id,
            title: title.to_owned(),
            pinned: false,
            temporary: new.temporary,
            persona_id: new.persona_id,
            system_prompt: new.system_prompt.clone(),
            leaf_message_id: None,
            created_at: turnpike_store::from_micros(micros(*now)),
            updated_at: turnpike_store::from_micros(micros(*now)),
        })
    }
}
