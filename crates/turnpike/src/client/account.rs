//! `login`, `logout` and `whoami`.

use std::io::{self, BufRead, IsTerminal, Read};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use reqwest::Method;
use secrecy::SecretString;
use turnpike_kit::{Clock, Environment, Outbound};

use super::{
    api::Api,
    credential::{Credential, default_user, kept, refresh, sign_in},
    gateway::{Gateway, is_unauthorized},
    session::{Kept, Session},
};
use crate::cli;

/// No password that auth accepts is longer.
const LONGEST: u64 = 4096;

/// Signs in and keeps the session, in place of the one kept before, which ends.
#[expect(clippy::print_stdout, reason = "a command that prints")]
pub(crate) async fn login(env: &Environment, outbound: &Outbound, login: cli::Login) -> anyhow::Result<()> {
    let gateway = Gateway::new(env, outbound, &login.place)?;
    let kept = place(&gateway)?;
    let user = login.user.unwrap_or_else(|| default_user(env));
    let password = password(&format!("Password for {user} at {}: ", gateway.base))?;
    let now = Clock::system().now();
    let answer = match sign_in(&gateway, &user, &password).await {
        Err(error) if is_unauthorized(&error) => {
            return Err(error.context(format!("{} refused the name {user} or its password", gateway.base)));
        }
        answered => answered?,
    };
    let session = Session::begun(&gateway.base, &answer, now)?;
    let locked = kept.lock().await?;
    let before = locked.load().ok().flatten();
    locked.save(&session)?;
    drop(locked);
    if let Some(before) = before {
        // A session whose server is gone or whose token has expired ends by itself.
        let _ = end(&gateway, before.access_token.into()).await;
    }
    let role = answer["user"]["role"].as_str().unwrap_or("unknown");
    println!("signed in as {} (role {role}) at {}", session.username, gateway.base);
    Ok(())
}

/// Ends the kept session at the server, and removes it here in any case.
#[expect(clippy::print_stdout, reason = "a command that prints")]
pub(crate) async fn logout(env: &Environment, outbound: &Outbound, at: cli::Place) -> anyhow::Result<()> {
    let gateway = Gateway::new(env, outbound, &at)?;
    let kept = place(&gateway)?;
    let locked = kept.lock().await?;
    let Some(session) = locked.load().unwrap_or_default() else {
        locked.remove()?; // what is no session goes, too
        println!("nobody is signed in at {}", gateway.base);
        return Ok(());
    };
    let now = Clock::system().now();
    let ended = async {
        let token = match session.is_fresh(now) {
            true => Some(SecretString::from(session.access_token.as_str())),
            false => refresh(&gateway, &locked, &session, now).await?,
        };
        match token {
            Some(token) => end(&gateway, token).await,
            None => Ok(()), // it had ended before
        }
    };
    let ended = ended.await;
    locked.remove()?;
    ended.with_context(|| {
        format!("the session was removed here; at the server it ends at {}", to_the_second(session.refresh_expires_at))
    })?;
    println!("signed out at {}", gateway.base);
    Ok(())
}

/// Prints the user as the server knows it.
#[expect(clippy::print_stdout, reason = "a command that prints")]
pub(crate) async fn whoami(env: &Environment, outbound: &Outbound, at: cli::Place) -> anyhow::Result<()> {
    let gateway = Gateway::new(env, outbound, &at)?;
    let server = gateway.base.clone();
    let mut api = Api::sign_in(gateway.clone(), Credential::new(env, &gateway, None, None)?).await?;
    let me = api.me().await?;
    let text = |field: &str| me[field].as_str().unwrap_or_default();
    println!("user     {} ({})", text("username"), text("email"));
    println!("role     {}", text("role"));
    println!("server   {server}");
    match api.kept_until() {
        Some(until) => println!("session  until {}, longer with each use", to_the_second(until)),
        None => println!("session  not kept: of the password in TURNPIKE_ADMIN_PASSWORD"),
    }
    Ok(())
}

fn to_the_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn place(gateway: &Gateway) -> anyhow::Result<Kept> {
    kept(gateway)?.context("there is no directory to keep a session in: set HOME or XDG_CONFIG_HOME")
}

async fn end(gateway: &Gateway, token: SecretString) -> anyhow::Result<()> {
    gateway.call(Method::POST, "/api/auth/logout", &token, None).await.map(|_| ())
}

/// From the terminal without echo, else the first line of what is piped in.
fn password(prompt: &str) -> anyhow::Result<SecretString> {
    let text = if io::stdin().is_terminal() {
        rpassword::prompt_password(prompt).context("no password was read from the terminal")?
    } else {
        let mut line = String::new();
        io::stdin().lock().take(LONGEST).read_line(&mut line).context("no password was read from the pipe")?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    ensure!(!text.is_empty(), "the password is empty: type it, or pipe it in on one line");
    Ok(text.into())
}
