//! `turnpike config`.

use std::process::ExitCode;

use turnpike_kit::{BusConfig, ConfigError, Environment, Outbound};

/// Prints every name with what is in force; a bad value is said like at a start.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command that prints")]
pub(crate) fn show() -> ExitCode {
    let checked = Environment::of_process().and_then(|env| check(&env).map(|()| env));
    match checked {
        Ok(env) => {
            for (name, value, set) in env.in_force() {
                println!("{name}={value}{}", if set { "" } else { "  (default)" });
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("turnpike: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(env: &Environment) -> Result<(), ConfigError> {
    turnpike_auth::Config::new(env)?;
    turnpike_vehicles::Config::new(env)?;
    turnpike_mock_vehicle_connector::Config::new(env)?;
    turnpike_gateway::Config::new(env)?;
    Outbound::new(env)?;
    BusConfig::new(env).map(|_| ())
}
