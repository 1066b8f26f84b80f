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
            greeting::say(&turnpike::start(process).await?, &process.env);
            Ok(())
        }),
        cli::What::Config => config::show(),
        cli::What::Command(command) => client::run(client::Job::Command(command)),
        cli::What::Follow(follow) => client::run(client::Job::Follow(follow)),
    }
}
