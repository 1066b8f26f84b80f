#![doc = include_str!("../README.md")]

mod cli;
mod client;
mod config;
mod serve;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().what.unwrap_or_default() {
        cli::What::Serve => turnpike_kit::run("turnpike", serve::start),
        cli::What::Config => config::show(),
        cli::What::Command(command) => client::run(client::Job::Command(command)),
        cli::What::Follow(follow) => client::run(client::Job::Follow(follow)),
    }
}
