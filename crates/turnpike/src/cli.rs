//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// One authenticated door for everything that streams to people.
#[derive(Parser)]
#[command(name = "turnpike", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) what: Option<What>,
}

#[derive(Subcommand, Default)]
pub(crate) enum What {
    /// Run every service in this process (the default)
    #[default]
    Serve,
    /// Print the configuration in force, secrets masked
    Config,
    /// Sign in; asks for the password, or reads it from a pipe, and keeps the session for later commands
    Login(Login),
    /// End the kept session, at the server and here
    Logout(Place),
    /// Print who is signed in, with which role, where and until when
    Whoami(Place),
    /// Send a command to a vehicle and print its answer as it arrives
    Command(Command),
    /// Print what happens on a topic, from its start or from an offset
    Follow(Follow),
}

/// The gateway to talk to.
#[derive(Args)]
pub(crate) struct Place {
    /// The gateway; by default where TURNPIKE_HTTP says
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
}

#[derive(Args)]
pub(crate) struct Login {
    #[command(flatten)]
    pub(crate) place: Place,
    /// E-mail address or username; by default TURNPIKE_ADMIN_EMAIL, else `admin`
    #[arg(long, value_name = "NAME", visible_aliases = ["email", "username"])]
    pub(crate) user: Option<String>,
}

/// The gateway to talk to, and as whom: with the session that `login` has kept, else with the password in
/// TURNPIKE_ADMIN_PASSWORD, else with the one-time sign-in of a process on this machine.
#[derive(Args)]
pub(crate) struct Server {
    #[command(flatten)]
    pub(crate) place: Place,
    /// E-mail address or username; by default whoever is signed in, else TURNPIKE_ADMIN_EMAIL, else `admin`
    #[arg(long, value_name = "NAME", visible_aliases = ["email", "username"])]
    pub(crate) user: Option<String>,
    /// Where the one process on this machine keeps its files, its one-time sign-in among them; by default TURNPIKE_DATA_DIR, else
    /// ./turnpike-data
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Command {
    #[command(flatten)]
    pub(crate) server: Server,
    /// The vehicle's id or VIN
    #[arg(long, value_name = "ID")]
    pub(crate) vehicle: String,
    /// ReadDTC, ClearDTC, ReadDataByID, RoutineControl or ECUReset
    pub(crate) name: String,
    /// A parameter, e.g. --param ecuAddress=0x10; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    pub(crate) params: Vec<(String, String)>,
    /// How long the command may take, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u32>,
}

#[derive(Args)]
pub(crate) struct Follow {
    #[command(flatten)]
    pub(crate) server: Server,
    /// E.g. response:0198c1d2-…, vehicle:…, user:…
    pub(crate) topic: String,
    /// `start`, `live`, or an offset to continue after
    #[arg(long, default_value = "start")]
    pub(crate) since: String,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
