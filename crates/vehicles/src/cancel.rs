//! Cancelling a command: a request that is stored, passed to the connector, and may be refused by the vehicle.

use std::{future::pending, time::Duration};

use jiff::Timestamp;
use sqlx::AnyConnection;
use tonic::Code;
use tracing::{debug, info};
use turnpike_bus::{Delivery, Follower, From as Since};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::vehicle::v1 as pb;
use turnpike_store::{
    Store, Write,
    idempotency::{self, Key, Known},
    micros,
};
use turnpike_topic::{CommandId, Topic};

use crate::{
    commands::{self, Command, Open},
    conductor::{Conductor, RETRY},
    lifecycle::State,
    text::clean,
};

/// How long the end may take after the vehicle was asked.
const PATIENCE: Duration = Duration::from_secs(5);

/// Attempts to record a cancellation.
const ATTEMPTS: u32 = 3;

/// Why a command is not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// The command has ended.
    #[error("the command has ended")]
    Ended,
    /// The vehicle refuses to stop.
    #[error("the vehicle refuses to stop")]
    Refused(String),
    /// There was no answer in time; the command may still stop.
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

/// Cancels a command and waits for its end, for at most [`PATIENCE`]. A request that came before under the same key, or comes at
/// the same time, is the same request: it waits for the same end and gets the same answer. Returns whether it came before.
pub async fn once(
    conductor: &Conductor,
    command: Command,
    key: Option<&Key>,
    now: Timestamp,
) -> Result<(Command, bool), CancelError> {
    // Before it is asked: the end of a command that has ended by then is the answer.
    let follower = conductor.bus.follow(Topic::Response(command.id), Since::Start);
    match ask(conductor, command.id, key, now).await? {
        Asked::Now { replayed } => Ok((wait(conductor, follower, command.id).await?, replayed)),
        Asked::Before => {
            let ended = commands::get(&conductor.store, command.id).await?.ok_or(CancelError::Ended)?;
            Ok((ended, true))
        }
        Asked::TooLate => Err(CancelError::Ended),
        Asked::KeyReused => Err(CancelError::KeyReused),
    }
}

#[derive(Clone, Copy)]
enum Asked {
    /// The command is open, and its cancellation is asked for.
    Now { replayed: bool },
    /// The same request has been made, and the command has ended.
    Before,
    /// The command has ended.
    TooLate,
    /// The key stands for another request.
    KeyReused,
}

/// Batches of two instances can wait for each other, for a key and a command; the database then refuses one of them, and it is
/// tried again. To ask twice is to ask once.
async fn ask(conductor: &Conductor, id: CommandId, key: Option<&Key>, now: Timestamp) -> Result<Asked, sqlx::Error> {
    let mut attempt = 1;
    loop {
        match conductor.store.write(Ask { id, key: key.cloned(), now }).await {
            Err(error) if attempt < ATTEMPTS && turnpike_store::is_away(&error) => {
                debug!(%error, attempt, "a cancellation could not be recorded yet");
                attempt += 1;
            }
            asked => return asked,
        }
    }
}

/// Records that somebody asks to cancel a command, together with the key of the request.
struct Ask {
    id: CommandId,
    key: Option<Key>,
    now: Timestamp,
}

impl Write for Ask {
    type Output = Asked;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Asked>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for ask in writes {
            outputs.push(ask.perform_one(on).await?);
        }
        Ok(outputs)
    }
}

impl Ask {
    async fn perform_one(&self, on: &mut AnyConnection) -> Result<Asked, sqlx::Error> {
        // The command's row is locked before the key: claims and records of other batches lock rows first, too, so that two
        // instances seldom wait for each other.
        sqlx::query("UPDATE commands SET fence = fence WHERE id = $1")
            .bind(self.id.to_string())
            .execute(&mut *on)
            .await?;
        let replayed = match &self.key {
            None => false,
            Some(key) => match key.take(&mut *on, &self.id.to_string(), self.now).await? {
                Known::New => false,
                Known::Before(_) => true,
                Known::Other => return Ok(Asked::KeyReused),
            },
        };
        // An open command that has a declared end has ended for everyone but its topic.
        let asked = sqlx::query(
            "UPDATE commands SET cancel_asked_at = COALESCE(cancel_asked_at, $1)
             WHERE id = $2 AND ended = 0 AND state IN ('pending', 'dispatched', 'in_progress')",
        )
        .bind(micros(self.now))
        .bind(self.id.to_string())
        .execute(&mut *on)
        .await?;
        if asked.rows_affected() == 1 {
            return Ok(Asked::Now { replayed });
        }
        if replayed {
            return Ok(Asked::Before);
        }
        // A refused request does not use its key up.
        if let Some(key) = &self.key {
            key.give_back(on).await?;
        }
        Ok(Asked::TooLate)
    }
}

/// Whether somebody has asked to cancel a command.
pub async fn is_asked(store: &Store, id: CommandId) -> Result<bool, sqlx::Error> {
    let asked = sqlx::query("SELECT 1 AS asked FROM commands WHERE id = $1 AND cancel_asked_at IS NOT NULL")
        .bind(id.to_string())
        .fetch_optional(store.reader())
        .await?;
    Ok(asked.is_some())
}

/// Asks the connector to stop a command for somebody who may no longer be waiting: its refusal changes nothing.
pub async fn deliver(conductor: &Conductor, open: &Open) {
    let Some(mut client) = conductor.fleet.client(&open.connector) else { return };
    match client.cancel(pb::CancelRequest { command_id: open.command.id.to_string() }).await {
        Ok(_) => info!("the connector was asked to cancel the command"),
        Err(status) => info!(code = ?status.code(), "the connector did not cancel the command"),
    }
}

async fn wait(conductor: &Conductor, mut follower: Follower, id: CommandId) -> Result<Command, CancelError> {
    let asking = async {
        let Some(open) = commands::get_open(&conductor.store, id).await? else { return pending().await };
        // A pending command has not left: its conductor finds the mark and ends it.
        if open.command.state == State::Pending {
            return pending().await;
        }
        let Some(client) = conductor.fleet.client(&open.connector) else {
            return Err(CancelError::NoAnswer);
        };
        loop {
            match client.clone().cancel(pb::CancelRequest { command_id: id.to_string() }).await {
                Ok(_) => return pending().await,
                Err(status) if status.code() == Code::FailedPrecondition => {
                    return Err(CancelError::Refused(clean(status.message(), 300)));
                }
                // It ends, has ended, or has not begun: the topic tells. Until then it can still begin.
                Err(_) => conductor.clock.sleep(RETRY).await,
            }
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
            match commands::get(&conductor.store, id).await? {
                Some(ended) if ended.state.is_end() => return Ok(ended),
                Some(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                None => return Err(CancelError::Ended),
            }
        }
    };
    let patience = conductor.clock.sleep(PATIENCE);
    tokio::select! {
        ended = ending => ended,
        refused = asking => refused,
        () = patience => Err(CancelError::NoAnswer),
        () = conductor.tasks.stopping().cancelled() => Err(CancelError::Stopping),
    }
}
