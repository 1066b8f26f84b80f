//! Handing a dispatched command to its connector: how often, what a refusal means, and whether the command may have run.

use std::time::Duration;

use tokio::{sync::oneshot, task::AbortHandle};
use tonic::Code;
use tracing::{error, info};
use turnpike_kit::OnExit;
use turnpike_proto::vehicle::v1 as pb;
use turnpike_rpc::Context;

use crate::{
    cancel,
    commands::Open,
    conductor::{Conductor, RETRY, timestamp},
    fleet, leases,
    lifecycle::{Effect, State},
    retry::Retry,
    text::clean,
};

/// How often a command is handed over, at most.
const ATTEMPTS: u32 = 3;

/// Result of handing a command over.
pub(crate) enum Outcome {
    Accepted {
        instance_id: String,
        /// The incarnation that the connector's stream still showed then, if it was another.
        outlived: Option<String>,
    },
    /// It did not run, and it is known why.
    Refused { state: State, code: String, message: String },
    /// Somebody asked to cancel it before a connector had accepted it. It did not run, or may run any number of times.
    Cancelled,
    /// It may have arrived: an event or the deadline will tell.
    Unknown,
}

/// A handoff under way, in a task of its own: its conductor waits for the database while it records, and one that waited
/// for both at once could hold the very connection that it waits for. Dropped, it goes no further.
pub(crate) struct Handoff {
    task: AbortHandle,
    outcome: oneshot::Receiver<Outcome>,
}

impl Handoff {
    pub(crate) fn begin(here: &Conductor, open: &Open, fresh: bool) -> Self {
        let hand_over = HandOver { here: here.clone(), open: open.clone(), fresh };
        let (sender, outcome) = oneshot::channel();
        let work = async move {
            // Nobody listens once an end was declared.
            let _ = sender.send(hand_over.run().await);
        };
        Self { task: here.tasks.spawn("hand over", OnExit::Continue, Context::current().scope(work)), outcome }
    }

    pub(crate) async fn outcome(handoff: &mut Option<Self>) -> Outcome {
        match handoff {
            // How far a task came that died is not known.
            Some(handoff) => (&mut handoff.outcome).await.unwrap_or(Outcome::Unknown),
            None => std::future::pending().await,
        }
    }
}

impl Drop for Handoff {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Handing a dispatched command to its connector.
struct HandOver {
    here: Conductor,
    open: Open,
    fresh: bool,
}

impl HandOver {
    async fn run(self) -> Outcome {
        let command = &self.open.command;
        // Of what a conductor that died has left, only what may run twice is handed over again; a connector that has seen it
        // answers like the first time.
        let unanswered = command.state == State::Dispatched && self.open.instance_id.is_none();
        if !(self.fresh || unanswered && command.effect == Effect::Read) {
            return self.left_by_another().await;
        }
        if !self.fresh && self.is_cancelled().await {
            return Outcome::Cancelled;
        }
        let Some(client) = self.here.fleet.client(&self.open.connector) else {
            return refused(State::Rejected, "NO_CONNECTOR", "No connector of this deployment reaches the vehicle");
        };
        let request = pb::ExecuteRequest {
            command_id: command.id.to_string(),
            vin: self.open.vin.clone(),
            name: command.name.clone(),
            params_json: command.params.clone(),
            deadline: Some(timestamp(self.open.run_by)),
        };
        for attempt in 1.. {
            let status = match client.clone().execute(request.clone()).await {
                Ok(answer) => return self.accepted(answer.into_inner().instance_id).await,
                Err(status) => status,
            };
            let ran = might_have_run(&status);
            info!(attempt, code = ?status.code(), ran, "the connector did not accept the command");
            let again = match command.effect {
                Effect::Read => retriable(&status),
                Effect::Idempotent => retriable(&status) && !ran,
                Effect::Unsafe => false,
            };
            let pause = RETRY * attempt + self.jitter(attempt);
            let in_time = self.here.clock.now() + pause < self.open.accept_by;
            if again && attempt < ATTEMPTS && in_time {
                self.here.clock.sleep(pause).await;
                if self.is_cancelled().await {
                    return Outcome::Cancelled;
                }
                continue;
            }
            if ran {
                return Outcome::Unknown; // its conductor looks for a cancellation
            }
            // What a connector says is for the caller: it speaks of his command and his vehicle.
            return match status.code() {
                Code::Unavailable if std::error::Error::source(&status).is_some() => {
                    refused(State::Rejected, "CONNECTOR_UNAVAILABLE", "The vehicle's connector cannot be reached")
                }
                Code::Unavailable => refused(State::Rejected, "VEHICLE_UNAVAILABLE", &said(&status)),
                _ => refused(State::Rejected, "REJECTED", &said(&status)),
            };
        }
        Outcome::Unknown
    }

    async fn left_by_another(self) -> Outcome {
        let Some(instance_id) = self.open.instance_id.clone() else { return Outcome::Unknown };
        // The conductor before may have stopped before it could pass a cancellation on.
        if self.is_cancelled().await {
            cancel::deliver(&self.here, &self.open).await;
        }
        Outcome::Accepted { instance_id, outlived: None }
    }

    async fn accepted(&self, instance_id: String) -> Outcome {
        let instance_id = fleet::instance_id(&instance_id);
        // A cancellation that was asked for before this is stored found no running command at the connector, and is passed on
        // here. Whoever asks later finds the command at the connector.
        if self.mark_accepted(&instance_id).await {
            cancel::deliver(&self.here, &self.open).await;
        }
        // A new incarnation may accept a command before the stream of the old one is seen to break.
        let outlived = self.here.fleet.life(&self.open.connector).filter(|life| *life != instance_id);
        Outcome::Accepted { instance_id, outlived }
    }

    /// Stores which incarnation accepted the command. Returns whether somebody has asked to cancel it.
    async fn mark_accepted(&self, instance_id: &str) -> bool {
        let (id, fence) = (self.open.command.id, self.open.fence);
        let mut retry = Retry::default();
        while self.here.clock.now() < self.open.run_by {
            match leases::mark_accepted(&self.here.store, id, fence, instance_id).await {
                Ok(cancelled) => return cancelled,
                Err(error) if turnpike_store::is_away(&error) => {
                    retry.pause(&self.here.clock, "the connector's acceptance cannot be stored yet", error).await;
                }
                // A restart does not notice the connector's death early then; the deadline still holds.
                Err(error) => {
                    error!(%error, "the connector's acceptance cannot be stored");
                    return false;
                }
            }
        }
        false
    }

    /// While the database is away nothing is known of a cancellation; it stays asked for.
    async fn is_cancelled(&self) -> bool {
        cancel::is_asked(&self.here.store, self.open.command.id).await.unwrap_or(false)
    }

    /// Up to a quarter of a second, different for each command and attempt: commands that failed together do not come back
    /// together.
    fn jitter(&self, attempt: u32) -> Duration {
        let id = uuid::Uuid::from(self.open.command.id).as_u128();
        Duration::from_millis(((id >> (attempt * 8)) & 0xff) as u64)
    }
}

fn refused(state: State, code: &str, message: &str) -> Outcome {
    Outcome::Refused { state, code: code.to_owned(), message: message.to_owned() }
}

/// A connector's reason.
fn said(status: &tonic::Status) -> String {
    match status.message() {
        "" => "The connector refused the command".to_owned(),
        message => clean(message, 300),
    }
}

/// Whether a failed Execute may have started something.
fn might_have_run(status: &tonic::Status) -> bool {
    let mut source = std::error::Error::source(status);
    if source.is_none() {
        // The connector itself said no; that it may not know what it did is what these two codes mean.
        return matches!(status.code(), Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::Cancelled);
    }
    // Something on the way failed: only a connection that was never made is proof that nothing arrived.
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return false;
        }
        source = error.source();
    }
    true
}

fn retriable(status: &tonic::Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Internal | Code::Cancelled
    )
}
