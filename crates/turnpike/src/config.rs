//! `turnpike config`.

use std::process::ExitCode;

use turnpike_bus::BusConfig;
use turnpike_kit::{
    ConfigError, Environment, Outbound, Variable,
    variables::{self, Binary},
};

/// Prints every variable with the value in force. An invalid value is reported as at a start.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command that prints")]
pub(crate) fn show() -> ExitCode {
    match Environment::of_process().and_then(|env| lines(&env)) {
        Ok(lines) => {
            for line in lines {
                println!("{line}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("turnpike: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One line for each variable. A variable that this process does not use, because the service runs inside it, is
/// shown with this remark instead of its default.
fn lines(env: &Environment) -> Result<Vec<String>, ConfigError> {
    check(env)?;
    let line = |(variable, value, set): (&'static Variable, &str, bool)| {
        let name = variable.name;
        match (remark(env, variable, set), set) {
            (Some(remark), true) => format!("{name}={value}  ({remark})"),
            (Some(remark), false) => format!("{name}=  ({remark})"),
            (None, true) => format!("{name}={value}"),
            (None, false) => format!("{name}={value}  (default)"),
        }
    };
    Ok(env.in_force().map(line).collect())
}

/// A remark if the single process does not simply use the value or the default of the variable.
fn remark(env: &Environment, variable: &Variable, set: bool) -> Option<&'static str> {
    let is = |other: &Variable| variable.name == other.name;
    let listens = [
        &variables::AUTH_GRPC,
        &variables::CHAT_GRPC,
        &variables::VEHICLES_GRPC,
        &variables::MOCK_VEHICLE_CONNECTOR_GRPC,
        &variables::CAPTIONS_GRPC,
    ];
    if is(&variables::CONNECTORS) {
        match set {
            false => Some("default: the mock inside this process"),
            // A configured connector with the name `mock` replaces the mock inside this process.
            true => (!names_the_mock(env)).then_some("and the mock inside this process"),
        }
    } else if !variable.readers.contains(&Binary::Turnpike) {
        Some("not used: the service is inside this process")
    } else if !set && listens.into_iter().any(is) {
        Some("default: does not listen")
    } else {
        None
    }
}

fn names_the_mock(env: &Environment) -> bool {
    // `check` has already reported an invalid value.
    let config = turnpike_vehicles::Config::new(env);
    config.is_ok_and(|config| config.connectors.iter().any(|(name, _)| name == "mock"))
}

fn check(env: &Environment) -> Result<(), ConfigError> {
    turnpike_auth::Config::new(env)?;
    turnpike_vehicles::Config::new(env)?;
    turnpike_chat::Config::new(env)?;
    turnpike_captions::Config::new(env)?;
    turnpike_mock_vehicle_connector::Config::new(env)?;
    turnpike_gateway::Config::new(env)?;
    Outbound::new(env)?;
    BusConfig::new(env).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, variables: &[(&str, &str)]) -> String {
        let env = Environment::new(variables.iter().copied()).expect("known names");
        let all = lines(&env).expect("valid");
        let line = all.into_iter().find(|line| line.starts_with(&format!("{name}="))).expect("every name has a line");
        line[name.len() + 1..].to_owned()
    }

    #[test]
    fn connectors_are_shown_with_the_mock_inside_the_process() {
        let shown = |text| line("TURNPIKE_CONNECTORS", &[("TURNPIKE_CONNECTORS", text)]);
        assert_eq!(line("TURNPIKE_CONNECTORS", &[]), "  (default: the mock inside this process)");
        assert_eq!(shown("depot=http://depot:1"), "depot=http://depot:1  (and the mock inside this process)");
        assert_eq!(shown("mock=http://mock:1"), "mock=http://mock:1");
    }

    #[test]
    fn variables_without_effect_are_marked_as_not_used() {
        assert_eq!(line("TURNPIKE_AUTH_GRPC", &[]), "  (default: does not listen)");
        let listening = [("TURNPIKE_AUTH_GRPC", "127.0.0.1:1")];
        assert_eq!(line("TURNPIKE_AUTH_GRPC", &listening), "127.0.0.1:1");
        let elsewhere = [("TURNPIKE_AUTH_URL", "http://auth:1")];
        assert_eq!(
            line("TURNPIKE_AUTH_URL", &elsewhere),
            "http://auth:1  (not used: the service is inside this process)"
        );
        assert_eq!(line("TURNPIKE_AUTH_URL", &[]), "  (not used: the service is inside this process)");
        assert_eq!(line("TURNPIKE_HTTP", &[]), "127.0.0.1:8080  (default)");
    }

    #[test]
    fn secrets_stay_masked() {
        let secret = [("TURNPIKE_LLM_API_KEY", "sk-123"), ("TURNPIKE_AUTH_SECRET", &"s".repeat(40))];
        for (name, value) in secret {
            assert!(!line(name, &secret).contains(value));
        }
    }
}
