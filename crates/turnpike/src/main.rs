//! `turnpike`: everything in one process, and the command-line client.

mod cli;
mod client;
mod config;
mod greeting;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().what.unwrap_or_default() {
        cli::What::Serve => turnpike_kit::run("turnpike", async |process| {
            let started = turnpike::start(process, greeting::first_admin).await?;
            greeting::ready(&started);
            Ok(())
        }),
        cli::What::Config => config::show(),
        cli::What::Login(login) => client::run(client::Job::Login(login)),
        cli::What::Logout(place) => client::run(client::Job::Logout(place)),
        cli::What::Whoami(place) => client::run(client::Job::Whoami(place)),
        cli::What::Command(command) => client::run(client::Job::Command(command)),
        cli::What::Follow(follow) => client::run(client::Job::Follow(follow)),
    }
}
