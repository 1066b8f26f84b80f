//! The configuration.

use std::{net::SocketAddr, path::PathBuf};

use secrecy::SecretString;
use turnpike_bus::BusConfig;
use turnpike_kit::{ConfigError, Environment, listen, variables};

#[derive(Clone, Debug)]
pub struct Config {
    /// `TURNPIKE_AUTH_GRPC`.
    pub grpc: SocketAddr,
    /// `TURNPIKE_AUTH_DATABASE_URL`.
    pub database_url: String,
    /// `TURNPIKE_DATA_DIR`: where a generated secret is kept.
    pub data_dir: PathBuf,
    /// `TURNPIKE_AUTH_SECRET`; without it one is generated.
    pub secret: Option<SecretString>,
    /// `TURNPIKE_ADMIN_EMAIL`.
    pub admin_email: String,
    /// `TURNPIKE_ADMIN_PASSWORD`; without it one is generated.
    pub admin_password: Option<SecretString>,
    /// `TURNPIKE_LIMIT_LOGINS_PER_MINUTE`; 0 is no limit.
    pub logins_per_minute: u32,
    pub bus: BusConfig,
}

impl Config {
    pub fn new(env: &Environment) -> Result<Self, ConfigError> {
        let data_dir = env.value(&variables::DATA_DIR);
        let database_url = match env.get(&variables::AUTH_DATABASE_URL) {
            Some(url) => url.to_owned(),
            None => format!("sqlite:{data_dir}/auth.db"),
        };
        let secret = env.get(&variables::AUTH_SECRET);
        if secret.is_some_and(|secret| secret.len() < 32) {
            return Err(env.invalid(&variables::AUTH_SECRET, "at least 32 characters of randomness"));
        }
        Ok(Self {
            grpc: listen::address(env, &variables::AUTH_GRPC)?,
            database_url,
            data_dir: data_dir.into(),
            secret: secret.map(SecretString::from),
            admin_email: env.value(&variables::ADMIN_EMAIL).to_owned(),
            admin_password: env.get(&variables::ADMIN_PASSWORD).map(SecretString::from),
            logins_per_minute: env.parse(
                &variables::LIMIT_LOGINS_PER_MINUTE,
                "a whole number, 0 for no limit",
                |_| true,
            )?,
            bus: BusConfig::new(env)?,
        })
    }
}
