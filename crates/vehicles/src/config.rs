//! The configuration.

use std::{net::SocketAddr, time::Duration};

use turnpike_bus::BusConfig;
use turnpike_kit::{ConfigError, Environment, listen, variables};

#[derive(Clone, Debug)]
pub struct Config {
    /// `TURNPIKE_VEHICLES_GRPC`.
    pub grpc: SocketAddr,
    /// `TURNPIKE_VEHICLES_DATABASE_URL`.
    pub database_url: String,
    /// `TURNPIKE_CONNECTORS`: names and URLs.
    pub connectors: Vec<(String, String)>,
    /// `TURNPIKE_AUTH_URL`.
    pub auth_url: String,
    /// `TURNPIKE_COMMAND_RETENTION_DAYS`: how long an ended command and its events are kept; `None` for ever.
    pub command_retention: Option<Duration>,
    /// `TURNPIKE_LIMIT_COMMANDS_PER_MINUTE`: of one user, at all instances together; 0 means no limit.
    pub commands_per_minute: u32,
    pub bus: BusConfig,
}

impl Config {
    pub fn new(env: &Environment) -> Result<Self, ConfigError> {
        let data_dir = env.value(&variables::DATA_DIR);
        let database_url = match env.get(&variables::VEHICLES_DATABASE_URL) {
            Some(url) => url.to_owned(),
            None => format!("sqlite:{data_dir}/vehicles.db"),
        };
        Ok(Self {
            grpc: listen::address(env, &variables::VEHICLES_GRPC)?,
            database_url,
            connectors: connectors(env)?,
            auth_url: env.value(&variables::AUTH_URL).to_owned(),
            command_retention: command_retention(env)?,
            commands_per_minute: env.parse(
                &variables::LIMIT_COMMANDS_PER_MINUTE,
                "a whole number, 0 for no limit",
                |_| true,
            )?,
            bus: BusConfig::new(env)?,
        })
    }
}

/// A hundred years: more would not fit the range of times.
const MAX_RETENTION_DAYS: u32 = 36_500;

fn command_retention(env: &Environment) -> Result<Option<Duration>, ConfigError> {
    let days: u32 = env.parse(
        &variables::COMMAND_RETENTION_DAYS,
        "a whole number of days up to 36500, 0 to keep commands for ever",
        |days| *days <= MAX_RETENTION_DAYS,
    )?;
    Ok((days > 0).then(|| Duration::from_secs(u64::from(days) * 24 * 3600)))
}

/// `name=url,name=url`.
fn connectors(env: &Environment) -> Result<Vec<(String, String)>, ConfigError> {
    let text = env.value(&variables::CONNECTORS);
    let invalid = || {
        env.invalid(
            &variables::CONNECTORS,
            "names and URLs such as mock=http://127.0.0.1:50054, comma-separated, each name once",
        )
    };
    let mut connectors: Vec<(String, String)> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, url) = part.split_once('=').ok_or_else(invalid)?;
        let named = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let good = !name.is_empty() && name.len() <= 64 && name.bytes().all(named) && url.starts_with("http");
        if !good || connectors.iter().any(|(known, _)| known == name) {
            return Err(invalid());
        }
        connectors.push((name.to_owned(), url.to_owned()));
    }
    Ok(connectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
        connectors(&Environment::new([(variables::CONNECTORS.name, text)]).expect("a known name"))
    }

    #[test]
    fn several_connectors() {
        let two = parsed("mock=http://mock:1, depot=http://depot:2").expect("valid");
        assert_eq!(two, [("mock".into(), "http://mock:1".into()), ("depot".into(), "http://depot:2".into())]);
    }

    #[test]
    fn commands_are_kept_for_ninety_days_by_default() {
        const DAYS: &str = variables::COMMAND_RETENTION_DAYS.name;
        let kept = |env: &Environment| command_retention(env).map(|kept| kept.map(|kept| kept.as_secs() / 86_400));
        assert_eq!(kept(&Environment::default()).expect("valid"), Some(90));
        for (text, days) in [("0", None), ("1", Some(1)), ("36500", Some(36_500))] {
            assert_eq!(kept(&Environment::new([(DAYS, text)]).expect("a known name")).expect(text), days);
        }
        for text in ["-1", "36501", "ten", "1.5"] {
            let error = kept(&Environment::new([(DAYS, text)]).expect("a known name")).expect_err(text);
            assert!(error.to_string().contains(DAYS), "{error}");
        }
    }

    #[test]
    fn mistakes_name_the_variable() {
        for text in ["http://mock:1", "=http://x", "a=ftp://x", "a=http://x,a=http://y", "a b=http://x"] {
            assert!(parsed(text).expect_err(text).to_string().contains(variables::CONNECTORS.name));
        }
    }
}
