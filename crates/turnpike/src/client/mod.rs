//! The command-line client: signs in, sends, and prints frames as they arrive.

mod account;
mod api;
mod api_keys;
mod captions;
mod chat;
mod credential;
mod frames;
mod gateway;
mod printer;
mod session;

use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;
use turnpike_client::{Since, Topic};
use turnpike_kit::{Environment, Outbound, variables};

use crate::cli;
use api::Api;
use credential::Credential;
use frames::Frames;
use gateway::Gateway;
use printer::Printer;

pub(crate) enum Action {
    Login(cli::Login),
    Logout(cli::GatewayArgs),
    Whoami(cli::GatewayArgs),
    Command(cli::Command),
    Follow(cli::Follow),
    Chat(cli::Chat),
    Captions(cli::Captions),
    ApiKeys(cli::ApiKeysAction),
}

/// Runs a subcommand. The exit code is 0 if it succeeds; for `command` that means the status `completed`, for `chat` an answer that
/// was not stopped, for `captions` captions of all of the audio.
#[expect(clippy::print_stderr, reason = "a command prints its error")]
pub(crate) fn run(action: Action) -> ExitCode {
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the async runtime cannot be started")
        .and_then(|runtime| runtime.block_on(execute(action)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // `turnpike … | head` has what it wants. The same exit code as of a program that SIGPIPE ends.
        Err(error) if is_closed_output(&error) => ExitCode::from(128 + 13),
        Err(error) => {
            eprintln!("turnpike: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the reader of the standard output has closed it. The errors of connections have other types.
fn is_closed_output(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

async fn execute(action: Action) -> anyhow::Result<bool> {
    let env = Environment::of_process()?;
    let outbound = Outbound::new(&env)?;
    match action {
        Action::Login(login) => account::login(&env, &outbound, login).await.map(|()| true),
        Action::Logout(gateway) => account::logout(&env, &outbound, gateway).await.map(|()| true),
        Action::Whoami(gateway) => account::whoami(&env, &outbound, gateway).await.map(|()| true),
        Action::Command(command) => {
            let api = signed_in(&env, &outbound, &command.sign_in).await?;
            submit(api, command).await
        }
        Action::Follow(follow) => {
            let api = signed_in(&env, &outbound, &follow.sign_in).await?;
            let mut frames = Frames::open(api, follow.topic.parse()?, follow.since.parse()?)?;
            let mut printer = Printer::new();
            while let Some(frame) = frames.next().await? {
                printer.print(&frame)?;
            }
            Ok(true)
        }
        Action::Chat(mut chat) => {
            let action = chat.action.take();
            let sign_in = match &action {
                None => &chat.sign_in,
                Some(
                    cli::ChatAction::List { sign_in }
                    | cli::ChatAction::Show { sign_in, .. }
                    | cli::ChatAction::Search { sign_in, .. },
                ) => sign_in,
            };
            let api = signed_in(&env, &outbound, sign_in).await?;
            match action {
                None => chat::ask(api, chat).await,
                Some(action) => chat::show(api, action).await.map(|()| true),
            }
        }
        Action::Captions(args) => {
            let source = captions::Source::open(&args.audio, args.rate)?;
            let api = signed_in(&env, &outbound, &args.sign_in).await?;
            captions::print(api, source, args).await
        }
        Action::ApiKeys(cli::ApiKeysAction::Create(new)) => {
            let api = signed_in(&env, &outbound, &new.sign_in).await?;
            api_keys::create(api, new).await.map(|()| true)
        }
        Action::ApiKeys(cli::ApiKeysAction::List(sign_in)) => {
            let api = signed_in(&env, &outbound, &sign_in).await?;
            api_keys::list(api).await.map(|()| true)
        }
        Action::ApiKeys(cli::ApiKeysAction::Revoke(key)) => {
            let api = signed_in(&env, &outbound, &key.sign_in).await?;
            api_keys::revoke(api, &key.id).await.map(|()| true)
        }
    }
}

async fn signed_in(env: &Environment, outbound: &Outbound, args: &cli::SignInArgs) -> anyhow::Result<Api> {
    let gateway = Gateway::new(env, outbound, &args.gateway)?;
    let default = env.value(&variables::DATA_DIR);
    let data_dir = args.data_dir.clone().unwrap_or_else(|| default.into());
    let credential = Credential::new(env, &gateway, args.user.clone(), Some(data_dir))?;
    Api::sign_in(gateway, credential).await
}

async fn submit(mut api: Api, command: cli::Command) -> anyhow::Result<bool> {
    let vehicle_id = api.vehicle(&command.vehicle).await?;
    let params: serde_json::Map<String, Value> =
        command.params.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    let id = api.submit(&vehicle_id, &command.name, params, command.timeout).await?;
    let mut printer = Printer::new();
    let id = id.parse().context("the gateway's answer has no command id")?;
    let mut frames = Frames::open(api, Topic::Response(id), Since::Start)?;
    let mut status = String::new();
    while let Some(frame) = frames.next().await? {
        if frame["event"] == "status" {
            frame["status"].as_str().unwrap_or_default().clone_into(&mut status);
        }
        printer.print(&frame)?;
    }
    Ok(status == "completed")
}
