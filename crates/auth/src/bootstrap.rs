//! The first admin: created if there is no admin, with the configured password or a generated one that is shown once.

use anyhow::Context;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tracing::info;
use turnpike_store::Store;
use turnpike_token::Role;

use crate::{
    Config,
    password::{self, Hasher},
    random,
    users::{self, New, UserError},
};

/// An admin that was created at this start.
pub struct FirstAdmin {
    /// The address to sign in with; the username is `admin`.
    pub email: String,
    /// The password, if it was generated. It is known only now: the database has its hash.
    pub generated: Option<SecretString>,
}

pub const USERNAME: &str = "admin";

/// Creates the first admin, if there is no admin.
pub async fn first_admin(
    store: &Store,
    hasher: &Hasher,
    config: &Config,
    now: Timestamp,
) -> anyhow::Result<Option<FirstAdmin>> {
    if users::has_admin(store).await? {
        return Ok(None);
    }
    let email = &config.admin_email;
    users::validate(email, USERNAME, "")
        .map_err(|_| anyhow::anyhow!("TURNPIKE_ADMIN_EMAIL is not an e-mail address"))?;
    if let Some(password) = &config.admin_password {
        password::validate(password.expose_secret(), "TURNPIKE_ADMIN_PASSWORD", &[email]).map_err(|fault| {
            let why = fault.fields().first().map(|field| field.message.clone()).unwrap_or_default();
            anyhow::anyhow!("TURNPIKE_ADMIN_PASSWORD {why}")
        })?;
    }
    let password = config.admin_password.clone().unwrap_or_else(|| SecretString::from(random::token()));
    let password_hash = hasher.hash(password.clone()).await.context("the first admin's password")?;
    let new = New {
        email: email.clone(),
        username: USERNAME.to_owned(),
        display_name: "Administrator".to_owned(),
        role: Role::Admin,
        key: None,
    };
    match users::create(store, &new, &password_hash, now).await {
        Ok(_) => {
            info!(email, "the first admin was created");
            let generated = config.admin_password.is_none().then_some(password);
            Ok(Some(FirstAdmin { email: email.clone(), generated }))
        }
        // Another instance has created it first, or an account that is no admin has the name.
        Err(UserError::EmailTaken | UserError::UsernameTaken) if users::has_admin(store).await? => Ok(None),
        Err(error) => Err(error).context("the first admin cannot be made"),
    }
}
