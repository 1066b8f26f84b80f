//! The configuration.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::Uri;
use turnpike_bus::BusConfig;
use turnpike_kit::{ConfigError, Environment, Trust, listen, variables};

use crate::{engine::remote::RemoteConfig, session::Retention};

/// Sessions for each core: a session takes about a quarter of one.
const SESSIONS_PER_CORE: usize = 3;

#[derive(Clone, Debug)]
pub struct Config {
    /// `TURNPIKE_CAPTIONS_GRPC`.
    pub grpc: SocketAddr,
    /// `TURNPIKE_AUTH_URL`.
    pub auth_url: String,
    /// `TURNPIKE_CHAT_URL`.
    pub chat_url: String,
    /// The folder of transcripts, in the data directory.
    pub transcripts: PathBuf,
    /// `TURNPIKE_CAPTIONS_MODEL`: the folder of the model.
    pub model: PathBuf,
    /// `TURNPIKE_CAPTIONS_REMOTE_URL`, `TURNPIKE_CAPTIONS_REMOTE_API_KEY`, `TURNPIKE_CAPTIONS_REMOTE_MODEL`: an engine on another
    /// machine.
    pub remote: Option<RemoteConfig>,
    /// Threads that run engines: one for each core.
    pub threads: usize,
    /// `TURNPIKE_CAPTIONS_SESSIONS`: sessions at the same time.
    pub sessions: usize,
    /// `TURNPIKE_CAPTIONS_IDLE_SECONDS`.
    pub idle: Duration,
    /// `TURNPIKE_CAPTIONS_RETENTION_HOURS`, `TURNPIKE_CAPTIONS_RETENTION_MB`.
    pub retention: Retention,
    pub bus: BusConfig,
}

impl Config {
    pub fn new(env: &Environment) -> Result<Self, ConfigError> {
        let data = PathBuf::from(env.value(&variables::DATA_DIR));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let sessions = match env.get(&variables::CAPTIONS_SESSIONS) {
            None => cores * SESSIONS_PER_CORE,
            Some(_) => {
                env.parse(&variables::CAPTIONS_SESSIONS, "a number from 1 to 10000", |n| (1..=10_000).contains(n))?
            }
        };
        let model = env.get(&variables::CAPTIONS_MODEL).map(PathBuf::from);
        let seconds = "seconds from 1 to 86400";
        let idle = env.parse(&variables::CAPTIONS_IDLE_SECONDS, seconds, |s| (1..=86_400).contains(s))?;
        let hours = "hours from 0 to 87600, 0 to keep them";
        let hours: u64 = env.parse(&variables::CAPTIONS_RETENTION_HOURS, hours, |hours| *hours <= 87_600)?;
        let size = "megabytes from 1 to 1000000";
        let size: u64 = env.parse(&variables::CAPTIONS_RETENTION_MB, size, |mb| (1..=1_000_000).contains(mb))?;
        Ok(Self {
            grpc: listen::address(env, &variables::CAPTIONS_GRPC)?,
            auth_url: env.value(&variables::AUTH_URL).to_owned(),
            chat_url: env.value(&variables::CHAT_URL).to_owned(),
            model: model.unwrap_or_else(|| data.join("models/moonshine-tiny-en")),
            transcripts: data.join("captions"),
            remote: remote(env)?,
            threads: cores,
            sessions,
            idle: Duration::from_secs(idle),
            retention: Retention {
                age: (hours > 0).then(|| Duration::from_secs(hours * 3600)),
                bytes: size * 1_000_000,
            },
            bus: BusConfig::new(env)?,
        })
    }
}

fn remote(env: &Environment) -> Result<Option<RemoteConfig>, ConfigError> {
    let Some(url) = env.get(&variables::CAPTIONS_REMOTE_URL).filter(|url| !url.is_empty()) else { return Ok(None) };
    let name = &variables::CAPTIONS_REMOTE_URL;
    let expected = "a base URL with its /v1, such as https://api.openai.com/v1";
    let url: Uri = url.parse().map_err(|_| env.invalid(name, expected))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() || url.query().is_some() {
        return Err(env.invalid(name, expected));
    }
    let api_key = env.value(&variables::CAPTIONS_REMOTE_API_KEY).to_owned().into();
    let model = env.value(&variables::CAPTIONS_REMOTE_MODEL).to_owned();
    Ok(Some(RemoteConfig { url, api_key, model, trust: Trust::new(env, &variables::CA_FILE)? }))
}
