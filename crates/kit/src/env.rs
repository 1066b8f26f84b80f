//! The environment, read once.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::variables::{self, Default, Variable};

const PREFIX: &str = "TURNPIKE_";

/// Why a process cannot start with this environment: one sentence that names the variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Another program's variable.
    #[error("Only TURNPIKE_* env vars are allowed, got: {0}")]
    NotOurs(String),
    /// There is no such variable.
    #[error("unknown environment variable {0}; the README lists the names there are")]
    Unknown(String),
    /// It must be set.
    #[error("{0} is not set, and has no default here: {1}")]
    Missing(&'static str, &'static str),
    /// Its value is not valid. Never carries a secret's value.
    #[error("{name}={value:?} is not valid: expected {expected}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// Its value, or a mask.
        value: String,
        /// What a valid value is.
        expected: String,
    },
}

/// The variables named `TURNPIKE_*`, and nothing else of the process's environment.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
}

impl Environment {
    /// Reads the process's environment. A `TURNPIKE_*` name that does not exist is an error: it is a typing mistake.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn of_process() -> Result<Self, ConfigError> {
        // vars() panics on text that is not UTF-8, also of variables that are not ours
        let ours = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        Self::new(ours)
    }

    /// From pairs. Other names than `TURNPIKE_*` are refused. An empty value counts as not set, as in a compose file.
    pub fn new<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, ConfigError> {
        let mut values = BTreeMap::new();
        for (name, value) in pairs {
            let (name, value) = (name.into(), value.into());
            check(&name)?;
            if !value.is_empty() {
                values.insert(name, value);
            }
        }
        Ok(Self { values })
    }

    /// The value of a variable, if it is set.
    pub fn get(&self, variable: &Variable) -> Option<&str> {
        self.values.get(variable.name).map(String::as_str)
    }

    /// The value of a variable, or its default.
    ///
    /// # Panics
    ///
    /// If the variable is not set and its default is only described.
    pub fn value(&self, variable: &'static Variable) -> &str {
        match variable.default {
            Default::Value(default) => self.get(variable).unwrap_or(default),
            Default::Described(_) => self.get(variable).unwrap_or_else(|| panic!("{} has no default", variable.name)),
        }
    }

    /// The parsed value of a variable, or its default. `expected` says what a valid value is, e.g. "a number of seconds from
    /// 1 to 3600".
    pub fn parse<T: FromStr>(
        &self,
        variable: &'static Variable,
        expected: &str,
        valid: impl Fn(&T) -> bool,
    ) -> Result<T, ConfigError> {
        self.value(variable).parse().ok().filter(valid).ok_or_else(|| self.invalid(variable, expected))
    }

    /// A switch: 0, 1, false or true.
    pub fn switch(&self, variable: &'static Variable) -> Result<bool, ConfigError> {
        match self.value(variable) {
            "0" | "false" => Ok(false),
            "1" | "true" => Ok(true),
            _ => Err(self.invalid(variable, "0 or 1")),
        }
    }

    /// The error that this variable's value is not `expected`.
    pub fn invalid(&self, variable: &Variable, expected: impl fmt::Display) -> ConfigError {
        let value = if variable.secret { "***" } else { self.get(variable).unwrap_or_default() }.to_owned();
        ConfigError::Invalid { name: variable.name, value, expected: expected.to_string() }
    }

    /// Every variable with its value in force, secrets masked: `(variable, value, whether it was set)`.
    pub fn in_force(&self) -> impl Iterator<Item = (&'static Variable, &str, bool)> {
        variables::ALL.iter().copied().map(|variable| match self.get(variable) {
            Some(_) if variable.secret => (variable, "***", true),
            Some(value) => (variable, value, true),
            None => (variable, variable.default.text(), false),
        })
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.in_force().filter(|row| row.2).map(|(variable, value, _)| (variable.name, value)))
            .finish()
    }
}

fn check(name: &str) -> Result<(), ConfigError> {
    if !name.starts_with(PREFIX) {
        return Err(ConfigError::NotOurs(name.to_owned()));
    }
    variables::find(name).map(|_| ()).ok_or_else(|| ConfigError::Unknown(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_our_prefix_are_accepted() {
        let error = Environment::new([("HOME", "/root")]).expect_err("another program's");
        assert_eq!(error.to_string(), "Only TURNPIKE_* env vars are allowed, got: HOME");
    }

    #[test]
    fn an_unknown_name_stops_the_start() {
        let error = Environment::new([("TURNPIKE_HTPP", "0.0.0.0:80")]).expect_err("unknown");
        assert!(error.to_string().contains("TURNPIKE_HTPP"), "{error}");
    }

    #[test]
    fn a_bad_value_is_named_and_a_secret_one_is_not_shown() {
        let env =
            Environment::new([("TURNPIKE_MOCK_SEED", "ten"), ("TURNPIKE_AUTH_SECRET", "hunter2")]).expect("known");
        let error = env.parse::<u64>(&variables::MOCK_SEED, "a whole number", |_| true).expect_err("not a number");
        assert_eq!(error.to_string(), r#"TURNPIKE_MOCK_SEED="ten" is not valid: expected a whole number"#);
        let error = env.invalid(&variables::AUTH_SECRET, "32 bytes");
        assert!(!error.to_string().contains("hunter2"));
        assert!(!format!("{env:?}").contains("hunter2"));
    }

    #[test]
    fn an_empty_value_is_no_value() {
        let env = Environment::new([("TURNPIKE_OFFLINE", "")]).expect("known");
        assert_eq!(env.get(&variables::OFFLINE), None);
    }
}
