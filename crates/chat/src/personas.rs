//! Personas: instructions for a model that have a name. A persona belongs to one user, or to all.

use jiff::Timestamp;
use sqlx::{Any, AnyConnection, Executor, Row, any::AnyRow};
use turnpike_fault::{Fault, Kind};
use turnpike_store::{
    Store, Write, from_micros,
    idempotency::{self, Key, Known},
    micros,
};
use turnpike_topic::{PersonaId, UserId};

use crate::conversations::corrupt_column;

/// Personas of one user, and system-wide ones.
const MOST: i64 = 100;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Persona {
    pub(crate) id: PersonaId,
    /// `None`: system-wide.
    pub(crate) user_id: Option<UserId>,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) system_prompt: String,
    /// `None`: the model's default.
    pub(crate) temperature: Option<f64>,
    pub(crate) created_at: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PersonaError {
    #[error("there is no such persona")]
    Missing,
    #[error("only an admin changes a system-wide persona")]
    NotAdmin,
    #[error("there are too many personas")]
    TooMany,
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error("the persona that was created with this key was deleted")]
    Deleted,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<PersonaError> for Fault {
    fn from(error: PersonaError) -> Self {
        match error {
            PersonaError::Missing => Self::new(Kind::NotFound, "There is no such persona"),
            PersonaError::NotAdmin => Self::new(Kind::Forbidden, "A system-wide persona needs the role admin"),
            PersonaError::TooMany => {
                Self::new(Kind::Conflict, format!("There are {MOST} personas already; delete one first"))
                    .code_is("TOO_MANY_PERSONAS")
            }
            PersonaError::KeyReused => idempotency::reused(),
            PersonaError::Deleted => {
                Self::new(Kind::NotFound, "The persona that was created with this Idempotency-Key was deleted")
            }
            PersonaError::Database(error) => turnpike_store::fault(error),
        }
    }
}

/// The caller, as far as personas are concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Editor {
    pub(crate) user_id: UserId,
    pub(crate) admin: bool,
}

const COLUMNS: &str = "id, user_id, name, description, system_prompt, temperature, created_at";

fn persona(row: &AnyRow) -> Result<Persona, sqlx::Error> {
    let user_id: Option<String> = row.try_get("user_id")?;
    Ok(Persona {
        id: row.try_get::<String, _>("id")?.parse().map_err(|_| corrupt_column("id"))?,
        user_id: user_id.map(|id| id.parse()).transpose().map_err(|_| corrupt_column("user_id"))?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        system_prompt: row.try_get("system_prompt")?,
        temperature: row.try_get("temperature")?,
        created_at: from_micros(row.try_get("created_at")?),
    })
}

/// Whether the user has this persona, or all have it.
pub(crate) async fn may_use(on: &mut AnyConnection, id: PersonaId, user: UserId) -> Result<bool, sqlx::Error> {
    let found = sqlx::query("SELECT 1 AS one FROM personas WHERE id = $1 AND (user_id IS NULL OR user_id = $2)")
        .bind(id.to_string())
        .bind(user.to_string())
        .fetch_optional(on)
        .await?;
    Ok(found.is_some())
}

/// The persona of a conversation; `None` if it was deleted.
pub(crate) async fn get(store: &Store, id: PersonaId) -> Result<Option<Persona>, sqlx::Error> {
    by_id(store.reader(), &id.to_string()).await
}

async fn by_id(on: impl Executor<'_, Database = Any>, id: &str) -> Result<Option<Persona>, sqlx::Error> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM personas WHERE id = $1")))
        .bind(id)
        .fetch_optional(on)
        .await?;
    row.as_ref().map(persona).transpose()
}

/// The user's personas and the system-wide ones, by name.
pub(crate) async fn list(store: &Store, user: UserId) -> Result<Vec<Persona>, sqlx::Error> {
    let of =
        |condition: &str| format!("SELECT * FROM (SELECT {COLUMNS} FROM personas WHERE {condition} LIMIT $2) AS part");
    let sql = format!("{} UNION ALL {} ORDER BY name, id", of("user_id = $1"), of("user_id IS NULL"));
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user.to_string()).bind(MOST);
    query.fetch_all(store.reader()).await?.iter().map(persona).collect()
}

/// Stores a new persona. Returns whether an earlier request with the same key has created it.
pub(crate) async fn create(store: &Store, new: Persona, key: Option<Key>) -> Result<(Persona, bool), PersonaError> {
    match store.write(Create(new, key)).await? {
        Outcome::Created(persona, replayed) => Ok((*persona, replayed)),
        Outcome::TooMany => Err(PersonaError::TooMany),
        Outcome::KeyReused => Err(PersonaError::KeyReused),
        Outcome::Deleted => Err(PersonaError::Deleted),
    }
}

struct Create(Persona, Option<Key>);

/// Only [`Outcome::Created`] leaves something in the database.
enum Outcome {
    Created(Box<Persona>, bool),
    TooMany,
    KeyReused,
    Deleted,
}

impl Write for Create {
    type Output = Outcome;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Outcome>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for Self(new, key) in writes {
            if let Some(key) = key {
                match key.take(on, &new.id.to_string(), new.created_at).await? {
                    Known::New => {}
                    Known::Other => {
                        outputs.push(Outcome::KeyReused);
                        continue;
                    }
                    Known::Before(id) => {
                        let before = by_id(&mut *on, &id).await?;
                        outputs.push(before.map_or(Outcome::Deleted, |it| Outcome::Created(Box::new(it), true)));
                        continue;
                    }
                }
            }
            let (owned, owner) = match new.user_id {
                Some(user_id) => ("user_id = $8", user_id.to_string()),
                None => ("user_id IS NULL AND $8 = ''", String::new()),
            };
            let sql = format!(
                "INSERT INTO personas ({COLUMNS}) SELECT $1, $2, $3, $4, $5, CAST($6 AS DOUBLE PRECISION), CAST($7 AS BIGINT)
                 WHERE (SELECT COUNT(*) FROM personas WHERE {owned}) < $9"
            );
            let stored = sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(new.id.to_string())
                .bind(new.user_id.map(|id| id.to_string()))
                .bind(&new.name)
                .bind(&new.description)
                .bind(&new.system_prompt)
                .bind(new.temperature)
                .bind(micros(new.created_at))
                .bind(owner)
                .bind(MOST)
                .execute(&mut *on)
                .await?;
            if stored.rows_affected() == 1 {
                outputs.push(Outcome::Created(Box::new(new.clone()), false));
                continue;
            }
            if let Some(key) = key {
                key.give_back(on).await?;
            }
            outputs.push(Outcome::TooMany);
        }
        Ok(outputs)
    }
}

/// The fields that change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) system_prompt: Option<String>,
    pub(crate) temperature: Option<f64>,
    pub(crate) default_temperature: bool,
}

/// Changes a persona that the editor may change.
pub(crate) async fn update(
    store: &Store,
    id: PersonaId,
    editor: Editor,
    changes: Changes,
) -> Result<Persona, PersonaError> {
    let sql = format!(
        "UPDATE personas SET name = COALESCE($4, name), description = COALESCE($5, description),
             system_prompt = COALESCE($6, system_prompt), temperature = CASE WHEN $8 = 1 THEN NULL ELSE COALESCE($7, temperature) END
         WHERE id = $1 AND {OWNED} RETURNING {COLUMNS}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.to_string())
        .bind(editor.user_id.to_string())
        .bind(i64::from(editor.admin))
        .bind(changes.name)
        .bind(changes.description)
        .bind(changes.system_prompt)
        .bind(changes.temperature)
        .bind(i64::from(changes.default_temperature))
        .fetch_optional(store.pool())
        .await?;
    match row {
        Some(row) => Ok(persona(&row)?),
        None => Err(refusal(store, id).await?),
    }
}

/// Deletes a persona that the editor may change. Conversations with it have none then.
pub(crate) async fn delete(store: &Store, id: PersonaId, editor: Editor) -> Result<(), PersonaError> {
    let deleted = sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM personas WHERE id = $1 AND {OWNED}")))
        .bind(id.to_string())
        .bind(editor.user_id.to_string())
        .bind(i64::from(editor.admin))
        .execute(store.pool())
        .await?;
    if deleted.rows_affected() == 1 { Ok(()) } else { Err(refusal(store, id).await?) }
}

/// The user's own; for an admin also a system-wide one.
const OWNED: &str = "(user_id = $2 OR (user_id IS NULL AND $3 = 1))";

/// Why a persona cannot be changed: others' are reported as missing.
async fn refusal(store: &Store, id: PersonaId) -> Result<PersonaError, sqlx::Error> {
    let system_wide = get(store, id).await?.is_some_and(|persona| persona.user_id.is_none());
    Ok(if system_wide { PersonaError::NotAdmin } else { PersonaError::Missing })
}
