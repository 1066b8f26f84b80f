//! Accounts.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Any, Row, Transaction, any::AnyRow};
use tonic::Status;
use turnpike_fault::{Fault, Kind};
use turnpike_store::{
    Store, from_micros,
    idempotency::{self, Key, Known},
    micros,
};
use turnpike_token::Role;
use turnpike_topic::UserId;

use crate::password::{self, Hasher};

#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub id: UserId,
    pub email: String,
    pub username: String,
    pub display_name: String,
    pub role: Role,
    /// Inactive accounts cannot sign in.
    pub active: bool,
    pub created_at: Timestamp,
}

/// An account to be created.
#[derive(Clone, Debug)]
pub struct New {
    pub email: String,
    /// A name without `@`.
    pub username: String,
    /// The username if it is blank.
    pub display_name: String,
    pub role: Role,
    /// A repeated request with the same key creates no second account.
    pub key: Option<Key>,
}

/// Whether the answer is that of an earlier request with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed(pub bool);

#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("the e-mail address is taken")]
    EmailTaken,
    #[error("the username is taken")]
    UsernameTaken,
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error("there is no such account")]
    NotFound,
    /// The change would leave no active admin.
    #[error("the last active admin stays")]
    LastAdmin,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<UserError> for Status {
    fn from(error: UserError) -> Self {
        Fault::from(error).into()
    }
}

impl From<UserError> for Fault {
    fn from(error: UserError) -> Self {
        match error {
            UserError::EmailTaken => Self::new(Kind::Conflict, "This e-mail address is taken")
                .code_is("EMAIL_TAKEN")
                .field("email", "is taken"),
            UserError::UsernameTaken => Self::new(Kind::Conflict, "This username is taken")
                .code_is("USERNAME_TAKEN")
                .field("username", "is taken"),
            UserError::KeyReused => idempotency::reused(),
            UserError::NotFound => Self::new(Kind::NotFound, "There is no such user"),
            UserError::LastAdmin => {
                Self::new(Kind::Conflict, "The last active admin cannot be removed or demoted").code_is("LAST_ADMIN")
            }
            UserError::Database(error) => turnpike_store::fault(error),
        }
    }
}

/// The columns that [`user`] reads.
pub const COLUMNS: &str = "id, email, username, display_name, role, active, created_at";

/// Names are compared without regard to case.
pub fn key(name: &str) -> String {
    name.trim().to_lowercase()
}

/// Validates the names of an account.
pub fn validate(email: &str, username: &str, display_name: &str) -> Result<(), Fault> {
    let mut fault = Fault::new(Kind::Validation, "The account is not valid");
    let local_and_domain = email.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && !domain.is_empty()
            && !domain.contains('@')
            && !domain.starts_with('.')
            && !domain.ends_with('.')
    });
    // This is what every address has; whether it exists is not checked.
    if !local_and_domain || email.len() > 254 || email.chars().any(|c| c.is_whitespace() || c.is_control()) {
        fault = fault.field("email", "must be an e-mail address");
    }
    let named = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if username.is_empty() || username.len() > 64 || !username.bytes().all(named) {
        fault = fault.field("username", "must be 1 to 64 letters, digits, dots, dashes or underscores");
    }
    if display_name.chars().count() > 128 || display_name.chars().any(char::is_control) {
        fault = fault.field("display_name", "must be at most 128 characters on one line");
    }
    if fault.fields().is_empty() { Ok(()) } else { Err(fault) }
}

/// The display name: the given one, or the username.
pub fn display_name<'a>(given: &'a str, username: &'a str) -> &'a str {
    Some(given.trim()).filter(|name| !name.is_empty()).unwrap_or(username)
}

/// Validates a new account and its password, and creates it.
pub async fn register(
    store: &Store,
    hasher: &Hasher,
    new: &New,
    password: SecretString,
    now: Timestamp,
) -> Result<(User, Replayed), Fault> {
    validate(&new.email, &new.username, &new.display_name)?;
    password::validate(password.expose_secret(), "password", &[&new.email, &new.username])?;
    let password_hash = hasher.hash(password).await?;
    Ok(create(store, new, &password_hash, now).await?)
}

/// Creates an account with the hash of its password, in PHC format. Returns it as it was created.
pub async fn create(
    store: &Store,
    new: &New,
    password_hash: &str,
    now: Timestamp,
) -> Result<(User, Replayed), UserError> {
    let id = UserId::new(now).to_string();
    let mut tx = store.begin().await?;
    if let Some(key) = &new.key {
        match key.take(&mut tx, &id, now).await? {
            Known::New => {}
            Known::Before(id) => {
                let made = locked(&mut tx, &id).await?;
                let display_name = display_name(&new.display_name, &new.username).to_owned();
                return Ok((User { display_name, role: new.role, active: true, ..made }, Replayed(true)));
            }
            Known::Other => return Err(UserError::KeyReused),
        }
    }
    let sql = format!(
        "INSERT INTO users (id, email, email_key, username, username_key, display_name, role, active, password_hash, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9) ON CONFLICT DO NOTHING RETURNING {COLUMNS}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id)
        .bind(&new.email)
        .bind(key(&new.email))
        .bind(&new.username)
        .bind(key(&new.username))
        .bind(display_name(&new.display_name, &new.username))
        .bind(new.role.as_str())
        .bind(password_hash)
        .bind(micros(now))
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else {
        let same_email = sqlx::query("SELECT 1 AS one FROM users WHERE email_key = $1")
            .bind(key(&new.email))
            .fetch_optional(&mut *tx)
            .await?;
        return Err(if same_email.is_some() { UserError::EmailTaken } else { UserError::UsernameTaken });
    };
    tx.commit().await?;
    Ok((user(&row)?, Replayed(false)))
}

pub async fn get(store: &Store, id: UserId) -> Result<User, UserError> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE id = $1 AND deleted_at IS NULL");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(store.reader()).await?;
    Ok(user(&row.ok_or(UserError::NotFound)?)?)
}

/// Finds an account by its e-mail address or username. Returns it with the hash of its password.
pub async fn find(store: &Store, identifier: &str) -> Result<Option<(User, String)>, sqlx::Error> {
    // No username has an @, and every address has.
    let column = if identifier.contains('@') { "email_key" } else { "username_key" };
    let sql = format!("SELECT {COLUMNS}, password_hash FROM users WHERE {column} = $1 AND deleted_at IS NULL");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(key(identifier)).fetch_optional(store.reader()).await?;
    row.map(|row| Ok((user(&row)?, row.try_get("password_hash")?))).transpose()
}

pub async fn password_hash(store: &Store, id: UserId) -> Result<String, UserError> {
    let row = sqlx::query("SELECT password_hash FROM users WHERE id = $1 AND deleted_at IS NULL")
        .bind(id.to_string())
        .fetch_optional(store.reader())
        .await?;
    Ok(row.ok_or(UserError::NotFound)?.try_get("password_hash")?)
}

/// At most `limit` accounts, newest first, after `before`.
pub async fn list(store: &Store, before: Option<UserId>, limit: u32) -> Result<Vec<User>, UserError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM users WHERE deleted_at IS NULL AND ($1 = '' OR id < $1) ORDER BY id DESC LIMIT $2"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(before.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(store.reader())
        .await?;
    Ok(rows.iter().map(user).collect::<Result<_, _>>()?)
}

/// Whether there is an active admin.
pub async fn has_admin(store: &Store) -> Result<bool, sqlx::Error> {
    let row =
        sqlx::query("SELECT 1 AS one FROM users WHERE role = 'admin' AND active = 1 AND deleted_at IS NULL LIMIT 1")
            .fetch_optional(store.reader())
            .await?;
    Ok(row.is_some())
}

/// Replaces an active account's hash if it is still the one that was checked, and locks the account until the transaction's
/// end. Returns the account as it is now; `None` if it has changed since the check.
pub async fn renew(
    tx: &mut Transaction<'_, Any>,
    id: UserId,
    checked: &str,
    renewed: &str,
) -> Result<Option<User>, sqlx::Error> {
    let sql = format!(
        "UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3 AND active = 1 RETURNING {COLUMNS}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(renewed)
        .bind(id.to_string())
        .bind(checked)
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(user).transpose()
}

/// Locks an account until the end of the transaction. Every change of an account, and every start and end of its sessions, takes
/// this lock.
pub async fn locked(tx: &mut Transaction<'_, Any>, id: &str) -> Result<User, UserError> {
    // An update that changes nothing is a lock on both databases.
    let sql = format!("UPDATE users SET active = active WHERE id = $1 AND deleted_at IS NULL RETURNING {COLUMNS}");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(&mut **tx).await?;
    Ok(user(&row.ok_or(UserError::NotFound)?)?)
}

/// Reads a row that has [`COLUMNS`].
pub fn user(row: &AnyRow) -> Result<User, sqlx::Error> {
    let role: String = row.try_get("role")?;
    let corrupt_column = |column: &str| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "not a value that this service writes".into(),
    };
    Ok(User {
        id: row.try_get::<String, _>("id")?.parse().map_err(|_| corrupt_column("id"))?,
        email: row.try_get("email")?,
        username: row.try_get("username")?,
        display_name: row.try_get("display_name")?,
        role: Role::from_word(&role).ok_or_else(|| corrupt_column("role"))?,
        active: row.try_get::<i64, _>("active")? == 1,
        created_at: from_micros(row.try_get("created_at")?),
    })
}
