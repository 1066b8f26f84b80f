//! Asking a vehicle to stop: a request, which it may refuse.

use std::time::Duration;

use jiff::Timestamp;
use tonic::Code;
use turnpike_bus::{Delivery, From as Since};
use turnpike_event::Topic;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::vehicle::v1 as pb;
use turnpike_store::idempotency::{self, Key, Known};

use crate::{
    commands::{self, Command},
    conductor::Conductor,
    lifecycle::State,
};

/// How long the end may take after the vehicle was asked.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a command is not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// It has ended.
    #[error("the command has ended")]
    Ended,
    /// The vehicle goes on.
    #[error("the vehicle refuses to stop")]
    Refused(String),
    /// Nothing was heard in time; it may still stop.
    #[error("no answer yet")]
    NoAnswer,
    /// The key stands for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// This process stops; another conducts the command on.
    #[error("this process stops")]
    Stopping,
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<CancelError> for Fault {
    fn from(error: CancelError) -> Self {
        match error {
            CancelError::Ended => Self::new(Kind::Conflict, "The command has already ended").code_is("ALREADY_ENDED"),
            CancelError::Refused(why) => {
                let why = if why.is_empty() { "The vehicle refuses to stop".to_owned() } else { why };
                Self::new(Kind::Conflict, why).code_is("CANCEL_REFUSED")
            }
            CancelError::NoAnswer => {
                Self::new(Kind::Timeout, "No answer within 5 seconds; the command may still stop: keep watching")
            }
            CancelError::Stopping => {
                Self::new(Kind::Unavailable, "This service is stopping; the command may still stop: keep watching")
                    .retry_after(Duration::from_secs(1))
            }
            CancelError::KeyReused => idempotency::reused(),
            CancelError::Database(error) => turnpike_store::fault(error),
        }
    }
}

/// Cancels a command, or finds that this request has cancelled it before: then it is as it ended. Says which.
pub async fn once(
    conductor: &Conductor,
    command: Command,
    key: Option<&Key>,
    now: Timestamp,
) -> Result<(Command, bool), CancelError> {
    let Some(key) = key else {
        return Ok((cancel(conductor, &command, now).await?, false));
    };
    match key.look_up(&conductor.store, now).await? {
        Known::New => {}
        Known::Before(_) => return Ok((command, true)),
        Known::Other => return Err(CancelError::KeyReused),
    }
    let ended = cancel(conductor, &command, now).await?;
    let mut tx = conductor.store.begin().await?;
    key.take(&mut tx, &command.id.to_string(), now).await?;
    tx.commit().await?;
    Ok((ended, false))
}

/// Asks, and waits for the command's end for at most [`PATIENCE`].
async fn cancel(conductor: &Conductor, command: &Command, now: Timestamp) -> Result<Command, CancelError> {
    let mut follower = conductor.bus.follow(Topic::Response(command.id), Since::Start);
    if !commands::ask_to_cancel(&conductor.store, command.id, now).await? {
        return Err(CancelError::Ended);
    }
    let asking = async {
        let open = commands::get_open(&conductor.store, command.id).await?.ok_or(CancelError::Ended)?;
        // A pending command has not left: its conductor finds the mark and ends it.
        if open.command.state == State::Pending {
            return Ok(());
        }
        let Some(mut client) = conductor.fleet.client(&open.connector) else {
            return Err(CancelError::NoAnswer);
        };
        match client.cancel(pb::CancelRequest { command_id: command.id.to_string() }).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::FailedPrecondition => {
                Err(CancelError::Refused(status.message().chars().take(300).collect()))
            }
            // It ends, has ended, or has not begun: the topic tells.
            Err(_) => Ok(()),
        }
    };
    let ending = async {
        loop {
            if let Delivery::Closed = follower.next().await {
                break;
            }
        }
        // The same event is on its way into the record.
        loop {
            match commands::get(&conductor.store, command.id).await? {
                Some(ended) if ended.state.is_end() => return Ok(ended),
                Some(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                None => return Err(CancelError::Ended),
            }
        }
    };
    let patience = conductor.clock.sleep(PATIENCE);
    let both = async {
        asking.await?;
        ending.await
    };
    tokio::select! {
        ended = both => ended,
        () = patience => Err(CancelError::NoAnswer),
        () = conductor.tasks.stopping().cancelled() => Err(CancelError::Stopping),
    }
}
