//! The command-line client: signs in, sends, and prints frames as they arrive.

mod account;
mod api;
mod credential;
mod frames;
mod gateway;
mod session;
mod show;

use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;
use turnpike_kit::{Environment, Outbound, variables};

use crate::cli;
use api::Api;
use credential::Credential;
use frames::{Frames, Place};
use gateway::Gateway;
use show::Show;

/// What the client does.
pub(crate) enum Job {
    Login(cli::Login),
    Logout(cli::Place),
    Whoami(cli::Place),
    Command(cli::Command),
    Follow(cli::Follow),
}

/// Does it; the exit code is 0 if the command was completed, or the topic followed to its end.
#[expect(clippy::print_stderr, reason = "the last word of a command")]
pub(crate) fn run(job: Job) -> ExitCode {
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime")
        .and_then(|runtime| runtime.block_on(work(job)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("turnpike: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn work(job: Job) -> anyhow::Result<bool> {
    let env = Environment::of_process()?;
    let outbound = Outbound::new(&env)?;
    match job {
        Job::Login(login) => account::login(&env, &outbound, login).await.map(|()| true),
        Job::Logout(place) => account::logout(&env, &outbound, place).await.map(|()| true),
        Job::Whoami(place) => account::whoami(&env, &outbound, place).await.map(|()| true),
        Job::Command(command) => {
            let api = signed_in(&env, &outbound, &command.server).await?;
            send(api, command).await
        }
        Job::Follow(follow) => {
            let api = signed_in(&env, &outbound, &follow.server).await?;
            let place = Place::Topic { topic: follow.topic, since: follow.since };
            let mut frames = Frames::open(api, place);
            let mut show = Show::new();
            while let Some(frame) = frames.next().await? {
                show.frame(&frame)?;
            }
            Ok(true)
        }
    }
}

async fn signed_in(env: &Environment, outbound: &Outbound, server: &cli::Server) -> anyhow::Result<Api> {
    let gateway = Gateway::new(env, outbound, &server.place)?;
    let known = env.value(&variables::DATA_DIR);
    let data_dir = server.data_dir.clone().unwrap_or_else(|| known.into());
    let credential = Credential::new(env, &gateway, server.user.clone(), Some(data_dir))?;
    Api::sign_in(gateway, credential).await
}

async fn send(mut api: Api, command: cli::Command) -> anyhow::Result<bool> {
    let vehicle_id = api.vehicle(&command.vehicle).await?;
    let params: serde_json::Map<String, Value> =
        command.params.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    let id = api.submit(&vehicle_id, &command.name, params, command.timeout).await?;
    let mut show = Show::new();
    let mut frames = Frames::open(api, Place::Command(id));
    let mut status = String::new();
    while let Some(frame) = frames.next().await? {
        if frame["event"] == "status" {
            frame["status"].as_str().unwrap_or_default().clone_into(&mut status);
        }
        show.frame(&frame)?;
    }
    Ok(status == "completed")
}
