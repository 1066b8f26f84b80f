//! Changes of accounts. Each ends the sessions that it makes invalid: no token keeps a role that was taken away, and no session
//! survives a replaced password. Each change is one transaction, which locks the account first.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Any, Transaction};
use turnpike_event::EndReason;
use turnpike_fault::{Fault, Kind};
use turnpike_store::{
    Store,
    idempotency::{self, Key, Known},
    micros,
};
use turnpike_token::Role;
use turnpike_topic::UserId;

use crate::{
    api_keys, known_addresses, outbox,
    password::{self, Hasher},
    sessions::{self, Active, Ending},
    users::{self, COLUMNS, Replayed, User, UserError, user},
};

/// Changes by an admin; absent fields stay.
#[derive(Default)]
pub struct Change {
    pub role: Option<Role>,
    pub active: Option<bool>,
    /// If it is blank, the username becomes the display name.
    pub display_name: Option<String>,
    pub password: Option<SecretString>,
}

/// Changes an account, and ends its sessions if the change makes them invalid.
pub async fn update(store: &Store, hasher: &Hasher, id: UserId, change: Change, now: Timestamp) -> Result<User, Fault> {
    let known = users::get(store, id).await?;
    if let Some(name) = &change.display_name {
        users::validate(&known.email, &known.username, name)?;
    }
    let password_hash = match &change.password {
        None => None,
        Some(password) => {
            password::validate(password.expose_secret(), "password", &[&known.email, &known.username])?;
            Some(hasher.hash(password.clone()).await?)
        }
    };
    Ok(apply(store, id, &change, password_hash.as_deref(), now).await?)
}

async fn apply(
    store: &Store,
    id: UserId,
    change: &Change,
    password_hash: Option<&str>,
    now: Timestamp,
) -> Result<User, UserError> {
    let mut tx = store.begin().await?;
    take_turn(&mut tx).await?;
    let before = users::locked(&mut tx, &id.to_string()).await?;
    let display_name = change.display_name.as_deref().map(|name| users::display_name(name, &before.username));
    let sql = format!(
        "UPDATE users SET role = COALESCE($1, role), active = COALESCE($2, active),
             display_name = COALESCE($3, display_name), password_hash = COALESCE($4, password_hash),
             deactivated_at = CASE WHEN $2 = 0 AND active = 1 THEN $5 WHEN $2 = 1 THEN NULL ELSE deactivated_at END
         WHERE id = $6 RETURNING {COLUMNS}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(change.role.map(Role::as_str))
        .bind(change.active.map(i64::from))
        .bind(display_name)
        .bind(password_hash)
        .bind(micros(now))
        .bind(id.to_string())
        .fetch_one(&mut *tx)
        .await?;
    let after = user(&row)?;
    keep_an_admin(&mut tx, &before).await?;
    if before.active != after.active {
        outbox::put(&mut tx, outbox::account_changed(id, after.active), now).await?;
    }
    let ends = match (&before, &after) {
        (User { active: true, .. }, User { active: false, .. }) => Some(EndReason::AccountInactive),
        _ if password_hash.is_some() => Some(EndReason::PasswordChanged),
        (before, after) if before.role != after.role => Some(EndReason::Revoked),
        _ => None,
    };
    if let Some(reason) = ends {
        sessions::end_all(&mut tx, id, Ending::All, reason, now).await?;
    }
    tx.commit().await?;
    Ok(after)
}

/// Deletes an account: its sessions end, personal data is removed, the id stays.
pub async fn delete(store: &Store, id: UserId, now: Timestamp) -> Result<(), UserError> {
    let mut tx = store.begin().await?;
    take_turn(&mut tx).await?;
    let before = users::locked(&mut tx, &id.to_string()).await?;
    sqlx::query(
        "UPDATE users SET active = 0, deactivated_at = $1, deleted_at = $1, email = '', email_key = $2, username = '',
             username_key = $2, display_name = '', password_hash = '' WHERE id = $2",
    )
    .bind(micros(now))
    .bind(id.to_string())
    .execute(&mut *tx)
    .await?;
    keep_an_admin(&mut tx, &before).await?;
    known_addresses::forget(&mut tx, id).await?;
    api_keys::forget(&mut tx, id).await?;
    outbox::put(&mut tx, outbox::account_changed(id, false), now).await?;
    sessions::end_all(&mut tx, id, Ending::All, EndReason::AccountInactive, now).await?;
    tx.commit().await?;
    Ok(())
}

/// The code of the failure for a wrong current password.
pub const WRONG_PASSWORD: &str = "INVALID_PASSWORD";

/// A user changes their own password; their other sessions end.
pub async fn change_password(
    store: &Store,
    hasher: &Hasher,
    session: &Active,
    current: SecretString,
    new: SecretString,
    key: Option<&Key>,
    now: Timestamp,
) -> Result<Replayed, Fault> {
    let Active { id, user, .. } = session;
    // Checked first: after the first such request, the password that it names is no longer the current one.
    if let Some(key) = key {
        match key.look_up(store, now).await.map_err(turnpike_store::fault)? {
            Known::New => {}
            Known::Before(_) => return Ok(Replayed(true)),
            Known::Other => return Err(idempotency::reused()),
        }
    }
    let wrong = || {
        let fault = Fault::new(Kind::Invalid, "The current password is wrong").code_is(WRONG_PASSWORD);
        fault.field("current_password", "is wrong")
    };
    let checked = users::password_hash(store, user.id).await?;
    if !hasher.verify(current, Some(checked.clone())).await?.right {
        return Err(wrong());
    }
    password::validate(new.expose_secret(), "new_password", &[&user.email, &user.username])?;
    let hash = hasher.hash(new).await?;
    let replace = async {
        let mut tx = store.begin().await?;
        if let Some(key) = key {
            match key.take(&mut tx, "", now).await? {
                Known::New => {}
                Known::Before(_) => return Ok(Ok(Replayed(true))), // the same request was performed at the same time
                Known::Other => return Ok(Err(idempotency::reused())),
            }
        }
        if users::renew(&mut tx, user.id, &checked, &hash).await?.is_none() {
            return Ok(Err(wrong())); // an admin has replaced the password in the meantime
        }
        sessions::end_all(&mut tx, user.id, Ending::SignIns { except: Some(*id) }, EndReason::PasswordChanged, now)
            .await?;
        tx.commit().await?;
        Ok(Ok(Replayed(false)))
    };
    replace.await.map_err(turnpike_store::fault)?
}

/// Ends every sign-in of a user. API keys are revoked one by one.
pub async fn end_sessions(store: &Store, id: UserId, now: Timestamp) -> Result<(), UserError> {
    let mut tx = store.begin().await?;
    users::locked(&mut tx, &id.to_string()).await?;
    sessions::end_all(&mut tx, id, Ending::SignIns { except: None }, EndReason::Revoked, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Serializes changes of admins: of two admins who demote each other at the same time, one waits here.
async fn take_turn(tx: &mut Transaction<'_, Any>) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE turns SET n = n + 1 WHERE name = 'admins'").execute(&mut **tx).await.map(|_| ())
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
