//! Accounts.

use jiff::Timestamp;
use sqlx::{Any, Row, Transaction, any::AnyRow};
use turnpike_event::UserId;
use turnpike_fault::{Fault, Kind};
use turnpike_store::{Store, from_micros, micros};
use turnpike_token::Role;

/// An account.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// As it was given.
    pub email: String,
    /// As it was given.
    pub username: String,
    /// For people.
    pub display_name: String,
    /// What it may do.
    pub role: Role,
    /// It may sign in.
    pub active: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An account to be made.
#[derive(Clone, Debug)]
pub struct New {
    /// An e-mail address.
    pub email: String,
    /// A name without `@`.
    pub username: String,
    /// For people.
    pub display_name: String,
    /// What it may do.
    pub role: Role,
    /// In PHC format.
    pub password_hash: String,
}

/// Why an account can't be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Another account has the address.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// Another account has the name.
    #[error("the username is taken")]
    UsernameTaken,
    /// There is none.
    #[error("there is no such account")]
    NotFound,
    /// Nobody could administer what is left.
    #[error("the last active admin stays")]
    LastAdmin,
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
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
            UserError::NotFound => Self::new(Kind::NotFound, "There is no such user"),
            UserError::LastAdmin => {
                Self::new(Kind::Conflict, "The last active admin cannot be removed or demoted").code_is("LAST_ADMIN")
            }
            UserError::Database(error) => turnpike_store::fault(error),
        }
    }
}

const COLUMNS: &str = "id, email, username, display_name, role, active, created_at";

/// Names are compared without regard to case.
pub fn key(name: &str) -> String {
    name.trim().to_lowercase()
}

/// Judges the names of a new account.
pub fn judge(email: &str, username: &str, display_name: &str) -> Result<(), Fault> {
    let mut fault = Fault::new(Kind::Validation, "The account is not valid");
    let local_and_domain = email.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && !domain.is_empty()
            && !domain.contains('@')
            && !domain.starts_with('.')
            && !domain.ends_with('.')
    });
    // Whether mail arrives, only mail can tell; this much is what every address has.
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

/// Makes an account.
pub async fn create(store: &Store, new: &New, now: Timestamp) -> Result<User, UserError> {
    let mut tx = store.begin().await?;
    let id = UserId::new(now);
    let sql = format!(
        "INSERT INTO users (id, email, email_key, username, username_key, display_name, role, active, password_hash, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9) ON CONFLICT DO NOTHING RETURNING {COLUMNS}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.to_string())
        .bind(&new.email)
        .bind(key(&new.email))
        .bind(&new.username)
        .bind(key(&new.username))
        .bind(&new.display_name)
        .bind(new.role.as_str())
        .bind(&new.password_hash)
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
    Ok(user(&row)?)
}

/// One account.
pub async fn get(store: &Store, id: UserId) -> Result<User, UserError> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE id = $1 AND deleted_at IS NULL");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(store.pool()).await?;
    Ok(user(&row.ok_or(UserError::NotFound)?)?)
}

/// An account by its address or name, with the hash of its password.
pub async fn find(store: &Store, identifier: &str) -> Result<Option<(User, String)>, sqlx::Error> {
    // No username has an @, and every address has.
    let column = if identifier.contains('@') { "email_key" } else { "username_key" };
    let sql = format!("SELECT {COLUMNS}, password_hash FROM users WHERE {column} = $1 AND deleted_at IS NULL");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(key(identifier)).fetch_optional(store.pool()).await?;
    row.map(|row| Ok((user(&row)?, row.try_get("password_hash")?))).transpose()
}

/// The hash of an account's password.
pub async fn password_hash(store: &Store, id: UserId) -> Result<String, UserError> {
    let row = sqlx::query("SELECT password_hash FROM users WHERE id = $1 AND deleted_at IS NULL")
        .bind(id.to_string())
        .fetch_optional(store.pool())
        .await?;
    Ok(row.ok_or(UserError::NotFound)?.try_get("password_hash")?)
}

/// At most `limit` accounts, newest first, after `before`.
pub async fn list(store: &Store, before: Option<UserId>, limit: u32) -> Result<Vec<User>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM users WHERE deleted_at IS NULL AND ($1 = '' OR id < $1) ORDER BY id DESC LIMIT $2"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(before.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(store.pool())
        .await?;
    rows.iter().map(user).collect()
}

/// Whether there is an active admin.
pub async fn has_admin(store: &Store) -> Result<bool, sqlx::Error> {
    let row =
        sqlx::query("SELECT 1 AS one FROM users WHERE role = 'admin' AND active = 1 AND deleted_at IS NULL LIMIT 1")
            .fetch_optional(store.pool())
            .await?;
    Ok(row.is_some())
}

/// What changes; the rest stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Another role.
    pub role: Option<Role>,
    /// On or off.
    pub active: Option<bool>,
    /// Another name for people.
    pub display_name: Option<String>,
    /// Another password, hashed.
    pub password_hash: Option<String>,
}

/// Changes an account, within a transaction that may have more to do. Gives it as it was and as it is.
pub async fn change(
    tx: &mut Transaction<'_, Any>,
    id: UserId,
    change: &Change,
    now: Timestamp,
) -> Result<(User, User), UserError> {
    take_turn(tx).await?;
    let before = locked(tx, id).await?;
    let sql = format!(
        "UPDATE users SET role = COALESCE($1, role), active = COALESCE($2, active),
             display_name = COALESCE($3, display_name), password_hash = COALESCE($4, password_hash),
             deactivated_at = CASE WHEN $2 = 0 AND active = 1 THEN $5 WHEN $2 = 1 THEN NULL ELSE deactivated_at END
         WHERE id = $6 RETURNING {COLUMNS}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(change.role.map(Role::as_str))
        .bind(change.active.map(i64::from))
        .bind(change.display_name.as_deref())
        .bind(change.password_hash.as_deref())
        .bind(micros(now))
        .bind(id.to_string())
        .fetch_one(&mut **tx)
        .await?;
    let after = user(&row)?;
    keep_an_admin(tx, &before).await?;
    Ok((before, after))
}

/// Deletes an account within a transaction: what tells of a person goes, the id stays.
pub async fn delete(tx: &mut Transaction<'_, Any>, id: UserId, now: Timestamp) -> Result<(), UserError> {
    take_turn(tx).await?;
    let before = locked(tx, id).await?;
    sqlx::query(
        "UPDATE users SET active = 0, deactivated_at = $1, deleted_at = $1, email = '', email_key = $2, username = '',
             username_key = $2, display_name = '', password_hash = '' WHERE id = $2",
    )
    .bind(micros(now))
    .bind(id.to_string())
    .execute(&mut **tx)
    .await?;
    keep_an_admin(tx, &before).await
}

/// Whether an active account has still this hash; then its row is locked, and has the renewed one.
pub async fn still(
    tx: &mut Transaction<'_, Any>,
    id: UserId,
    checked: &str,
    renewed: &str,
) -> Result<bool, sqlx::Error> {
    let kept = sqlx::query("UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3 AND active = 1")
        .bind(renewed)
        .bind(id.to_string())
        .bind(checked)
        .execute(&mut **tx)
        .await?;
    Ok(kept.rows_affected() == 1)
}

/// Two admins who demote each other at the same moment: one waits here for the other.
async fn take_turn(tx: &mut Transaction<'_, Any>) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE turns SET n = n + 1 WHERE name = 'admins'").execute(&mut **tx).await.map(|_| ())
}

async fn locked(tx: &mut Transaction<'_, Any>, id: UserId) -> Result<User, UserError> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE id = $1 AND deleted_at IS NULL");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(&mut **tx).await?;
    Ok(user(&row.ok_or(UserError::NotFound)?)?)
}

async fn keep_an_admin(tx: &mut Transaction<'_, Any>, before: &User) -> Result<(), UserError> {
    if before.role != Role::Admin || !before.active {
        return Ok(());
    }
    let left =
        sqlx::query("SELECT 1 AS one FROM users WHERE role = 'admin' AND active = 1 AND deleted_at IS NULL LIMIT 1")
            .fetch_optional(&mut **tx)
            .await?;
    left.map(|_| ()).ok_or(UserError::LastAdmin)
}

pub(crate) fn user(row: &AnyRow) -> Result<User, sqlx::Error> {
    let role: String = row.try_get("role")?;
    let odd =
        |column: &str| sqlx::Error::ColumnDecode { index: column.to_owned(), source: "not a value of ours".into() };
    Ok(User {
        id: row.try_get::<String, _>("id")?.parse().map_err(|_| odd("id"))?,
        email: row.try_get("email")?,
        username: row.try_get("username")?,
        display_name: row.try_get("display_name")?,
        role: Role::from_word(&role).ok_or_else(|| odd("role"))?,
        active: row.try_get::<i64, _>("active")? == 1,
        created_at: from_micros(row.try_get("created_at")?),
    })
}
