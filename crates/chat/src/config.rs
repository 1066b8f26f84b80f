//! The configuration.

use std::{net::SocketAddr, time::Duration};

use secrecy::SecretString;
use turnpike_bus::BusConfig;
use turnpike_kit::{ConfigError, Environment, Trust, Variable, listen, variables};

#[derive(Clone, Debug)]
pub struct Config {
    /// `TURNPIKE_CHAT_GRPC`.
    pub grpc: SocketAddr,
    /// `TURNPIKE_CHAT_DATABASE_URL`.
    pub database_url: String,
    /// `TURNPIKE_AUTH_URL`.
    pub auth_url: String,
    pub models: Models,
    pub limits: Limits,
    pub bus: BusConfig,
}

/// The servers of language models.
#[derive(Clone, Debug)]
pub struct Models {
    /// `TURNPIKE_LLM_URL`, in the order in which they are tried; empty: the built-in scripted model.
    pub servers: Vec<Server>,
    /// `TURNPIKE_LLM_MODEL`.
    pub model: Option<String>,
    /// `TURNPIKE_LLM_CONTEXT_TOKENS`.
    pub context_tokens: u32,
    /// `TURNPIKE_LLM_TITLES` is `model`.
    pub titles_by_model: bool,
    pub timeouts: Timeouts,
    /// `TURNPIKE_CA_FILE`.
    pub trust: Trust,
    /// `TURNPIKE_LLM_SCRIPTED_DELAY_MS`.
    pub scripted_delay: Duration,
}

/// One OpenAI-compatible server.
#[derive(Clone, Debug)]
pub struct Server {
    /// With its `/v1`, without a slash at the end.
    pub base_url: String,
    pub api_key: Option<SecretString>,
}

/// Bounds for the parts of a request to a server.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub connect: Duration,
    /// From the request to the first piece of the answer.
    pub first_token: Duration,
    /// Between two pieces.
    pub next_token: Duration,
    /// The whole answer.
    pub total: Duration,
}

/// Limits; 0 means no limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Running answers of one user.
    pub answers_per_user: u32,
    /// Tokens of one user in a day and in a month, UTC.
    pub tokens_per_day: u64,
    pub tokens_per_month: u64,
}

impl Config {
    pub fn new(env: &Environment) -> Result<Self, ConfigError> {
        let data_dir = env.value(&variables::DATA_DIR);
        let database_url = match env.get(&variables::CHAT_DATABASE_URL) {
            Some(url) => url.to_owned(),
            None => format!("sqlite:{data_dir}/chat.db"),
        };
        let whole = "a whole number, 0 for no limit";
        Ok(Self {
            grpc: listen::address(env, &variables::CHAT_GRPC)?,
            database_url,
            auth_url: env.value(&variables::AUTH_URL).to_owned(),
            models: Models::new(env)?,
            limits: Limits {
                answers_per_user: env.parse(&variables::LIMIT_ANSWERS_PER_USER, whole, |_| true)?,
                tokens_per_day: env.parse(&variables::LIMIT_TOKENS_PER_DAY, whole, |_| true)?,
                tokens_per_month: env.parse(&variables::LIMIT_TOKENS_PER_MONTH, whole, |_| true)?,
            },
            bus: BusConfig::new(env)?,
        })
    }
}

impl Models {
    fn new(env: &Environment) -> Result<Self, ConfigError> {
        let model = env.value(&variables::LLM_MODEL);
        let delay = env.parse(&variables::LLM_SCRIPTED_DELAY_MS, "milliseconds up to 10000", |ms| *ms <= 10_000)?;
        Ok(Self {
            servers: servers(env)?,
            model: (!model.is_empty()).then(|| model.to_owned()),
            context_tokens: env.parse(&variables::LLM_CONTEXT_TOKENS, "tokens from 256 to 10000000", |tokens| {
                (256..=10_000_000).contains(tokens)
            })?,
            titles_by_model: match env.value(&variables::LLM_TITLES) {
                "rule" => false,
                "model" => true,
                _ => return Err(env.invalid(&variables::LLM_TITLES, "rule or model")),
            },
            timeouts: Timeouts {
                connect: seconds(env, &variables::LLM_CONNECT_SECONDS)?,
                first_token: seconds(env, &variables::LLM_FIRST_TOKEN_SECONDS)?,
                next_token: seconds(env, &variables::LLM_NEXT_TOKEN_SECONDS)?,
                total: seconds(env, &variables::LLM_TOTAL_SECONDS)?,
            },
            trust: Trust::new(env, &variables::CA_FILE)?,
            scripted_delay: Duration::from_millis(delay),
        })
    }
}

fn seconds(env: &Environment, variable: &'static Variable) -> Result<Duration, ConfigError> {
    env.parse(variable, "seconds from 1 to 86400", |seconds| (1..=86_400).contains(seconds)).map(Duration::from_secs)
}

fn servers(env: &Environment) -> Result<Vec<Server>, ConfigError> {
    let list = |variable| env.value(variable).split(',').map(str::trim).filter(|part| !part.is_empty());
    let urls: Vec<_> = list(&variables::LLM_URL).collect();
    let keys: Vec<_> = list(&variables::LLM_API_KEY).collect();
    if keys.len() > 1 && keys.len() != urls.len() {
        return Err(env.invalid(&variables::LLM_API_KEY, "one key, or one for each URL of TURNPIKE_LLM_URL"));
    }
    let server = |(n, url): (usize, &&str)| {
        let uri: Option<http::Uri> = url.parse().ok();
        let good = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none()
        });
        if !good {
            return Err(env.invalid(&variables::LLM_URL, "base URLs such as http://127.0.0.1:5000/v1, comma-separated"));
        }
        let api_key = keys.get(n).or(keys.first()).map(|key| SecretString::from((*key).to_owned()));
        Ok(Server { base_url: url.trim_end_matches('/').to_owned(), api_key })
    };
    urls.iter().enumerate().map(server).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn parsed(variables: &[(&str, &str)]) -> Result<Models, ConfigError> {
        Models::new(&Environment::new(variables.iter().copied()).expect("known names"))
    }

    #[test]
    fn servers_have_one_key_or_one_key_each() {
        const URL: &str = variables::LLM_URL.name;
        const KEY: &str = variables::LLM_API_KEY.name;
        let two = "http://a:1/v1/, https://b/v1";
        let shown = |models: Models| {
            let key = |server: &Server| server.api_key.as_ref().map(|key| key.expose_secret().to_owned());
            models.servers.iter().map(|server| (server.base_url.clone(), key(server))).collect::<Vec<_>>()
        };
        let both = |first: Option<&str>, second: Option<&str>| {
            let urls = ["http://a:1/v1".to_owned(), "https://b/v1".to_owned()];
            urls.into_iter().zip([first.map(str::to_owned), second.map(str::to_owned)]).collect::<Vec<_>>()
        };
        assert_eq!(shown(parsed(&[(URL, two)]).expect("valid")), both(None, None));
        assert_eq!(shown(parsed(&[(URL, two), (KEY, "k")]).expect("valid")), both(Some("k"), Some("k")));
        assert_eq!(shown(parsed(&[(URL, two), (KEY, "k,l")]).expect("valid")), both(Some("k"), Some("l")));
        assert!(parsed(&[(URL, two), (KEY, "k,l,m")]).expect_err("three keys").to_string().contains(KEY));
        for url in ["localhost:5000", "ftp://a/v1", "http://", "http://a/v1?x=1"] {
            assert!(parsed(&[(URL, url)]).expect_err(url).to_string().contains(URL));
        }
    }

    #[test]
    fn mistakes_name_the_variable() {
        for (variable, value) in [
            (&variables::LLM_TITLES, "none"),
            (&variables::LLM_CONTEXT_TOKENS, "1"),
            (&variables::LLM_TOTAL_SECONDS, "0"),
            (&variables::LLM_SCRIPTED_DELAY_MS, "-1"),
        ] {
            assert!(parsed(&[(variable.name, value)]).expect_err(value).to_string().contains(variable.name));
        }
    }
}
