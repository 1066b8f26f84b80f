//! `turnpike`: every service in one process, and the command-line client.

mod cli;
mod client;
mod config;
mod startup;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().command.unwrap_or_default() {
        cli::Subcommands::Serve => turnpike_kit::run("turnpike", async |process| {
            let started = turnpike::start(process, startup::is_terminal(), startup::first_admin).await?;
            startup::ready(&started);
            Ok(())
        }),
        cli::Subcommands::Config => config::show(),
        cli::Subcommands::Login(login) => client::run(client::Action::Login(login)),
        cli::Subcommands::Logout(gateway) => client::run(client::Action::Logout(gateway)),
        cli::Subcommands::Whoami(gateway) => client::run(client::Action::Whoami(gateway)),
        cli::Subcommands::Command(command) => client::run(client::Action::Command(command)),
        cli::Subcommands::Follow(follow) => client::run(client::Action::Follow(follow)),
        cli::Subcommands::Chat(chat) => client::run(client::Action::Chat(chat)),
        cli::Subcommands::Captions(captions) => client::run(client::Action::Captions(captions)),
        cli::Subcommands::ApiKeys(keys) => client::run(client::Action::ApiKeys(keys.action)),
    }
}
