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
            let mut password = None;
            let started = turnpike::start(process, |admin| password = greeting::first_admin(admin)).await?;
            greeting::ready(&started, password.as_deref());
            Ok(())
        }),
        cli::What::Config => config::show(),
        cli::What::Command(command) => client::run(client::Job::Command(command)),
        cli::What::Follow(follow) => client::run(client::Job::Follow(follow)),
    }
}
