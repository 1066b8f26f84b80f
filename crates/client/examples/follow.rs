//! Follows topics and prints their frames: `follow <gateway> <user> <topic>…`. The password is the first line of the standard input.

use std::io::{BufRead, Write};

use turnpike_client::{Client, Options, SecretString, Session, Since, Update};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(base), Some(user)) = (arguments.next(), arguments.next()) else {
        return Err("usage: follow <gateway> <user> <topic>…".into());
    };
    let mut password = String::new();
    std::io::stdin().lock().read_line(&mut password)?;
    let session = Session::sign_in(&base, &user, &SecretString::from(password.trim_end())).await?;
    let mut client = Client::new(&base, session, Options::default())?;
    let mut open = 0;
    for topic in arguments {
        client.follow(topic.parse()?, Since::Start);
        open += 1;
    }
    let mut out = std::io::stdout();
    while open > 0 {
        match client.next().await? {
            Update::Event { frame, .. } | Update::Notice { frame, .. } | Update::Reset { frame, .. } => {
                writeln!(out, "{frame}")?;
            }
            Update::Closed { .. } => open -= 1,
            Update::Refused { topic, code, detail } => {
                writeln!(out, "{topic}: {detail} ({code})")?;
                open -= 1;
            }
            Update::Disconnected { reason, pause } => writeln!(out, "disconnected: {reason}; again in {pause:?}")?,
            _ => {}
        }
    }
    Ok(())
}
