//! `login`, `logout` and `whoami`.

use std::io::{self, BufRead, IsTerminal, Read};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use reqwest::Method;
use secrecy::SecretString;
use turnpike_kit::{Clock, Environment, Outbound};

use super::{
    api::Api,
    credential::{Credential, default_user, refresh, saved_session, sign_in},
    gateway::{Gateway, is_unauthorized},
    session::{Session, SessionFile},
};
use crate::cli;

/// Bytes read from a pipe. Auth accepts no longer password.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// Signs in and saves the session. An earlier saved session is replaced and ended.
#[expect(clippy::print_stdout, reason = "a command that prints")]
pub(crate) async fn login(env: &Environment, outbound: &Outbound, login: cli::Login) -> anyhow::Result<()> {
    let gateway = Gateway::new(env, outbound, &login.gateway)?;
    let file = session_file(&gateway)?;
    let user = login.user.unwrap_or_else(|| default_user(env));
    let password = password(&format!("Password for {user} at {}: ", gateway.base))?;
    let now = Clock::system().now();
    let answer = match sign_in(&gateway, &user, &password).await {
        Err(error) if is_unauthorized(&error) => {
            return Err(error.context(format!("{} refused the name {user} or its password", gateway.base)));
        }
        result => result?,
    };
    let session = Session::new(&gateway.base, &answer, now)?;
    let locked = file.lock().await?;
    let earlier = locked.load().ok().flatten();
    locked.save(&session)?;
    drop(locked);
    if let Some(earlier) = earlier {
        // If this fails, the earlier session ends when it expires.
        let _ = end(&gateway, earlier.access_token.into()).await;
    }
    let role = answer["user"]["role"].as_str().unwrap_or("unknown");
    println!("signed in as {} (role {role}) at {}", session.username, gateway.base);
    Ok(())
}

/// Ends the saved session at the server, and removes the file even if the server cannot be reached.
#[expect(clippy::print_stdout, reason = "a command that prints")]
pub(crate) async fn logout(env: &Environment, outbound: &Outbound, args: cli::GatewayArgs) -> anyhow::Result<()> {
    let gateway = Gateway::new(env, outbound, &args)?;
    let file = session_file(&gateway)?;
    let locked = file.lock().await?;
    let Some(session) = locked.load().unwrap_or_default() else {
        locked.remove()?; // an unreadable file is removed too
        println!("not signed in at {}", gateway.base);
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
            None => Ok(()), // the session has already ended
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

/// Prints the signed-in user.
#[expect(clippy::print_stdout, reason = "a command that prints")]
pub(crate) async fn whoami(env: &Environment, outbound: &Outbound, args: cli::GatewayArgs) -> anyhow::Result<()> {
    let gateway = Gateway::new(env, outbound, &args)?;
    let server = gateway.base.clone();
    let mut api = Api::sign_in(gateway.clone(), Credential::new(env, &gateway, None, None)?).await?;
    let me = api.me().await?;
    let text = |field: &str| me[field].as_str().unwrap_or_default();
    println!("user     {} ({})", text("username"), text("email"));
    println!("role     {}", text("role"));
    println!("server   {server}");
    match api.saved_until() {
        Some(until) => println!("session  until {}, extended by each use", to_the_second(until)),
        None => println!("session  not saved: signed in with the password in TURNPIKE_ADMIN_PASSWORD"),
    }
    Ok(())
}

fn to_the_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn session_file(gateway: &Gateway) -> anyhow::Result<SessionFile> {
    saved_session(gateway)?.context("there is no directory to save a session in: set HOME or XDG_CONFIG_HOME")
}

async fn end(gateway: &Gateway, token: SecretString) -> anyhow::Result<()> {
    gateway.call(Method::POST, "/api/auth/logout", &token, None).await.map(|_| ())
}

/// Reads the password from the terminal without echo, or the first line of a pipe.
fn password(prompt: &str) -> anyhow::Result<SecretString> {
    let text = if io::stdin().is_terminal() {
        rpassword::prompt_password(prompt).context("the password cannot be read from the terminal")?
    } else {
        let mut line = String::new();
        io::stdin()
            .lock()
            .take(MAX_PASSWORD_BYTES)
            .read_line(&mut line)
            .context("the password cannot be read from the pipe")?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    ensure!(!text.is_empty(), "the password is empty: type it, or pass it as one line through a pipe");
    Ok(text.into())
}
