//! What the service is told.

use std::{net::SocketAddr, path::PathBuf};

use secrecy::SecretString;
use turnpike_bus::BusConfig;
use turnpike_kit::{ConfigError, Environment, listen};

/// The configuration of this service.
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
    /// The bus.
    pub bus: BusConfig,
}

impl Config {
    /// Reads it.
    pub fn new(env: &Environment) -> Result<Self, ConfigError> {
        let data_dir = env.get("TURNPIKE_DATA_DIR")?.unwrap_or(turnpike_kit::names::DATA_DIR);
        let database_url = match env.get("TURNPIKE_AUTH_DATABASE_URL")? {
            Some(url) => url.to_owned(),
            None => format!("sqlite:{data_dir}/auth.db"),
        };
        let secret = env.get("TURNPIKE_AUTH_SECRET")?;
        if secret.is_some_and(|secret| secret.len() < 32) {
            return Err(env.invalid("TURNPIKE_AUTH_SECRET", "at least 32 characters of randomness"));
        }
        Ok(Self {
            grpc: listen::address(env, "TURNPIKE_AUTH_GRPC", "127.0.0.1:50051")?,
            database_url,
            data_dir: data_dir.into(),
            secret: secret.map(SecretString::from),
            admin_email: env.get("TURNPIKE_ADMIN_EMAIL")?.unwrap_or("admin@turnpike.local").to_owned(),
            admin_password: env.get("TURNPIKE_ADMIN_PASSWORD")?.map(SecretString::from),
            logins_per_minute: env.parse(
                "TURNPIKE_LIMIT_LOGINS_PER_MINUTE",
                5,
                "a whole number, 0 for no limit",
                |_| true,
            )?,
            bus: BusConfig::new(env)?,
        })
    }
}
