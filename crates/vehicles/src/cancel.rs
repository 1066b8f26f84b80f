//! Cancelling a command: the request is stored and passed to the connector; the vehicle may refuse it.

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
    fleet::{Fleet, RETRY_CALL},
    lifecycle::State,
    resources::Resources,
    text::clean,
};

/// How long a caller waits for the command's end at most.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Attempts to store a cancellation.
const ATTEMPTS: u32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    #[error("the command has ended")]
    Ended,
    #[error("the vehicle refuses to stop")]
    Refused(String),
    /// There was no answer in time; the command may still stop.
    #[error("no answer yet")]
    NoAnswer,
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// This process stops; another instance takes the command over.
    #[error("this process stops")]
    Stopping,
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

/// Cancels a command and waits for its end, for at most [`END_TIMEOUT`]. Requests with the same key, one after the other or at
/// the same time, are one request: each waits for the same end and gets the same answer. Returns whether the request was a
/// repetition.
pub async fn once(
    resources: &Resources,
    command: Command,
    key: Option<&Key>,
    now: Timestamp,
) -> Result<(Command, bool), CancelError> {
    // Followed from before the request: if the command has ended by then, that end is the answer.
    let follower = resources.bus.follow(Topic::Response(command.id), Since::Start);
    match ask(&resources.store, command.id, key, now).await? {
        Asked::Now { replayed } => Ok((wait(resources, follower, command.id).await?, replayed)),
        Asked::Before => {
            let ended = commands::get(&resources.store, command.id).await?.ok_or(CancelError::Ended)?;
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

/// Batches of two instances can wait for each other, for a key and a command. The database then refuses one of them, and it is
/// tried again; storing a cancellation twice has the effect of storing it once.
async fn ask(store: &Store, id: CommandId, key: Option<&Key>, now: Timestamp) -> Result<Asked, sqlx::Error> {
    let mut attempt = 1;
    loop {
        match store.write(Ask { id, key: key.cloned(), now }).await {
            Err(error) if attempt < ATTEMPTS && turnpike_store::is_unavailable(&error) => {
                debug!(%error, attempt, "a cancellation could not be stored yet");
                attempt += 1;
            }
            asked => return asked,
        }
    }
}

/// Stores a cancellation together with the key of its request.
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
        // An open command that has a declared end can no longer be cancelled; only its final event is missing.
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
        // The key of a refused request can be used again.
        if let Some(key) = &self.key {
            key.give_back(on).await?;
        }
        Ok(Asked::TooLate)
    }
}

/// Whether the cancellation of a command was requested.
pub async fn is_asked(store: &Store, id: CommandId) -> Result<bool, sqlx::Error> {
    let asked = sqlx::query("SELECT 1 AS asked FROM commands WHERE id = $1 AND cancel_asked_at IS NOT NULL")
        .bind(id.to_string())
        .fetch_optional(store.reader())
        .await?;
    Ok(asked.is_some())
}

/// Asks the connector to stop a command. The caller may no longer be waiting, so a refusal is only logged.
pub async fn deliver(fleet: &Fleet, open: &Open) {
    let Some(mut client) = fleet.client(&open.connector) else { return };
    match client.cancel(pb::CancelRequest { command_id: open.command.id.to_string() }).await {
        Ok(_) => info!("the connector was asked to cancel the command"),
        Err(status) => info!(code = ?status.code(), "the connector did not cancel the command"),
    }
}

async fn wait(resources: &Resources, mut follower: Follower, id: CommandId) -> Result<Command, CancelError> {
    let asking = async {
        let Some(open) = commands::get_open(&resources.store, id).await? else { return pending().await };
        // A pending command was not sent: its supervisor finds the cancellation and ends it.
        if open.command.state == State::Pending {
            return pending().await;
        }
        let Some(client) = resources.fleet.client(&open.connector) else {
            return Err(CancelError::NoAnswer);
        };
        loop {
            match client.clone().cancel(pb::CancelRequest { command_id: id.to_string() }).await {
                Ok(_) => return pending().await,
                Err(status) if status.code() == Code::FailedPrecondition => {
                    return Err(CancelError::Refused(clean(status.message(), 300)));
                }
                // The command ends, has ended, or has not begun; the topic shows which. Until then it can still begin.
                Err(_) => resources.clock.sleep(RETRY_CALL).await,
            }
        }
    };
    let ending = async {
        loop {
            if let Delivery::Closed = follower.next().await {
                break;
            }
        }
        // The same event is being archived.
        loop {
            match commands::get(&resources.store, id).await? {
                Some(ended) if ended.state.is_end() => return Ok(ended),
                Some(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                None => return Err(CancelError::Ended),
            }
        }
    };
    let timeout = resources.clock.sleep(END_TIMEOUT);
    tokio::select! {
        ended = ending => ended,
        refused = asking => refused,
        () = timeout => Err(CancelError::NoAnswer),
        () = resources.tasks.stopping().cancelled() => Err(CancelError::Stopping),
    }
}
