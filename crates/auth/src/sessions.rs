//! Sessions. A sign-in begins a session, its cookie and its refresh token continue it, and it ends once.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use sqlx::{Any, Row, Transaction, any::AnyRow};
use tonic::Status;
use turnpike_event::{AccountEvent, Body, EndReason};
use turnpike_fault::{Fault, Kind};
use turnpike_store::{Read, Reads, Store, from_micros, micros, rows};
use turnpike_topic::{ApiKeyId, SessionId, UserId};

use crate::{
    one_time_codes, outbox, random,
    users::{self, User},
};

/// How long a refresh token can be used. Each use issues a new one.
pub const IDLE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a cookie can be used.
pub const COOKIE: Duration = Duration::from_secs(24 * 3600);
/// The precision of `last_seen_at`.
const SEEN: Duration = Duration::from_secs(60);
/// Maximum number of active sessions of one user. When another one begins, the session that was not used for the longest time
/// ends.
const MOST: i64 = 100;

/// An active session of an active user.
#[derive(Clone, Debug)]
pub struct Active {
    pub id: SessionId,
    pub user: User,
    /// Time of the sign-in.
    pub authenticated_at: Timestamp,
    /// Rotation count of its refresh token.
    pub counter: u64,
}

/// A session as its user sees it.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: SessionId,
    pub created_at: Timestamp,
    /// Time of the last use, to the minute.
    pub last_seen_at: Timestamp,
    pub ip: String,
    pub user_agent: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The credential belongs to no session, or the session has ended.
    #[error("the session has ended or never was")]
    Over,
    #[error("the account is inactive")]
    Inactive,
    #[error("there is no such session")]
    NotFound,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<SessionError> for Status {
    fn from(error: SessionError) -> Self {
        Fault::from(error).into()
    }
}

impl From<SessionError> for Fault {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Over => Self::new(Kind::Unauthenticated, "The session has ended").code_is("SESSION_ENDED"),
            SessionError::Inactive => {
                Self::new(Kind::Unauthenticated, "User account is inactive").code_is("ACCOUNT_INACTIVE")
            }
            SessionError::NotFound => Self::new(Kind::NotFound, "There is no such session"),
            SessionError::Database(error) => turnpike_store::fault(error),
        }
    }
}

/// The stored hash with which a password was compared.
pub struct Proof {
    /// The hash at the comparison.
    pub checked: String,
    /// The hash to store from now on; usually the same.
    pub renewed: String,
}

/// Begins a session. Returns it with the value of the cookie, of which only a hash is stored. Fails with `Over` if the account
/// has changed since the password was checked.
pub async fn begin(
    store: &Store,
    user: UserId,
    proof: &Proof,
    ip: &str,
    user_agent: &str,
    now: Timestamp,
) -> Result<(Active, String), SessionError> {
    let mut tx = store.begin().await?;
    // A change of the account locks the same row. If the change is first, the session does not begin; otherwise the change finds
    // the session and ends it.
    let user = users::renew(&mut tx, user, &proof.checked, &proof.renewed).await?.ok_or(SessionError::Over)?;
    let begun = insert(&mut tx, user, ip, user_agent, now).await?;
    tx.commit().await?;
    Ok(begun)
}

/// Begins a session of an account that this transaction has locked and found active.
pub async fn insert(
    tx: &mut Transaction<'_, Any>,
    user: User,
    ip: &str,
    user_agent: &str,
    now: Timestamp,
) -> Result<(Active, String), sqlx::Error> {
    let (id, cookie) = (SessionId::new(now), random::token());
    sqlx::query(
        "INSERT INTO sessions (id, user_id, cookie_hash, cookie_expires_at, refresh_counter, refreshed_at, created_at,
             last_seen_at, expires_at, ip, user_agent)
         VALUES ($1, $2, $3, $4, 0, $5, $5, $5, $6, $7, $8)",
    )
    .bind(id.to_string())
    .bind(user.id.to_string())
    .bind(random::hash(&cookie))
    .bind(micros(now + COOKIE))
    .bind(micros(now))
    .bind(micros(now + IDLE))
    .bind(ip)
    .bind(user_agent)
    .execute(&mut **tx)
    .await?;
    let crowd = sqlx::query(
        "SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
             AND api_key_id IS NULL
         ORDER BY last_seen_at DESC, id DESC LIMIT 1000 OFFSET $3",
    )
    .bind(user.id.to_string())
    .bind(micros(now))
    .bind(MOST)
    .fetch_all(&mut **tx)
    .await?;
    for row in crowd {
        end_one(tx, &row.try_get::<String, _>("id")?, EndReason::Revoked, now).await?;
    }
    Ok((Active { id, user, authenticated_at: now, counter: 0 }, cookie))
}

/// Begins the session of an API key, whose account this transaction has locked and found active. It has no cookie: no hash has a
/// space. Nothing extends it; when it expires, the next use of the key begins another one.
pub async fn insert_of_api_key(
    tx: &mut Transaction<'_, Any>,
    user: User,
    key: ApiKeyId,
    now: Timestamp,
) -> Result<Active, sqlx::Error> {
    let id = SessionId::new(now);
    sqlx::query(
        "INSERT INTO sessions (id, user_id, cookie_hash, cookie_expires_at, refresh_counter, refreshed_at, created_at,
             last_seen_at, expires_at, ip, user_agent, api_key_id)
         VALUES ($1, $2, $3, 0, 0, $4, $4, $4, $5, '', '', $6)",
    )
    .bind(id.to_string())
    .bind(user.id.to_string())
    .bind(format!("none {id}"))
    .bind(micros(now))
    .bind(micros(now + IDLE))
    .bind(key.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(Active { id, user, authenticated_at: now, counter: 0 })
}

/// The session of a cookie.
pub async fn of_cookie(store: &Store, cookie: &str, now: Timestamp) -> Result<Active, SessionError> {
    active(store, "s.cookie_hash = $1 AND s.cookie_expires_at > $2", &random::hash(cookie), now).await
}

/// The session of an access token's `sid`. The session may have ended since the token was issued.
pub async fn of_id(store: &Store, id: SessionId, now: Timestamp) -> Result<Active, SessionError> {
    active(store, "s.id = $1 AND $2 > 0", &id.to_string(), now).await
}

async fn active(store: &Store, condition: &str, value: &str, now: Timestamp) -> Result<Active, SessionError> {
    let sql = format!("{FIND} WHERE {condition}");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(value).bind(micros(now)).fetch_optional(store.reader()).await?;
    admit(store, row.as_ref().map(Found::new).transpose()?, now).await
}

/// Like [`of_id`], for a method that is called often: calls at the same time share a statement.
pub async fn of_id_shared(
    reads: &Reads<ById>,
    store: &Store,
    id: SessionId,
    now: Timestamp,
) -> Result<Active, SessionError> {
    admit(store, reads.read(ById(id)).await?, now).await
}

/// Finds a session, which may have ended.
pub struct ById(SessionId);

impl Read for ById {
    type Output = Option<Found>;

    async fn perform(reads: &[Self], store: &Store) -> Result<Vec<Option<Found>>, sqlx::Error> {
        let mut query =
            sqlx::query(sqlx::AssertSqlSafe(format!("{FIND} WHERE s.id IN {}", rows(1, &vec![""; reads.len()]))));
        for ById(id) in reads {
            query = query.bind(id.to_string());
        }
        let rows = query.fetch_all(store.reader()).await?;
        let found = rows.iter().map(|row| Found::new(row).map(|found| (found.session.id, found)));
        let found = found.collect::<Result<HashMap<_, _>, _>>()?;
        Ok(reads.iter().map(|ById(id)| found.get(id).cloned()).collect())
    }
}

const FIND: &str =
    "SELECT s.id AS session_id, s.created_at AS session_created_at, s.refresh_counter, s.expires_at, s.ended_at,
         s.last_seen_at, u.id, u.email, u.username, u.display_name, u.role, u.active, u.created_at
     FROM sessions s JOIN users u ON u.id = s.user_id";

/// A stored session, which may have ended.
#[derive(Clone, Debug)]
pub struct Found {
    session: Active,
    ended: bool,
    /// Microseconds.
    expires_at: i64,
    last_seen_at: i64,
}

impl Found {
    fn new(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let session = Active {
            id: session_id(row, "session_id")?,
            authenticated_at: from_micros(row.try_get("session_created_at")?),
            counter: row.try_get::<i64, _>("refresh_counter")?.unsigned_abs(),
            user: users::user(row)?,
        };
        let ended = row.try_get::<Option<i64>, _>("ended_at")?.is_some();
        Ok(Self { session, ended, expires_at: row.try_get("expires_at")?, last_seen_at: row.try_get("last_seen_at")? })
    }
}

async fn admit(store: &Store, found: Option<Found>, now: Timestamp) -> Result<Active, SessionError> {
    let Found { session, ended, expires_at, last_seen_at } = found.ok_or(SessionError::Over)?;
    if !session.user.active {
        return Err(SessionError::Inactive);
    }
    if ended || expires_at <= micros(now) {
        return Err(SessionError::Over);
    }
    if last_seen_at < micros(now - SEEN) {
        sqlx::query("UPDATE sessions SET last_seen_at = $1 WHERE id = $2")
            .bind(micros(now))
            .bind(session.id.to_string())
            .execute(store.pool())
            .await?;
    }
    Ok(session)
}

/// The active sign-ins of a user, newest first. Sessions of API keys are not listed: the keys are.
pub async fn list(store: &Store, user: UserId, now: Timestamp) -> Result<Vec<Session>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, created_at, last_seen_at, ip, user_agent FROM sessions
         WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 AND api_key_id IS NULL ORDER BY id DESC LIMIT 1000",
    )
    .bind(user.to_string())
    .bind(micros(now))
    .fetch_all(store.reader())
    .await?;
    let read = |row: &AnyRow| {
        Ok(Session {
            id: session_id(row, "id")?,
            created_at: from_micros(row.try_get("created_at")?),
            last_seen_at: from_micros(row.try_get("last_seen_at")?),
            ip: row.try_get("ip")?,
            user_agent: row.try_get("user_agent")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Ends one session of a user.
pub async fn end(
    store: &Store,
    user: UserId,
    session: SessionId,
    reason: EndReason,
    now: Timestamp,
) -> Result<(), SessionError> {
    let mut tx = store.begin().await?;
    let row =
        sqlx::query("SELECT id FROM sessions WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3")
            .bind(session.to_string())
            .bind(user.to_string())
            .bind(micros(now))
            .fetch_optional(&mut *tx)
            .await?;
    if row.is_none() {
        return Err(SessionError::NotFound);
    }
    end_one(&mut tx, &session.to_string(), reason, now).await?;
    tx.commit().await?;
    Ok(())
}

/// The sessions of a user that end together.
#[derive(Clone, Copy)]
pub enum Ending {
    /// Every session. An API key that is not deleted begins another one with its next use, if the account is active.
    All,
    /// The sign-ins, with one exception. Sessions of API keys continue.
    SignIns { except: Option<SessionId> },
}

/// Ends sessions of a user, within a transaction. Also deletes one-time codes, which could begin another session.
pub async fn end_all(
    tx: &mut Transaction<'_, Any>,
    user: UserId,
    which: Ending,
    reason: EndReason,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query("SELECT id, api_key_id FROM sessions WHERE user_id = $1 AND ended_at IS NULL ORDER BY id")
        .bind(user.to_string())
        .fetch_all(&mut **tx)
        .await?;
    for row in rows {
        if let Ending::SignIns { except } = which {
            let of_api_key = row.try_get::<Option<String>, _>("api_key_id")?.is_some();
            if of_api_key || except == Some(session_id(&row, "id")?) {
                continue;
            }
        }
        end_one(tx, &row.try_get::<String, _>("id")?, reason, now).await?;
    }
    one_time_codes::withdraw(tx, user).await
}

/// Ends the sessions of an API key, within the transaction that revokes it.
pub async fn end_of_api_key(
    tx: &mut Transaction<'_, Any>,
    key: ApiKeyId,
    reason: EndReason,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query("SELECT id FROM sessions WHERE api_key_id = $1 AND ended_at IS NULL ORDER BY id")
        .bind(key.to_string())
        .fetch_all(&mut **tx)
        .await?;
    for row in rows {
        end_one(tx, &row.try_get::<String, _>("id")?, reason, now).await?;
    }
    Ok(())
}

/// Ends a session. Its event is stored in the same transaction. A session that has ended before stays as it is.
pub async fn end_one(
    tx: &mut Transaction<'_, Any>,
    id: &str,
    reason: EndReason,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let ended = sqlx::query(
        "UPDATE sessions SET ended_at = $1, end_reason = $2 WHERE id = $3 AND ended_at IS NULL RETURNING id, user_id",
    )
    .bind(micros(now))
    .bind(reason.as_str())
    .bind(id)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = ended else { return Ok(()) };
    let corrupt_column =
        |column: &str| sqlx::Error::ColumnDecode { index: column.to_owned(), source: "not an id".into() };
    let user_id = row.try_get::<String, _>("user_id")?.parse().map_err(|_| corrupt_column("user_id"))?;
    outbox::put(
        tx,
        Body::Account(AccountEvent::SessionEnded { session_id: session_id(&row, "id")?, user_id, reason }),
        now,
    )
    .await
}

pub fn session_id(row: &AnyRow, column: &str) -> Result<SessionId, sqlx::Error> {
    let corrupt_column = |_| sqlx::Error::ColumnDecode { index: column.to_owned(), source: "not an id".into() };
    row.try_get::<String, _>(column)?.parse().map_err(corrupt_column)
}
